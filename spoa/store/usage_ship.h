/*
 * The shipper: moves usage records from the spool to PostgreSQL, each exactly once. For the keeper.
 *
 * One transaction moves a batch: it locks this agent's row of usage_positions and compares it with where the batch
 * begins (a keeper that was killed may have a transaction that commits later), copies the records into a temporary
 * table, inserts them into request_logs (on conflict: nothing), adds those that were inserted to the roll-ups, to
 * quotas.current_bandwidth_* and api_keys.last_used_at, in the order of their keys, and writes where the batch ends. A
 * crash anywhere neither loses nor repeats a record.
 *
 * While PostgreSQL works on a batch the next one is read and made, so that it waits for nothing but what comes.
 *
 * A batch that PostgreSQL refuses for what is in it is halved until the bad record stands alone and is refused once
 * more; that one goes to the file `quarantine.usage` in the spool's folder (store/usage_quarantine.h) and is counted,
 * as does a text that is no record. Refusals that are not of the records (no disk, no rights, a missing table) are
 * tried again with a back-off, and told once a while. An address of a client that PostgreSQL does not know as one
 * becomes NULL.
 *
 * Between batches the partitions of request_logs are looked after (store/usage_partitions.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"
#include "io/pg.h"
#include "store/usage_charges.h"
#include "usage/spool.h"

struct usage_ship;

enum usage_ship_event {
	USAGE_SHIP_TAKEN = 0, /* the commit is about to be sent: PostgreSQL may have them from now on, or not */
	USAGE_SHIP_DONE,      /* PostgreSQL has them, or they are in quarantine */
	USAGE_SHIP_BACK,      /* PostgreSQL does not have them: they are still to be shipped */
	USAGE_SHIP_WAITING,   /* of the spool, after on_position: they are still to be shipped */
};

struct usage_ship_config {
	struct pg *pg; /* a connection of its own */
	struct usage_spool *spool;
	const char *dir;         /* the spool's folder; copied */
	unsigned retention_days; /* 0: partitions are never dropped */
	/*
	 * What PostgreSQL says of how far it is: after each connection, before the first batch. All before it is
	 * shipped, all behind it is not, whatever was told of batches before. What lies behind it in the spool at this
	 * moment is told next, as WAITING, in pieces, between which the loop runs: it may be hours of records.
	 */
	void (*on_position)(void *arg, struct usage_position position);
	/* Of each batch, when all that waits was told: TAKEN, and then DONE or BACK with the same charges, or
	 * on_position alone when the connection is lost. */
	void (*on_batch)(void *arg, enum usage_ship_event event, const struct usage_charge *charges, size_t n);
	void *arg;
};

struct usage_ship_status {
	uint64_t shipped;    /* records since the start of this process, duplicates included */
	uint64_t duplicates; /* of these, those that PostgreSQL had already */
	uint64_t quarantined;
	int64_t oldest_ms; /* start of the oldest record that is not shipped; 0: all are */
	struct usage_position position;
};

struct usage_ship *usage_ship_new(struct loop *loop, const struct usage_ship_config *config);
/* After pg_free(). NULL is allowed. */
void usage_ship_free(struct usage_ship *s);

/* The connection to PostgreSQL is there, or gone. */
void usage_ship_up(struct usage_ship *s);
void usage_ship_down(struct usage_ship *s);

/* There is something new in the spool. Cheap: call it after each append. Batches begin within 100 ms, at once when much
 * waits. */
void usage_ship_kick(struct usage_ship *s);

void usage_ship_status(const struct usage_ship *s, struct usage_ship_status *out);

/* For the end of the program: ships what is there, for at most `most_ms`; calls done(arg) once. */
void usage_ship_finish(struct usage_ship *s, unsigned most_ms, void (*done)(void *arg), void *arg);
