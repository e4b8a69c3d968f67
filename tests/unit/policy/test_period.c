/* Months of quotas, and the counters of one, against the C library's calendar. */
#include "unit.h"

#include <time.h>

#include "policy/period.h"
#include "policy/quota.h"

static int64_t utc(int year, int month, int day, int hour)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour };
	return timegm(&tm);
}

static void test_calendar(void **state)
{
	(void)state;
	struct period p;
	period_at(utc(2026, 11, 24, 20), 0, &p);
	assert_int_equal(p.start, utc(2026, 11, 1, 0));
	assert_int_equal(p.end, utc(2026, 12, 1, 0));
	period_at(utc(2026, 12, 31, 23) + 3599, 1, &p);
	assert_int_equal(p.start, utc(2026, 12, 1, 0));
	assert_int_equal(p.end, utc(2027, 1, 1, 0));
	period_at(utc(2027, 1, 1, 0), 1, &p);
	assert_int_equal(p.start, utc(2027, 1, 1, 0));
	period_at(utc(2020, 1, 1, 0), 1, &p);
	assert_int_equal(p.id, 0);
	period_at(utc(2020, 2, 29, 12), 1, &p);
	assert_int_equal(p.id, 31);
}

static void test_reset_days(void **state)
{
	(void)state;
	static const struct {
		int y, m, d, reset, sy, sm, sd, ey, em, ed;
	} rows[] = {
		{ 2026, 11, 24, 15, 2026, 11, 15, 2026, 12, 15 }, { 2026, 11, 14, 15, 2026, 10, 15, 2026, 11, 15 },
		{ 2026, 1, 5, 31, 2025, 12, 31, 2026, 1, 31 },    { 2026, 1, 31, 31, 2026, 1, 31, 2026, 2, 28 },
		{ 2026, 2, 27, 31, 2026, 1, 31, 2026, 2, 28 },    { 2026, 2, 28, 31, 2026, 2, 28, 2026, 3, 31 },
		{ 2028, 2, 28, 30, 2028, 1, 30, 2028, 2, 29 },    { 2028, 2, 29, 30, 2028, 2, 29, 2028, 3, 30 },
		{ 2026, 3, 1, 29, 2026, 2, 28, 2026, 3, 29 },     { 2026, 4, 30, 31, 2026, 4, 30, 2026, 5, 31 },
		{ 2026, 1, 1, 2, 2025, 12, 2, 2026, 1, 2 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct period p;
		period_at(utc(rows[i].y, rows[i].m, rows[i].d, 7), (unsigned)rows[i].reset, &p);
		assert_int_equal(p.start, utc(rows[i].sy, rows[i].sm, rows[i].sd, 0));
		assert_int_equal(p.end, utc(rows[i].ey, rows[i].em, rows[i].ed, 0));
	}
}

/* Days of 30 years and all reset days: months join without a gap, and a start is the reset day or the last of its
 * month.
 */
static void test_property(void **state)
{
	(void)state;
	for (unsigned reset = 1; reset <= 31; reset++) {
		struct period p, before = { 0 };
		for (int64_t day = utc(2019, 12, 1, 0); day < utc(2050, 1, 1, 0); day += 86400) {
			period_at(day + 3601, reset, &p);
			assert_true(p.start <= day && day < p.end);
			if (before.end != 0 && p.start != before.start) {
				assert_int_equal(p.start, before.end);
				assert_true(period_later(p.id, before.id));
				assert_false(period_later(before.id, p.id));
			}
			time_t start = (time_t)p.start, next = (time_t)p.start + 86400;
			struct tm first, second;
			gmtime_r(&start, &first);
			gmtime_r(&next, &second);
			assert_true((unsigned)first.tm_mday == reset ||
			            (second.tm_mday == 1 && (unsigned)first.tm_mday < reset));
			before = p;
		}
	}
}

static void test_counter(void **state)
{
	(void)state;
	_Atomic uint64_t word = 0;
	for (int i = 0; i < 5; i++)
		assert_true(quota_take(&word, 100, 1, 5));
	assert_false(quota_take(&word, 100, 1, 5));
	assert_int_equal(quota_used(word, 100), 5);
	assert_true(quota_take(&word, 100, 2, 7));
	assert_false(quota_take(&word, 100, 2, 8));
	/* A new month starts at nothing, and the one before it is not counted any more. */
	assert_int_equal(quota_used(word, 131), 0);
	assert_true(quota_take(&word, 131, 1, 1));
	assert_false(quota_take(&word, 131, 1, 1));
	/* The clock jumps back: the later month is counted on. */
	assert_int_equal(quota_used(word, 100), 1);
	assert_false(quota_take(&word, 100, 1, 1));
	quota_add(&word, 100, 4);
	assert_int_equal(quota_used(word, 131), 5);
	quota_add(&word, 131, -2);
	assert_int_equal(quota_used(word, 131), 3);
	quota_add(&word, 131, -9);
	assert_int_equal(quota_used(word, 131), 0);
	quota_add(&word, 131, INT64_C(1) << 51);
	assert_int_equal(quota_used(word, 131), QUOTA_COUNT_MAX);
	assert_int_equal(quota_period(word), 131);
	assert_false(quota_take(&word, 131, 1, QUOTA_COUNT_MAX));
}

static void test_raise(void **state)
{
	(void)state;
	_Atomic uint64_t word = 0;
	quota_raise(&word, 100, 7);
	quota_raise(&word, 100, 5);
	assert_int_equal(word, quota_word(100, 7));
	quota_raise(&word, 131, 3);
	assert_int_equal(word, quota_word(131, 3));
	/* One that comes late, of the month before. */
	quota_raise(&word, 100, 9);
	assert_int_equal(word, quota_word(131, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calendar), cmocka_unit_test(test_reset_days), cmocka_unit_test(test_property),
		cmocka_unit_test(test_counter),  cmocka_unit_test(test_raise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
