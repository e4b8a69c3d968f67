/* Images of a user: pages that stay right while images come and go, and ids that are none. */
#include "api/folder.h"

#include <errno.h>

#include "api/images.h"

#define USER     42
#define USER_DIR "42"
#define IMAGES   257

static struct folder folder;
static struct uploads store;
static uint8_t gif[4096];
static size_t gif_len;

static int setup(void **state)
{
	(void)state;
	folder_make(&folder);
	const struct uploads_rules rules = { .dir = folder.path, .pepper = "pepper", .max_size = 100000 };
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

static void path_of(const char *name, char path[512])
{
	snprintf(path, 512, "%s/" USER_DIR "/%s", folder.path, name);
}

static void make_file(const char *name)
{
	char path[512];

	path_of(name, path);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(gif, 1, gif_len, f), gif_len);
	fclose(f);
}

/* Ids with the number at their end, in a strange order. */
static void id_of(unsigned n, char id[IMAGE_ID_SIZE])
{
	snprintf(id, IMAGE_ID_SIZE, "%032x", n);
}

static void make_images(unsigned from, unsigned to, unsigned step)
{
	char name[64];

	assert_true(mkdirat(store.dir_fd, USER_DIR, 0750) == 0 || errno == EEXIST);
	for (unsigned n = from; n < to; n += step) {
		id_of(n, name);
		snprintf(name + IMAGE_ID_CHARS, 8, ".gif");
		make_file(name);
	}
}

static struct image_entry page[IMAGES_LIST_MAX];
static size_t count;
static char next[IMAGE_ID_SIZE];

static void list(const char *after, size_t limit)
{
	assert_int_equal(images_list(&store, USER, sv_str(after), limit, page, &count, next), ERR_OK);
}

static void test_empty(void **state)
{
	(void)state;
	/* no folder is made by looking */
	list("", 10);
	assert_int_equal(count, 0);
	assert_string_equal(next, "");
	assert_int_equal(faccessat(store.dir_fd, USER_DIR, F_OK, 0), -1);
}

static void test_pages(void **state)
{
	static const size_t limits[] = { 1, 2, 7, 100, 256, 257, 258, 1000 };
	char id[IMAGE_ID_SIZE];
	(void)state;

	make_images(0, IMAGES, 2);
	make_images(1, IMAGES, 2);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		char after[IMAGE_ID_SIZE] = "";
		unsigned seen = 0;
		do {
			list(after, limits[i]);
			assert_true(count <= limits[i]);
			for (size_t k = 0; k < count; k++) {
				id_of(seen++, id);
				assert_string_equal(page[k].id, id);
				assert_int_equal(page[k].bytes, gif_len);
				assert_int_equal(page[k].type, IMAGE_GIF);
				assert_int_equal(page[k].width, GIF_WIDTH);
				assert_int_equal(page[k].height, GIF_HEIGHT);
			}
			memcpy(after, next, sizeof(after));
		} while (after[0] != '\0');
		assert_int_equal(seen, IMAGES);
	}
}

/* Between two pages some go and some come: those that stay are seen once. */
static void test_changes_between_pages(void **state)
{
	char after[IMAGE_ID_SIZE] = "";
	char id[IMAGE_ID_SIZE];
	unsigned seen[IMAGES] = { 0 };
	unsigned pages = 0;
	(void)state;

	make_images(0, IMAGES, 2);
	do {
		list(after, 10);
		for (size_t k = 0; k < count; k++)
			seen[strtoul(page[k].id, NULL, 16)]++;
		memcpy(after, next, sizeof(after));
		/* the cursor's own image goes, others of every place come */
		if (pages == 3)
			assert_int_equal(images_delete(&store, USER, sv_str(after)), ERR_OK);
		for (unsigned n = 1 + 2 * pages; n < IMAGES; n += 40)
			make_images(n, n + 1, 1);
		pages++;
	} while (after[0] != '\0');
	for (unsigned n = 0; n < IMAGES; n += 2) {
		id_of(n, id);
		assert_int_equal(seen[n], 1);
	}
}

/* A JPEG whose size stands 3.7 MB deep; most of it is a hole. */
static void make_deep(unsigned n)
{
	static const uint8_t frame[] = { 0xff, 0xc0, 0, 11, 8, 0, 20, 0, 30, 1, 1, 0x11, 0, 0xff, 0xda };
	char name[64];
	char path[512];

	id_of(n, name);
	snprintf(name + IMAGE_ID_CHARS, 8, ".jpg");
	path_of(name, path);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite("\xff\xd8", 1, 2, f), 2);
	for (long i = 0; i < 57; i++) {
		assert_int_equal(fseek(f, 2 + i * 65537, SEEK_SET), 0);
		assert_int_equal(fwrite("\xff\xe2\xff\xff", 1, 4, f), 4);
	}
	assert_int_equal(fseek(f, 2 + 57 * 65537, SEEK_SET), 0);
	assert_int_equal(fwrite(frame, 1, sizeof(frame), f), sizeof(frame));
	assert_int_equal(fclose(f), 0);
}

/* Files that were made to be looked at for long: pages end early, and the listing is whole all the same. */
static void test_deep_headers(void **state)
{
	enum { DEEP = 60 };
	char after[IMAGE_ID_SIZE] = "";
	char id[IMAGE_ID_SIZE];
	unsigned seen = 0;
	unsigned pages = 0;
	(void)state;

	assert_int_equal(mkdirat(store.dir_fd, USER_DIR, 0750), 0);
	for (unsigned n = 0; n < DEEP; n++)
		make_deep(n);
	make_images(DEEP, DEEP + 100, 1);
	do {
		list(after, 1000);
		assert_true(count > 0);
		assert_true(next[0] == '\0' || count < 30);
		for (size_t k = 0; k < count; k++) {
			id_of(seen, id);
			assert_string_equal(page[k].id, id);
			assert_int_equal(page[k].width, seen < DEEP ? 30 : GIF_WIDTH);
			seen++;
		}
		memcpy(after, next, sizeof(after));
		pages++;
	} while (after[0] != '\0');
	assert_int_equal(seen, DEEP + 100);
	assert_true(pages >= 3);
	/* a small page is whole */
	list("", 5);
	assert_int_equal(count, 5);
}

/* What is no image of the API: other names, links, folders, temporary files. */
static void test_what_is_listed(void **state)
{
	char path[512];
	char id[IMAGE_ID_SIZE];
	struct image_entry entry;
	(void)state;

	make_images(1, 2, 1);
	make_file("cat.gif");
	make_file("0000000000000000000000000000000A.gif");
	make_file("00000000000000000000000000000002.exe");
	make_file("00000000000000000000000000000002");
	make_file(".part-00000000000000000000000000000002");
	path_of("00000000000000000000000000000003.gif", path);
	assert_int_equal(symlink(GIF_FILE, path), 0);
	path_of("00000000000000000000000000000004.gif", path);
	assert_int_equal(mkdir(path, 0700), 0);
	path_of("00000000000000000000000000000005.gif", path);
	assert_int_equal(mkfifo(path, 0600), 0);
	list("", 1000);
	assert_int_equal(count, 1);
	for (unsigned n = 2; n < 6; n++) {
		id_of(n, id);
		assert_int_equal(images_find(&store, USER, sv_str(id), &entry), ERR_NOT_FOUND);
		assert_int_equal(images_delete(&store, USER, sv_str(id)), ERR_NOT_FOUND);
	}
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 9);
	/* a file that is no image any more is listed, without a size */
	path_of("00000000000000000000000000000001.gif", path);
	assert_int_equal(truncate(path, 3), 0);
	list("", 1000);
	assert_int_equal(count, 1);
	assert_int_equal(page[0].width, 0);
}

static void test_find_and_delete(void **state)
{
	static const char *const wrong[] = {
		"",
		"..",
		".",
		"/",
		"../42/00000000000000000000000000000001",
		"00000000000000000000000000000001.gif",
		"0000000000000000000000000000001",
		"000000000000000000000000000000001",
		"0000000000000000000000000000000g",
		"%30000000000000000000000000000001",
		"0000000000000000000000000000000A",
		"00000000000000000000000000000001/",
		"/0000000000000000000000000000001",
		"0000000000000000000000000000000\xc0",
		"....................................",
		".part-00000000000000000000000000",
	};
	struct image_entry entry;
	char id[IMAGE_ID_SIZE];
	(void)state;

	make_images(1, 3, 1);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(images_find(&store, USER, sv_str(wrong[i]), &entry), ERR_NOT_FOUND);
		assert_int_equal(images_delete(&store, USER, sv_str(wrong[i])), ERR_NOT_FOUND);
	}
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 2);
	id_of(1, id);
	assert_int_equal(images_find(&store, USER + 1, sv_str(id), &entry), ERR_NOT_FOUND);
	assert_int_equal(images_delete(&store, USER + 1, sv_str(id)), ERR_NOT_FOUND);
	assert_int_equal(images_find(&store, USER, sv_str(id), &entry), ERR_OK);
	assert_string_equal(entry.id, id);
	assert_true(entry.created_s > 1600000000);
	assert_int_equal(images_delete(&store, USER, sv_str(id)), ERR_OK);
	assert_int_equal(images_delete(&store, USER, sv_str(id)), ERR_NOT_FOUND);
	assert_int_equal(images_find(&store, USER, sv_str(id), &entry), ERR_NOT_FOUND);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
}

/* What is deleted is given back. */
static void test_delete_gives_back(void **state)
{
	struct upload up;
	struct upload_result result;
	struct storage_use use;
	uint64_t room = storage_size(gif_len);
	(void)state;

	assert_int_equal(upload_begin(&up, &store, USER, room, gif_len, gif_len, &use), ERR_OK);
	assert_int_equal(upload_write(&up, gif, gif_len, &use), ERR_OK);
	assert_int_equal(upload_commit(&up, &result), ERR_OK);
	assert_int_equal(upload_begin(&up, &store, USER, room, 1, 1, &use), ERR_REFUSED);
	assert_int_equal(images_delete(&store, USER, sv_str(result.id)), ERR_OK);
	assert_int_equal(upload_begin(&up, &store, USER, room, gif_len, gif_len, &use), ERR_OK);
	upload_abort(&up);
}

/* A user's folder that is a link, or no folder. */
static void test_link_for_a_folder(void **state)
{
	struct image_entry entry;
	char path[512];
	char id[IMAGE_ID_SIZE];
	(void)state;

	make_images(1, 2, 1);
	id_of(1, id);
	snprintf(path, sizeof(path), "%s/43", folder.path);
	assert_int_equal(symlink(USER_DIR, path), 0);
	assert_int_equal(images_find(&store, 43, sv_str(id), &entry), ERR_IO);
	assert_int_equal(images_delete(&store, 43, sv_str(id)), ERR_IO);
	assert_int_equal(images_list(&store, 43, sv_str(""), 10, page, &count, next), ERR_IO);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_empty),
		TEST(test_pages),
		TEST(test_deep_headers),
		TEST(test_what_is_listed),
		TEST(test_changes_between_pages),
		TEST(test_find_and_delete),
		TEST(test_delete_gives_back),
		TEST(test_link_for_a_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
