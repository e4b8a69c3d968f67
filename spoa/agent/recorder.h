/*
 * The recorder: usage from HAProxy's lines to PostgreSQL, by the intake, the spool and the shipper. For the keeper.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/shared.h"
#include "base/err.h"
#include "base/settings.h"
#include "io/loop.h"
#include "store/usage_charges.h"

struct recorder;

struct recorder_config {
	const struct settings *settings;
	struct agent_usage *metrics;
	struct usage_charges *charges; /* outlives the recorder */
	int tcp_fd;                    /* listens; these stay the caller's */
	int udp_fd;
};

/* Opens the spool in the state folder, and begins. On an error a line was logged. */
MUST_CHECK enum err recorder_new(struct loop *loop, const struct recorder_config *config, struct recorder **out);
/* NULL is allowed. */
void recorder_free(struct recorder *r);

/* For the metrics; what the shipper has counted goes to the shared counters, too. */
struct recorder_status {
	uint64_t spool_bytes;  /* on the disk, and not in PostgreSQL yet */
	uint64_t memory_bytes; /* that the disk did not take */
	double lag_s;          /* since the start of the oldest request that PostgreSQL does not have; 0: it has all */
};
void recorder_status(struct recorder *r, struct recorder_status *out);

/*
 * For the end: takes what the sockets hold, and lets the shipper have up to a second to ship it (none with `hurry`).
 * Calls done(arg) once; what is not shipped by then stays in the spool.
 */
void recorder_finish(struct recorder *r, bool hurry, void (*done)(void *arg), void *arg);
