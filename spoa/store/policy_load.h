/*
 * A full load: all users and keys of PostgreSQL, read in one REPEATABLE READ transaction in pieces of some thousand
 * rows, and merged into policy.mdb as one change. The loop goes on meanwhile; readers see the old content until the
 * end.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "io/pg.h"
#include "store/policy_db.h"
#include "store/policy_rows.h"

struct policy_load {
	struct pg *pg;
	struct policy_db *db;
	/* Exactly once for each start; err is ERR_OK when all of it is committed. */
	void (*done)(void *arg, enum err err);
	void *arg;
	/* Of the last load, for the owner to read. */
	uint64_t generation;
	uint64_t unusable_keys;
	char stamp[POLICY_STAMP_MAX];
	/* Private. */
	enum policy_table table;
	struct policy_user_row user;
	enum err result;
};

#define POLICY_GENERATION "SELECT generation, stamp FROM policy_generation"
/* Reads the row of POLICY_GENERATION. ERR_INVALID when it is none. */
MUST_CHECK enum err policy_generation_row(const struct pg_result *r, uint64_t *generation,
                                          char stamp[POLICY_STAMP_MAX]);

void policy_load_init(struct policy_load *l, struct pg *pg, struct policy_db *db, void (*done)(void *arg, enum err err),
                      void *arg);
/* Not while one is under way. */
void policy_load_fini(struct policy_load *l);
/* Not while one is under way, and not while the db has a transaction. */
void policy_load_start(struct policy_load *l);
