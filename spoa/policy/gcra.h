/*
 * Token buckets as one number: GCRA, the generic cell rate algorithm (ITU-T I.371, annex A: virtual scheduling).
 *
 * A bucket is its theoretical arrival time (TAT): the moment at which it will be full again. Each token moves it by the
 * interval W/N (N tokens in a window of W); a request passes as long as the TAT lies no further ahead of now than
 * the bucket's capacity. A bucket at rest needs no work, and one that was never used is 0, which is full.
 *
 * Times are in units of 1/16 ns of a clock that the caller gives (gcra_now() makes one from nanoseconds), so that the
 * rounding of an interval, always up, stays below 1/1000 at a thousand million a minute, and below 10^-6 at a million.
 * A clock that jumps back costs no token for good: a TAT further ahead than the capacity is taken back to it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GCRA_PER_NS UINT64_C(16)

struct gcra {
	uint64_t interval; /* of one token; 0: no limit */
	uint64_t capacity; /* of the full bucket, in time: tokens * interval */
};

/* The bucket of `rate` tokens in window_s seconds that holds `burst`; a rate of 0 is no limit, a burst of 0 is `rate`.
 * Capacities beyond 417 days of the rate are cut there. */
struct gcra gcra_make(uint64_t rate, uint64_t window_s, uint64_t burst);

/* One of `parts` equal shares of a bucket; each holds at least one token. */
struct gcra gcra_share(struct gcra g, unsigned parts);

static inline uint64_t gcra_now(uint64_t ns)
{
	return ns * GCRA_PER_NS;
}

/* The TAT after n tokens, or 0 when they do not pass. n is at least 1. */
uint64_t gcra_try(uint64_t tat, uint64_t now, struct gcra g, uint64_t n);

/* Takes a TAT that lies beyond the capacity back to it. gcra_take() does so when it refuses. */
void gcra_heal(_Atomic uint64_t *tat, uint64_t now, struct gcra g);

/* Raises a TAT to `least` where it lies before that. */
void gcra_raise(_Atomic uint64_t *tat, uint64_t least);

/* Takes n tokens or none. */
bool gcra_take(_Atomic uint64_t *tat, uint64_t now, struct gcra g, uint64_t n);

/* Gives n tokens back that were taken just now. */
void gcra_give_back(_Atomic uint64_t *tat, struct gcra g, uint64_t n);

/* Whole tokens that could be taken now. */
uint64_t gcra_left(uint64_t tat, uint64_t now, struct gcra g);

/* Time in ns until n tokens would pass; 0: now. UINT64_MAX when the bucket never holds as many. */
uint64_t gcra_wait_ns(uint64_t tat, uint64_t now, struct gcra g, uint64_t n);

/* Time in ns until the bucket is full. */
uint64_t gcra_full_ns(uint64_t tat, uint64_t now, struct gcra g);
