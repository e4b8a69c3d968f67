/*
 * The simulator of test_lease_sim.c: events by time, Redis's commands as they touch one user, and hosts that ask, spend
 * and give back. Whoever includes it fills `sim`, and takes it from there.
 */
#pragma once

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
	bool used, sent, overdue, held, lost;
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
	bool minute_there, hour_there, month_there[HOSTS_MAX];
	int64_t minute, hour, month[HOSTS_MAX];
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
		a->reply.month_new = !r->month_there[a->host];
		zadd(&r->month_there[a->host], &r->month[a->host], (int64_t)k->month_admitted, true);
		r->month[a->host] += k->tokens;
		a->reply.month_own = (uint64_t)r->month[a->host];
		a->reply.month_others = 0;
		for (unsigned i = 0; i < HOSTS_MAX; i++)
			if (i != a->host)
				a->reply.month_others += (uint64_t)r->month[i];
	}
}

static void redis_back(unsigned host, const struct lease_result *result)
{
	struct redis_model *r = &sim.redis;
	sim.transactions++;
	if (r->minute_there)
		r->minute -= result->minute_back_us;
	if (r->hour_there)
		r->hour -= result->hour_back_us;
	if (r->month_there[host])
		r->month[host] -= (int64_t)result->month_back;
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

/* Of the asks that are under way one tells what is owed. */
static void make_ask(unsigned host, uint32_t wanted, struct lease_ask *out)
{
	const struct host *h = &sim.hosts[host];
	const struct lease_moment at = {
		.hosts = sim.s->hosts, .now_ns = host_ns(h), .now = NOW_S, .offset_us = h->offset_us
	};
	bool told = false;
	for (size_t i = 0; i < ASKS_MAX; i++)
		told = told ||
		       (sim.asks[i].used && sim.asks[i].sent && sim.asks[i].host == host && sim.asks[i].ask.tells);
	lease_ask_make(h->slot, &sim.limits, wanted, !told, &at, out);
}

static uint32_t start_ask(unsigned host, uint32_t wanted)
{
	uint32_t i = sim.free_ask;
	struct ask *a = &sim.asks[i];
	const struct weather *w = &sim.s->weather;
	assert_int_not_equal(i, NO_ASK);
	sim.free_ask = a->next;
	*a = (struct ask){ .used = true, .sent = true, .serial = a->serial + 1, .host = host, .waiting = wanted };
	make_ask(host, wanted, &a->ask);
	sim.asked++;
	struct event e = { .type = EVENT_ARRIVE, .host = host, .ask = i, .serial = a->serial };
	e.at = arrival(sim.now);
	if (random_u64() % 1000 < w->lost_ask) {
		a->lost = true;
		e.type = EVENT_REPLY;
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
		a->lost = true;
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
		on_reply(a, !a->lost);
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
		redis_back(e->host, &e->result);
		break;
	case EVENT_PROBE:
		if (stalled(sim.now))
			push((struct event){ .at = sim.now + PROBE_US, .type = EVENT_PROBE, .host = e->host });
		else
			close_breaker(&sim.hosts[e->host]);
		break;
	}
}
