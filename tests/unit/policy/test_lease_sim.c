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
#include "unit.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "policy/lease.h"
#include "policy/limits.h"
#include "policy/quota.h"

#define HOSTS_MAX   8
#define ASKS_MAX    512 /* of all hosts, under way or held */
#define EVENTS_MAX  16384
#define NOW_S       1800000000
#define DEADLINE_US 3000
#define PROBE_US    50000
#define NO_ASK      UINT32_MAX

struct weather {
	unsigned late;          /* of 1000 replies, those that take up to 400 ms */
	unsigned lost_reply;    /* of 1000 asks, those that are carried out, but whose reply does not come */
	unsigned lost_ask;      /* of 1000 asks, those that never arrive */
	int64_t flush_us;       /* Redis loses its data every so often; 0: never */
	int64_t stall_us;       /* Redis answers nothing for a second, every so often; 0: never */
	int64_t clock_error_us; /* hosts' idea of Redis's clock is wrong by up to this */
	int64_t poison_us;      /* host 0's clock is 60 s ahead for 100 ms, at this time; 0: never */
};

struct scenario {
	unsigned hosts;
	bool skewed; /* 90 % of the load on the first host, the rest on the others */
	uint64_t per_minute, burst, per_hour, month;
	unsigned offered_tenths; /* of the rate */
	int64_t length_us;
	struct weather weather;
};

enum event_type {
	EVENT_REQUEST = 0,
	EVENT_ARRIVE,
	EVENT_REPLY,
	EVENT_DEADLINE,
	EVENT_GIVE_BACK,
	EVENT_BACK_ARRIVES,
	EVENT_PROBE
};

struct event {
	int64_t at;
	uint64_t order; /* of those at the same time */
	enum event_type type;
	unsigned host;
	uint32_t ask;
	uint32_t serial; /* of the ask: an event of one before it is void */
	struct lease_result result;
};

struct ask {
	bool used, sent, overdue, held;
	uint32_t serial, next;
	unsigned host;
	unsigned waiting;
	uint32_t granted;
	struct lease_ask ask;
	struct lease_reply reply;
};

struct host {
	struct limit_slot *slot;
	int64_t monotonic_us; /* of this host less the simulation's time */
	int64_t offset_us;    /* as it believes, Redis's clock less its monotonic one */
	bool open;            /* the breaker */
	int64_t open_at;
};

struct redis_model {
	bool minute_there, hour_there, month_there;
	int64_t minute, hour, month;
};

__extension__ typedef __int128 wide;

/* The most that was admitted in any span beyond rate * t, in 1/60,000,000 requests. */
struct span {
	uint64_t count;
	wide lowest, worst;
};

static struct sim {
	const struct scenario *s;
	uint64_t seed;
	int64_t now, began;
	uint64_t order;
	struct user_limits limits;
	struct host hosts[HOSTS_MAX];
	struct redis_model redis;
	struct ask asks[ASKS_MAX];
	uint32_t free_ask;
	struct event events[EVENTS_MAX];
	size_t count;
	struct span all, leased;
	uint64_t offered, asked, transactions, cut_off;
	int64_t cut_off_us;        /* of all hosts */
	uint64_t ideal_tat, ideal; /* one exact bucket for the same requests */
} sim;

#define UNIT INT64_C(60000000)

static struct limits_memory *memory;
static uint64_t next_user = 1;

static uint64_t random_u64(void)
{
	sim.seed += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = sim.seed;
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int64_t random_up_to(int64_t n)
{
	return (int64_t)(random_u64() % (uint64_t)(n + 1));
}

/* ---- events: a heap ---- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct event e)
{
	size_t i = sim.count++;
	assert_true(i < EVENTS_MAX);
	e.order = sim.order++;
	for (; i > 0 && before(&e, &sim.events[(i - 1) / 2]); i = (i - 1) / 2)
		sim.events[i] = sim.events[(i - 1) / 2];
	sim.events[i] = e;
}

static struct event pop(void)
{
	struct event top = sim.events[0], last = sim.events[--sim.count];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= sim.count)
			break;
		if (child + 1 < sim.count && before(&sim.events[child + 1], &sim.events[child]))
			child++;
		if (!before(&sim.events[child], &last))
			break;
		sim.events[i] = sim.events[child];
		i = child;
	}
	sim.events[i] = last;
	return top;
}

/* ---- Redis ---- */

static void zadd(bool *there, int64_t *score, int64_t value, bool greater)
{
	if (!*there || (greater ? value > *score : value < *score))
		*score = value;
	*there = true;
}

static void redis_ask(struct ask *a)
{
	struct redis_model *r = &sim.redis;
	const struct lease_ask *k = &a->ask;
	sim.transactions++;
	if (k->minute) {
		zadd(&r->minute_there, &r->minute, k->minute_floor_us, true);
		zadd(&r->minute_there, &r->minute, k->minute_cap_us, false);
		r->minute += k->minute_cost_us;
		a->reply.minute_us = r->minute;
	}
	if (k->hour) {
		zadd(&r->hour_there, &r->hour, k->hour_floor_us, true);
		zadd(&r->hour_there, &r->hour, k->hour_cap_us, false);
		r->hour += k->hour_cost_us;
		a->reply.hour_us = r->hour;
	}
	if (k->month) {
		if (!r->month_there)
			r->month = (int64_t)k->month_base;
		r->month_there = true;
		r->month += (int64_t)k->month_cost;
		a->reply.month = (uint64_t)r->month;
	}
}

static void redis_back(const struct lease_result *result)
{
	struct redis_model *r = &sim.redis;
	sim.transactions++;
	if (r->minute_there)
		r->minute -= result->minute_back_us;
	if (r->hour_there)
		r->hour -= result->hour_back_us;
	if (result->month_back > 0) {
		if (!r->month_there)
			r->month = (int64_t)result->month_base;
		r->month_there = true;
		r->month -= (int64_t)result->month_back;
	}
}

static bool stalled(int64_t at)
{
	int64_t every = sim.s->weather.stall_us;
	return every != 0 && (at - sim.began) % every > every - 1000000;
}

/* When what is sent now is carried out. */
static int64_t arrival(int64_t at)
{
	at += 50 + random_up_to(150);
	if (stalled(at))
		at += sim.s->weather.stall_us - (at - sim.began) % sim.s->weather.stall_us;
	return at;
}

/* ---- hosts ---- */

static uint64_t host_ns(const struct host *h)
{
	return (uint64_t)(sim.now + h->monotonic_us) * 1000;
}

static void give_back(unsigned host, const struct lease_result *result)
{
	if (result->minute_back_us > 0 || result->hour_back_us > 0 || result->month_back > 0)
		push((struct event){
		        .at = arrival(sim.now), .type = EVENT_BACK_ARRIVES, .host = host, .result = *result });
}

static uint32_t start_ask(unsigned host, uint32_t wanted)
{
	struct host *h = &sim.hosts[host];
	uint32_t i = sim.free_ask;
	struct ask *a = &sim.asks[i];
	const struct weather *w = &sim.s->weather;
	assert_int_not_equal(i, NO_ASK);
	sim.free_ask = a->next;
	*a = (struct ask){ .used = true, .sent = true, .serial = a->serial + 1, .host = host, .waiting = wanted };
	lease_ask_make(h->slot, &sim.limits, sim.s->hosts, wanted, host_ns(h), NOW_S, h->offset_us, &a->ask);
	sim.asked++;
	struct event e = { .type = EVENT_ARRIVE, .host = host, .ask = i, .serial = a->serial };
	e.at = arrival(sim.now);
	if (random_u64() % 1000 < w->lost_ask) {
		e.type = EVENT_REPLY; /* with nothing in it */
		e.at = sim.now + 20000;
	}
	push(e);
	push((struct event){
	        .at = sim.now + DEADLINE_US, .type = EVENT_DEADLINE, .host = host, .ask = i, .serial = a->serial });
	return i;
}

static void free_ask(struct ask *a)
{
	a->used = false;
	a->next = sim.free_ask;
	sim.free_ask = (uint32_t)(a - sim.asks);
}

/* One that a request may wait for, or any when there are as many as there may be. */
static struct ask *under_way(unsigned host)
{
	struct ask *last = NULL;
	unsigned count = 0;
	for (size_t i = 0; i < ASKS_MAX; i++) {
		struct ask *a = &sim.asks[i];
		if (!a->used || !a->sent || a->overdue || a->host != host)
			continue;
		if (a->waiting < a->ask.tokens)
			return a;
		last = a;
		count++;
	}
	return count >= LEASE_ASKS_MAX ? last : NULL;
}

static void admit(struct span *span)
{
	wide x = (wide)span->count * UNIT - (wide)sim.s->per_minute * (wide)(sim.now - sim.began);
	if (span->count == 0 || x < span->lowest)
		span->lowest = x;
	if (x - span->lowest + UNIT > span->worst)
		span->worst = x - span->lowest + UNIT;
	span->count++;
}

/* False: the request waits. */
static bool decide(unsigned host, bool finally)
{
	struct host *h = &sim.hosts[host];
	struct limits_take t = { .mode = h->open ? LIMITS_CUT_OFF : LIMITS_SHARED,
		                 .hosts = sim.s->hosts,
		                 .now_ns = host_ns(h),
		                 .now = NOW_S };
	uint64_t tokens = lease_tokens(h->slot->lease[0]) + lease_tokens(h->slot->lease[1]);
	enum limits_result r = limits_take(memory, h->slot, &sim.limits, &t);
	bool leased = lease_tokens(h->slot->lease[0]) + lease_tokens(h->slot->lease[1]) < tokens;
	if (r == LIMITS_ASK && !finally) {
		struct ask *a = under_way(host);
		if (a != NULL)
			a->waiting++;
		else
			start_ask(host, 1);
		return false;
	}
	if (r == LIMITS_ASK) {
		t.mode = LIMITS_CUT_OFF;
		r = limits_take(memory, h->slot, &sim.limits, &t);
	}
	if (r == LIMITS_TAKEN) {
		admit(&sim.all);
		if (leased)
			admit(&sim.leased);
		else
			sim.cut_off++;
		if (t.want_more && !h->open && lease_wanted(h->slot, &sim.limits, sim.s->hosts, host_ns(h)) &&
		    under_way(host) == NULL)
			start_ask(host, 0);
	}
	return true;
}

/* Those for whom a reply had nothing may ask again; a deadline is final. */
static void tell_waiters(struct ask *a, bool finally)
{
	for (; a->waiting > 0; a->waiting--)
		decide(a->host, finally);
}

static void open_breaker(struct host *h, unsigned host)
{
	if (h->open)
		return;
	h->open = true;
	h->open_at = sim.now;
	push((struct event){ .at = sim.now + PROBE_US, .type = EVENT_PROBE, .host = host });
}

static void close_breaker(struct host *h)
{
	h->open = false;
	sim.cut_off_us += sim.now - h->open_at;
}

static void on_reply(struct ask *a, bool there)
{
	struct host *h = &sim.hosts[a->host];
	struct lease_result result = { 0 };
	if (there) {
		lease_settle(h->slot, &a->ask, &a->reply, host_ns(h), &result);
		give_back(a->host, &result);
	} else {
		lease_undo(h->slot, &a->ask);
		open_breaker(h, a->host);
	}
	a->granted = result.tokens;
	a->sent = false;
	tell_waiters(a, !there);
	if (result.tokens == 0) {
		free_ask(a);
		return;
	}
	a->held = true;
	push((struct event){ .at = sim.now - (int64_t)(host_ns(h) - a->ask.now_ns) / 1000 + LEASE_GIVE_MS * 1000 +
	                           random_up_to(1000),
	                     .type = EVENT_GIVE_BACK,
	                     .host = a->host,
	                     .ask = (uint32_t)(a - sim.asks),
	                     .serial = a->serial });
}

static void on_arrive(const struct event *e)
{
	struct ask *a = &sim.asks[e->ask];
	const struct weather *w = &sim.s->weather;
	struct event reply = *e;
	redis_ask(a);
	reply.type = EVENT_REPLY;
	reply.at = sim.now + 50 + random_up_to(150);
	if (random_u64() % 1000 < w->late)
		reply.at += random_up_to(400000);
	if (random_u64() % 1000 < w->lost_reply) {
		a->reply = (struct lease_reply){ .minute_us = -1, .hour_us = -1, .month = UINT64_MAX };
		reply.at = sim.now + 20000;
	}
	push(reply);
}

static void on_give_back(struct ask *a)
{
	struct host *h = &sim.hosts[a->host];
	struct lease_result result;
	uint32_t tokens = lease_take_back(h->slot, lease_end_of(&a->ask));
	if (tokens > a->granted)
		tokens = a->granted;
	if (tokens > 0) {
		lease_back(h->slot, &a->ask, a->granted, tokens, host_ns(h), &result);
		give_back(a->host, &result);
	}
	free_ask(a);
}

static unsigned pick_host(void)
{
	const struct scenario *s = sim.s;
	if (!s->skewed || s->hosts == 1)
		return (unsigned)(random_u64() % s->hosts);
	return random_u64() % 10 != 0 ? 0 : 1 + (unsigned)(random_u64() % (s->hosts - 1));
}

static bool take_ideal(void)
{
	_Atomic uint64_t tat = sim.ideal_tat;
	bool taken = gcra_take(&tat, gcra_now((uint64_t)sim.now * 1000), sim.limits.minute, 1);
	sim.ideal_tat = tat;
	return taken;
}

static void on_event(const struct event *e)
{
	struct ask *a = &sim.asks[e->ask];
	bool current = a->used && a->serial == e->serial;
	switch (e->type) {
	case EVENT_REQUEST:
		sim.offered++;
		sim.ideal += take_ideal();
		decide(e->host, false);
		break;
	case EVENT_ARRIVE:
		on_arrive(e);
		break;
	case EVENT_REPLY:
		on_reply(a, a->reply.month != UINT64_MAX &&
		                    (a->reply.minute_us > 0 || a->reply.hour_us > 0 || a->reply.month > 0));
		break;
	case EVENT_DEADLINE:
		if (!current || !a->sent)
			break;
		a->overdue = true;
		open_breaker(&sim.hosts[e->host], e->host);
		tell_waiters(a, true);
		break;
	case EVENT_GIVE_BACK:
		on_give_back(a);
		break;
	case EVENT_BACK_ARRIVES:
		redis_back(&e->result);
		break;
	case EVENT_PROBE:
		if (stalled(sim.now))
			push((struct event){ .at = sim.now + PROBE_US, .type = EVENT_PROBE, .host = e->host });
		else
			close_breaker(&sim.hosts[e->host]);
		break;
	}
}

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
		uint64_t owed = 0;
		run(&s, 1 + i, false);
		assert_int_equal(sim.all.count, 3000);
		assert_int_equal(sim.redis.month, 3000);
		s.weather.late = 50;
		run(&s, 1 + i, false);
		for (unsigned h = 0; h < s.hosts; h++)
			owed += quota_count(sim.hosts[h].slot->owed);
		assert_in_range(sim.leased.count, 0, 3000);
		assert_int_equal((uint64_t)sim.redis.month + owed, sim.all.count);
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
	lease_ask_make(h->slot, &sim.limits, 1, 20, host_ns(h), NOW_S, h->offset_us, &ask);
	assert_int_equal(ask.tokens, 20);
	struct lease_reply reply = { .minute_us = ask.now_us + ask.minute_cost_us, .month = 400 + ask.month_cost };
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
	lease_ask_make(h->slot, &sim.limits, 1, 2, host_ns(h), NOW_S, h->offset_us, &ask);
	struct lease_reply reply = { .minute_us = ask.now_us + ask.minute_cost_us, .month = 7 + ask.month_cost };
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
	lease_ask_make(h->slot, &sim.limits, 1, 10, ns, NOW_S, h->offset_us, &ask);
	for (int i = 0; i < 20; i++)
		assert_int_equal(limits_take(memory, h->slot, &sim.limits, &t), LIMITS_TAKEN);
	/* The reply comes after all of them. */
	struct lease_reply reply = { .minute_us = ask.now_us + ask.minute_cost_us };
	lease_settle(h->slot, &ask, &reply, ns, &result);
	assert_int_equal(result.tokens, 10);
	assert_int_equal(lease_take_back(h->slot, lease_end_of(&ask)), 10);
	lease_back(h->slot, &ask, 10, 10, later, &result);
	assert_int_equal(result.minute_back_us, 1000000);
	lease_ask_make(h->slot, &sim.limits, 1, 1, later, NOW_S, h->offset_us, &next);
	assert_in_range(next.minute_debt_us, 1800000, 2000000);
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
