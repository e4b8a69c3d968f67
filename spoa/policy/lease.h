/*
 * Leases: how hosts share the limits of a user through Redis, as arithmetic. Pure; store/leases.c talks to Redis.
 *
 * Redis holds for each user the TATs (gcra.h) of minute and hour as scores of a sorted set, in whole microseconds of
 * its own clock (Unix time), and the month's requests as another sorted set with a score for each host: what that host
 * has admitted, and what it has out in leases. A host takes n requests at once from all three in one transaction:
 *
 *     MULTI
 *     ZADD k GT now minute     (the bucket was full: it is full now, and not fuller)
 *     ZADD k LT now+burst+L minute     (heals what a wrong clock has left)
 *     ZINCRBY k n*interval minute      → the new TAT
 *     … the same for the hour …
 *     PEXPIRE k ttl
 *     ZADD q GT admitted host    ZINCRBY q n host    ZRANGE q 0 -1 WITHSCORES      → all hosts' counts
 *     EXPIRE q ttl
 *     EXEC
 *
 * and reads from the replies how many of the n each limit covers. The least of them is the grant; what was taken
 * beyond it is given back with ZADD XX INCR. The grant is spent from memory within L = LEASE_MS of the asking;
 * what is left is given back just before L, never later. So all hosts together admit at most burst + rate * (t + L) in
 * any span t.
 *
 * What a host has admitted of a month can so be told any number of times, also by a worker that replaces a killed one,
 * and to a Redis that has lost its data: nothing is counted twice, and nothing is forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy/limits.h"

#define LEASE_MS         200
#define LEASE_GIVE_MS    170 /* after the asking: what is left is given back */
#define LEASE_BACKOFF_MS 50  /* between a partial grant and the next asking; less where the burst is below it */
#define LEASE_TOKENS_MAX 65535
#define LEASE_ASKS_MAX   2 /* for a user, under way at a time, of one process */
#define LEASE_PROCESSES  2 /* of a host that ask at a time */

/* A lease in a word of the slot: tokens, the tag of the limits, and the end (monotonic, ms). 0: none. */
#define LEASE_END_BITS 40
#define LEASE_END_MASK ((UINT64_C(1) << LEASE_END_BITS) - 1)
static inline uint64_t lease_word(uint32_t tokens, uint8_t tag, uint64_t end_ms)
{
	return (uint64_t)tokens << 48 | (uint64_t)tag << LEASE_END_BITS | (end_ms & LEASE_END_MASK);
}
static inline uint32_t lease_tokens(uint64_t word)
{
	return (uint32_t)(word >> 48);
}
static inline uint8_t lease_tag(uint64_t word)
{
	return (uint8_t)(word >> LEASE_END_BITS);
}
static inline uint64_t lease_end_ms(uint64_t word)
{
	return word & LEASE_END_MASK;
}

/* A refusal that holds until end_ms, in slot->denied: the verdict's code, the tag of the limits, the end. 0: none. */
static inline uint64_t lease_denied_word(enum verdict_code code, uint8_t tag, uint64_t end_ms)
{
	return lease_word((uint32_t)code, tag, end_ms);
}

/*
 * How many requests one asking is for: clamp(rate * L / (2 * hosts), 1, burst / hosts) of the minute's rate, else of
 * the hour's; a small part of the month when there is no other limit.
 */
uint32_t lease_size(const struct user_limits *u, unsigned hosts);

/*
 * Whether the next lease is to be fetched ahead: what is in hand is half of one or less, there is a word for it, and
 * Redis has not just refused.
 */
bool lease_wanted(const struct limit_slot *slot, const struct user_limits *u, unsigned hosts, uint64_t now_ns);

/* What is sent for n requests. Limits that there are not, or are in shadow, are 0. */
struct lease_ask {
	uint32_t tokens;
	unsigned hosts;
	bool minute, hour, month;
	int64_t minute_floor_us; /* the GT: now, or later when this host knows of more debt (Redis was flushed) */
	int64_t minute_cap_us;   /* the LT */
	int64_t minute_cost_us;  /* the ZINCRBY; with what this host owes from a time without Redis */
	int64_t hour_floor_us, hour_cap_us, hour_cost_us;
	uint64_t month_admitted; /* the month's GT; its ZINCRBY is for the tokens */
	uint32_t period;
	int64_t ttl_ms;      /* of the buckets */
	int64_t month_ttl_s; /* of the month: some days beyond its end */
	int64_t now_us;      /* Redis's clock at the asking */
	uint64_t now_ns;     /* the monotonic clock then */
	struct user_limits limits;
	/* What the ask tells of a time without Redis. It is owed until the reply says that Redis has it. */
	bool tells;
	uint64_t minute_told, hour_told; /* of slot->cut_minute and cut_hour, in units of gcra.h; in the costs */
	uint64_t owed;                   /* of slot->owed; in month_admitted */
};

/* When and among whom an ask is made. */
struct lease_moment {
	unsigned hosts;
	uint64_t now_ns;   /* monotonic */
	int64_t now;       /* real time, seconds */
	int64_t offset_us; /* Redis's clock less the monotonic one */
};

/*
 * Fills *out for the slot. `wanted` requests wait for it; the ask is for as many, or more. `tells`: the ask tells what
 * the slot owes. Of those under way at a time one does, or Redis would hear it twice; when a debt is told twice
 * nevertheless (a reply is lost, two processes ask at once), the user gets so much less once.
 */
void lease_ask_make(const struct limit_slot *slot, const struct user_limits *u, uint32_t wanted, bool tells,
                    const struct lease_moment *at, struct lease_ask *out);

/* When the lease of an ask ends (monotonic, ms). */
static inline uint64_t lease_end_of(const struct lease_ask *ask)
{
	return ask->now_ns / UINT64_C(1000000) + LEASE_MS;
}

/* The scores that came back; of limits that were asked for. */
struct lease_reply {
	int64_t minute_us;
	int64_t hour_us;
	uint64_t month_own;    /* of this host */
	uint64_t month_others; /* of all others together */
	bool month_new;        /* Redis did not know this host's before */
};

/* What follows from a reply; give-backs are positive. */
struct lease_result {
	uint32_t tokens; /* granted */
	int64_t minute_back_us, hour_back_us;
	uint64_t month_back;
};

/*
 * Takes a reply over into the slot: the TATs and the count as they are known now, what is owed no more, the lease, and
 * after a partial grant the refusal with its end. now_ns: when the reply came; later than LEASE_GIVE_MS after the
 * asking nothing is granted and all goes back. An ask without a reply leaves the slot as it is.
 */
void lease_settle(struct limit_slot *slot, const struct lease_ask *ask, const struct lease_reply *reply,
                  uint64_t now_ns, struct lease_result *out);

/* Takes what is left of the lease that ends at end_ms out of the slot, to give it back to Redis; 0: nothing is left. */
uint32_t lease_take_back(struct limit_slot *slot, uint64_t end_ms);

/*
 * What goes back for `tokens` of a lease that lease_take_back() has just returned; `granted`: what it began with. Later
 * than L after the asking that is what the month has, and nothing of the rates.
 */
void lease_back(struct limit_slot *slot, const struct lease_ask *ask, uint32_t granted, uint32_t tokens,
                uint64_t now_ns, struct lease_result *out);
