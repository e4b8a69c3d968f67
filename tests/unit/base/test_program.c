/* The options that all programs share. */
#include "unit.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/program.h"

static const char *word;

static int run(struct program_options *out, int argc, const char *a, const char *b)
{
	char name[] = "t";
	char one[64];
	char two[64];
	char *argv[] = { name, one, two, NULL };
	const struct program_extra extra[] = { { "word", &word } };

	strcpy(one, a);
	strcpy(two, b);
	optind = 0; /* getopt starts anew */
	word = NULL;
	return program_options(argc, argv, "t", "usage: t\n", extra, 1, out);
}

static void test_options(void **state)
{
	(void)state;
	struct program_options o;
	assert_int_equal(run(&o, 1, "", ""), -1);
	assert_null(o.config);
	assert_false(o.check);
	assert_int_equal(run(&o, 2, "--check-config", ""), -1);
	assert_true(o.check);
	assert_int_equal(run(&o, 2, "--word=x", ""), -1);
	assert_string_equal(word, "x");
	assert_int_equal(run(&o, 3, "--config", "file"), -1);
	assert_non_null(o.config);
	assert_int_equal(run(&o, 2, "--help", ""), 0);
	assert_int_equal(run(&o, 2, "--version", ""), 0);
	assert_int_equal(run(&o, 2, "--nonsense", ""), 2);
	assert_int_equal(run(&o, 2, "--config", ""), 2);
	assert_int_equal(run(&o, 2, "more", ""), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_options) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
