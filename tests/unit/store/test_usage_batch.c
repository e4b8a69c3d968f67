/* Batches of the shipper: the rows that COPY gets, and the file of what it does not. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/usage_batch.h"
#include "store/usage_quarantine.h"

static void add(struct usage_batch *b, const char *text, uint64_t offset)
{
	struct usage_record r;
	assert_int_equal(usage_record_parse(sv_str(text), &r), ERR_OK);
	usage_batch_add(b, &r, sv_str(text), (struct usage_position){ 7, offset });
}

#define HEAD "id-1\t5\t6\tallow\t200\t1700000000123\t12\t0\t1000\t900\timage\t--\tGET\tbe\timg1\t"

static void test_rows(void **state)
{
	struct usage_batch b;
	size_t n;
	(void)state;
	usage_batch_init(&b);
	usage_batch_clear(&b, (struct usage_position){ 7, 1 });
	assert_int_equal(b.oldest_ms, INT64_MAX);
	add(&b, HEAD "192.0.2.1\t/a\\b\\N", 10);
	add(&b, "id-2\t8\t-\tkey_expired\t-\t1600000000000\t-\t0\t0\t0\tapi\t-\t-\t-\t-\t-\t-", 20);
	add(&b, HEAD "2001:db8::1\t/", 30);
	add(&b, HEAD "unix:1\t/", 40);
	add(&b, HEAD "fe80::1%eth0\t/", 50);
	assert_int_equal(b.n, 5);
	assert_int_equal(b.charges[0].user, 5);
	assert_int_equal(b.charges[0].start_ms, INT64_C(1700000000123));
	assert_int_equal(b.charges[0].bytes, 900);
	assert_int_equal(b.charges[1].user, 8);
	assert_int_equal(b.oldest_ms, INT64_C(1600000000000));
	assert_int_equal(b.end.offset, 50);
	assert_int_equal(b.last_end.offset, 50);
	assert_true(sv_eq(sv_from(b.last, b.last_n), SV(HEAD "fe80::1%eth0\t/")));
	static const char expected[] = HEAD
	        "192.0.2.1\t/a\\\\b\\\\N\n"
	        "id-2\t8\t\\N\tkey_expired\t\\N\t1600000000000\t\\N\t0\t0\t0\tapi\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n" HEAD
	        "2001:db8::1\t/\n" HEAD "\\N\t/\n" HEAD "\\N\t/\n";
	char *rows = usage_batch_take_rows(&b, &n);
	assert_int_equal(n, sizeof(expected) - 1);
	assert_memory_equal(rows, expected, n);
	free(rows);
	assert_null(usage_batch_take_rows(&b, &n));
	assert_int_equal(n, 0);
	usage_batch_clear(&b, (struct usage_position){ 8, 0 });
	assert_int_equal(b.n, 0);
	assert_int_equal(b.end.segment, 8);
	usage_batch_free(&b);
}

static void test_the_longest_rows_of_a_full_batch(void **state)
{
	static char text[USAGE_TEXT_MAX];
	struct usage_batch b;
	size_t n;
	(void)state;
	usage_batch_init(&b);
	usage_batch_clear(&b, (struct usage_position){ 1, 0 });
	strcpy(text, HEAD "::1\t");
	memset(text + strlen(text), '\\', USAGE_PATH_MAX);
	for (size_t i = 0; i < USAGE_BATCH_RECORDS; i++)
		add(&b, text, i + 1);
	free(usage_batch_take_rows(&b, &n));
	assert_int_equal(n, USAGE_BATCH_RECORDS * (strlen(text) + USAGE_PATH_MAX + 1));
	usage_batch_free(&b);
}

static void read_file(const char *dir, char *out, size_t size)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/quarantine.usage", dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	out[fread(out, 1, size - 1, f)] = '\0';
	fclose(f);
}

static void append_file(const char *dir, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/quarantine.usage", dir);
	FILE *f = fopen(path, "a");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

static void test_quarantine(void **state)
{
	char dir[] = "/tmp/gw-quarantine-XXXXXX", path[128], text[65536];
	const struct usage_position at = { 1700000000000, 4711 };
	bool added;
	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(usage_quarantine(dir, at, "23514", SV("a\tb \xff\n"), &added), ERR_OK);
	assert_true(added);
	read_file(dir, text, sizeof(text));
	assert_string_equal(text, "1700000000000:4711\t23514\ta\tb \\xff\\x0a\n");
	/* The same place again, and one whose number begins like it. */
	assert_int_equal(usage_quarantine(dir, at, "23514", SV("a"), &added), ERR_OK);
	assert_false(added);
	assert_int_equal(usage_quarantine(dir, (struct usage_position){ 1700000000000, 471 }, "form", SV(""), &added),
	                 ERR_OK);
	assert_true(added);
	/* A line without its end. */
	append_file(dir, "5:6\tfor");
	assert_int_equal(usage_quarantine(dir, (struct usage_position){ 5, 6 }, "form", SV("x"), &added), ERR_OK);
	assert_true(added);
	read_file(dir, text, sizeof(text));
	assert_string_equal(text, "1700000000000:4711\t23514\ta\tb \\xff\\x0a\n1700000000000:471\tform\t\n5:6\tfor\n"
	                          "5:6\tform\tx\n");
	struct stat st;
	snprintf(path, sizeof(path), "%s/quarantine.usage", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(usage_quarantine(dir, at, "form", SV("x"), &added), ERR_IO);
	assert_int_equal(errno, ENOENT);
	assert_false(added);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_the_longest_rows_of_a_full_batch),
		cmocka_unit_test(test_quarantine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
