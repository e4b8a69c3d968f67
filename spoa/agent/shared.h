/*
 * What the agent's processes share (store/shm.h): a slot for each process with its heartbeat, the counters of the
 * verdict workers, which the keeper shows as metrics (metrics.h), and those that the verdict spends from. Metrics only
 * grow; all of it survives each single process.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "policy/counters.h"
#include "policy/verdict.h"
#include "spop/reason.h"
#include "store/leases.h"

/* To be raised with every change of the structs below. */
#define AGENT_SHARED_LAYOUT 4

#define AGENT_WORKERS_MAX 16 /* verdict workers; the keeper comes behind them */
#define AGENT_SLOTS       64

/* Upper bounds of the buckets of gateway_verdict_seconds, in nanoseconds; the last one is +Inf. */
#define AGENT_BUCKETS 12
extern const uint64_t agent_bucket_ns[AGENT_BUCKETS];

/* Kinds of frames as the counters tell them apart. */
enum agent_frame {
	AGENT_FRAME_HAPROXY_HELLO = 0,
	AGENT_FRAME_HAPROXY_DISCONNECT,
	AGENT_FRAME_NOTIFY,
	AGENT_FRAME_UNKNOWN,
	AGENT_FRAME_AGENT_HELLO,
	AGENT_FRAME_AGENT_DISCONNECT,
	AGENT_FRAME_ACK,
	AGENT_FRAME_COUNT
};

/* What goes wrong beside the reasons of the protocol. */
enum agent_error {
	AGENT_ERROR_MESSAGE = SPOP_REASON_COUNT, /* a NOTIFY without the message that the agent answers */
	AGENT_ERROR_OUT_FULL,                    /* HAProxy does not read its answers */
	AGENT_ERROR_SOCKET,
	AGENT_ERROR_COUNT
};

/* Limits in shadow that would have refused: the order of the USER_SHADOW_ bits. */
enum agent_shadow {
	AGENT_SHADOW_MINUTE = 0,
	AGENT_SHADOW_HOUR,
	AGENT_SHADOW_REQUESTS,
	AGENT_SHADOW_BANDWIDTH,
	AGENT_SHADOW_COUNT
};

/* Times that a user's quota was crossed, by quota and percent. */
enum agent_warning {
	AGENT_WARNING_REQUESTS_80 = 0,
	AGENT_WARNING_REQUESTS_100,
	AGENT_WARNING_BANDWIDTH_80,
	AGENT_WARNING_BANDWIDTH_100,
	AGENT_WARNING_COUNT
};

/* What becomes of usage lines. */
enum agent_usage_result {
	AGENT_USAGE_RECORDED = 0, /* in the spool, or in memory while the disk takes nothing */
	AGENT_USAGE_DUPLICATE,    /* came over the other transport before */
	AGENT_USAGE_NOBODY,       /* of a request without a known user */
	AGENT_USAGE_TOKEN,        /* without the start token */
	AGENT_USAGE_FORM,         /* not a usage line */
	AGENT_USAGE_OVERFLOW,     /* datagrams that the kernel had no room for; the ring brings their records */
	AGENT_USAGE_SHIPPED,      /* records that PostgreSQL has */
	AGENT_USAGE_QUARANTINED,  /* records that it refused */
	AGENT_USAGE_RESULTS
};

/* Records that are gone. */
enum agent_usage_lost {
	AGENT_USAGE_LOST_RING = 0, /* HAProxy's ring was full, and said so */
	AGENT_USAGE_LOST_SPOOL,    /* damage of the spool; at least one for each place */
	AGENT_USAGE_LOST_DISK,     /* the disk did not take them until the keeper ended */
	AGENT_USAGE_LOST_REASONS
};

struct agent_usage {
	_Atomic uint64_t results[AGENT_USAGE_RESULTS];
	_Atomic uint64_t lost[AGENT_USAGE_LOST_REASONS];
};

enum agent_restart {
	AGENT_RESTART_EXITED = 0, /* ended by itself */
	AGENT_RESTART_KILLED,     /* by a signal */
	AGENT_RESTART_FROZEN,     /* no heartbeat; the parent killed it */
	AGENT_RESTART_NOT_READY,  /* ended, or was killed, before it was ready */
	AGENT_RESTART_COUNT
};

struct agent_metrics {
	_Atomic uint64_t verdicts[VERDICT_COUNT];
	_Atomic uint64_t verdict_buckets[AGENT_BUCKETS + 1];
	_Atomic uint64_t verdict_ns; /* sum */
	_Atomic uint64_t frames[AGENT_FRAME_COUNT];
	_Atomic uint64_t errors[AGENT_ERROR_COUNT]; /* enum spop_reason, then enum agent_error */
	_Atomic uint64_t leases[LEASES_RESULT_COUNT];
	_Atomic uint64_t shadow[AGENT_SHADOW_COUNT];
	_Atomic uint64_t warnings[AGENT_WARNING_COUNT];
	_Atomic uint64_t stale; /* requests that had waited longer than HAProxy does, and spent nothing */
	_Atomic uint64_t restarts[AGENT_WORKERS_MAX + 1][AGENT_RESTART_COUNT];
	struct agent_usage usage;
};

/* On a cache line of its own: each is written by one process. The parent clears it when it gives it to a process. */
struct agent_slot {
	_Alignas(64) _Atomic uint64_t beat_ns; /* CLOCK_MONOTONIC of the last heartbeat; 0 before the first */
	_Atomic uint64_t connections;          /* SPOP connections that said hello */
	_Atomic uint64_t ready;                /* a verdict worker that can decide */
};

struct agent_shared {
	struct agent_metrics metrics;
	_Atomic uint64_t workers; /* verdict workers that this agent runs */
	uint64_t host_id;         /* random; tells this agent from others */
	struct agent_slot slots[AGENT_SLOTS];
	struct policy_counters counters;
};

MUST_CHECK enum err agent_shared_make(int *fd, struct agent_shared **out);
MUST_CHECK enum err agent_shared_map(int fd, struct agent_shared **out);
void agent_shared_unmap(struct agent_shared *shared);

static inline void agent_count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Counts one verdict and its time. */
void agent_count_verdict(struct agent_metrics *m, enum verdict_code code, uint64_t ns);
