/* LDFLAGS: -Wl,--wrap=write,--wrap=fsync */
/* The upload store: what ends up on the disk, and that nothing does when an upload fails. */
#include "api/folder.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/file.h>

#include "api/upload.h"

#define USER     42
#define USER_DIR "42"
#define MAX_SIZE 100000
#define PEPPER   "unit test pepper"
/* What Python's hmac and hashlib make of it, as image_id.h says. */
#define GIF_ID "b3eb76c3eda300f8a4841378e2088ab1"

static struct folder folder;
static struct uploads store;
static uint8_t gif[4096];
static size_t gif_len;

/* The next calls fail with these, when not 0. */
static int write_errno;
static int fsync_errno;
static int fsyncs_before; /* that many succeed first */

ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
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
	if (fsync_errno != 0 && fsyncs_before-- <= 0) {
		errno = fsync_errno;
		return -1;
	}
	return __real_fsync(fd);
}

static int setup(void **state)
{
	(void)state;
	write_errno = fsync_errno = fsyncs_before = 0;
	umask(0027);
	folder_make(&folder);
	const struct uploads_rules rules = {
		.dir = folder.path, .pepper = PEPPER, .max_size = MAX_SIZE, .max_pixels = 1000000
	};
	assert_int_equal(uploads_open(&store, &rules), ERR_OK);
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

static struct storage_use use;

static void begin(struct upload *up)
{
	assert_int_equal(upload_begin(up, &store, USER, 0, 0, 0, &use), ERR_OK);
	assert_true(upload_is_open(up));
}

static enum err put(struct upload *up, const void *data, size_t len)
{
	return upload_write(up, data, len, &use);
}

/* A whole upload. */
static enum err store_bytes(const void *data, size_t len, struct upload_result *result)
{
	struct upload up;

	begin(&up);
	assert_int_equal(put(&up, data, len), ERR_OK);
	enum err err = upload_commit(&up, result);
	assert_false(upload_is_open(&up));
	return err;
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
	assert_int_equal(put(&up, gif, 5), ERR_OK);
	assert_int_equal(put(&up, gif + 5, gif_len - 5), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_false(upload_is_open(&up));
	assert_int_equal(result.bytes, gif_len);
	assert_int_equal(result.image.type, IMAGE_GIF);
	assert_int_equal(result.image.width, GIF_WIDTH);
	assert_string_equal(result.id, GIF_ID);
	assert_false(result.existed);

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
		assert_int_equal(put(&up, gif + i, 1), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_string_equal(result.sha256, GIF_SHA256);
}

static void test_json(void **state)
{
	struct upload_result r = { .id = "00112233445566778899aabbccddeeff",
		                   .bytes = UINT64_C(5000000000),
		                   .image = { .type = IMAGE_JPEG, .width = 4000, .height = 3000 },
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
	assert_int_equal(put(&up, gif, gif_len), ERR_OK);
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
	assert_int_equal(put(&up, "hello", 5), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_UNSUPPORTED);
	begin(&up);
	assert_int_equal(put(&up, gif, 8), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_INVALID);
	begin(&up);
	assert_int_equal(upload_commit(&up, &result), ERR_UNSUPPORTED);
	assert_false(upload_is_open(&up));
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
}

/* Larger than the buffer, in pieces that do not fit into it. */
static void test_large(void **state)
{
	static uint8_t data[3 * BUFFER_SIZE + 1234], stored[sizeof(data)];
	struct upload up;
	struct upload_result result;
	char path[256];
	(void)state;

	store.max_size = sizeof(data);
	for (size_t i = gif_len; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761u >> 11);
	memcpy(data, gif, gif_len);
	begin(&up);
	for (size_t at = 0; at < sizeof(data);) {
		size_t n = sizeof(data) - at < 77777 ? sizeof(data) - at : 77777;
		assert_int_equal(put(&up, data + at, n), ERR_OK);
		at += n;
	}
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_int_equal(result.bytes, sizeof(data));
	snprintf(path, sizeof(path), "%s/" USER_DIR "/%s.gif", folder.path, result.id);
	assert_int_equal(file_read(path, stored, sizeof(stored)), sizeof(stored));
	assert_memory_equal(stored, data, sizeof(data));
}

static void test_max_size(void **state)
{
	struct upload up;
	struct upload_result result;
	uint8_t zeros[MAX_SIZE] = { 0 };
	(void)state;

	begin(&up);
	assert_int_equal(put(&up, gif, gif_len), ERR_OK);
	assert_int_equal(put(&up, zeros, MAX_SIZE - gif_len + 1), ERR_RANGE);
	assert_int_equal(put(&up, zeros, MAX_SIZE - gif_len), ERR_OK);
	assert_int_equal(put(&up, zeros, 1), ERR_RANGE);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_int_equal(result.bytes, MAX_SIZE);
}

/* The same bytes again: one file, the same id, and it is the first one that stays. */
static void test_twice(void **state)
{
	struct upload_result first, second;
	struct stat before, after;
	char path[256];
	(void)state;

	assert_int_equal(store_bytes(gif, gif_len, &first), ERR_OK);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/" GIF_ID ".gif", folder.path);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(store_bytes(gif, gif_len, &second), ERR_OK);
	assert_true(second.existed);
	assert_string_equal(second.id, first.id);
	assert_string_equal(second.sha256, first.sha256);
	assert_int_equal(second.image.width, GIF_WIDTH);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	/* one byte more is another image */
	gif[gif_len] = 0;
	assert_int_equal(store_bytes(gif, gif_len + 1, &second), ERR_OK);
	assert_false(second.existed);
	assert_string_not_equal(second.id, first.id);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 2);
}

/* Another user's file of the same content has another id. */
static void test_ids_of_users_differ(void **state)
{
	struct upload up;
	struct upload_result result;
	(void)state;

	assert_int_equal(upload_begin(&up, &store, USER + 1, 0, 0, 0, &use), ERR_OK);
	assert_int_equal(put(&up, gif, gif_len), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_string_not_equal(result.id, GIF_ID);
	assert_int_equal(folder_count(&folder, "43", "", NULL), 1);
}

/* What stands in the way of a name and is not the content, is neither replaced nor followed. */
static void test_never_replaces(void **state)
{
	struct upload_result result;
	char path[256];
	char outside[256];
	(void)state;

	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_OK);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/" GIF_ID ".gif", folder.path);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_IO);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(unlink(path), 0);
	snprintf(outside, sizeof(outside), "%s/outside", folder.path);
	assert_int_equal(symlink(outside, path), 0);
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_IO);
	assert_int_equal(access(outside, F_OK), -1);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
}

#define AT_ONCE 8

static void *store_again(void *arg)
{
	struct upload up;
	struct upload_result *result = arg;
	struct storage_use mine;

	if (upload_begin(&up, &store, USER, 0, gif_len, gif_len, &mine) != ERR_OK ||
	    upload_write(&up, gif, gif_len, &mine) != ERR_OK || upload_commit(&up, result) != ERR_OK)
		return NULL;
	return arg;
}

static void test_twice_at_once(void **state)
{
	struct upload_result results[AT_ONCE];
	pthread_t threads[AT_ONCE];
	void *done;
	size_t news = 0;
	(void)state;

	for (size_t i = 0; i < AT_ONCE; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, store_again, &results[i]), 0);
	for (size_t i = 0; i < AT_ONCE; i++) {
		assert_int_equal(pthread_join(threads[i], &done), 0);
		assert_ptr_equal(done, &results[i]);
		assert_string_equal(results[i].id, GIF_ID);
		news += results[i].existed ? 0 : 1;
	}
	assert_int_equal(news, 1);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
}

/* The limit holds for what is stored and what is under way together, and comes back when an upload fails. */
static void test_storage_limit(void **state)
{
	struct upload first, second;
	struct upload_result result;
	uint64_t one = storage_size(gif_len);
	uint64_t limit = 2 * one;
	(void)state;

	assert_int_equal(upload_begin(&first, &store, USER, limit, gif_len, gif_len, &use), ERR_OK);
	assert_int_equal(upload_begin(&second, &store, USER, limit, one + 1, one + 1, &use), ERR_REFUSED);
	assert_int_equal(use.used, one);
	assert_int_equal(use.limit, limit);
	assert_false(upload_is_open(&second));
	assert_int_equal(put(&first, gif, gif_len), ERR_OK);
	assert_int_equal(upload_commit(&first, &result), ERR_OK);
	assert_int_equal(upload_begin(&second, &store, USER, limit, one + 1, one + 1, &use), ERR_REFUSED);
	/* the same content again costs nothing in the end */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(upload_begin(&second, &store, USER, limit, gif_len, gif_len, &use), ERR_OK);
		assert_int_equal(put(&second, gif, gif_len), ERR_OK);
		assert_int_equal(upload_commit(&second, &result), ERR_OK);
		assert_true(result.existed);
	}
	/* neither does what was refused, aborted, or could not be written */
	assert_int_equal(upload_begin(&second, &store, USER, limit, gif_len, gif_len, &use), ERR_OK);
	assert_int_equal(put(&second, "not an image", 12), ERR_OK);
	assert_int_equal(upload_commit(&second, &result), ERR_UNSUPPORTED);
	assert_int_equal(upload_begin(&second, &store, USER, limit, gif_len, gif_len, &use), ERR_OK);
	upload_abort(&second);
	assert_int_equal(upload_begin(&second, &store, USER, limit, gif_len, gif_len, &use), ERR_OK);
	/* more than was reserved: whole blocks */
	for (uint64_t left = one; left > 0; left--)
		assert_int_equal(put(&second, gif, 1), ERR_OK);
	assert_int_equal(put(&second, gif, 1), ERR_REFUSED);
	upload_abort(&second);
	assert_int_equal(upload_begin(&second, &store, USER, limit, one + 1, 1, &use), ERR_OK);
	assert_int_equal(second.reserved, one);
	upload_abort(&second);
}

static void test_too_many_pixels(void **state)
{
	struct upload_result result;
	(void)state;

	/* 2000 x 1000 of 1,000,000 */
	memcpy(gif + 6, "\xd0\x07\xe8\x03", 4);
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_RANGE);
	assert_int_equal(result.pixels, 2000000);
	assert_int_equal(result.image.width, 2000);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
	store.max_pixels = 0;
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_OK);
}

/* What is as long as this is no source for options that enlarge and cut. */
static void test_too_long(void **state)
{
	struct upload_result result;
	(void)state;

	/* 249 x 1000, 1000 x 249, 1000 x 250 */
	store.max_ratio = 4;
	memcpy(gif + 6, "\xf9\x00\xe8\x03", 4);
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_RANGE);
	assert_int_equal(result.pixels, 0);
	assert_string_equal(result.why, "One side of the image is too long for the other.");
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
	memcpy(gif + 6, "\xe8\x03\xf9\x00", 4);
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_RANGE);
	memcpy(gif + 6, "\xe8\x03\xfa\x00", 4);
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_OK);
	memcpy(gif + 6, "\xe8\x03\xf9\x00", 4);
	store.max_ratio = 0;
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_OK);
}

static void test_svg(void **state)
{
	static const char svg[] = "<svg xmlns='http://www.w3.org/2000/svg' width='4' height='3'><path d='M0 0'/></svg>";
	static const char bad[] = "<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>";
	struct upload_result result;
	(void)state;

	assert_int_equal(store_bytes(svg, sizeof(svg) - 1, &result), ERR_UNSUPPORTED);
	assert_non_null(result.why);
	store.allow_svg = true;
	assert_int_equal(store_bytes(bad, sizeof(bad) - 1, &result), ERR_INVALID);
	assert_non_null(result.why);
	assert_int_equal(store_bytes(svg, sizeof(svg) - 1, &result), ERR_OK);
	assert_int_equal(result.image.type, IMAGE_SVG);
	assert_int_equal(result.image.width, 4);
	assert_int_equal(folder_count(&folder, USER_DIR, result.id, NULL), 1);
}

static void test_disk_errors(void **state)
{
	struct upload up;
	struct upload_result result;
	(void)state;

	static const uint8_t zeros[BUFFER_SIZE + 1];
	store.max_size = sizeof(zeros);
	begin(&up);
	write_errno = ENOSPC;
	assert_int_equal(put(&up, zeros, sizeof(zeros)), ERR_IO);
	assert_int_equal(errno, ENOSPC);
	upload_abort(&up);
	assert_int_equal(errno, ENOSPC);
	/* what waited in the buffer is written at the end */
	begin(&up);
	assert_int_equal(put(&up, gif, gif_len), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_IO);
	assert_int_equal(errno, ENOSPC);

	write_errno = 0;
	begin(&up);
	assert_int_equal(put(&up, gif, gif_len), ERR_OK);
	fsync_errno = EIO;
	assert_int_equal(upload_commit(&up, &result), ERR_IO);
	assert_int_equal(errno, EIO);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);

	/* The folder: the file is whole, and another upload of the same bytes may have been told of it. */
	begin(&up);
	assert_int_equal(put(&up, gif, gif_len), ERR_OK);
	fsyncs_before = 1;
	assert_int_equal(upload_commit(&up, &result), ERR_IO);
	assert_int_equal(errno, EIO);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
	fsync_errno = 0;
	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_OK);
	assert_true(result.existed);
}

/* A user's folder that is a link leads elsewhere: it is not followed. */
/* The folder of all uploads, when it is new. */
static void test_new_folder_is_synced(void **state)
{
	char path[160];
	struct uploads other;
	(void)state;

	snprintf(path, sizeof(path), "%s/new", folder.path);
	const struct uploads_rules rules = { .dir = path, .pepper = PEPPER, .max_size = MAX_SIZE };
	fsync_errno = EIO;
	assert_int_equal(uploads_open(&other, &rules), ERR_IO);
	assert_int_equal(errno, EIO);
	uploads_close(&other);
	/* one that was there is its maker's to sync */
	assert_int_equal(uploads_open(&other, &rules), ERR_OK);
	uploads_close(&other);
}

static void test_link_is_refused(void **state)
{
	struct upload up;
	char path[256];
	(void)state;

	snprintf(path, sizeof(path), "%s/" USER_DIR, folder.path);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_equal(upload_begin(&up, &store, USER, 0, 0, 0, &use), ERR_IO);
	assert_false(upload_is_open(&up));
}

/* Leftovers are those that nobody holds a lock on, however old. */
static void test_clean(void **state)
{
	struct upload up;
	struct upload_result result;
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	char path[512];
	(void)state;

	assert_int_equal(store_bytes(gif, gif_len, &result), ERR_OK);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/" GIF_ID ".gif", folder.path);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);

	begin(&up);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/%s", folder.path, up.part);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	assert_int_equal(parts_clean(store.dir_fd, INT64_MAX, NULL), 0);
	assert_int_equal(flock(up.fd, LOCK_UN), 0);
	assert_int_equal(parts_clean(store.dir_fd, 0, NULL), 1);
	assert_int_equal(access(path, F_OK), -1);
	upload_abort(&up);

	/* What only looks like one is left alone. */
	snprintf(path, sizeof(path), "%s/" USER_DIR "/.part-link", folder.path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/.part-folder", folder.path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(parts_clean(store.dir_fd, INT64_MAX, NULL), 0);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 3);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_commit),
		TEST(test_sha256),
		TEST(test_json),
		TEST(test_abort),
		TEST(test_not_an_image),
		TEST(test_max_size),
		TEST(test_large),
		TEST(test_twice),
		TEST(test_ids_of_users_differ),
		TEST(test_twice_at_once),
		TEST(test_never_replaces),
		TEST(test_storage_limit),
		TEST(test_too_many_pixels),
		TEST(test_too_long),
		TEST(test_svg),
		TEST(test_disk_errors),
		TEST(test_new_folder_is_synced),
		TEST(test_link_is_refused),
		TEST(test_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
