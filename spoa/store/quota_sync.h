/*
 * Keeps the months' counters of this host (policy/limits.h) and those of PostgreSQL (quotas.current_*) together. For
 * the keeper.
 *
 * Several times a second it adds what was admitted here to PostgreSQL, and learns what all hosts have. Additions are
 * numbered: one whose answer was lost is sent again and adds nothing twice, also by the keeper that replaces one that
 * was killed. Every second it looks for rows that others have changed. What it knows it writes to policy.mdb (table
 * usage), from which an agent goes on that starts without PostgreSQL. The bandwidth it only learns: the shipper
 * (store/usage_ship.h) adds it, and store/usage_charges.h knows what waits here.
 *
 * Whose month passes 80 and 100 % of a quota is logged and counted, once a month and user over all hosts: the row in
 * PostgreSQL remembers.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "io/loop.h"
#include "io/pg.h"
#include "policy/limits.h"
#include "store/policy_db.h"

#define QUOTA_SYNC_MS    200
#define QUOTA_REFRESH_MS 1000

struct quota_sync;

struct quota_sync_config {
	struct pg *pg;
	struct policy_db *db; /* open for writing */
	struct limits_memory *memory;
	struct usage_charges *charges;   /* what waits of the bandwidth; NULL: usage is not recorded here */
	struct limits_defaults defaults; /* quotas of users without one of their own */
	const char *host;                /* this agent's name among all: at most 64 characters; copied */
	/* Counters for requests and bandwidth, each at 80 and at 100 %. */
	_Atomic uint64_t *warnings[2][2];
};

struct quota_sync *quota_sync_new(struct loop *loop, const struct quota_sync_config *config);
/* After pg_free(). NULL is allowed. */
void quota_sync_free(struct quota_sync *q);

/* The connection to PostgreSQL is there, or gone. */
void quota_sync_up(struct quota_sync *q);
void quota_sync_down(struct quota_sync *q);

/*
 * Adds what is left, for the end of the program; calls done(arg) once when PostgreSQL has it, or cannot have it now
 * (then policy.mdb has it). No verdict is given any more.
 */
void quota_sync_finish(struct quota_sync *q, void (*done)(void *arg), void *arg);
