/* Replies that come after the deadline, and what a host admits meanwhile; the whole of many hosts is in
 * test_lease_sim.c. */
#include "unit.h"

#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "policy/lease.h"
#include "policy/quota.h"

#define NOW    1800000000
#define NOW_NS UINT64_C(5000000000000)
#define OFFSET INT64_C(1795000000000000)

static struct limits_memory *memory;
static struct limit_slot *slot;

static int setup(void **state)
{
	(void)state;
	memory = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	              0);
	if (memory == MAP_FAILED)
		return -1;
	slot = limits_slot(memory, 7, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return munmap(memory, sizeof(*memory));
}

static struct user_limits limits_of(uint64_t minute, uint64_t burst, uint64_t hour, uint64_t requests)
{
	const struct policy_user user = {
		.per_minute = minute, .burst = burst, .per_hour = hour, .month_requests = requests
	};
	const struct limits_defaults defaults = { 0 };
	struct user_limits u;
	user_limits_make(&user, &defaults, NOW, &u);
	return u;
}

static enum limits_result take(const struct user_limits *u, enum limits_mode mode, uint64_t now_ns)
{
	struct limits_take t = { .mode = mode, .hosts = 1, .now_ns = now_ns, .now = NOW };
	return limits_take(memory, slot, u, &t);
}

/* Redis, for one user: what the commands of lease.h do to it. */
struct store {
	int64_t minute, hour;
	uint64_t month, others;
};

static int64_t raise(int64_t tat, int64_t floor, int64_t cap, int64_t cost)
{
	tat = tat < floor ? floor : tat;
	tat = tat > cap ? cap : tat;
	return tat + cost;
}

static struct lease_reply carry_out(struct store *r, const struct lease_ask *ask)
{
	if (ask->minute)
		r->minute = raise(r->minute, ask->minute_floor_us, ask->minute_cap_us, ask->minute_cost_us);
	if (ask->hour)
		r->hour = raise(r->hour, ask->hour_floor_us, ask->hour_cap_us, ask->hour_cost_us);
	if (ask->month)
		r->month = (r->month > ask->month_admitted ? r->month : ask->month_admitted) + ask->tokens;
	return (struct lease_reply){
		.minute_us = r->minute, .hour_us = r->hour, .month_own = r->month, .month_others = r->others
	};
}

static void give_back(struct store *r, const struct lease_result *result)
{
	r->minute -= result->minute_back_us;
	r->hour -= result->hour_back_us;
	r->month -= result->month_back;
}

static struct lease_ask make_ask(const struct user_limits *u, uint64_t now_ns)
{
	const struct lease_moment at = { .hosts = 1, .now_ns = now_ns, .now = NOW, .offset_us = OFFSET };
	struct lease_ask ask;

	lease_ask_make(slot, u, 1, true, &at, &ask);
	return ask;
}

static uint32_t ask_and_settle(struct store *r, const struct user_limits *u, uint64_t now_ns)
{
	struct lease_ask ask = make_ask(u, now_ns);
	struct lease_result result;

	struct lease_reply reply = carry_out(r, &ask);
	lease_settle(slot, &ask, &reply, now_ns, &result);
	give_back(r, &result);
	return result.tokens;
}

/* A grant covers as many as all limits do, and what one gave too much goes back. */
static void test_the_least_of_all_limits(void **state)
{
	(void)state;
	struct user_limits u = limits_of(60000, 1000, 30, 50);
	struct store r = { .others = 45 };

	assert_int_equal(ask_and_settle(&r, &u, NOW_NS), 5);
	assert_int_equal(lease_tokens(slot->lease[0]), 5);
	assert_int_equal(r.month, 5);
	int64_t now_us = (int64_t)(NOW_NS / 1000) + OFFSET;
	assert_int_equal(r.minute - now_us, 5 * 1000);
	assert_int_equal(r.hour - now_us, 5 * INT64_C(120000000));
	/* The refusal is the month's, and holds for a moment only: a quota may be raised. */
	assert_int_equal(lease_tokens(slot->denied), VERDICT_QUOTA_REQUESTS);
	assert_in_range(lease_end_ms(slot->denied), NOW_NS / NS_PER_MS + 50, NOW_NS / NS_PER_MS + 1000);
}

/*
 * The reply came after the deadline: the request was decided from memory, and its lease is spent by the next. Both are
 * counted, whatever comes first.
 */
static void test_late_reply_and_share(void **state)
{
	(void)state;
	struct user_limits u = limits_of(6, 3, 0, 0);
	struct store r = { 0 };
	struct lease_result result;
	unsigned passed = 0;

	assert_int_equal(take(&u, LIMITS_SHARED, NOW_NS), LIMITS_ASK);
	struct lease_ask ask = make_ask(&u, NOW_NS);
	struct lease_reply reply = carry_out(&r, &ask);
	uint64_t now_ns = NOW_NS + 3 * NS_PER_MS;
	passed += take(&u, LIMITS_CUT_OFF, now_ns) == LIMITS_TAKEN;
	now_ns += 5 * NS_PER_MS;
	lease_settle(slot, &ask, &reply, now_ns, &result);
	give_back(&r, &result);
	for (int i = 0; i < 10; i++) {
		enum limits_result got = take(&u, LIMITS_SHARED, now_ns);
		if (got == LIMITS_ASK) {
			(void)ask_and_settle(&r, &u, now_ns);
			got = take(&u, LIMITS_SHARED, now_ns);
		}
		passed += got == LIMITS_TAKEN;
	}
	assert_int_equal(passed, 3);
}

/* All is decided from memory while the replies are late, one after the other: no burst comes twice. */
static void test_many_late_replies(void **state)
{
	(void)state;
	struct user_limits u = limits_of(6, 5, 4, 0);
	struct store r = { 0 };
	unsigned passed = 0;

	for (uint64_t i = 0; i < 30; i++) {
		uint64_t now_ns = NOW_NS + i * 10 * NS_PER_MS;
		struct lease_result result;
		enum limits_result got = take(&u, LIMITS_SHARED, now_ns);
		if (got == LIMITS_ASK) {
			struct lease_ask ask = make_ask(&u, now_ns);
			struct lease_reply reply = carry_out(&r, &ask);
			got = take(&u, LIMITS_CUT_OFF, now_ns + 3 * NS_PER_MS);
			lease_settle(slot, &ask, &reply, now_ns + 6 * NS_PER_MS, &result);
			give_back(&r, &result);
		}
		passed += got == LIMITS_TAKEN;
	}
	assert_int_equal(passed, 4);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_the_least_of_all_limits),
		T(test_late_reply_and_share),
		T(test_many_late_replies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
