/*
 * Keeps policy.mdb equal to PostgreSQL.
 *
 * On every new connection it listens first and compares generations. When the file has the database's generation with
 * the same stamp, nothing is read; otherwise all users and keys are read in one REPEATABLE READ transaction and merged
 * into the file as one change. Afterwards each notification (migrations/002_policy_notify.sql, 003_limits.sql,
 * 007_tenants.sql) makes it read the rows that it names; those that gather while a query is under way are read
 * together, and more than some ten thousand at a time, or those of an unknown table, with everything. Generations
 * follow each other without a gap: a notification that is missing shows with the next one, or with the comparison that
 * is made every few seconds, and then everything is read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"
#include "io/loop.h"
#include "io/pg.h"
#include "store/policy_db.h"

struct policy_sync;

struct policy_sync_status {
	uint64_t generation;
	uint64_t users;
	uint64_t keys;
	uint64_t unusable_keys; /* with a stored hash of an unknown form, met since the start */
	uint64_t full_loads;    /* since the start */
	uint64_t changed_rows;  /* read after notifications, since the start */
	uint64_t synced_ns;     /* monotonic; when it was last loaded, compared equal, or changed; 0: not yet */
	bool complete;          /* the file holds a complete load, of whatever age */
};

/*
 * `db` is open for writing and, like `pg` and `loop`, outlives the sync. `broken` is called when the file turns out to
 * be damaged, or was removed: it must end the process, for neither heals.
 */
struct policy_sync *policy_sync_new(struct loop *loop, struct pg *pg, struct policy_db *db, void (*broken)(void *arg),
                                    void *arg);
/* After pg_free(), so that no answer is under way. NULL is allowed. */
void policy_sync_free(struct policy_sync *s);

/* To be called from the callbacks of `pg`. */
void policy_sync_up(struct policy_sync *s);
void policy_sync_down(struct policy_sync *s);
void policy_sync_notify(struct policy_sync *s, struct sv channel, struct sv payload);

void policy_sync_status(const struct policy_sync *s, struct policy_sync_status *out);
