/*
 * store/leases.c and store/hosts.c against a real Redis, which test_leases.py starts: $LEASES_REDIS is its address,
 * $LEASES_REDIS_PID its process, which these tests stop, continue, and end.
 */
#include "unit.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/redis.h"
#include "policy/lease.h"
#include "policy/quota.h"
#include "store/hosts.h"
#include "store/leases.h"

#define WAITERS   200
#define HOST      0x7e57 /* id, and as Redis has it */
#define HOST_TEXT "7e57"

static struct loop *loop;
static struct redis *redis; /* to look, and to announce */
static struct hosts *hosts;
static struct leases *leases;
static struct limits_memory *memory;
static _Atomic uint64_t counters[LEASES_RESULT_COUNT];
static uint64_t next_user;
static char answer[64];
static bool answered;

struct waiting {
	struct lease_waiter waiter;
	unsigned calls;
	uint64_t at_ns;
};

static void on_called(struct lease_waiter *w)
{
	struct waiting *own = (struct waiting *)(void *)w;
	own->calls++;
	own->at_ns = clock_mono_ns();
}

static void turn_for(unsigned ms)
{
	uint64_t end = clock_mono_ns() + ms * NS_PER_MS;
	while (clock_mono_ns() < end) {
		loop_run_once(loop, false);
		usleep(200);
	}
}

static void until_mode(enum limits_mode mode)
{
	uint64_t end = clock_mono_ns() + 30 * NS_PER_SEC;
	while (leases_mode(leases) != mode) {
		assert_true(clock_mono_ns() < end);
		loop_run_once(loop, false);
		usleep(200);
	}
}

static void until_called(const struct waiting *w)
{
	uint64_t end = clock_mono_ns() + 10 * NS_PER_SEC;
	while (w->calls == 0) {
		assert_true(clock_mono_ns() < end);
		loop_run_once(loop, true);
	}
	assert_int_equal(w->calls, 1);
}

static void on_answer(void *arg, enum err err, const struct redis_reply *r)
{
	(void)arg;
	answered = true;
	answer[0] = '\0';
	if (err == ERR_OK && r->type == REDIS_INTEGER)
		snprintf(answer, sizeof(answer), "%lld", (long long)r->integer);
	else if (err == ERR_OK)
		snprintf(answer, sizeof(answer), "%.*s", SV_ARG(r->str));
}

static const char *ask_words(int count, const char *const *words)
{
	answered = false;
	redis_command(redis, count, words, NULL, 10000, on_answer, NULL);
	while (!answered)
		loop_run_once(loop, true);
	return answer;
}

static const char *ask(const char *a, const char *b)
{
	const char *words[] = { a, b };
	return ask_words(b != NULL ? 2 : 1, words);
}

/* What Redis counts of this host. */
static const char *month_of(uint64_t user_id, const struct user_limits *u)
{
	char key[64];
	const char *words[] = { "ZSCORE", key, HOST_TEXT };
	snprintf(key, sizeof(key), "gw:m:{%llu}:%u", (unsigned long long)user_id, (unsigned)u->period.id);
	return ask_words(3, words);
}

static struct user_limits limits_of(uint64_t minute, uint64_t burst, uint64_t month)
{
	const struct policy_user user = { .per_minute = minute, .burst = burst, .month_requests = month };
	const struct limits_defaults defaults = { 0 };
	struct user_limits u;
	user_limits_make(&user, &defaults, clock_real_s(), &u);
	return u;
}

static struct limit_slot *new_slot(void)
{
	struct limit_slot *slot = limits_slot(memory, ++next_user, NULL);
	assert_non_null(slot);
	return slot;
}

static enum limits_result take(struct limit_slot *slot, const struct user_limits *u)
{
	struct limits_take t = { .mode = leases_mode(leases),
		                 .hosts = leases_hosts(leases),
		                 .now_ns = clock_mono_ns(),
		                 .now = clock_real_s() };
	return limits_take(memory, slot, u, &t);
}

/* One request, which waits when it must; false when it is refused. */
static bool request(struct limit_slot *slot, const struct user_limits *u)
{
	struct waiting w = { .waiter = { .cb = on_called } };
	until_mode(LIMITS_SHARED);
	enum limits_result r = take(slot, u);
	if (r == LIMITS_ASK && leases_wait(leases, slot, u, &w.waiter)) {
		until_called(&w);
		r = take(slot, u);
	}
	return r == LIMITS_TAKEN;
}

static int setup(void **state)
{
	char error[256];
	const char *addr = getenv("LEASES_REDIS");
	(void)state;
	if (addr == NULL)
		return -1;
	alarm(240);
	memory = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
	              0);
	loop = loop_new();
	const struct redis_config rc = { .addr = addr };
	/* On a machine that is busy with other tests a few milliseconds are missed by chance. */
	const struct leases_config lc = {
		.addr = addr, .memory = memory, .host_id = HOST, .counters = counters, .deadline_ms = 60
	};
	if (memory == MAP_FAILED || loop == NULL || redis_new(loop, &rc, &redis, error, sizeof(error)) != ERR_OK ||
	    leases_new(loop, &lc, &leases, error, sizeof(error)) != ERR_OK)
		return -1;
	hosts = hosts_new(loop, redis, &memory->cluster, "one");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hosts_stop(hosts);
	redis_free(redis);
	hosts_free(hosts);
	leases_free(leases);
	size_t active = loop_active(loop);
	loop_free(loop);
	return active == 0 ? 0 : -1;
}

static void test_cut_off_until_redis_and_its_clock_are_known(void **state)
{
	(void)state;
	assert_int_equal(leases_mode(leases), LIMITS_CUT_OFF);
	assert_int_equal(leases_hosts(leases), 1);
	until_mode(LIMITS_SHARED);
	int64_t wrong = (int64_t)(clock_ns(CLOCK_REALTIME) / 1000) - (int64_t)(clock_mono_ns() / 1000) -
	                memory->cluster.clock_offset_us;
	assert_in_range(wrong + 10000, 0, 20000);
}

static void test_a_lease_is_spent_and_the_rest_goes_back(void **state)
{
	struct limit_slot *slot = new_slot();
	struct user_limits u = limits_of(60000, 1000, 100000);
	char key[64];
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(request(slot, &u));
	assert_string_equal(month_of(next_user, &u), "100");
	assert_int_equal(lease_tokens(slot->lease[0]) + lease_tokens(slot->lease[1]), 97);
	turn_for(LEASE_MS + 100);
	assert_string_equal(month_of(next_user, &u), "3");
	assert_int_equal(lease_tokens(slot->lease[0]) + lease_tokens(slot->lease[1]), 0);
	assert_true(counters[LEASES_RETURNED] > 0);
	snprintf(key, sizeof(key), "gw:l:{%llu}", (unsigned long long)next_user);
	assert_string_equal(ask("ZCARD", key), "1");
	assert_true(strtoll(ask("PTTL", key), NULL, 10) > 0);
	assert_string_equal(ask("ZCARD", "gw:hosts"), "1");
}

static void test_all_waiters_of_many_users_are_called_once(void **state)
{
	static struct waiting w[WAITERS];
	struct user_limits u = limits_of(600, 10, 0);
	unsigned waiting = 0, called = 0;
	(void)state;
	memset(w, 0, sizeof(w));
	until_mode(LIMITS_SHARED);
	for (int i = 0; i < WAITERS; i++) {
		struct limit_slot *slot = i % 4 == 0 ? new_slot() : limits_find(memory, next_user);
		w[i].waiter.cb = on_called;
		waiting += leases_wait(leases, slot, &u, &w[i].waiter);
	}
	assert_true(waiting > 0);
	turn_for(200);
	for (int i = 0; i < WAITERS; i++) {
		assert_in_range(w[i].calls, 0, 1);
		called += w[i].calls;
	}
	assert_int_equal(called, waiting);
}

static void test_a_cancelled_waiter_is_not_called(void **state)
{
	struct waiting w = { .waiter = { .cb = on_called } };
	struct user_limits u = limits_of(600, 10, 0);
	(void)state;
	until_mode(LIMITS_SHARED);
	assert_true(leases_wait(leases, new_slot(), &u, &w.waiter));
	leases_cancel(leases, &w.waiter);
	leases_cancel(leases, &w.waiter);
	turn_for(100);
	assert_int_equal(w.calls, 0);
}

static void test_a_flush_refills_nothing(void **state)
{
	struct limit_slot *slot = new_slot();
	struct user_limits u = limits_of(10, 5, 100);
	(void)state;
	for (int i = 0; i < 5; i++)
		assert_true(request(slot, &u));
	assert_false(request(slot, &u));
	assert_string_equal(ask("FLUSHALL", NULL), "OK");
	slot->denied = 0;
	assert_false(request(slot, &u));
	turn_for(20);
	assert_string_equal(month_of(next_user, &u), "5");
}

static void test_nobody_waits_for_a_frozen_redis(void **state)
{
	pid_t pid = (pid_t)strtol(getenv("LEASES_REDIS_PID"), NULL, 10);
	struct waiting w = { .waiter = { .cb = on_called } }, other = { .waiter = { .cb = on_called } };
	struct limit_slot *slot = new_slot();
	struct user_limits u = limits_of(600, 10, 0);
	(void)state;
	until_mode(LIMITS_SHARED);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	uint64_t began = clock_mono_ns();
	assert_true(leases_wait(leases, slot, &u, &w.waiter));
	until_called(&w);
	/* 60 ms are its deadline here; the frozen server would have taken for ever. */
	assert_in_range((w.at_ns - began) / NS_PER_MS, 0, 2000);
	assert_int_equal(leases_mode(leases), LIMITS_CUT_OFF);
	assert_false(leases_wait(leases, slot, &u, &other.waiter));
	assert_int_equal(take(slot, &u), LIMITS_TAKEN);
	assert_int_not_equal(slot->cut_minute, 0);
	turn_for(300);
	assert_int_equal(leases_mode(leases), LIMITS_CUT_OFF);
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_true(request(slot, &u));
	assert_int_equal(slot->cut_minute, 0);
	assert_int_equal(w.calls + other.calls, 1);
}

static void test_two_hosts_and_a_jump_of_the_clock(void **state)
{
	static struct limits_cluster second;
	char error[256];
	struct redis *own;
	const struct redis_config rc = { .addr = getenv("LEASES_REDIS") };
	(void)state;
	assert_int_equal(redis_new(loop, &rc, &own, error, sizeof(error)), ERR_OK);
	/* As if a keeper before this one had measured a clock a minute earlier. */
	second.clock_offset_us = memory->cluster.clock_offset_us - 60000000;
	second.clock_ns = clock_mono_ns();
	struct hosts *h = hosts_new(loop, own, &second, "two");
	uint64_t began = clock_mono_ns();
	while (second.clock_ns != 0 && clock_mono_ns() - began < 20 * NS_PER_SEC)
		turn_for(5);
	assert_int_equal(second.clock_ns, 0);
	uint64_t noticed = clock_mono_ns();
	while ((second.clock_ns == 0 || second.hosts != 2 || leases_hosts(leases) != 2) &&
	       clock_mono_ns() - began < 60 * NS_PER_SEC)
		turn_for(5);
	assert_in_range(clock_mono_ns() - noticed, HOSTS_SETTLE_MS * NS_PER_MS / 2, 60 * NS_PER_SEC);
	assert_int_equal(second.hosts, 2);
	assert_int_equal(leases_hosts(leases), 2);
	assert_in_range(second.clock_offset_us - memory->cluster.clock_offset_us + 20000, 0, 40000);
	hosts_stop(h);
	redis_free(own);
	hosts_free(h);
	turn_for(100);
	assert_string_equal(ask("ZCARD", "gw:hosts"), "1");
}

/* This host was cut off and is back; the other one, which was cut off too, is not yet. */
static void test_hosts_begin_together(void **state)
{
	static struct limits_cluster second;
	char error[256];
	struct redis *own;
	const struct redis_config rc = { .addr = getenv("LEASES_REDIS") };
	pid_t pid = (pid_t)strtol(getenv("LEASES_REDIS_PID"), NULL, 10);
	struct waiting w = { .waiter = { .cb = on_called } };
	struct user_limits u = limits_of(600, 10, 0);
	(void)state;
	assert_int_equal(redis_new(loop, &rc, &own, error, sizeof(error)), ERR_OK);
	struct hosts *h = hosts_new(loop, own, &second, "two");
	while (leases_hosts(leases) != 2 || second.hosts != 2)
		turn_for(5);
	until_mode(LIMITS_SHARED);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_true(leases_wait(leases, new_slot(), &u, &w.waiter));
	turn_for(LEASES_CUT_MS + 200);
	assert_int_equal(kill(pid, SIGCONT), 0);
	uint64_t until = clock_mono_ns() + NS_PER_SEC;
	while (clock_mono_ns() < until) {
		second.cut_off_ns = clock_mono_ns();
		turn_for(5);
		assert_int_equal(leases_mode(leases), LIMITS_CUT_OFF);
	}
	while (leases_mode(leases) != LIMITS_SHARED || limits_apart(&second, clock_mono_ns()))
		turn_for(1);
	/* Long before one that does not return would be given up. */
	assert_in_range((clock_mono_ns() - until) / NS_PER_MS, 0, LIMITS_TOGETHER_MS / 2);
	hosts_stop(h);
	redis_free(own);
	hosts_free(h);
}

static void test_redis_is_killed(void **state)
{
	struct limit_slot *slot = new_slot();
	struct user_limits u = limits_of(60000, 1000, 0);
	(void)state;
	assert_true(request(slot, &u));
	assert_int_equal(kill((pid_t)strtol(getenv("LEASES_REDIS_PID"), NULL, 10), SIGKILL), 0);
	until_mode(LIMITS_CUT_OFF);
	/* What is left of the lease is spent first. */
	assert_int_equal(take(slot, &u), LIMITS_TAKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_off_until_redis_and_its_clock_are_known),
		cmocka_unit_test(test_a_lease_is_spent_and_the_rest_goes_back),
		cmocka_unit_test(test_all_waiters_of_many_users_are_called_once),
		cmocka_unit_test(test_a_cancelled_waiter_is_not_called),
		cmocka_unit_test(test_a_flush_refills_nothing),
		cmocka_unit_test(test_nobody_waits_for_a_frozen_redis),
		cmocka_unit_test(test_two_hosts_and_a_jump_of_the_clock),
		cmocka_unit_test(test_hosts_begin_together),
		cmocka_unit_test(test_redis_is_killed),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
