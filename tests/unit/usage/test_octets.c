#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "usage/octets.h"

static enum err take(const char *text, struct sv *message, size_t *used)
{
	return octets_take(sv_str(text), 100, message, used);
}

static void test_one_after_the_other(void **state)
{
	struct sv rest = SV("5 hello11 hello world1 x");
	static const char *const words[] = { "hello", "hello world", "x" };
	struct sv message;
	size_t used;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(octets_take(rest, 100, &message, &used), ERR_OK);
		assert_true(sv_eq(message, sv_str(words[i])));
		rest = sv_skip(rest, used);
	}
	assert_int_equal(rest.n, 0);
}

/* Every beginning of a message asks for more, and the whole is taken. */
static void test_pieces(void **state)
{
	const struct sv whole = SV("12 hello, world");
	struct sv message;
	size_t used = 77;

	(void)state;
	for (size_t n = 0; n < whole.n; n++)
		assert_int_equal(octets_take(sv_from(whole.p, n), 100, &message, &used), ERR_INCOMPLETE);
	assert_int_equal(used, 77);
	assert_int_equal(octets_take(whole, 100, &message, &used), ERR_OK);
	assert_int_equal(used, whole.n);
}

static void test_what_is_no_length(void **state)
{
	static const char *const bad[] = { " x",   "0 x", "05 hello",   "-1 x", "+1 x",
		                           "1\tx", "x",   "<134>1 - x", "101 ", "99999999999999999999999 x" };
	struct sv message;
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(take(bad[i], &message, &used), ERR_INVALID);
}

static void test_the_longest(void **state)
{
	char text[128];
	struct sv message;
	size_t used;

	(void)state;
	int n = snprintf(text, sizeof(text), "100 %0100d", 7);
	assert_int_equal(octets_take(sv_from(text, (size_t)n), 100, &message, &used), ERR_OK);
	assert_int_equal(message.n, 100);
	assert_int_equal(octets_take(sv_from(text, (size_t)n), 99, &message, &used), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_after_the_other),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_what_is_no_length),
		cmocka_unit_test(test_the_longest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
