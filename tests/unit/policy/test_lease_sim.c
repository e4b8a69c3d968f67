/*
 * Hosts that share a user's limits through Redis, simulated: time, network, Redis's commands and the failures are
 * numbers, what decides is the code itself (limits.c and lease.c). What the agent's loop does around them
 * (store/leases.c) is done here in few words.
 *
 * Checked over every span t: all hosts together admit at most burst + rate * (t + L), and what each test allows beyond.
 * Checked from the start over t, once it is some seconds: they admit at least floor(0.98 * min(offered, burst + rate *
 * t))
 * - 1; where the burst is so small that one exact bucket could not do that either, as much of what that one admits. All
 * is seeded.
 */
#include "policy/lease_sim.h"

/* ---- one run ---- */

static void begin(const struct scenario *s, uint64_t seed)
{
	const struct policy_user user = {
		.per_minute = s->per_minute, .burst = s->burst, .per_hour = s->per_hour, .month_requests = s->month
	};
	const struct limits_defaults defaults = { 0 };
	memset(&sim, 0, sizeof(sim));
	sim.s = s;
	sim.seed = seed;
	sim.now = sim.began = 1000000000;
	user_limits_make(&user, &defaults, NOW_S, &sim.limits);
	sim.free_ask = NO_ASK;
	for (size_t i = 0; i < ASKS_MAX; i++)
		free_ask(&sim.asks[i]);
	for (unsigned i = 0; i < s->hosts; i++) {
		struct host *h = &sim.hosts[i];
		h->slot = limits_slot(memory, next_user++, NULL);
		assert_non_null(h->slot);
		h->monotonic_us = random_up_to(INT64_C(1000000000000));
		h->offset_us = NOW_S * INT64_C(1000000) - h->monotonic_us;
		if (s->weather.clock_error_us != 0)
			h->offset_us += random_up_to(2 * s->weather.clock_error_us) - s->weather.clock_error_us;
	}
}

/* What cannot be drawn as an event: it happens between two of them. */
static void disturb(int64_t until)
{
	const struct weather *w = &sim.s->weather;
	if (w->flush_us != 0 && (sim.now - sim.began) / w->flush_us != (until - sim.began) / w->flush_us)
		memset(&sim.redis, 0, sizeof(sim.redis));
	if (w->poison_us != 0) {
		int64_t from = sim.began + w->poison_us, to = from + 100000;
		if (sim.now < from && until >= from)
			sim.hosts[0].offset_us += 60000000;
		if (sim.now < to && until >= to)
			sim.hosts[0].offset_us -= 60000000;
	}
}

/* Whole requests beyond burst + rate * (t + L) in any span t; 0 or less is well. */
static int64_t excess(const struct span *span)
{
	wide most = (wide)sim.s->burst * UNIT + (wide)sim.s->per_minute * LEASE_MS * 1000;
	return span->worst > most ? (int64_t)((span->worst - most + UNIT - 1) / UNIT)
	                          : -(int64_t)((most - span->worst) / UNIT);
}

static void check_upper(const struct span *span, int64_t allowed)
{
	int64_t beyond = excess(span);
	if (beyond > allowed)
		fail_msg("%" PRIu64 "/%" PRIu64 " a minute, %u hosts, offered %u: %" PRId64 " too many in a span",
		         sim.s->per_minute, sim.s->burst, sim.s->hosts, sim.s->offered_tenths, beyond - allowed);
}

static void check_lower(int64_t t_us)
{
	const struct scenario *s = sim.s;
	uint64_t most = s->burst + s->per_minute * (uint64_t)t_us / 60000000;
	uint64_t due = sim.offered < most ? sim.offered : most;
	if (60 * s->burst < s->per_minute || s->burst < 10)
		due = sim.ideal;
	if (sim.all.count + 1 < 98 * due / 100)
		fail_msg("%" PRIu64 "/%" PRIu64 " a minute, %u hosts, offered %u: %" PRIu64 " admitted of %" PRIu64
		         " after %" PRId64 " us",
		         s->per_minute, s->burst, s->hosts, s->offered_tenths, sim.all.count, due, t_us);
}

static void run(const struct scenario *s, uint64_t seed, bool lower)
{
	begin(s, seed);
	int64_t gap = 60000000 * INT64_C(10) / (int64_t)(s->per_minute * s->offered_tenths);
	int64_t next_request = sim.began, end = sim.began + s->length_us, next_check = sim.began + s->length_us * 3 / 4;
	while (sim.count > 0 || next_request < end) {
		struct event e;
		if (next_request < end && (sim.count == 0 || next_request < sim.events[0].at)) {
			e = (struct event){ .at = next_request, .type = EVENT_REQUEST, .host = pick_host() };
			next_request += random_up_to(2 * gap);
		} else {
			e = pop();
		}
		disturb(e.at);
		sim.now = e.at;
		on_event(&e);
		if (sim.now >= next_check && sim.now < end && lower) {
			check_lower(sim.now - sim.began);
			next_check = sim.now + s->length_us / 50;
		}
	}
	if (lower)
		check_lower(s->length_us);
}

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

static const struct {
	uint64_t per_minute, burst;
	int64_t length_us;
} rates[] = { { 10, 1, 300000000 },      { 600, 10, 60000000 },    { 600, 3, 60000000 },
	      { 60000, 1000, 10000000 }, { 60000, 100, 10000000 }, { 60000, 20, 10000000 } };
static const unsigned all_hosts[] = { 1, 3, 8 }, all_offered[] = { 15, 30, 50 };

static void for_all(struct weather weather, void (*check)(const struct scenario *s, uint64_t seed))
{
	for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++)
		for (size_t i = 0; i < 18; i++) {
			const struct scenario s = {
				.hosts = all_hosts[i % 3],
				.offered_tenths = all_offered[i / 3 % 3],
				.skewed = i >= 9,
				.per_minute = rates[r].per_minute,
				.burst = rates[r].burst,
				.length_us = rates[r].length_us,
				.weather = weather,
			};
			check(&s, 1 + i);
		}
}

static int64_t leases(const struct scenario *s)
{
	return (int64_t)(s->hosts * lease_size(&sim.limits, s->hosts));
}

/* LEASE_SIM_TABLE=1 prints what came out. */
static void print_row(const char *what)
{
	const struct scenario *s = sim.s;
	if (getenv("LEASE_SIM_TABLE") == NULL)
		return;
	printf("%-6s %6" PRIu64 "/%-4" PRIu64 " %u hosts %-6s offered %3.1f: of %6" PRIu64 " admitted %5" PRIu64
	       " (one bucket %5" PRIu64 "), cut off %5" PRIu64 ", beyond the bound %4" PRId64 ", leased alone %4" PRId64
	       ", asks %.3f, with give-backs %.3f\n",
	       what, s->per_minute, s->burst, s->hosts, s->skewed ? "90/5/5" : "even", s->offered_tenths / 10.,
	       sim.offered, sim.all.count, sim.ideal, sim.cut_off, excess(&sim.all), excess(&sim.leased),
	       (double)sim.asked / (double)sim.offered, (double)sim.transactions / (double)sim.offered);
	fflush(stdout);
}

static void check_well(const struct scenario *s, uint64_t seed)
{
	run(s, seed, true);
	print_row("well");
	check_upper(&sim.all, 0);
	assert_int_equal(sim.cut_off, 0);
	if (s->per_minute == 60000 && s->burst == 1000)
		assert_true(10 * sim.asked <= sim.offered);
}

static void test_both_bounds_when_redis_is_well(void **state)
{
	(void)state;
	for_all((struct weather){ .clock_error_us = 2000 }, check_well);
}

/*
 * What comes from Redis holds the bound, but for a lease a host. Beside it each host has its share for the time that it
 * is cut off: all shares together a burst, two tokens a host (a share of less than one holds one, anew in each stall),
 * and rate / hosts * time.
 */
static void check_bad(const struct scenario *s, uint64_t seed)
{
	int64_t stalls = s->weather.stall_us != 0 && s->burst < s->hosts ? s->length_us / s->weather.stall_us : 0;
	run(s, seed, false);
	print_row("bad");
	check_upper(&sim.leased, leases(s));
	check_upper(&sim.all, leases(s) + (int64_t)s->burst + (2 + stalls) * s->hosts +
	                              (int64_t)s->per_minute * sim.cut_off_us / s->hosts / 60000000);
}

/* A client that does not stop: whenever a token comes in, all hosts ask for it at once. */
static void test_a_flood_gets_no_more_than_the_limit(void **state)
{
	(void)state;
	static const struct {
		uint64_t per_minute, burst;
		unsigned offered_tenths;
	} floods[] = { { 10, 1, 60000 }, { 10, 10, 60000 }, { 60, 5, 10000 }, { 600, 10, 1000 }, { 600, 3, 1000 } };
	for (size_t f = 0; f < sizeof(floods) / sizeof(floods[0]); f++)
		for (size_t i = 0; i < 3; i++) {
			const struct scenario s = {
				.hosts = all_hosts[i],
				.offered_tenths = floods[f].offered_tenths,
				.per_minute = floods[f].per_minute,
				.burst = floods[f].burst,
				.length_us = 120000000,
			};
			run(&s, 1 + i, true);
			print_row("flood");
			check_upper(&sim.all, 0);
		}
}

static void test_late_and_lost_replies(void **state)
{
	(void)state;
	for_all((struct weather){ .late = 50, .lost_reply = 20, .lost_ask = 20, .clock_error_us = 1000 }, check_bad);
}

static void test_redis_stalls(void **state)
{
	(void)state;
	for_all((struct weather){ .stall_us = 4000000 }, check_bad);
}

/* A flush every 7 s: each may let those requests through that the host which asks first has not heard of. */
static void check_flush(const struct scenario *s, uint64_t seed)
{
	run(s, seed, true);
	print_row("flush");
	check_upper(&sim.all, s->length_us / 7000000 * leases(s));
}

static void test_a_flush_refills_nothing(void **state)
{
	(void)state;
	for_all((struct weather){ .flush_us = 7000000 }, check_flush);
}

/* Host 0 takes Redis's clock for 60 s ahead for a while; a second later all get their share again. */
static void test_others_recover_from_a_wrong_clock(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct scenario s = {
			.hosts = 3, .offered_tenths = 30, .per_minute = 60000, .burst = 1000, .length_us = 10000000
		};
		s.weather.poison_us = 2000000;
		run(&s, seed, false);
		assert_true(sim.all.count > 10000 * 9 / 10);
	}
}

/* What the hosts have told, and what they will tell with their next asks. */
static uint64_t month_in_redis(void)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < sim.s->hosts; i++) {
		uint64_t admitted = quota_count(sim.hosts[i].slot->admitted), told = (uint64_t)sim.redis.month[i];
		sum += told > admitted ? told : admitted;
	}
	return sum;
}

/*
 * Every request of a month is admitted, and not one more. A host that is cut off has its share of what it thinks is
 * left: what it admits so is told later. Nothing is counted twice or forgotten.
 */
static void test_the_month(void **state)
{
	(void)state;
	for (size_t i = 0; i < 18; i++) {
		struct scenario s = {
			.hosts = all_hosts[i % 3],
			.offered_tenths = all_offered[i / 3 % 3],
			.skewed = i >= 9,
			.per_minute = 60000,
			.burst = 1000,
			.month = 3000,
			.length_us = 5000000,
		};
		run(&s, 1 + i, false);
		assert_int_equal(sim.all.count, 3000);
		assert_int_equal(month_in_redis(), 3000);
		s.weather.late = 50;
		run(&s, 1 + i, false);
		assert_in_range(sim.leased.count, 0, 3000);
		assert_int_equal(month_in_redis(), sim.all.count);
		/* Redis loses all, again and again: what the others tell with their next asks is what may pass. */
		s.weather = (struct weather){ .flush_us = 700000 };
		run(&s, 1 + i, false);
		assert_in_range(sim.all.count, 3000 - 7 * leases(&s), 3000 + 7 * leases(&s));
		assert_int_equal(month_in_redis(), sim.all.count);
	}
}

/* Redis came back with an old copy of its data: what PostgreSQL knows to be used up stays used up. */
static void test_a_month_that_redis_counts_too_low(void **state)
{
	(void)state;
	const struct scenario s = { .hosts = 1, .per_minute = 600, .month = 1000 };
	struct lease_ask ask;
	struct lease_result result;
	begin(&s, 1);
	struct host *h = &sim.hosts[0];
	h->slot->stored = quota_word(sim.limits.period.id, 990);
	h->slot->admitted = quota_word(sim.limits.period.id, 5);
	make_ask(0, 20, &ask);
	assert_int_equal(ask.tokens, 20);
	struct lease_reply reply = { .minute_us = ask.now_us + ask.minute_cost_us,
		                     .month_own = 5 + ask.tokens,
		                     .month_others = 395 };
	lease_settle(h->slot, &ask, &reply, host_ns(h), &result);
	assert_int_equal(result.tokens, 5);
	assert_int_equal(result.month_back, 15);
	h->slot->lease[0] = 0;
	h->slot->admitted = quota_word(sim.limits.period.id, 10);
	lease_settle(h->slot, &ask, &reply, host_ns(h), &result);
	assert_int_equal(result.tokens, 0);
	assert_int_equal(lease_tokens(h->slot->denied), VERDICT_QUOTA_REQUESTS);
}

/* The lease of a process that was killed: what is left of it goes back to the month by who comes next. */
static void test_what_a_killed_worker_held_goes_back(void **state)
{
	(void)state;
	const struct scenario s = { .hosts = 1, .per_minute = 600, .month = 1000 };
	struct lease_ask ask;
	struct lease_result result;
	begin(&s, 1);
	struct host *h = &sim.hosts[0];
	uint64_t end_ms = host_ns(h) / NS_PER_MS - 1;
	h->slot->lease[0] = lease_word(7, sim.limits.tag, end_ms);
	make_ask(0, 2, &ask);
	struct lease_reply reply = { .minute_us = ask.now_us + ask.minute_cost_us, .month_own = 7 + ask.tokens };
	lease_settle(h->slot, &ask, &reply, host_ns(h), &result);
	assert_int_equal(result.tokens, 2);
	assert_int_equal(result.minute_back_us, 0);
	assert_int_equal(result.month_back, 7);
	assert_int_equal(lease_take_back(h->slot, end_ms), 0);
	/* Those of other limits, or of another month, are not this key's. */
	h->slot->lease[1] = lease_word(7, (uint8_t)(sim.limits.tag + 1), end_ms);
	lease_settle(h->slot, &ask, &reply, host_ns(h), &result);
	assert_int_equal(result.month_back, 0);
}

/* What was admitted while cut off is a debt of its own: a lease beside it that goes back leaves it as it is. */
static void test_a_debt_beside_a_lease(void **state)
{
	(void)state;
	const struct scenario s = { .hosts = 1, .per_minute = 600, .burst = 100 };
	struct lease_ask ask, next;
	struct lease_result result;
	begin(&s, 1);
	struct host *h = &sim.hosts[0];
	uint64_t ns = host_ns(h), later = ns + LEASE_GIVE_MS * NS_PER_MS;
	struct limits_take t = { .mode = LIMITS_CUT_OFF, .hosts = 1, .now_ns = ns, .now = NOW_S };
	make_ask(0, 10, &ask);
	for (int i = 0; i < 20; i++)
		assert_int_equal(limits_take(memory, h->slot, &sim.limits, &t), LIMITS_TAKEN);
	/* The reply comes after all of them. */
	struct lease_reply reply = { .minute_us = ask.now_us + ask.minute_cost_us };
	lease_settle(h->slot, &ask, &reply, ns, &result);
	assert_int_equal(result.tokens, 10);
	assert_int_equal(lease_take_back(h->slot, lease_end_of(&ask)), 10);
	lease_back(h->slot, &ask, 10, 10, later, &result);
	assert_int_equal(result.minute_back_us, 1000000);
	sim.now += LEASE_GIVE_MS * 1000;
	make_ask(0, 1, &next);
	assert_in_range(next.minute_told / (1000 * GCRA_PER_NS), 1800000, 2000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_bounds_when_redis_is_well),
		cmocka_unit_test(test_a_flood_gets_no_more_than_the_limit),
		cmocka_unit_test(test_late_and_lost_replies),
		cmocka_unit_test(test_redis_stalls),
		cmocka_unit_test(test_a_flush_refills_nothing),
		cmocka_unit_test(test_others_recover_from_a_wrong_clock),
		cmocka_unit_test(test_the_month),
		cmocka_unit_test(test_a_month_that_redis_counts_too_low),
		cmocka_unit_test(test_what_a_killed_worker_held_goes_back),
		cmocka_unit_test(test_a_debt_beside_a_lease),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
