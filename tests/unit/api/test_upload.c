/* LDFLAGS: -Wl,--wrap=write,--wrap=fsync,--wrap=getrandom */
/* The upload store: what ends up on the disk, and that nothing does when an upload fails. */
#include "api/folder.h"

#include <errno.h>
#include <jansson.h>
#include <sys/random.h>

#include "api/upload.h"

#define USER     42
#define USER_DIR "42"
#define MAX_SIZE 100000

static struct folder folder;
static struct uploads store;
static uint8_t gif[4096];
static size_t gif_len;

/* The next calls fail with these, when not 0. */
static int write_errno;
static int fsync_errno;
static bool random_is_fixed;

ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
ssize_t __real_getrandom(void *buf, size_t n, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t n, unsigned flags);

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	if (write_errno != 0) {
		errno = write_errno;
		return -1;
	}
	/* Short writes are allowed and must be gone on with. */
	return __real_write(fd, buf, n > 1000 ? 1000 : n);
}

int __wrap_fsync(int fd)
{
	if (fsync_errno != 0) {
		errno = fsync_errno;
		return -1;
	}
	return __real_fsync(fd);
}

ssize_t __wrap_getrandom(void *buf, size_t n, unsigned flags)
{
	if (!random_is_fixed)
		return __real_getrandom(buf, n, flags);
	memset(buf, 0xab, n);
	return (ssize_t)n;
}

static int setup(void **state)
{
	(void)state;
	write_errno = fsync_errno = 0;
	random_is_fixed = false;
	umask(0027);
	folder_make(&folder);
	assert_int_equal(uploads_open(&store, folder.path, MAX_SIZE), ERR_OK);
	gif_len = file_read(GIF_FILE, gif, sizeof(gif));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	uploads_close(&store);
	folder_remove(&folder);
	return 0;
}

static void begin(struct upload *up)
{
	assert_int_equal(upload_begin(up, &store, USER), ERR_OK);
	assert_true(upload_is_open(up));
}

static void test_commit(void **state)
{
	struct upload up;
	struct upload_result result;
	struct stat st;
	char path[256];
	uint8_t stored[4096];
	(void)state;

	begin(&up);
	assert_int_equal(folder_count(&folder, USER_DIR, ".part-", NULL), 1);
	assert_int_equal(upload_write(&up, gif, 5), ERR_OK);
	assert_int_equal(upload_write(&up, gif + 5, gif_len - 5), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_false(upload_is_open(&up));
	assert_int_equal(result.bytes, gif_len);
	assert_int_equal(result.image.type, IMAGE_GIF);
	assert_int_equal(result.image.width, GIF_WIDTH);
	assert_int_equal(strlen(result.id), 32);
	assert_int_equal(strspn(result.id, "0123456789abcdef"), 32);

	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/%s.gif", folder.path, result.id);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(file_read(path, stored, sizeof(stored)), gif_len);
	assert_memory_equal(stored, gif, gif_len);
	snprintf(path, sizeof(path), "%s/" USER_DIR, folder.path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
}

/* What sha256sum says of the file. */
#define GIF_SHA256 "d226284d7c77db4c4ab91439061804fe7b36e525526138678a41162ec4d2eea6"

static void test_sha256(void **state)
{
	struct upload up;
	struct upload_result result;
	(void)state;

	begin(&up);
	for (size_t i = 0; i < gif_len; i++)
		assert_int_equal(upload_write(&up, gif + i, 1), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_string_equal(result.sha256, GIF_SHA256);
}

static void test_json(void **state)
{
	struct upload_result r = { .id = "00112233445566778899aabbccddeeff",
		                   .bytes = UINT64_C(5000000000),
		                   .image = { IMAGE_JPEG, 4000, 3000 },
		                   .sha256 = "abcd" };
	(void)state;

	char *text = upload_result_json(&r);
	assert_string_equal(text, "{\"id\":\"00112233445566778899aabbccddeeff\","
	                          "\"source\":\"local:///00112233445566778899aabbccddeeff.jpg\","
	                          "\"url\":\"/img/unsafe/plain/local:///00112233445566778899aabbccddeeff.jpg\","
	                          "\"bytes\":5000000000,\"content_type\":\"image/jpeg\",\"sha256\":\"abcd\","
	                          "\"width\":4000,\"height\":3000}");
	free(text);
}

static void test_abort(void **state)
{
	struct upload up;
	(void)state;

	upload_init(&up);
	upload_abort(&up);
	begin(&up);
	assert_int_equal(upload_write(&up, gif, gif_len), ERR_OK);
	upload_abort(&up);
	assert_false(upload_is_open(&up));
	upload_abort(&up);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
}

static void test_not_an_image(void **state)
{
	struct upload up;
	struct upload_result result;
	(void)state;

	begin(&up);
	assert_int_equal(upload_write(&up, "hello", 5), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_UNSUPPORTED);
	begin(&up);
	assert_int_equal(upload_write(&up, gif, 8), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_INVALID);
	begin(&up);
	assert_int_equal(upload_commit(&up, &result), ERR_UNSUPPORTED);
	assert_false(upload_is_open(&up));
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
}

static void test_max_size(void **state)
{
	struct upload up;
	struct upload_result result;
	uint8_t zeros[MAX_SIZE] = { 0 };
	(void)state;

	begin(&up);
	assert_int_equal(upload_write(&up, gif, gif_len), ERR_OK);
	assert_int_equal(upload_write(&up, zeros, MAX_SIZE - gif_len + 1), ERR_RANGE);
	assert_int_equal(upload_write(&up, zeros, MAX_SIZE - gif_len), ERR_OK);
	assert_int_equal(upload_write(&up, zeros, 1), ERR_RANGE);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_int_equal(result.bytes, MAX_SIZE);
}

static void test_never_replaces(void **state)
{
	struct upload up;
	struct upload_result first;
	struct upload_result second;
	char path[256];
	uint8_t stored[4096];
	(void)state;

	random_is_fixed = true;
	begin(&up);
	assert_int_equal(upload_write(&up, gif, gif_len), ERR_OK);
	assert_int_equal(upload_commit(&up, &first), ERR_OK);
	begin(&up);
	assert_int_equal(upload_write(&up, gif, gif_len - 10), ERR_OK);
	assert_int_equal(upload_commit(&up, &second), ERR_IO);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/%s.gif", folder.path, first.id);
	assert_int_equal(file_read(path, stored, sizeof(stored)), gif_len);
}

static void test_disk_errors(void **state)
{
	struct upload up;
	struct upload_result result;
	(void)state;

	begin(&up);
	write_errno = ENOSPC;
	assert_int_equal(upload_write(&up, gif, gif_len), ERR_IO);
	assert_int_equal(errno, ENOSPC);
	upload_abort(&up);
	assert_int_equal(errno, ENOSPC);

	write_errno = 0;
	begin(&up);
	assert_int_equal(upload_write(&up, gif, gif_len), ERR_OK);
	fsync_errno = EIO;
	assert_int_equal(upload_commit(&up, &result), ERR_IO);
	assert_int_equal(errno, EIO);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
}

/* A user's folder that is a link leads elsewhere: it is not followed. */
static void test_link_is_refused(void **state)
{
	struct upload up;
	char path[256];
	(void)state;

	snprintf(path, sizeof(path), "%s/" USER_DIR, folder.path);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_equal(upload_begin(&up, &store, USER), ERR_IO);
	assert_false(upload_is_open(&up));
}

static void test_clean(void **state)
{
	struct upload up;
	struct upload_result result;
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	char name[256];
	char path[512];
	(void)state;

	begin(&up);
	assert_int_equal(upload_write(&up, gif, gif_len), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_int_equal(folder_count(&folder, USER_DIR, "", name), 1);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/%s", folder.path, name);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);

	begin(&up);
	assert_int_equal(folder_count(&folder, USER_DIR, ".part-", name), 1);
	assert_int_equal(uploads_clean(&store, 2000, NULL), 0);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/%s", folder.path, name);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	assert_int_equal(uploads_clean(&store, 1000, NULL), 0);
	assert_int_equal(uploads_clean(&store, 2000, NULL), 1);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
	upload_abort(&up);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_commit),          TEST(test_sha256),   TEST(test_json),           TEST(test_abort),
		TEST(test_not_an_image),    TEST(test_max_size), TEST(test_never_replaces), TEST(test_disk_errors),
		TEST(test_link_is_refused), TEST(test_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
