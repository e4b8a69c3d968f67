/* The name that was meant. */
#include "unit.h"

#include <string.h>

#include "base/nearest.h"

static const char *find(const char *written)
{
	static const char *const names[] = { "server.port", "server.read_timeout", "usage.token", "usage.bind",
		                             "log.level" };
	struct nearest n;

	nearest_begin(&n, written);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		nearest_try(&n, names[i], strlen(names[i]));
	return n.name;
}

static void test_near(void **state)
{
	(void)state;
	assert_string_equal(find("server.prot"), "server.port");
	assert_string_equal(find("sever.port"), "server.port");
	assert_string_equal(find("usage.tokens"), "usage.token");
	assert_string_equal(find("usage.tken"), "usage.token");
	assert_string_equal(find("server.readtimeout"), "server.read_timeout");
	assert_string_equal(find("log.level"), "log.level");
}

static void test_far(void **state)
{
	char long_name[200];
	(void)state;
	assert_null(find("redis.addr"));
	assert_null(find("x"));
	assert_null(find(""));
	assert_null(find("log.lxxxx"));
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_null(find(long_name));
}

/* A part of a name counts as long as it is told to be. */
static void test_a_part(void **state)
{
	struct nearest n;
	(void)state;
	nearest_begin(&n, "sever");
	assert_true(nearest_try(&n, "server.port", 6));
	assert_false(nearest_try(&n, "serves.port", 6));
	assert_ptr_equal(strchr(n.name, '.') - n.name, 6);
	assert_int_equal(n.distance, 1);
	nearest_begin(&n, "abdc");
	assert_true(nearest_try(&n, "abcd", 4));
	assert_int_equal(n.distance, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_near),
		cmocka_unit_test(test_far),
		cmocka_unit_test(test_a_part),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
