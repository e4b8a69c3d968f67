/* A secret's file: one line of text and nothing else, and no error tells what is in it. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret_file.h"

static char path[64];
static char error[256];

static int setup(void **state)
{
	(void)state;
	strcpy(path, "/tmp/test-secret-XXXXXX");
	close(mkstemp(path));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static void put(const char *text, size_t n)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void takes(const char *text, const char *want)
{
	char *secret;
	put(text, strlen(text));
	assert_int_equal(secret_file_read(path, &secret, error, sizeof(error)), ERR_OK);
	assert_string_equal(secret, want);
	free(secret);
}

static void refuses(const char *text, size_t n, const char *why)
{
	char *secret, want[256];
	put(text, n);
	assert_int_equal(secret_file_read(path, &secret, error, sizeof(error)), ERR_INVALID);
	assert_null(secret);
	snprintf(want, sizeof(want), "%s: %s", path, why);
	assert_string_equal(error, want);
}

static void test_one_line(void **state)
{
	(void)state;
	char *longest = malloc(SECRET_FILE_MAX + 2);
	takes("hunter2", "hunter2");
	takes("hunter2\n", "hunter2");
	takes("hunter2\r\n", "hunter2");
	takes(" with blanks  \n", " with blanks  ");
	takes("\xc3\xa9\n", "\xc3\xa9");
	memset(longest, 'a', SECRET_FILE_MAX);
	longest[SECRET_FILE_MAX] = '\0';
	takes(longest, longest);
	longest[SECRET_FILE_MAX] = 'a';
	refuses(longest, SECRET_FILE_MAX + 1, "is too large for a secret");
	free(longest);
}

static void test_what_is_none(void **state)
{
	(void)state;
	refuses("", 0, "is empty");
	refuses("\n", 1, "is empty");
	refuses("hunter2\n\n", 9, "is not one line of text");
	refuses("hunter2\nhunter3", 15, "is not one line of text");
	refuses("hunter2\0x", 9, "is not one line of text");
	refuses("hunter\t2", 8, "is not one line of text");
}

static void test_no_file(void **state)
{
	(void)state;
	char *secret;
	unlink(path);
	assert_int_equal(secret_file_read(path, &secret, error, sizeof(error)), ERR_IO);
	assert_null(secret);
	assert_non_null(strstr(error, ": No such file or directory"));
	/* Nobody writes into it, and still nobody waits. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(secret_file_read(path, &secret, error, sizeof(error)), ERR_INVALID);
	assert_non_null(strstr(error, ": is no regular file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_file, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
