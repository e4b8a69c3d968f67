/* LDFLAGS: -lpthread */
/* Slots of users and spending from their limits: all or nothing, also with two workers, leases, and a host cut off. */
#include "unit.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "policy/lease.h"
#include "policy/limits.h"
#include "policy/quota.h"

#define NOW    1800000000
#define NOW_NS UINT64_C(5000000000000)

static struct limits_memory *memory;

static int setup(void **state)
{
	(void)state;
	memory = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	              0);
	return memory == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return munmap(memory, sizeof(*memory));
}

static struct user_limits limits_of(uint64_t minute, uint64_t burst, uint64_t hour, uint64_t requests, uint64_t bytes)
{
	const struct policy_user user = {
		.per_minute = minute, .burst = burst, .per_hour = hour, .month_requests = requests, .month_bytes = bytes
	};
	const struct limits_defaults defaults = { 0 };
	struct user_limits u;
	user_limits_make(&user, &defaults, NOW, &u);
	return u;
}

static struct limit_slot *slot_of(uint64_t id)
{
	struct limit_slot *slot = limits_slot(memory, id, NULL);
	assert_non_null(slot);
	return slot;
}

static enum limits_result take_at(struct limit_slot *slot, const struct user_limits *u, enum limits_mode mode,
                                  unsigned hosts, uint64_t now_ns, struct limits_take *t)
{
	*t = (struct limits_take){ .mode = mode, .hosts = hosts, .now_ns = now_ns, .now = NOW };
	return limits_take(memory, slot, u, t);
}

static enum limits_result take(struct limit_slot *slot, const struct user_limits *u)
{
	struct limits_take t;
	return take_at(slot, u, LIMITS_ALONE, 1, NOW_NS, &t);
}

static void test_slots(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= 100000; id++) {
		struct limit_slot *slot = limits_slot(memory, id * 7919, NULL);
		assert_non_null(slot);
		assert_int_equal(slot->user_id, id * 7919);
	}
	for (uint64_t id = 1; id <= 100000; id++) {
		struct limit_slot *slot = limits_slot(memory, id * 7919, NULL);
		assert_int_equal(slot->user_id, id * 7919);
		assert_ptr_equal(limits_find(memory, id * 7919), slot);
		assert_int_equal(limits_slot_number(memory, slot), id - 1);
	}
	assert_null(limits_find(memory, 5));
	/* When all are taken, those that are there go on. */
	memory->used = LIMITS_USERS_MAX;
	assert_null(limits_slot(memory, 5, NULL));
	assert_non_null(limits_slot(memory, 7919, NULL));
	assert_int_equal(memory->used, LIMITS_USERS_MAX);
}

static void test_defaults(void **state)
{
	(void)state;
	const struct limits_defaults defaults = { 1000, 10000, 100000, 500 };
	struct policy_user user = { .per_minute = POLICY_DEFAULT,
		                    .per_hour = POLICY_DEFAULT,
		                    .month_requests = POLICY_DEFAULT,
		                    .month_bytes = POLICY_DEFAULT };
	struct user_limits u, other;
	user_limits_make(&user, &defaults, NOW, &u);
	assert_int_equal(u.per_minute, 1000);
	assert_int_equal(u.burst, 1000);
	assert_int_equal(u.per_hour, 10000);
	assert_int_equal(u.month_requests, 100000);
	assert_int_equal(u.month_bytes, 500);
	user.per_minute = 0;
	user.burst = 7;
	user_limits_make(&user, &defaults, NOW, &other);
	assert_int_equal(other.per_minute, 0);
	assert_int_equal(other.minute.interval, 0);
	assert_true(other.tag != u.tag && other.tag != 0);
}

/* What the hour, or the month, refuses costs the minute nothing. */
static void test_all_or_nothing(void **state)
{
	(void)state;
	struct limit_slot *slot = slot_of(1);
	struct user_limits u = limits_of(100, 0, 3, 0, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(take(slot, &u), LIMITS_TAKEN);
	uint64_t minute = slot->minute;
	for (int i = 0; i < 200; i++)
		assert_int_equal(take(slot, &u), LIMITS_REFUSED);
	assert_int_equal(slot->minute, minute);
	assert_int_equal(quota_count(slot->requests), 3);

	struct user_limits month = limits_of(100, 0, 100, 5, 0);
	struct limit_slot *other = slot_of(2);
	for (int i = 0; i < 5; i++)
		assert_int_equal(take(other, &month), LIMITS_TAKEN);
	minute = other->minute;
	uint64_t hour = other->hour;
	assert_int_equal(take(other, &month), LIMITS_REFUSED);
	assert_int_equal(other->minute, minute);
	assert_int_equal(other->hour, hour);
}

struct race {
	struct limit_slot *slot;
	struct user_limits u;
	uint64_t taken;
};

static void *racer(void *arg)
{
	struct race *r = arg;
	struct limits_take t;
	for (int i = 0; i < 200000; i++)
		r->taken += take_at(r->slot, &r->u, LIMITS_ALONE, 1, NOW_NS, &t) == LIMITS_TAKEN;
	return NULL;
}

/* Two workers on one user: the least of the limits is spent exactly, and nothing of the others beyond it. */
static void test_two_workers(void **state)
{
	(void)state;
	static const uint64_t rows[][3] = { { 50000, 90000, 90000 }, { 90000, 50000, 90000 }, { 90000, 90000, 50000 } };
	for (size_t i = 0; i < 3; i++) {
		struct race races[2];
		pthread_t threads[2];
		struct limit_slot *slot = slot_of(10 + i);
		for (int k = 0; k < 2; k++) {
			races[k] = (struct race){ slot, limits_of(rows[i][0], 0, rows[i][1], rows[i][2], 0), 0 };
			assert_int_equal(pthread_create(&threads[k], NULL, racer, &races[k]), 0);
		}
		for (int k = 0; k < 2; k++)
			pthread_join(threads[k], NULL);
		const struct user_limits *u = &races[0].u;
		uint64_t now = gcra_now(NOW_NS);
		assert_int_equal(races[0].taken + races[1].taken, 50000);
		assert_int_equal(gcra_left(slot->minute, now, u->minute), rows[i][0] - 50000);
		assert_int_equal(gcra_left(slot->hour, now, u->hour), rows[i][1] - 50000);
		assert_int_equal(quota_count(slot->requests), 50000);
		assert_int_equal(quota_count(slot->admitted), 50000);
	}
}

/* A token comes in with each request of both, so that one of them finds it gone. */
static void *shadow_racer(void *arg)
{
	struct race *r = arg;
	struct limits_take t;
	for (uint64_t i = 0; i < 300000; i++)
		r->taken += take_at(r->slot, &r->u, LIMITS_ALONE, 1, NOW_NS + i * 60000, &t) == LIMITS_TAKEN;
	return NULL;
}

static void test_shadow_refuses_nobody_in_a_race(void **state)
{
	(void)state;
	const struct policy_user user = { .flags = USER_SHADOW_MINUTE, .per_minute = 1000000, .burst = 1 };
	const struct limits_defaults defaults = { 0 };
	struct race races[2];
	pthread_t threads[2];
	for (int k = 0; k < 2; k++) {
		races[k] = (struct race){ .slot = slot_of(1) };
		user_limits_make(&user, &defaults, NOW, &races[k].u);
		assert_int_equal(pthread_create(&threads[k], NULL, shadow_racer, &races[k]), 0);
	}
	for (int k = 0; k < 2; k++)
		pthread_join(threads[k], NULL);
	assert_int_equal(races[0].taken + races[1].taken, 600000);
}

static void test_leases(void **state)
{
	(void)state;
	struct limit_slot *slot = slot_of(1);
	struct user_limits u = limits_of(60000, 1000, 0, 0, 0);
	struct limits_take t;
	uint64_t ms = NOW_NS / NS_PER_MS;

	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 3, NOW_NS, &t), LIMITS_ASK);
	/* The one that ends first is spent first. */
	slot->lease[0] = lease_word(2, u.tag, ms + 200);
	slot->lease[1] = lease_word(3, u.tag, ms + 100);
	for (int i = 0; i < 4; i++)
		assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 3, NOW_NS, &t), LIMITS_TAKEN);
	assert_int_equal(lease_tokens(slot->lease[0]), 1);
	assert_int_equal(lease_tokens(slot->lease[1]), 0);
	/* Never after its end, nor under other limits. */
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 3, NOW_NS + 200 * NS_PER_MS, &t), LIMITS_ASK);
	struct user_limits changed = limits_of(30000, 1000, 0, 0, 0);
	assert_int_equal(take_at(slot, &changed, LIMITS_SHARED, 3, NOW_NS, &t), LIMITS_ASK);
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 3, NOW_NS, &t), LIMITS_TAKEN);
	/* A refusal holds until its end, and only for these limits. */
	slot->denied = lease_denied_word(VERDICT_RATE_LIMITED, u.tag, ms + 70);
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 3, NOW_NS, &t), LIMITS_REFUSED);
	assert_int_equal(t.code, VERDICT_RATE_LIMITED);
	assert_int_equal(t.wait_ns, 70 * NS_PER_MS);
	assert_int_equal(take_at(slot, &changed, LIMITS_SHARED, 3, NOW_NS, &t), LIMITS_ASK);
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 3, NOW_NS + 70 * NS_PER_MS, &t), LIMITS_ASK);
	assert_int_equal(quota_count(slot->requests), 5);
	/* Who has no limit asks nobody. */
	struct user_limits none = limits_of(0, 0, 0, 0, 0);
	assert_int_equal(take_at(slot, &none, LIMITS_SHARED, 3, NOW_NS, &t), LIMITS_TAKEN);
}

/* Also where the bandwidth is used up, the first that refuses answers. */
static void test_order_with_leases(void **state)
{
	(void)state;
	struct limit_slot *slot = slot_of(1);
	struct user_limits u = limits_of(60, 1, 100, 50, 1000);
	struct limits_take t;

	slot->bytes = quota_word(u.period.id, 1000);
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 2, NOW_NS, &t), LIMITS_REFUSED);
	assert_int_equal(t.code, VERDICT_QUOTA_BANDWIDTH);
	slot->requests = quota_word(u.period.id, 50);
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 2, NOW_NS, &t), LIMITS_REFUSED);
	assert_int_equal(t.code, VERDICT_QUOTA_REQUESTS);
	slot->minute = gcra_now(NOW_NS) + u.minute.interval;
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 2, NOW_NS, &t), LIMITS_REFUSED);
	assert_int_equal(t.code, VERDICT_RATE_LIMITED);
	/* The longest of all waits, as without leases. */
	assert_int_equal(t.wait_ns, (uint64_t)(u.period.end - NOW) * NS_PER_SEC);
	slot->minute = 0;
	slot->requests = 0;
	slot->denied = lease_denied_word(VERDICT_RATE_LIMITED, u.tag, NOW_NS / NS_PER_MS + 70);
	assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 2, NOW_NS, &t), LIMITS_REFUSED);
	assert_int_equal(t.code, VERDICT_RATE_LIMITED);
}

static void test_prefetch(void **state)
{
	(void)state;
	struct limit_slot *slot = slot_of(1);
	struct user_limits u = limits_of(60000, 1000, 0, 0, 0);
	struct limits_take t;
	uint32_t size = lease_size(&u, 1);

	assert_int_equal(size, 100);
	slot->lease[0] = lease_word(size, u.tag, NOW_NS / NS_PER_MS + 200);
	for (uint32_t i = 1; i <= size; i++) {
		assert_int_equal(take_at(slot, &u, LIMITS_SHARED, 1, NOW_NS, &t), LIMITS_TAKEN);
		assert_int_equal(t.want_more, size - i <= size / 2);
	}
}

/* Cut off: leases first, then this host's share of each limit. */
static void test_cut_off(void **state)
{
	(void)state;
	struct limit_slot *slot = slot_of(1);
	struct user_limits u = limits_of(600, 9, 0, 0, 0);
	struct limits_take t;

	slot->lease[0] = lease_word(1, u.tag, NOW_NS / NS_PER_MS + 100);
	for (int i = 0; i < 4; i++)
		assert_int_equal(take_at(slot, &u, LIMITS_CUT_OFF, 3, NOW_NS, &t), LIMITS_TAKEN);
	assert_int_equal(take_at(slot, &u, LIMITS_CUT_OFF, 3, NOW_NS, &t), LIMITS_REFUSED);
	assert_int_equal(t.wait_ns, 300 * NS_PER_MS);
	/* It starts with the debt that Redis has told of. */
	struct limit_slot *known = slot_of(2);
	known->minute = gcra_now(NOW_NS) + u.minute.capacity;
	assert_int_equal(take_at(known, &u, LIMITS_CUT_OFF, 3, NOW_NS, &t), LIMITS_REFUSED);
	/* A third of what is left of the month. */
	struct user_limits month = limits_of(0, 0, 0, 100, 0);
	struct limit_slot *third = slot_of(3);
	third->requests = quota_word(month.period.id, 40);
	for (int i = 0; i < 20; i++)
		assert_int_equal(take_at(third, &month, LIMITS_CUT_OFF, 3, NOW_NS, &t), LIMITS_TAKEN);
	assert_int_equal(take_at(third, &month, LIMITS_CUT_OFF, 3, NOW_NS, &t), LIMITS_REFUSED);
	assert_int_equal(t.code, VERDICT_QUOTA_REQUESTS);
	assert_int_equal(quota_count(third->owed), 20);
}

static void test_apart(void **state)
{
	(void)state;
	struct limits_cluster c = { 0 };
	assert_false(limits_apart(&c, NOW_NS));
	c.cut_off_ns = NOW_NS;
	assert_true(limits_apart(&c, NOW_NS));
	assert_true(limits_apart(&c, NOW_NS + LIMITS_TOGETHER_MS * NS_PER_MS - 1));
	assert_false(limits_apart(&c, NOW_NS + LIMITS_TOGETHER_MS * NS_PER_MS));
	c.together_ns = NOW_NS;
	assert_false(limits_apart(&c, NOW_NS));
	/* Cut off again, after all were there. */
	c.cut_off_ns = NOW_NS + 1;
	assert_true(limits_apart(&c, NOW_NS + 1));
}

static void test_what_was_restored_is_not_admitted_again(void **state)
{
	(void)state;
	struct user_limits u = limits_of(0, 0, 0, 100, 0);
	const struct policy_usage stored = { .requests = quota_word(u.period.id, 30),
		                             .unflushed = quota_word(u.period.id, 12) };
	struct limit_slot *slot = limits_slot(memory, 77, &stored);
	const struct lease_moment at = { .hosts = 2, .now_ns = NOW_NS, .now = NOW };
	struct lease_ask ask;
	assert_non_null(slot);
	lease_ask_make(slot, &u, 1, true, &at, &ask);
	assert_int_equal(ask.month_admitted, 0);
	quota_add(&slot->admitted, u.period.id, 2);
	lease_ask_make(slot, &u, 1, true, &at, &ask);
	assert_int_equal(ask.month_admitted, 2);
}

static void test_look(void **state)
{
	(void)state;
	struct limit_slot *slot = slot_of(1);
	struct user_limits u = limits_of(60, 0, 100, 50, 1000);
	struct limits_take t;
	struct limits_view v;

	slot->bytes = quota_word(u.period.id, 400);
	for (int i = 0; i < 10; i++)
		assert_int_equal(take_at(slot, &u, LIMITS_ALONE, 1, NOW_NS, &t), LIMITS_TAKEN);
	limits_look(slot, &u, &t, &v);
	assert_int_equal(v.minute.quota, 60);
	assert_int_equal(v.minute.left, 50);
	assert_int_equal(v.minute.reset_s, 10);
	assert_int_equal(v.hour.left, 90);
	assert_int_equal(v.hour.reset_s, 360);
	assert_int_equal(v.requests.left, 40);
	assert_int_equal(v.requests.reset_s, (uint64_t)(u.period.end - NOW));
	assert_int_equal(v.bytes.left, 600);
	/* In hand from a lease counts; a refusal of Redis leaves nothing. */
	struct limits_take shared = { .mode = LIMITS_SHARED, .hosts = 2, .now_ns = NOW_NS, .now = NOW };
	slot->lease[0] = lease_word(5, u.tag, NOW_NS / NS_PER_MS + 100);
	limits_look(slot, &u, &shared, &v);
	assert_int_equal(v.minute.left, 55);
	shared.code = VERDICT_RATE_LIMITED;
	shared.wait_ns = 1500 * NS_PER_MS;
	limits_look(slot, &u, &shared, &v);
	assert_int_equal(v.minute.left, 0);
	assert_int_equal(v.minute.reset_s, 2);
	/* A minute in shadow refuses nobody: then it was the hour. */
	u.flags = USER_SHADOW_MINUTE;
	limits_look(slot, &u, &shared, &v);
	assert_true(v.minute.left > 0);
	assert_int_equal(v.hour.left, 0);
	assert_int_equal(v.hour.reset_s, 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_slots),
		T(test_defaults),
		T(test_all_or_nothing),
		T(test_two_workers),
		T(test_shadow_refuses_nobody_in_a_race),
		T(test_leases),
		T(test_order_with_leases),
		T(test_prefetch),
		T(test_cut_off),
		T(test_apart),
		T(test_what_was_restored_is_not_admitted_again),
		T(test_look),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
