#include "store/admin_user.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/sv.h"

#define USER_COLUMNS                                                                                            \
	"id, username, email, is_active, " ADMIN_UTC("created_at") ", " ADMIN_UTC("updated_at") ", " ADMIN_UTC( \
	        "deleted_at")

void admin_users_free(struct admin_users *list)
{
	free(list->items);
	pg_result_free(list->rows);
	memset(list, 0, sizeof(*list));
}

/* Runs a statement that gives USER_COLUMNS. */
static enum err users_query(struct pg_sync *db, const char *sql, int nparams, const char *const *params,
                            struct admin_users *out, char *error)
{
	memset(out, 0, sizeof(*out));
	enum err err = pg_sync_exec(db, sql, nparams, params, &out->rows);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	out->count = pg_result_rows(out->rows);
	out->items = check_calloc(out->count + 1, sizeof(*out->items));
	for (size_t i = 0; i < out->count && err == ERR_OK; i++) {
		struct admin_user *u = &out->items[i];
		err = pg_result_u64(out->rows, i, 0, &u->id);
		if (err == ERR_OK)
			err = pg_result_bool(out->rows, i, 3, &u->is_active);
		u->username = pg_result_value(out->rows, i, 1).p;
		u->email = pg_result_value(out->rows, i, 2).p;
		u->created_at = pg_result_value(out->rows, i, 4).p;
		u->updated_at = pg_result_value(out->rows, i, 5).p;
		u->deleted_at = pg_result_value(out->rows, i, 6).p;
	}
	if (err != ERR_OK) {
		admin_users_free(out);
		return admin_fail(error, err, "database: unexpected value in table users");
	}
	return ERR_OK;
}

enum err admin_user_add(struct pg_sync *db, const char *username, const char *email, struct admin_users *out,
                        char *error)
{
	const char *params[] = { username, email };

	return users_query(db, "INSERT INTO users (username, email) VALUES ($1, $2) RETURNING " USER_COLUMNS, 2, params,
	                   out, error);
}

enum err admin_user_list(struct pg_sync *db, struct admin_users *out, char *error)
{
	return users_query(db, "SELECT " USER_COLUMNS " FROM users WHERE deleted_at IS NULL ORDER BY id", 0, NULL, out,
	                   error);
}

enum err admin_user_page(struct pg_sync *db, uint64_t after, uint64_t limit, struct admin_users *out, char *error)
{
	char after_text[ADMIN_ID_MAX], limit_text[ADMIN_ID_MAX];
	const char *params[] = { after_text, limit_text };

	snprintf(after_text, sizeof(after_text), "%" PRIu64, after);
	snprintf(limit_text, sizeof(limit_text), "%" PRIu64, limit);
	return users_query(db,
	                   "SELECT " USER_COLUMNS " FROM users WHERE deleted_at IS NULL AND id > $1 ORDER BY id "
	                   "LIMIT $2",
	                   2, params, out, error);
}

enum err admin_user_find(struct pg_sync *db, const char *user, struct admin_users *out, char *error)
{
	const char *params[] = { user };
	bool is_id = user[0] != '\0' && strspn(user, "0123456789") == strlen(user);
	uint64_t id = 0;

	memset(out, 0, sizeof(*out));
	if (is_id && (sv_to_u64(sv_str(user), &id) != ERR_OK || id > INT64_MAX))
		return admin_fail(error, ERR_NOT_FOUND, "there is no user %s", user);
	/* The newest of that name, and the living one before those that were deleted. */
	const char *sql = is_id ? "SELECT " USER_COLUMNS " FROM users WHERE id = $1"
	                        : "SELECT " USER_COLUMNS " FROM users WHERE username = $1 "
	                          "ORDER BY (deleted_at IS NULL) DESC, id DESC LIMIT 1";

	enum err err = users_query(db, sql, 1, params, out, error);
	if (err != ERR_OK)
		return err;
	if (out->count == 0)
		err = admin_fail(error, ERR_NOT_FOUND, is_id ? "there is no user %s" : "there is no user \"%s\"", user);
	else if (out->items[0].deleted_at != NULL)
		err = admin_fail(error, ERR_BAD_STATE, "user %" PRIu64 " (%s) was deleted at %s", out->items[0].id,
		                 out->items[0].username, out->items[0].deleted_at);
	if (err != ERR_OK)
		admin_users_free(out);
	return err;
}

enum err admin_user_id(struct pg_sync *db, const char *user, char id[ADMIN_ID_MAX], char *error)
{
	struct admin_users found;

	enum err err = admin_user_find(db, user, &found, error);
	if (err != ERR_OK)
		return err;
	CHECK(found.count == 1 && found.items != NULL);
	snprintf(id, ADMIN_ID_MAX, "%" PRIu64, found.items[0].id);
	admin_users_free(&found);
	return ERR_OK;
}

/* Finds the user, then runs a change whose $1 is the id and which gives USER_COLUMNS, but nothing for a deleted one. */
static enum err users_change(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                             struct admin_users *out, char *error)
{
	char id[ADMIN_ID_MAX];

	memset(out, 0, sizeof(*out));
	enum err err = admin_user_id(db, user, id, error);
	if (err != ERR_OK)
		return err;
	params[0] = id;
	err = users_query(db, sql, nparams, params, out, error);
	params[0] = NULL;
	if (err == ERR_OK && out->count != 1) {
		admin_users_free(out);
		err = admin_fail(error, ERR_BAD_STATE, "user \"%s\" was deleted just now", user);
	}
	return err;
}

enum err admin_user_set(struct pg_sync *db, const char *user, const char *email, const bool *active,
                        struct admin_users *out, char *error)
{
	const char *params[] = { NULL, email, active == NULL ? NULL : *active ? "true" : "false" };

	return users_change(
	        db, user,
	        "UPDATE users SET email = coalesce($2, email), is_active = coalesce($3::boolean, is_active) "
	        "WHERE id = $1 AND deleted_at IS NULL "
	        "RETURNING " USER_COLUMNS,
	        3, params, out, error);
}

/*
 * Locks the user's row, then those of the keys. All of it before the first change: from that on the row of the policy's
 * generation is locked, and a revocation that runs beside this has its key's row by then and waits for the
 * generation's.
 */
static enum err lock_user_and_keys(struct pg_sync *db, const char *user, char *error)
{
	char id[ADMIN_ID_MAX];
	const char *params[] = { id };

	enum err err = admin_user_id(db, user, id, error);
	if (err != ERR_OK)
		return err;
	err = pg_sync_exec(db, "SELECT FROM users WHERE id = $1 FOR UPDATE", 1, params, NULL);
	if (err == ERR_OK)
		err = pg_sync_exec(db, "SELECT FROM api_keys WHERE user_id = $1 ORDER BY id FOR UPDATE", 1, params,
		                   NULL);
	return err == ERR_OK ? ERR_OK : admin_db_fail(db, err, error);
}

static enum err delete_in_transaction(struct pg_sync *db, const char *user, struct admin_users *out,
                                      uint64_t *keys_revoked, char *error)
{
	const char *params[] = { NULL };
	struct pg_result *revoked = NULL;
	char id[ADMIN_ID_MAX];

	enum err err = lock_user_and_keys(db, user, error);
	if (err != ERR_OK)
		return err;
	err = users_change(db, user,
	                   "UPDATE users SET deleted_at = now(), is_active = false "
	                   "WHERE id = $1 AND deleted_at IS NULL RETURNING " USER_COLUMNS,
	                   1, params, out, error);
	if (err != ERR_OK)
		return err;
	snprintf(id, sizeof(id), "%" PRIu64, out->items[0].id);
	params[0] = id;
	err = pg_sync_exec(db,
	                   "UPDATE api_keys SET revoked_at = now(), is_active = false "
	                   "WHERE user_id = $1 AND revoked_at IS NULL",
	                   1, params, &revoked);
	if (err == ERR_OK) {
		*keys_revoked = pg_result_affected(revoked);
		pg_result_free(revoked);
		err = pg_sync_commit(db);
	}
	if (err != ERR_OK) {
		admin_users_free(out);
		return admin_db_fail(db, err, error);
	}
	return ERR_OK;
}

enum err admin_user_delete(struct pg_sync *db, const char *user, struct admin_users *out, uint64_t *keys_revoked,
                           char *error)
{
	memset(out, 0, sizeof(*out));
	*keys_revoked = 0;
	enum err err = pg_sync_begin(db);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = delete_in_transaction(db, user, out, keys_revoked, error);
	if (err != ERR_OK)
		pg_sync_rollback(db);
	return err;
}
