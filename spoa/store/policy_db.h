/*
 * policy.mdb: users, keys and what was counted, for the verdict, in one LMDB file (LMDB 0.9, single file, no
 * sub-folder).
 *
 * One process writes (the keeper), any number read, without locks: what a look-up returns points into the mapped file,
 * or into the reader's memory of what it found before, and stays valid until the view is renewed or another record of
 * the same table is looked up. A change is one transaction; readers see all of it or nothing. Each process opens the
 * file for itself, after its fork. The file must lie on a local disk.
 *
 * Inside: `meta` (layout, generation), `users` (user id → struct policy_user with its lists), `keys` (key id → struct
 * policy_key with its signing key), `usage` (user id → struct policy_usage); ids are 64 bit integers in host order. A
 * file of another layout is emptied by the writer when it opens it, and not readable.
 *
 * `usage` is no copy of PostgreSQL's rows: loads and generations leave it alone, and the records of users who are gone
 * stay.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "policy/record.h"

struct policy_db;

/* A UUID as text, with its NUL. */
#define POLICY_STAMP_MAX 37

enum policy_table { POLICY_USERS = 0, POLICY_KEYS, POLICY_USAGE, POLICY_TABLES };

/*
 * Opens <dir>/policy.mdb. The writer creates what is missing, and empties a file that is damaged or of another layout
 * (its content is a copy of PostgreSQL's); a reader gets ERR_NOT_FOUND until a writer made the file. On an error
 * `error` (256 bytes) says why.
 */
MUST_CHECK enum err policy_db_open(const char *dir, bool writer, struct policy_db **out, char *error);
void policy_db_close(struct policy_db *db);

/* Whether the file at the path is another one than that which is open (removed, or made anew by a writer). */
bool policy_db_replaced(const struct policy_db *db);

/* Removes the files of <dir>, for a writer that found them damaged; whoever has them open goes on with the old content.
 */
void policy_db_discard(const char *dir);

/* ---- reading ---- */

/*
 * Renews the view: later look-ups see the newest commit. Look-ups before it are no longer valid. To be called once a
 * turn of the loop, for a view that is never renewed makes the file grow. ERR_UNAVAILABLE: no complete load was ever
 * committed. ERR_VERSION: the layout is another one.
 */
MUST_CHECK enum err policy_db_renew(struct policy_db *db);

/* Gives the view up until the next renewal, so that an idle reader keeps no old pages alive. */
void policy_db_release(struct policy_db *db);

/*
 * NULL when there is none, its layout is another, or it has not the bytes that it says (policy_user_whole(),
 * policy_key_whole()). Only between policy_db_renew() and policy_db_release().
 */
const struct policy_user *policy_db_user(struct policy_db *db, uint64_t id);
const struct policy_key *policy_db_key(struct policy_db *db, uint64_t id);
const struct policy_usage *policy_db_usage(struct policy_db *db, uint64_t id);
/* The first usage record of a user behind *id, who is put there; NULL behind the last one. */
const struct policy_usage *policy_db_next_usage(struct policy_db *db, uint64_t *id);

/* Of the view: what the file says of itself. */
struct policy_db_info {
	char stamp[POLICY_STAMP_MAX]; /* of that generation; "" before the first complete load */
	uint64_t generation;          /* of the last complete load or change that was applied */
	uint64_t users;               /* records */
	uint64_t keys;
};
MUST_CHECK enum err policy_db_info(struct policy_db *db, struct policy_db_info *out);

/* ---- writing: one transaction at a time ---- */

/*
 * ERR_BAD_STATE when a transaction is under way: that of a full load lasts for seconds and many turns of the loop, so
 * whoever writes something else (usage) tries again later.
 */
MUST_CHECK enum err policy_db_begin(struct policy_db *db);
MUST_CHECK enum err policy_db_put(struct policy_db *db, enum policy_table table, uint64_t id, const void *record,
                                  size_t size);
/* Deleting what is not there is no error. */
MUST_CHECK enum err policy_db_delete(struct policy_db *db, enum policy_table table, uint64_t id);
/* Marks the content as complete, and of that generation with that stamp (a UUID as text). */
MUST_CHECK enum err policy_db_set_generation(struct policy_db *db, uint64_t generation, const char *stamp);
/* Without policy_db_set_generation() the generation stays as it is. */
MUST_CHECK enum err policy_db_commit(struct policy_db *db);
void policy_db_abort(struct policy_db *db);

/*
 * A merge of a whole table (users or keys) inside a transaction: start, then every record in ascending order of ids,
 * then finish. Records that are the same already are not written again, those that are not named are deleted.
 */
MUST_CHECK enum err policy_db_merge_start(struct policy_db *db, enum policy_table table);
MUST_CHECK enum err policy_db_merge(struct policy_db *db, uint64_t id, const void *record, size_t size);
MUST_CHECK enum err policy_db_merge_finish(struct policy_db *db);

/* Frees the slots of readers that were killed; the writer calls it every few seconds. Returns how many. */
int policy_db_sweep_readers(struct policy_db *db);
