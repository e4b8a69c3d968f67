#include "store/admin_key.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "policy/scope.h"
#include "store/admin_user.h"

/* Of k (a row of api_keys) and u (its user). */
#define KEY_COLUMNS                                                                                                    \
	"k.id, k.user_id, u.username, k.name, array_to_string(k.scopes, ','), "                                        \
	"CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN NOT k.is_active THEN 'inactive' "                      \
	"WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' END, k.is_active, " ADMIN_UTC(                        \
	        "k.created_at") ", " ADMIN_UTC("k.last_used_at") ", " ADMIN_UTC("k.expires_at") ", " ADMIN_UTC("k."    \
	                                                                                                       "revok" \
	                                                                                                       "ed_"   \
	                                                                                                       "at")

void admin_keys_free(struct admin_keys *list)
{
	free(list->items);
	pg_result_free(list->rows);
	memset(list, 0, sizeof(*list));
}

/* Runs a statement that gives KEY_COLUMNS. */
static enum err keys_query(struct pg_sync *db, const char *sql, int nparams, const char *const *params,
                           struct admin_keys *out, char *error)
{
	memset(out, 0, sizeof(*out));
	enum err err = pg_sync_exec(db, sql, nparams, params, &out->rows);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	out->count = pg_result_rows(out->rows);
	out->items = check_calloc(out->count + 1, sizeof(*out->items));
	for (size_t i = 0; i < out->count && err == ERR_OK; i++) {
		struct admin_key *k = &out->items[i];
		err = pg_result_u64(out->rows, i, 0, &k->id);
		if (err == ERR_OK)
			err = pg_result_u64(out->rows, i, 1, &k->user_id);
		if (err == ERR_OK)
			err = pg_result_bool(out->rows, i, 6, &k->is_active);
		k->username = pg_result_value(out->rows, i, 2).p;
		k->name = pg_result_value(out->rows, i, 3).p;
		k->scopes = pg_result_value(out->rows, i, 4).p;
		k->state = pg_result_value(out->rows, i, 5).p;
		k->created_at = pg_result_value(out->rows, i, 7).p;
		k->last_used_at = pg_result_value(out->rows, i, 8).p;
		k->expires_at = pg_result_value(out->rows, i, 9).p;
		k->revoked_at = pg_result_value(out->rows, i, 10).p;
	}
	if (err != ERR_OK) {
		admin_keys_free(out);
		return admin_fail(error, err, "database: unexpected value in table api_keys");
	}
	return ERR_OK;
}

/* The id goes into the hash, so it is taken from the sequence before the row is written. */
static enum err next_key_id(struct pg_sync *db, uint64_t *id, char *error)
{
	struct pg_result *r = NULL;

	enum err err = pg_sync_exec(db, "SELECT nextval(pg_get_serial_sequence('api_keys', 'id'))", 0, NULL, &r);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = pg_result_rows(r) == 1 ? pg_result_u64(r, 0, 0, id) : ERR_INVALID;
	pg_result_free(r);
	if (err != ERR_OK)
		return admin_fail(error, err, "database: the sequence of api_keys.id gives no id");
	return ERR_OK;
}

static enum err make_key(const char *pepper, uint64_t id, char text[KEY_TEXT_MAX], char hash[KEY_HASH_HEX], char *error)
{
	struct key_hasher *hasher = key_hasher_new(pepper);

	if (hasher == NULL)
		return admin_fail(error, ERR_CRYPTO, "the crypto library gives no HMAC-SHA-256");
	enum err err = key_generate(id, text);
	if (err == ERR_OK)
		err = key_hash_hex(hasher, sv_str(text), hash);
	key_hasher_free(hasher);
	if (err != ERR_OK)
		return admin_fail(error, err, "cannot make a key: %s", err_str(err));
	return ERR_OK;
}

static enum err create_in_transaction(struct pg_sync *db, const char *pepper, const struct admin_key_wish *wish,
                                      char text[KEY_TEXT_MAX], struct admin_keys *out, char *error)
{
	char hash[KEY_HASH_HEX], scopes[SCOPES_TEXT_MAX], id_text[24], user_id[24], lifetime[24];
	struct admin_users user;
	uint64_t id = 0;

	enum err err = admin_user_find(db, wish->user, &user, error);
	if (err != ERR_OK)
		return err;
	snprintf(user_id, sizeof(user_id), "%" PRIu64, user.items[0].id);
	admin_users_free(&user);
	err = next_key_id(db, &id, error);
	if (err == ERR_OK)
		err = make_key(pepper, id, text, hash, error);
	if (err != ERR_OK)
		return err;
	snprintf(id_text, sizeof(id_text), "%" PRIu64, id);
	snprintf(lifetime, sizeof(lifetime), "%" PRIu64, wish->lifetime_s);
	const char *params[] = { id_text,
		                 user_id,
		                 hash,
		                 wish->name,
		                 scopes_format(wish->scopes, scopes, sizeof(scopes)),
		                 wish->lifetime_s != 0 ? lifetime : NULL };
	/* FOR SHARE: a deletion of the user, which revokes the keys that it sees, comes wholly before or after. */
	err = keys_query(db,
	                 "WITH u AS (SELECT id, username FROM users WHERE id = $2 AND deleted_at IS NULL FOR SHARE), "
	                 "k AS (INSERT INTO api_keys (id, user_id, key_hash, name, scopes, expires_at) "
	                 "SELECT $1::bigint, u.id, $3, $4, string_to_array($5, ','), "
	                 "now() + $6::bigint * interval '1 second' FROM u RETURNING *) "
	                 "SELECT " KEY_COLUMNS " FROM k JOIN u ON u.id = k.user_id",
	                 6, params, out, error);
	if (err != ERR_OK)
		return err;
	if (out->count != 1)
		return admin_fail(error, ERR_BAD_STATE, "user \"%s\" was deleted just now", wish->user);
	err = pg_sync_commit(db);
	return err == ERR_OK ? ERR_OK : admin_db_fail(db, err, error);
}

enum err admin_key_create(struct pg_sync *db, const char *pepper, const struct admin_key_wish *wish,
                          char text[KEY_TEXT_MAX], struct admin_keys *out, char *error)
{
	memset(out, 0, sizeof(*out));
	text[0] = '\0';
	enum err err = pg_sync_begin(db);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = create_in_transaction(db, pepper, wish, text, out, error);
	if (err != ERR_OK) {
		explicit_bzero(text, KEY_TEXT_MAX);
		admin_keys_free(out);
		pg_sync_rollback(db);
	}
	return err;
}

enum err admin_key_list(struct pg_sync *db, const char *user, struct admin_keys *out, char *error)
{
	const char *params[] = { NULL };
	struct admin_users found;
	char id[24];

	memset(out, 0, sizeof(*out));
	if (user != NULL) {
		enum err err = admin_user_find(db, user, &found, error);
		if (err != ERR_OK)
			return err;
		snprintf(id, sizeof(id), "%" PRIu64, found.items[0].id);
		admin_users_free(&found);
		params[0] = id;
	}
	return keys_query(db,
	                  "SELECT " KEY_COLUMNS " FROM api_keys k JOIN users u ON u.id = k.user_id "
	                  "WHERE $1::bigint IS NULL OR k.user_id = $1 ORDER BY k.id",
	                  1, params, out, error);
}

enum err admin_key_revoke(struct pg_sync *db, uint64_t id, struct admin_keys *out, char *error)
{
	char text[24];
	const char *params[] = { text };

	memset(out, 0, sizeof(*out));
	if (id > INT64_MAX)
		return admin_fail(error, ERR_NOT_FOUND, "there is no key %" PRIu64, id);
	snprintf(text, sizeof(text), "%" PRIu64, id);
	enum err err = keys_query(db,
	                          "WITH k AS (UPDATE api_keys SET is_active = false, "
	                          "revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING *) "
	                          "SELECT " KEY_COLUMNS " FROM k JOIN users u ON u.id = k.user_id",
	                          1, params, out, error);
	if (err == ERR_OK && out->count == 0) {
		admin_keys_free(out);
		err = admin_fail(error, ERR_NOT_FOUND, "there is no key %" PRIu64, id);
	}
	return err;
}
