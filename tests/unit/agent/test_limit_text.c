/* What the headers of an answer say. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "agent/limit_text.h"

static void check(const struct user_limits *u, const struct limits_view *v, enum verdict_code code,
                  const char *expected)
{
	char buf[LIMIT_TEXT_MAX];
	struct wcur out;

	wcur_init(&out, buf, sizeof(buf));
	limit_text_user(&out, u, v, code);
	assert_int_equal(out.err, ERR_OK);
	assert_int_equal(wcur_len(&out), strlen(expected));
	assert_memory_equal(buf, expected, strlen(expected));
}

static void test_all(void **state)
{
	(void)state;
	struct user_limits u = { 0 };
	struct limits_view v = { .minute = { 1000, 998, 1 },
		                 .hour = { 10000, 7, 3597 },
		                 .requests = { 100000, 99990, 500000 },
		                 .bytes = { 10737418240, 42, 500000 } };
	const char *tail = "\"minute\";r=998;t=1, \"hour\";r=7;t=3597, \"month-bytes\";r=42;t=500000, "
	                   "\"month-requests\";r=99990;t=500000|\"minute\";q=1000;w=60, \"hour\";q=10000;w=3600, "
	                   "\"month-bytes\";q=10737418240;qu=\"content-bytes\", \"month-requests\";q=100000";
	char expected[LIMIT_TEXT_MAX];

	/* The tightest is the one with the least left. */
	snprintf(expected, sizeof(expected), "10000|7|3597|%s", tail);
	check(&u, &v, VERDICT_ALLOW, expected);
	/* Unless it is in shadow, or the month has refused. */
	u.flags = USER_SHADOW_HOUR;
	snprintf(expected, sizeof(expected), "1000|998|1|%s", tail);
	check(&u, &v, VERDICT_ALLOW, expected);
	snprintf(expected, sizeof(expected), "10737418240|42|500000|%s", tail);
	check(&u, &v, VERDICT_QUOTA_BANDWIDTH, expected);
	snprintf(expected, sizeof(expected), "100000|99990|500000|%s", tail);
	check(&u, &v, VERDICT_QUOTA_REQUESTS, expected);
}

static void test_some(void **state)
{
	(void)state;
	const struct user_limits u = { 0 };
	struct limits_view v = { .hour = { 5, 0, 12 } };

	check(&u, &v, VERDICT_RATE_LIMITED, "5|0|12|\"hour\";r=0;t=12|\"hour\";q=5;w=3600");
	v = (struct limits_view){ .bytes = { 1048576, 1048576, 9 } };
	check(&u, &v, VERDICT_ALLOW,
	      "1048576|1048576|9|\"month-bytes\";r=1048576;t=9|\"month-bytes\";q=1048576;qu=\"content-bytes\"");
	/* Fifteen digits are the most that a structured field may have. */
	v = (struct limits_view){ .bytes = { UINT64_C(1125899905794048), UINT64_C(1125899905794048), 9 } };
	check(&u, &v, VERDICT_ALLOW,
	      "1125899905794048|1125899905794048|9|\"month-bytes\";r=999999999999999;t=9|"
	      "\"month-bytes\";q=999999999999999;qu=\"content-bytes\"");
	v = (struct limits_view){ .bytes = { 0, 0, 0 } };
	check(&u, &v, VERDICT_ALLOW, "");
}

/* The longest text fits: nothing is ever left out. */
static void test_longest(void **state)
{
	(void)state;
	const struct user_limits u = { 0 };
	const struct limit_view most = { UINT64_MAX, UINT64_MAX, UINT64_MAX };
	const struct limits_view v = { most, most, most, most };
	char buf[LIMIT_TEXT_MAX];
	struct wcur out;

	wcur_init(&out, buf, sizeof(buf));
	limit_text_user(&out, &u, &v, VERDICT_ALLOW);
	assert_int_equal(out.err, ERR_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_some),
		cmocka_unit_test(test_longest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
