/*
 * The limits of users: what they are for one request, where their state lies, and spending from them.
 *
 * The state is shared by the agent's processes (store/shm.h): one slot for each user who ever asked, 64-bit atomics
 * alone, no locks. It survives each of the processes, so that a killed worker refills nothing. A request is admitted by
 * all limits or by none, and what one refuses costs nothing in the others.
 *
 * Three modes (docs/decisions/0005):
 *   ALONE    no Redis is configured: the buckets of the slot are the limits.
 *   SHARED   the hosts share the limits through Redis: tokens come in leases (policy/lease.h), which hold for all of a
 *            user's limits at once and are spent from memory.
 *   CUT_OFF  Redis does not answer: leases are spent, then each host has its share, limit / hosts, from memory.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/gcra.h"
#include "policy/period.h"
#include "policy/record.h"
#include "policy/verdict.h"

/* Users with state at a time, since the agent started. Memory is used only for those that are there. */
#define LIMITS_USERS_MAX  (UINT32_C(1) << 20)
#define LIMITS_INDEX_BITS 21
#define LIMITS_INDEX      (UINT32_C(1) << LIMITS_INDEX_BITS)

/* Several hosts come back to Redis together: each tries again so often, and one that does not is waited for so long. */
#define LIMITS_RECONNECT_MS 300
#define LIMITS_TOGETHER_MS  5000

/* One user's state: three cache lines. All zero: nothing was spent yet. */
struct limit_slot {
	_Alignas(64) _Atomic uint64_t user_id;
	_Atomic uint64_t minute;       /* TAT (gcra.h; monotonic clock): of this host (ALONE), or as Redis said last */
	_Atomic uint64_t hour;         /* likewise */
	_Atomic uint64_t requests;     /* quota.h: of the month, all hosts as far as known */
	_Atomic uint64_t bytes;        /* quota.h: likewise, bandwidth */
	_Atomic uint64_t admitted;     /* quota.h: requests admitted here, of which PostgreSQL has `flushed` */
	_Atomic uint64_t stored;       /* quota.h: requests that PostgreSQL had when it told last; the keeper's */
	_Atomic uint64_t stored_bytes; /* quota.h: likewise; the keeper's */
	_Atomic uint64_t lease[2];     /* policy/lease.h */
	_Atomic uint64_t denied;       /* policy/lease.h: a refusal that holds for a while */
	_Atomic uint64_t
	        cut_minute; /* TAT of this host's share while CUT_OFF, until Redis was told; 0: none was spent */
	_Atomic uint64_t cut_hour;
	_Atomic uint64_t owed; /* quota.h: admitted while CUT_OFF and not yet told to Redis */
	/* Marks on `admitted`: PostgreSQL has those up to `flushed`, and those up to `flushing` are on their way. The
	 * keeper's; each step is one store, so that one who is killed leaves nothing half done. */
	_Atomic uint64_t flushing;
	_Atomic uint64_t flushed;
	_Atomic uint64_t restored; /* quota.h: of `admitted`, what an agent before this one has admitted */
	_Atomic uint64_t others;   /* quota.h: what the other hosts had when Redis did not know this one (any more) */
};
_Static_assert(sizeof(struct limit_slot) == 192, "a slot is three cache lines");

/* What the hosts know of each other; written by the keeper, read by the verdict workers. */
struct limits_cluster {
	_Alignas(64) _Atomic uint64_t hosts; /* that announce themselves, this one included; 0 counts as 1 */
	_Atomic int64_t clock_offset_us;     /* Redis's TIME less this host's monotonic clock */
	_Atomic uint64_t clock_ns;           /* monotonic; when the offset was last confirmed; 0: it must not be used */
	/* Monotonic: when a verdict worker was last cut off from Redis, for longer than a hiccup; and the last such
	 * moment since which all hosts are known to be back. While the first is later, this host keeps to its share. */
	_Atomic uint64_t cut_off_ns;
	_Atomic uint64_t together_ns;
};

/*
 * Whether this host was cut off and must not share again yet: hosts that come back one after the other would have all
 * that Redis gives, beside the shares that the others still spend.
 */
bool limits_apart(const struct limits_cluster *c, uint64_t now_ns);

/* In the shared memory. */
struct limits_memory {
	struct limits_cluster cluster;
	_Alignas(64) _Atomic uint64_t flush_number;    /* of the addition under way, or the last one; the keeper's */
	_Atomic uint64_t used;                         /* slots */
	_Atomic uint64_t dirty[LIMITS_USERS_MAX / 64]; /* slots that admitted something, one bit each */
	_Atomic uint32_t index[LIMITS_INDEX];          /* open addressing; number of the slot + 1 */
	struct limit_slot slots[LIMITS_USERS_MAX];
};

/* The values of the settings, for users without one of their own. 0: no limit. */
struct limits_defaults {
	uint64_t per_minute;
	uint64_t per_hour;
	uint64_t month_requests;
	uint64_t month_bytes;
};

/* The limits of one user for a request at one moment. */
struct user_limits {
	uint64_t per_minute; /* 0: no limit; so for all */
	uint64_t burst;      /* of the minute's bucket, at least 1 */
	uint64_t per_hour;
	uint64_t month_requests;
	uint64_t month_bytes;
	uint8_t flags; /* the USER_SHADOW_ ones */
	uint8_t tag;   /* changes with the limits: leases and refusals of other limits do not count */
	struct gcra minute;
	struct gcra hour;
	struct period period;
};

void user_limits_make(const struct policy_user *user, const struct limits_defaults *defaults, int64_t now,
                      struct user_limits *out);

/*
 * The slot of a user, made when there is none; NULL when all LIMITS_USERS_MAX are taken. A new one begins with what was
 * stored of the month (NULL: nothing), before anybody else sees it.
 */
struct limit_slot *limits_slot(struct limits_memory *m, uint64_t user_id, const struct policy_usage *stored);
/* The slot of a user who has one, or NULL. */
struct limit_slot *limits_find(struct limits_memory *m, uint64_t user_id);
/*
 * For who will look for a user's slot soon, and has other things to do before: loads first what leads to it, and then
 * the slot, from memory into the processor's caches.
 */
void limits_prefetch_index(const struct limits_memory *m, uint64_t user_id);
void limits_prefetch_slot(const struct limits_memory *m, uint64_t user_id);
/* Notes that the slot has admitted something. */
void limits_mark_dirty(struct limits_memory *m, const struct limit_slot *slot);
uint32_t limits_slot_number(const struct limits_memory *m, const struct limit_slot *slot);

enum limits_mode { LIMITS_ALONE = 0, LIMITS_SHARED, LIMITS_CUT_OFF };

enum limits_result {
	LIMITS_TAKEN = 0,
	LIMITS_REFUSED, /* code and wait_ns are set */
	LIMITS_ASK,     /* SHARED: no lease, and no refusal that holds: ask Redis, then try again */
};

struct limits_take {
	/* In. */
	enum limits_mode mode;
	unsigned hosts;
	uint64_t now_ns; /* monotonic */
	int64_t now;     /* seconds since 1970 UTC */
	/* Out. */
	enum verdict_code code; /* VERDICT_RATE_LIMITED, VERDICT_QUOTA_REQUESTS, VERDICT_QUOTA_BANDWIDTH; else ALLOW */
	uint64_t wait_ns;       /* until one request would pass */
	bool want_more;         /* the lease is half spent: ask for the next one now */
	uint8_t shadow;         /* USER_SHADOW_ of the limits that would have refused */
};

/* Takes one request from all limits, or from none. */
enum limits_result limits_take(struct limits_memory *m, struct limit_slot *slot, const struct user_limits *u,
                               struct limits_take *t);

/* Whether the user has this limit (a USER_SHADOW_ bit names it) and it refuses: neither absent nor in shadow. */
static inline bool user_limits_enforced(const struct user_limits *u, uint8_t limit)
{
	const uint64_t value = limit == USER_SHADOW_MINUTE     ? u->per_minute
	                       : limit == USER_SHADOW_HOUR     ? u->per_hour
	                       : limit == USER_SHADOW_REQUESTS ? u->month_requests
	                                                       : u->month_bytes;
	return value != 0 && (u->flags & limit) == 0;
}

/* Whether one of them is shared among hosts: bandwidth is not, nor what is in shadow. */
static inline bool user_limits_shared(const struct user_limits *u)
{
	return user_limits_enforced(u, USER_SHADOW_MINUTE) || user_limits_enforced(u, USER_SHADOW_HOUR) ||
	       user_limits_enforced(u, USER_SHADOW_REQUESTS);
}

/* What is left, for the headers of an answer. For a limit that there is not, all is 0. */
struct limit_view {
	uint64_t quota;   /* capacity of an hour and a month, requests a minute */
	uint64_t left;    /* requests, bytes for the bandwidth */
	uint64_t reset_s; /* until it is full again; when nothing is left: until one more passes */
};
struct limits_view {
	struct limit_view minute;
	struct limit_view hour;
	struct limit_view requests;
	struct limit_view bytes;
};
/* t is that of the request: its mode, hosts and times. */
void limits_look(const struct limit_slot *slot, const struct user_limits *u, const struct limits_take *t,
                 struct limits_view *out);
