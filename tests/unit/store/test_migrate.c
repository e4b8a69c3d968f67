#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/migrate.h"

static char dir[64];
static char error[MIGRATE_ERROR_MAX];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/test_migrate.XXXXXX");
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
	DIR *d = opendir(dir);
	char path[400];

	(void)state;
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		unlink(path);
	}
	if (d != NULL)
		closedir(d);
	return rmdir(dir);
}

static void put(const char *name, const char *text, size_t len)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static void reads_in_order_with_checksums(void **state)
{
	struct migrations m;

	(void)state;
	put_text("002_b.sql", "");
	put_text("001_first_one.sql", "abc");
	put_text("README.md", "no migration");
	put_text(".003_hidden.sql", "no migration");
	assert_int_equal(migrations_read(dir, &m, error), ERR_OK);
	assert_int_equal(m.count, 2);
	assert_string_equal(m.dir, dir);
	assert_int_equal(m.items[0].version, 1);
	assert_string_equal(m.items[0].name, "001_first_one.sql");
	assert_string_equal(m.items[0].sql, "abc");
	/* FIPS 180-2, appendix B.1, and the hash of nothing. */
	assert_string_equal(m.items[0].checksum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_string_equal(m.items[1].checksum, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_null(m.items[0].applied_at);
	migrations_free(&m);
}

static void orders_by_number_not_by_text(void **state)
{
	struct migrations m;
	char name[32];

	(void)state;
	for (int i = 1; i <= 9; i++) {
		snprintf(name, sizeof(name), "%0*d_x%d.sql", i == 2 ? 4 : 3, i, i);
		put_text(name, "");
	}
	assert_int_equal(migrations_read(dir, &m, error), ERR_OK);
	assert_string_equal(m.items[1].name, "0002_x2.sql");
	assert_string_equal(m.items[8].name, "009_x9.sql");
	migrations_free(&m);
}

static void refuse(enum err expected, const char *part)
{
	struct migrations m;

	assert_int_equal(migrations_read(dir, &m, error), expected);
	assert_non_null(strstr(error, part));
	assert_null(m.items);
}

static void refuses_an_empty_folder(void **state)
{
	(void)state;
	refuse(ERR_NOT_FOUND, "no migrations");
}

static void refuses_a_missing_folder(void **state)
{
	struct migrations m;

	(void)state;
	assert_int_equal(migrations_read("/nonexistent/folder", &m, error), ERR_IO);
	assert_string_equal(error, "/nonexistent/folder: No such file or directory");
}

static void refuses_a_gap(void **state)
{
	(void)state;
	put_text("001_a.sql", "");
	put_text("003_c.sql", "");
	refuse(ERR_INVALID, "number 002 is missing before 003_c.sql");
}

static void refuses_a_start_that_is_not_1(void **state)
{
	(void)state;
	put_text("002_b.sql", "");
	refuse(ERR_INVALID, "number 001 is missing before 002_b.sql");
}

static void refuses_a_number_twice(void **state)
{
	(void)state;
	put_text("001_a.sql", "");
	put_text("002_b.sql", "");
	put_text("002_c.sql", "");
	refuse(ERR_INVALID, "the number of 002_b.sql comes twice: 002_c.sql");
}

static void refuses_bad_names(void **state)
{
	static const char *const names[] = { "1_a.sql",       "01_a.sql",  "001-a.sql",   "001.sql",
		                             "001_.sql",      "001_A.sql", "001_a b.sql", "a.sql",
		                             "1000000_a.sql", "000_a.sql", "001_a.b.sql" };
	char path[128];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		put_text(names[i], "");
		refuse(ERR_INVALID, names[i]);
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
}

static void refuses_nul_bytes(void **state)
{
	(void)state;
	put("001_a.sql", "a\0b", 3);
	refuse(ERR_INVALID, "001_a.sql: holds a NUL byte");
}

static const struct {
	const char *what;
	struct migration_row rows[3];
	size_t count;
	enum err err;
	const char *error;
} comparisons[] = {
	{ "nothing applied", { { 0 } }, 0, ERR_OK, "" },
	{ "one applied", { { 1, "001_a.sql", "A", "t1" } }, 1, ERR_OK, "" },
	{ "all applied", { { 1, "001_a.sql", "A", "t1" }, { 2, "002_b.sql", "B", "t2" } }, 2, ERR_OK, "" },
	{ "changed",
	  { { 1, "001_a.sql", "X", "t1" }, { 2, "002_b.sql", "B", "t2" } },
	  2,
	  ERR_CORRUPT,
	  "dir/001_a.sql: changed since it was applied at t1; undo the change, and write a new file" },
	{ "ahead",
	  { { 1, "001_a.sql", "A", "t1" }, { 2, "002_b.sql", "B", "t2" }, { 3, "003_c.sql", "C", "t3" } },
	  3,
	  ERR_VERSION,
	  "the database has migration 003_c.sql, which is not in dir: is this an older program?" },
	{ "a hole",
	  { { 2, "002_b.sql", "B", "t2" } },
	  1,
	  ERR_BAD_STATE,
	  "the database has migration 002_b.sql, but not 001_a.sql, which comes before" },
};

static void compares(void **state)
{
	char a[] = "001_a.sql", b[] = "002_b.sql", folder[] = "dir";

	(void)state;
	for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++) {
		struct migration items[2] = { { .version = 1, .name = a, .checksum = "A" },
			                      { .version = 2, .name = b, .checksum = "B" } };
		struct migrations m = { .dir = folder, .items = items, .count = 2 };
		error[0] = '\0';
		assert_int_equal(migrations_compare(&m, comparisons[i].rows, comparisons[i].count, error),
		                 comparisons[i].err);
		assert_string_equal(error, comparisons[i].error);
		for (size_t k = 0; k < 2; k++) {
			bool applied = comparisons[i].err == ERR_OK && k < comparisons[i].count;
			if (applied)
				assert_string_equal(items[k].applied_at, comparisons[i].rows[k].applied_at);
			else
				assert_null(items[k].applied_at);
			free(items[k].applied_at);
		}
	}
}

/* The files that this project ships are well named. */
static void the_real_folder_is_fine(void **state)
{
	struct migrations m;

	(void)state;
	assert_int_equal(migrations_read("migrations", &m, error), ERR_OK);
	assert_true(m.count >= 2);
	assert_string_equal(m.items[0].name, "001_initial_schema.sql");
	migrations_free(&m);
}

#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FOLDER_TEST(reads_in_order_with_checksums),
		FOLDER_TEST(orders_by_number_not_by_text),
		FOLDER_TEST(refuses_an_empty_folder),
		cmocka_unit_test(refuses_a_missing_folder),
		FOLDER_TEST(refuses_a_gap),
		FOLDER_TEST(refuses_a_start_that_is_not_1),
		FOLDER_TEST(refuses_a_number_twice),
		FOLDER_TEST(refuses_bad_names),
		FOLDER_TEST(refuses_nul_bytes),
		cmocka_unit_test(compares),
		cmocka_unit_test(the_real_folder_is_fine),
	};
	return cmocka_run_group_tests_name("store/migrate", tests, NULL, NULL);
}
