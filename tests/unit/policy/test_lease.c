/* The arithmetic of leases: sizes, what is granted, what goes back, and that no token is lost or made on the way. */
#include "unit.h"

#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "policy/lease.h"
#include "policy/quota.h"

#define NOW    1800000000
#define NOW_NS UINT64_C(7000000000000)
#define OFFSET (NOW * INT64_C(1000000) - (int64_t)(NOW_NS / 1000))

static uint64_t seed = 1;

static uint64_t random_below(uint64_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 20) % n;
}

static struct user_limits limits_of(uint64_t minute, uint64_t burst, uint64_t hour, uint64_t month, uint8_t flags)
{
	const struct policy_user user = {
		.flags = flags, .per_minute = minute, .burst = burst, .per_hour = hour, .month_requests = month
	};
	const struct limits_defaults defaults = { 0 };
	struct user_limits u;
	user_limits_make(&user, &defaults, NOW, &u);
	return u;
}

static struct lease_ask ask_at(struct limit_slot *slot, const struct user_limits *u, unsigned hosts, uint32_t wanted,
                               uint64_t now_ns)
{
	const struct lease_moment at = { .hosts = hosts, .now_ns = now_ns, .now = NOW, .offset_us = OFFSET };
	struct lease_ask ask;
	lease_ask_make(slot, u, wanted, true, &at, &ask);
	return ask;
}

/* The reply of a Redis that knew nothing. */
static struct lease_reply fresh_reply(const struct lease_ask *ask)
{
	return (struct lease_reply){
		.minute_us = ask->minute_floor_us + ask->minute_cost_us,
		.hour_us = ask->hour_floor_us + ask->hour_cost_us,
		.month_own = ask->month_admitted + ask->tokens,
	};
}

static void test_sizes(void **state)
{
	const struct {
		uint64_t minute, burst, hour, month;
		uint8_t flags;
		unsigned hosts;
		uint32_t size;
	} rows[] = {
		{ 60000, 1000, 0, 0, 0, 1, 100 }, { 60000, 1000, 0, 0, 0, 3, 33 },
		{ 60000, 20, 0, 0, 0, 3, 6 },     { 600, 10, 0, 0, 0, 1, 1 },
		{ 600, 10, 0, 0, 0, 8, 1 },       { 1000000000, 1000000000, 0, 0, 0, 1, 65535 },
		{ 0, 0, 3600000, 0, 0, 1, 100 },  { 60000, 1000, 3600000, 0, USER_SHADOW_MINUTE, 2, 50 },
		{ 0, 0, 0, 100000, 0, 1, 10 },    { 0, 0, 0, 1000000000, 0, 2, 100 },
		{ 60000, 1000, 0, 0, 0, 0, 100 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct user_limits u = limits_of(rows[i].minute, rows[i].burst, rows[i].hour, rows[i].month,
		                                 rows[i].flags);
		assert_int_equal(lease_size(&u, rows[i].hosts), rows[i].size);
	}
}

static void test_an_ask(void **state)
{
	struct limit_slot slot = { 0 };
	struct user_limits u = limits_of(600, 10, 3600, 1000, 0);
	struct lease_ask ask = ask_at(&slot, &u, 3, 0, NOW_NS);
	(void)state;
	assert_int_equal(ask.now_us, NOW * INT64_C(1000000));
	assert_int_equal(ask.tokens, 1);
	assert_true(ask.minute && ask.hour && ask.month);
	assert_int_equal(ask.minute_floor_us, ask.now_us);
	assert_int_equal(ask.minute_cost_us, 100000);
	/* The burst, L, and what three hosts may ask for in vain. */
	assert_in_range(ask.minute_cap_us - ask.now_us, 1000000 + 200000 + 12 * 100000, 2400064);
	assert_int_equal(ask.hour_cost_us, 1000000);
	assert_int_equal(ask.month_admitted, 0);
	assert_in_range(ask.ttl_ms, 3600 * 1000, 3620 * 1000);
	assert_in_range(ask.month_ttl_s, u.period.end - NOW + 86400, u.period.end - NOW + 30 * 86400);
	assert_int_equal(ask_at(&slot, &u, 3, 7, NOW_NS).minute_cost_us, 700000);
	u = limits_of(600, 10, 3600, 1000, USER_SHADOW_MINUTE | USER_SHADOW_REQUESTS);
	ask = ask_at(&slot, &u, 3, 0, NOW_NS);
	assert_false(ask.minute || ask.month);
	assert_int_equal(ask.minute_cost_us, 0);
}

static void test_the_first_limit_that_is_used_up_refuses(void **state)
{
	const struct {
		int64_t minute_over, hour_over; /* intervals beyond the burst */
		uint64_t month_over;
		uint32_t granted;
		enum verdict_code code;
		unsigned wait_ms;
	} rows[] = {
		{ 0, 0, 0, 10, VERDICT_ALLOW, 0 },
		{ 4, 0, 0, 6, VERDICT_RATE_LIMITED, 100 },
		{ 10, 0, 0, 0, VERDICT_RATE_LIMITED, 100 },
		{ 99, 0, 0, 0, VERDICT_RATE_LIMITED, 100 },
		{ 0, 3, 0, 7, VERDICT_RATE_LIMITED, 1000 },
		{ 0, 0, 10, 0, VERDICT_QUOTA_REQUESTS, 1000 },
		{ 3, 0, 10, 0, VERDICT_QUOTA_REQUESTS, 1000 },
		{ 10, 0, 10, 0, VERDICT_RATE_LIMITED, 1000 },
	};
	struct user_limits u = limits_of(600, 10, 3600, 1000, 0);
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct limit_slot slot = { 0 };
		struct lease_ask ask = ask_at(&slot, &u, 1, 10, NOW_NS);
		struct lease_reply reply = {
			.minute_us = ask.now_us + 1000010 + rows[i].minute_over * 100000,
			.hour_us = ask.now_us + INT64_C(3600000064) + rows[i].hour_over * 1000000,
			.month_own = 10,
			.month_others = 990 + rows[i].month_over,
		};
		struct lease_result result;
		lease_settle(&slot, &ask, &reply, NOW_NS + NS_PER_MS, &result);
		assert_int_equal(result.tokens, rows[i].granted);
		assert_int_equal(result.minute_back_us, (10 - rows[i].granted) * 100000);
		assert_int_equal(result.hour_back_us, (10 - rows[i].granted) * 1000000);
		assert_int_equal(result.month_back, 10 - rows[i].granted);
		assert_int_equal(lease_tokens(slot.lease[0]), rows[i].granted);
		if (rows[i].granted > 0)
			assert_int_equal(lease_end_ms(slot.lease[0]), NOW_NS / NS_PER_MS + LEASE_MS);
		if (rows[i].code == VERDICT_ALLOW) {
			assert_int_equal(slot.denied, 0);
			continue;
		}
		assert_int_equal(lease_tokens(slot.denied), rows[i].code);
		assert_in_range(lease_end_ms(slot.denied) - NOW_NS / NS_PER_MS, rows[i].wait_ms, rows[i].wait_ms + 1);
	}
}

static void test_a_late_reply_grants_nothing(void **state)
{
	struct limit_slot slot = { 0 };
	struct user_limits u = limits_of(60000, 1000, 0, 1000, 0);
	struct lease_ask ask = ask_at(&slot, &u, 1, 0, NOW_NS);
	struct lease_reply reply = fresh_reply(&ask);
	struct lease_result result;
	(void)state;
	lease_settle(&slot, &ask, &reply, NOW_NS + LEASE_GIVE_MS * NS_PER_MS, &result);
	assert_int_equal(result.tokens, 0);
	assert_int_equal(result.minute_back_us, ask.minute_cost_us);
	assert_int_equal(result.month_back, 100);
	assert_int_equal(slot.lease[0] | slot.lease[1], 0);
	/* Later than L the rates keep it, for they have filled up since. */
	lease_settle(&slot, &ask, &reply, NOW_NS + LEASE_MS * NS_PER_MS + 1, &result);
	assert_int_equal(result.minute_back_us, 0);
	assert_int_equal(result.month_back, 100);
	lease_settle(&slot, &ask, &reply, NOW_NS + LEASE_GIVE_MS * NS_PER_MS - 1, &result);
	assert_int_equal(result.tokens, 100);
}

static void test_both_words_taken(void **state)
{
	struct limit_slot slot = { 0 };
	struct user_limits u = limits_of(60000, 1000, 0, 0, 0);
	struct lease_result result;
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct lease_ask ask = ask_at(&slot, &u, 1, 0, NOW_NS + (uint64_t)i * NS_PER_MS);
		struct lease_reply reply = fresh_reply(&ask);
		lease_settle(&slot, &ask, &reply, NOW_NS + 2 * NS_PER_MS, &result);
		assert_int_equal(result.tokens, i < 2 ? 100 : 0);
		assert_int_equal(result.minute_back_us, i < 2 ? 0 : 100000);
	}
	assert_false(lease_wanted(&slot, &u, 1, NOW_NS + 2 * NS_PER_MS));
	assert_true(lease_wanted(&slot, &u, 1, NOW_NS + 203 * NS_PER_MS));
}

/*
 * What a host spent while it was cut off is told until a reply says that Redis has it: an ask that is lost, with its
 * worker or without, changes nothing.
 */
static void test_debts(void **state)
{
	struct limit_slot slot = { 0 };
	struct user_limits u = limits_of(600, 10, 0, 1000, 0);
	const struct lease_moment at = { .hosts = 4, .now_ns = NOW_NS, .now = NOW, .offset_us = OFFSET };
	uint64_t now = gcra_now(NOW_NS), token = u.minute.interval;
	struct lease_ask ask, other;
	struct lease_result result;
	(void)state;
	slot.minute = now + token;
	slot.cut_minute = now + token + 3 * 4 * token; /* three tokens, four hosts */
	slot.owed = quota_word(u.period.id, 3);
	slot.admitted = quota_word(u.period.id, 7);
	slot.restored = quota_word(u.period.id, 2);
	slot.requests = quota_word(u.period.id, 20);
	for (int i = 0; i < 2; i++) {
		ask = ask_at(&slot, &u, 4, 0, NOW_NS);
		assert_in_range(ask.minute_cost_us, 400000, 400001);
		assert_int_equal(ask.month_admitted, 5);
	}
	/* Beside it nobody tells. */
	lease_ask_make(&slot, &u, 0, false, &at, &other);
	assert_int_equal(other.minute_cost_us, 100000);
	assert_int_equal(other.owed, 0);
	/* Two more are admitted until the reply comes. */
	slot.cut_minute += 2 * 4 * token;
	quota_add(&slot.owed, u.period.id, 2);
	quota_add(&slot.admitted, u.period.id, 2);
	struct lease_reply reply = { .minute_us = ask.now_us + 500000, .month_own = 6, .month_others = 15 };
	lease_settle(&slot, &ask, &reply, NOW_NS + NS_PER_MS, &result);
	assert_int_equal(result.tokens, 1);
	assert_int_equal(slot.cut_minute, slot.minute + 2 * 4 * token);
	assert_int_equal(quota_count(slot.owed), 2);
	ask = ask_at(&slot, &u, 4, 0, NOW_NS);
	assert_in_range(ask.minute_cost_us, 300000, 300001);
	assert_int_equal(ask.month_admitted, 7);
	reply.minute_us = ask.now_us + 700000;
	lease_settle(&slot, &ask, &reply, NOW_NS + NS_PER_MS, &result);
	assert_int_equal(slot.cut_minute, 0);
	assert_int_equal(quota_count(slot.owed), 0);
	assert_int_equal(ask_at(&slot, &u, 4, 0, NOW_NS).minute_cost_us, 100000);
}

/* Redis lost its data: what was known of the others holds until they have told it again. */
static void test_a_month_that_redis_has_lost(void **state)
{
	struct limit_slot slot = { 0 };
	struct user_limits u = limits_of(0, 0, 0, 100, 0);
	struct lease_result result;
	(void)state;
	slot.requests = quota_word(u.period.id, 99);
	slot.admitted = quota_word(u.period.id, 30);
	struct lease_ask ask = ask_at(&slot, &u, 3, 2, NOW_NS);
	struct lease_reply reply = { .month_own = 30 + ask.tokens, .month_new = true };
	lease_settle(&slot, &ask, &reply, NOW_NS, &result);
	assert_int_equal(result.tokens, 1);
	assert_int_equal(result.month_back, 1);
	/* Not known any more, but told meanwhile: the greater count. */
	slot.lease[0] = 0;
	reply.month_new = false;
	reply.month_others = 68;
	lease_settle(&slot, &ask, &reply, NOW_NS, &result);
	assert_int_equal(result.tokens, 1);
	slot.lease[0] = 0;
	reply.month_others = 70;
	lease_settle(&slot, &ask, &reply, NOW_NS, &result);
	assert_int_equal(result.tokens, 0);
	assert_int_equal(quota_count(slot.requests), 100);
}

/*
 * Random limits, askings, grants and spending against a bucket in Redis that never empties: in the end Redis has been
 * charged exactly what was spent, rounded up once for each lease.
 */
static void test_tokens_are_conserved(void **state)
{
	(void)state;
	for (int round = 0; round < 2000; round++) {
		struct limit_slot slot = { 0 };
		uint64_t rate = 1 + random_below(1u << (1 + random_below(30)));
		struct user_limits u = limits_of(rate, 1 + random_below(rate), 1 + random_below(1000000),
		                                 1 + random_below(5000), 0);
		uint64_t now_ns = NOW_NS;
		int64_t minute = 0, spent_us = 0;
		uint64_t month = 0, spent = 0, leases = 0;
		for (int i = 0; i < 20; i++, now_ns += (LEASE_MS + 1) * NS_PER_MS) {
			struct lease_ask ask = ask_at(&slot, &u, 1 + (unsigned)random_below(8),
			                              (uint32_t)random_below(20), now_ns);
			struct lease_reply reply = fresh_reply(&ask);
			struct lease_result result;
			minute += ask.minute_cost_us;
			month += ask.tokens;
			reply.minute_us = ask.now_us + (int64_t)random_below(120000000);
			reply.month_own = month;
			lease_settle(&slot, &ask, &reply, now_ns + random_below(LEASE_MS * NS_PER_MS), &result);
			assert_in_range(result.tokens, 0, ask.tokens);
			minute -= result.minute_back_us;
			month -= result.month_back;
			uint32_t granted = result.tokens, use = granted > 0 ? (uint32_t)random_below(granted + 1) : 0;
			for (int w = 0; w < 2 && use > 0; w++)
				if (lease_tokens(slot.lease[w]) == granted)
					slot.lease[w] -= lease_word(use, 0, 0);
			uint32_t left = lease_take_back(&slot, lease_end_of(&ask));
			assert_int_equal(left, granted - use);
			if (left > 0) {
				lease_back(&slot, &ask, granted, left, now_ns + LEASE_GIVE_MS * NS_PER_MS, &result);
				minute -= result.minute_back_us;
				month -= result.month_back;
			}
			assert_int_equal(lease_take_back(&slot, lease_end_of(&ask)), 0);
			spent += use;
			leases += use > 0;
		}
		spent_us = (int64_t)((spent * UINT64_C(60000000) + rate - 1) / rate);
		assert_int_equal(month, spent);
		assert_in_range(month, 0, u.month_requests);
		assert_in_range(minute, spent_us, spent_us + (int64_t)leases);
	}
}

static void test_too_late_to_give_back_rates(void **state)
{
	struct limit_slot slot = { 0 };
	struct user_limits u = limits_of(60000, 1000, 0, 1000, 0);
	struct lease_ask ask = ask_at(&slot, &u, 1, 0, NOW_NS);
	struct lease_result result;
	(void)state;
	lease_back(&slot, &ask, 100, 40, NOW_NS + LEASE_MS * NS_PER_MS, &result);
	assert_int_equal(result.minute_back_us, 40000);
	assert_int_equal(result.month_back, 40);
	lease_back(&slot, &ask, 100, 40, NOW_NS + LEASE_MS * NS_PER_MS + 1, &result);
	assert_int_equal(result.minute_back_us, 0);
	assert_int_equal(result.month_back, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_an_ask),
		cmocka_unit_test(test_the_first_limit_that_is_used_up_refuses),
		cmocka_unit_test(test_a_late_reply_grants_nothing),
		cmocka_unit_test(test_both_words_taken),
		cmocka_unit_test(test_debts),
		cmocka_unit_test(test_a_month_that_redis_has_lost),
		cmocka_unit_test(test_tokens_are_conserved),
		cmocka_unit_test(test_too_late_to_give_back_rates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
