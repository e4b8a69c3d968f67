/*
 * Users, as an operator handles them. Every function writes a sentence for a person into `error` (ADMIN_ERROR_MAX
 * bytes) when it fails; ERR_NOT_FOUND: no such user, ERR_BAD_STATE: the user was deleted, ERR_EXISTS and ERR_INVALID:
 * the name or the address, else the codes of io/pg_sync.h.
 *
 * A `user` argument is a name or, when it is all digits, an id. Times are UTC, as 2026-01-31T12:00:00Z.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"

#define ADMIN_ID_MAX 24 /* an id as text, with its NUL */

/* The texts belong to the list that the user is in. */
struct admin_user {
	uint64_t id;
	const char *username;
	const char *email;
	bool is_active;
	const char *created_at;
	const char *updated_at;
	const char *deleted_at; /* NULL: not deleted */
};

struct admin_users {
	struct admin_user *items;
	size_t count;
	struct pg_result *rows;
};

void admin_users_free(struct admin_users *list);

/*
 * How a change of what a user has begins: u is the user of the id $1, whose row it takes FOR SHARE, so that it comes
 * wholly before a deletion or not at all. The row of the policy's generation is locked last, by the trigger.
 */
#define ADMIN_LIVING_USER "WITH u AS (SELECT id, username FROM users WHERE id = $1 AND deleted_at IS NULL FOR SHARE), "

/* On success *out holds the one user concerned (list: all that are not deleted, by id); free it. */
MUST_CHECK enum err admin_user_add(struct pg_sync *db, const char *username, const char *email, struct admin_users *out,
                                   char *error);
MUST_CHECK enum err admin_user_list(struct pg_sync *db, struct admin_users *out, char *error);
/* Of that list at most `limit` users whose ids are above `after`. */
MUST_CHECK enum err admin_user_page(struct pg_sync *db, uint64_t after, uint64_t limit, struct admin_users *out,
                                    char *error);
MUST_CHECK enum err admin_user_find(struct pg_sync *db, const char *user, struct admin_users *out, char *error);
/* The same, for statements: the id as the text of a parameter. */
MUST_CHECK enum err admin_user_id(struct pg_sync *db, const char *user, char id[ADMIN_ID_MAX], char *error);
/* email NULL, active NULL: it stays. */
MUST_CHECK enum err admin_user_set(struct pg_sync *db, const char *user, const char *email, const bool *active,
                                   struct admin_users *out, char *error);

/* Deletes softly and revokes the user's keys, in one transaction. */
MUST_CHECK enum err admin_user_delete(struct pg_sync *db, const char *user, struct admin_users *out,
                                      uint64_t *keys_revoked, char *error);
