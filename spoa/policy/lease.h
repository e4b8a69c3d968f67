/*
 * Leases: how hosts share the limits of a user through Redis, as arithmetic. Pure; store/leases.c talks to Redis.
 *
 * Redis holds for each user the TATs (gcra.h) of minute and hour as scores of a sorted set, in whole microseconds of
 * its own clock (Unix time), and the month's requests as an integer. A host takes n requests at once from all three in
 * one transaction:
 *
 *     MULTI
 *     ZADD k GT now minute     (the bucket was full: it is full now, and not fuller)
 *     ZADD k LT now+burst+L minute     (heals what a wrong clock has left)
 *     ZINCRBY k n*interval minute      → the new TAT
 *     … the same for the hour …
 *     PEXPIRE k ttl
 *     SET q base NX EX ttl    INCRBY q n      → the new count
 *     EXEC
 *
 * and reads from the replies how many of the n each limit covers. The least of them is the grant; what was taken
 * beyond it is given back with ZINCRBY and INCRBY. The grant is spent from memory within L = LEASE_MS of the asking;
 * what is left is given back just before L, never later. So all hosts together admit at most burst + rate * (t + L) in
 * any span t.
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
	uint64_t month_base; /* the SET NX: what this host knows of */
	uint64_t month_cost; /* the INCRBY; tokens and what is owed */
	uint32_t period;
	int64_t ttl_ms;      /* of the sorted set */
	int64_t month_ttl_s; /* of the integer: some days beyond the month */
	int64_t now_us;      /* Redis's clock at the asking */
	uint64_t now_ns;     /* the monotonic clock then */
	struct user_limits limits;
	/* What the ask tells of a time without Redis, to be put back when it fails. */
	uint64_t cut_minute, cut_hour, owed;
	int64_t minute_debt_us, hour_debt_us; /* of cut_*, in the costs */
};

/*
 * Fills *out for the slot. `wanted` requests wait for it; the ask is for as many, or more. now_ns is monotonic;
 * offset_us is Redis's clock less the monotonic one; now is real time in seconds. Moves what the slot owes (cut_minute,
 * cut_hour, owed) into the ask.
 */
void lease_ask_make(struct limit_slot *slot, const struct user_limits *u, unsigned hosts, uint32_t wanted,
                    uint64_t now_ns, int64_t now, int64_t offset_us, struct lease_ask *out);

/* When the lease of an ask ends (monotonic, ms). */
static inline uint64_t lease_end_of(const struct lease_ask *ask)
{
	return ask->now_ns / UINT64_C(1000000) + LEASE_MS;
}

/* The scores and the count that came back; of limits that were asked for. */
struct lease_reply {
	int64_t minute_us;
	int64_t hour_us;
	uint64_t month;
};

/* What follows from a reply; give-backs are positive. */
struct lease_result {
	uint32_t tokens; /* granted */
	int64_t minute_back_us, hour_back_us;
	uint64_t month_back;
	uint64_t month_base; /* the SET NX that goes before the give-back */
};

/*
 * Takes a reply over into the slot: the TATs and the count as they are known now, the lease, and after a partial grant
 * the refusal with its end. now_ns: when the reply came; later than LEASE_GIVE_MS after the asking nothing is granted
 * and all goes back.
 */
void lease_settle(struct limit_slot *slot, const struct lease_ask *ask, const struct lease_reply *reply,
                  uint64_t now_ns, struct lease_result *out);

/*
 * An ask that was not carried out, or of which that is not known: what it took over from the slot goes back there. So a
 * debt may be told twice, but none is forgotten.
 */
void lease_undo(struct limit_slot *slot, const struct lease_ask *ask);

/* Takes what is left of the lease that ends at end_ms out of the slot, to give it back to Redis; 0: nothing is left. */
uint32_t lease_take_back(struct limit_slot *slot, uint64_t end_ms);

/*
 * What goes back for `tokens` of a lease that lease_take_back() has just returned; `granted`: what it began with. Later
 * than L after the asking that is what the month has, and nothing of the rates.
 */
void lease_back(struct limit_slot *slot, const struct lease_ask *ask, uint32_t granted, uint32_t tokens,
                uint64_t now_ns, struct lease_result *out);
