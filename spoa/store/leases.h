/*
 * Leases of the users' shared limits, fetched from Redis by one process (policy/lease.h has the arithmetic).
 *
 * For the verdict path: it never blocks and allocates nothing of ours after leases_new(). What is asked for in one turn
 * of the loop leaves in one write. A request waits for Redis at most LEASES_DEADLINE_MS. When one has waited that long,
 * or the connection is down, no further one waits: a probe every LEASES_PROBE_MS finds out when Redis answers in time
 * again. A reply that comes after the deadline is a lease nevertheless, while there is time to spend it; what is left
 * of a lease goes back to Redis LEASE_GIVE_MS after it was asked for.
 *
 * How a verdict uses it:
 *
 *     t.mode = leases_mode(l); t.hosts = leases_hosts(l);
 *     r = limits_take(memory, slot, &u, &t);
 *     if (r == LIMITS_ASK) {
 *         if (leases_wait(l, slot, &u, &waiter))
 *             return;                       (the callback comes; then the same again, but for the next line)
 *         t.mode = LIMITS_CUT_OFF; r = limits_take(…);
 *     }
 *     if (t.want_more)
 *         leases_prefetch(l, slot, &u);
 *
 * In the callback the mode is read anew, and LIMITS_ASK then means LIMITS_CUT_OFF: nobody waits twice.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"
#include "io/loop.h"
#include "policy/limits.h"

#define LEASES_DEADLINE_MS 3
#define LEASES_PROBE_MS    50
#define LEASES_CLOCK_MS    10000 /* a clock offset that the keeper has not confirmed for so long is not used */
#define LEASES_CUT_MS      250   /* without Redis for so long, a host waits for the others when it comes back */

/* For gateway_leases_total{result}. Each ask ends as one of the first five. */
enum leases_result {
	LEASES_GRANTED = 0, /* all that was asked for */
	LEASES_PARTIAL,     /* fewer, but some */
	LEASES_DENIED,      /* none: a limit is used up */
	LEASES_EXPIRED,     /* the reply came too late to be spent; all of it went back */
	LEASES_FAILED,      /* no reply: the connection was lost, or Redis refused */
	LEASES_RETURNED,    /* not spent in time and given back */
	/* No ask, but a request: decided at once from memory, because Redis is down or slow (whoever decides without
	 * leases_wait() counts it), or because too much is in flight. */
	LEASES_BYPASSED,
	LEASES_RESULT_COUNT
};
const char *leases_result_name(enum leases_result result);

struct leases;

struct leases_config {
	const char *addr; /* as in io/redis.h; copied, so are the next four */
	const char *password;
	unsigned db;
	bool tls;
	const char *tls_ca;
	struct limits_memory *memory;
	uint64_t host_id;           /* of this agent: another one after each start (store/lease_wire.h) */
	_Atomic uint64_t *counters; /* LEASES_RESULT_COUNT of them, shared among processes */
	unsigned deadline_ms;       /* 0: LEASES_DEADLINE_MS */
};

/* A request that waits. Lives in the caller's memory until its callback has come or leases_cancel() was called. */
struct lease_waiter {
	void (*cb)(struct lease_waiter *w); /* set by the caller */
	TAILQ_ENTRY(lease_waiter) link;     /* private, as is the rest */
	struct leases_op *op;               /* NULL: it does not wait */
};

/* ERR_INVALID with a text in `error` for an address that cannot be. It connects by itself. */
MUST_CHECK enum err leases_new(struct loop *loop, const struct leases_config *config, struct leases **out, char *error,
                               size_t error_size);

/*
 * Gives back what is left, as far as Redis takes it at once. The callbacks of those that still wait do not come. Not to
 * be called from a callback. NULL is allowed.
 */
void leases_free(struct leases *l);

/* LIMITS_SHARED while Redis answers in time, its clock is known, and no host is waited for (limits_apart()), else
 * LIMITS_CUT_OFF. */
enum limits_mode leases_mode(const struct leases *l);

/* Hosts that share the limits; at least 1. */
unsigned leases_hosts(const struct leases *l);

/*
 * Asks for the next lease, unless one is under way, Redis has just refused, or there is no room for another one. The
 * limits are copied.
 */
void leases_prefetch(struct leases *l, struct limit_slot *slot, const struct user_limits *u);

/*
 * Asks for a lease, or joins an ask that is under way, and calls w->cb(w) once, from the loop: when the ask is settled,
 * has failed, or LEASES_DEADLINE_MS have passed. False, and no callback: the request must be decided at once from
 * memory. The callback may call everything here but leases_free().
 */
bool leases_wait(struct leases *l, struct limit_slot *slot, const struct user_limits *u, struct lease_waiter *w);

/* The callback does not come any more. Does nothing to a waiter that does not wait. */
void leases_cancel(struct leases *l, struct lease_waiter *w);
