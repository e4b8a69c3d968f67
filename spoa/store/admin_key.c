#include "store/admin_key.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "policy/scope.h"
#include "store/admin_key_make.h"
#include "store/admin_user.h"

#define CREATED   ADMIN_UTC("k.created_at")
#define LAST_USED ADMIN_UTC("k.last_used_at")
#define EXPIRES   ADMIN_UTC("k.expires_at")
#define REVOKED   ADMIN_UTC("k.revoked_at")

/* Of k (a row of api_keys) and u (its user). */
#define KEY_COLUMNS                                                                                                   \
	"k.id, k.user_id, u.username, k.name, array_to_string(k.scopes, ','), "                                       \
	"CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN NOT k.is_active THEN 'inactive' "                     \
	"WHEN k.expires_at <= now() THEN 'expired' WHEN k.replaced_by IS NOT NULL THEN 'rotated' ELSE 'active' END, " \
	"coalesce(k.replaced_by, 0), k.is_active, " CREATED ", " LAST_USED ", " EXPIRES ", " REVOKED                  \
	", k.signing IS NOT NULL"

#define KEYS_WHERE "SELECT " KEY_COLUMNS " FROM api_keys k JOIN users u ON u.id = k.user_id WHERE "

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
			err = pg_result_u64(out->rows, i, 6, &k->replaced_by);
		if (err == ERR_OK)
			err = pg_result_bool(out->rows, i, 7, &k->is_active);
		if (err == ERR_OK)
			err = pg_result_bool(out->rows, i, 12, &k->signing);
		k->username = pg_result_value(out->rows, i, 2).p;
		k->name = pg_result_value(out->rows, i, 3).p;
		k->scopes = pg_result_value(out->rows, i, 4).p;
		k->state = pg_result_value(out->rows, i, 5).p;
		k->created_at = pg_result_value(out->rows, i, 8).p;
		k->last_used_at = pg_result_value(out->rows, i, 9).p;
		k->expires_at = pg_result_value(out->rows, i, 10).p;
		k->revoked_at = pg_result_value(out->rows, i, 11).p;
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

static enum err make_text(const char *pepper, uint64_t id, struct admin_key_secrets *secrets,
                          struct admin_key_made *made, char *error)
{
	struct key_hasher *hasher = key_hasher_new(pepper);

	if (hasher == NULL)
		return admin_fail(error, ERR_CRYPTO, "the crypto library gives no HMAC-SHA-256");
	enum err err = key_generate(id, secrets->text);
	if (err == ERR_OK)
		err = key_hash_hex(hasher, sv_str(secrets->text), made->hash);
	key_hasher_free(hasher);
	if (err != ERR_OK)
		return admin_fail(error, err, "cannot make a key: %s", err_str(err));
	return ERR_OK;
}

static enum err make_signing(struct sealer *sealer, uint64_t id, struct admin_key_secrets *secrets,
                             struct admin_key_made *made, char *error)
{
	uint8_t sealed[SEALED_SIZE];
	struct signing_key k;

	if (sealer == NULL)
		return admin_fail(error, ERR_UNSUPPORTED,
		                  "signing keys need the setting auth.master_key (AUTH_MASTER_KEY), which is empty");
	enum err err = signing_key_make(&k);
	if (err == ERR_OK)
		err = sealer_seal(sealer, id, &k, sealed);
	if (err == ERR_OK) {
		hex_encode(k.key, sizeof(k.key), secrets->signing_key);
		hex_encode(k.salt, sizeof(k.salt), secrets->signing_salt);
		memcpy(made->sealed, "\\x", 2);
		hex_encode(sealed, sizeof(sealed), made->sealed + 2);
		made->signing = made->sealed;
	}
	explicit_bzero(&k, sizeof(k));
	return err == ERR_OK ? ERR_OK : admin_fail(error, err, "cannot make a signing key: %s", err_str(err));
}

enum err admin_key_make(const struct admin_key_maker *maker, uint64_t id, bool signing,
                        struct admin_key_secrets *secrets, struct admin_key_made *made, char *error)
{
	made->signing = NULL;
	enum err err = make_text(maker->pepper, id, secrets, made, error);
	if (err == ERR_OK && signing)
		err = make_signing(maker->sealer, id, secrets, made, error);
	return err;
}

static enum err create_in_transaction(struct pg_sync *db, const struct admin_key_maker *maker,
                                      const struct admin_key_wish *wish, struct admin_key_secrets *secrets,
                                      struct admin_keys *out, char *error)
{
	char scopes[SCOPES_TEXT_MAX], id_text[ADMIN_ID_MAX], user_id[ADMIN_ID_MAX], lifetime[24];
	struct admin_key_made made;
	uint64_t id = 0;

	enum err err = admin_user_id(db, wish->user, user_id, error);
	if (err != ERR_OK)
		return err;
	err = next_key_id(db, &id, error);
	if (err == ERR_OK)
		err = admin_key_make(maker, id, wish->signing, secrets, &made, error);
	if (err != ERR_OK)
		return err;
	snprintf(id_text, sizeof(id_text), "%" PRIu64, id);
	snprintf(lifetime, sizeof(lifetime), "%" PRIu64, wish->lifetime_s);
	const char *params[] = { id_text,
		                 user_id,
		                 made.hash,
		                 wish->name,
		                 scopes_format(wish->scopes, scopes, sizeof(scopes)),
		                 wish->lifetime_s != 0 ? lifetime : NULL,
		                 made.signing };
	/* FOR SHARE: a deletion of the user, which revokes the keys that it sees, comes wholly before or after. */
	err = keys_query(db,
	                 "WITH u AS (SELECT id, username FROM users WHERE id = $2 AND deleted_at IS NULL FOR SHARE), "
	                 "k AS (INSERT INTO api_keys (id, user_id, key_hash, name, scopes, expires_at, signing) "
	                 "SELECT $1::bigint, u.id, $3, $4, string_to_array($5, ','), "
	                 "now() + $6::bigint * interval '1 second', $7::bytea FROM u RETURNING *) "
	                 "SELECT " KEY_COLUMNS " FROM k JOIN u ON u.id = k.user_id",
	                 7, params, out, error);
	if (err != ERR_OK)
		return err;
	if (out->count != 1)
		return admin_fail(error, ERR_BAD_STATE, "user \"%s\" was deleted just now", wish->user);
	err = pg_sync_commit(db);
	return err == ERR_OK ? ERR_OK : admin_db_fail(db, err, error);
}

enum err admin_key_create(struct pg_sync *db, const struct admin_key_maker *maker, const struct admin_key_wish *wish,
                          struct admin_key_secrets *secrets, struct admin_keys *out, char *error)
{
	memset(out, 0, sizeof(*out));
	memset(secrets, 0, sizeof(*secrets));
	enum err err = pg_sync_begin(db);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = create_in_transaction(db, maker, wish, secrets, out, error);
	if (err != ERR_OK) {
		explicit_bzero(secrets, sizeof(*secrets));
		admin_keys_free(out);
		pg_sync_rollback(db);
	}
	return err;
}

enum err admin_key_list(struct pg_sync *db, const char *user, struct admin_keys *out, char *error)
{
	const char *params[] = { NULL };
	char id[ADMIN_ID_MAX];

	memset(out, 0, sizeof(*out));
	if (user != NULL) {
		enum err err = admin_user_id(db, user, id, error);
		if (err != ERR_OK)
			return err;
		params[0] = id;
	}
	return keys_query(db, KEYS_WHERE "$1::bigint IS NULL OR k.user_id = $1 ORDER BY k.id", 1, params, out, error);
}

enum err admin_key_find(struct pg_sync *db, const char *user, uint64_t id, struct admin_keys *out, char *error)
{
	char user_id[ADMIN_ID_MAX], key_id[ADMIN_ID_MAX];
	const char *params[] = { key_id, user_id };

	memset(out, 0, sizeof(*out));
	enum err err = admin_user_id(db, user, user_id, error);
	if (err != ERR_OK)
		return err;
	if (id > INT64_MAX)
		return admin_fail(error, ERR_NOT_FOUND, "user %s has no key %" PRIu64, user, id);
	snprintf(key_id, sizeof(key_id), "%" PRIu64, id);
	err = keys_query(db, KEYS_WHERE "k.id = $1 AND k.user_id = $2", 2, params, out, error);
	if (err == ERR_OK && out->count == 0) {
		admin_keys_free(out);
		err = admin_fail(error, ERR_NOT_FOUND, "user %s has no key %" PRIu64, user, id);
	}
	return err;
}

/*
 * Locks the key's user, then the key: the order of admin_user_delete(), and all before the first change. Says why the
 * key cannot be rotated, and whether it has a signing key. A rotation that runs beside this one has set replaced_by
 * when the lock is ours.
 */
static enum err lock_for_rotation(struct pg_sync *db, const char *id, bool *signing, char *error)
{
	char user_id[ADMIN_ID_MAX];
	const char *params[] = { id };
	struct admin_users users;
	struct admin_keys found;

	enum err err = keys_query(db, KEYS_WHERE "k.id = $1", 1, params, &found, error);
	if (err != ERR_OK)
		return err;
	snprintf(user_id, sizeof(user_id), "%" PRIu64, found.count == 1 ? found.items[0].user_id : 0);
	bool there = found.count == 1;
	admin_keys_free(&found);
	if (!there)
		return admin_fail(error, ERR_NOT_FOUND, "there is no key %s", id);
	params[0] = user_id;
	err = pg_sync_exec(db, "SELECT FROM users WHERE id = $1 FOR SHARE", 1, params, NULL);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = admin_user_find(db, user_id, &users, error);
	if (err != ERR_OK)
		return err;
	admin_users_free(&users);
	params[0] = id;
	err = keys_query(db, KEYS_WHERE "k.id = $1 FOR UPDATE OF k", 1, params, &found, error);
	if (err != ERR_OK)
		return err;
	const struct admin_key *k = &found.items[0];
	if (found.count != 1)
		err = admin_fail(error, ERR_NOT_FOUND, "there is no key %s", id);
	else if (k->replaced_by != 0)
		err = admin_fail(error, ERR_BAD_STATE, "key %s was rotated already: key %" PRIu64 " replaced it", id,
		                 k->replaced_by);
	else if (k->revoked_at != NULL)
		err = admin_fail(error, ERR_BAD_STATE, "key %s was revoked at %s", id, k->revoked_at);
	else if (!k->is_active)
		err = admin_fail(error, ERR_BAD_STATE, "key %s is inactive", id);
	else if (strcmp(k->state, "expired") == 0)
		err = admin_fail(error, ERR_BAD_STATE, "key %s expired at %s", id, k->expires_at);
	else
		*signing = k->signing;
	admin_keys_free(&found);
	return err;
}

static enum err rotate_in_transaction(struct pg_sync *db, const struct admin_key_maker *maker, const char *old_id,
                                      uint64_t grace_s, struct admin_key_secrets *secrets, struct admin_keys *out,
                                      char *error)
{
	char new_id[ADMIN_ID_MAX], grace[24];
	struct admin_key_made made;
	bool signing = false;
	const char *ended[] = { old_id, new_id, grace_s != 0 ? grace : NULL };
	uint64_t id = 0;

	enum err err = lock_for_rotation(db, old_id, &signing, error);
	if (err == ERR_OK)
		err = next_key_id(db, &id, error);
	if (err == ERR_OK)
		err = admin_key_make(maker, id, signing, secrets, &made, error);
	if (err != ERR_OK)
		return err;
	snprintf(new_id, sizeof(new_id), "%" PRIu64, id);
	snprintf(grace, sizeof(grace), "%" PRIu64, grace_s);
	const char *params[] = { new_id, made.hash, old_id, made.signing };
	err = pg_sync_exec(db,
	                   "INSERT INTO api_keys (id, user_id, key_hash, name, scopes, expires_at, signing) "
	                   "SELECT $1, user_id, $2, name, scopes, expires_at, $4::bytea FROM api_keys WHERE id = $3",
	                   4, params, NULL);
	/* least() leaves NULL out: a key that would never have ended ends after the grace. */
	if (err == ERR_OK)
		err = pg_sync_exec(db,
		                   "UPDATE api_keys SET replaced_by = $2, is_active = $3::bigint IS NOT NULL, "
		                   "revoked_at = CASE WHEN $3::bigint IS NULL THEN now() END, "
		                   "expires_at = least(expires_at, now() + $3::bigint * interval '1 second') "
		                   "WHERE id = $1",
		                   3, ended, NULL);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = keys_query(db, KEYS_WHERE "k.id IN ($1, $2) ORDER BY k.id = $2 DESC", 2, ended, out, error);
	if (err != ERR_OK)
		return err;
	CHECK(out->count == 2);
	err = pg_sync_commit(db);
	return err == ERR_OK ? ERR_OK : admin_db_fail(db, err, error);
}

enum err admin_key_rotate(struct pg_sync *db, const struct admin_key_maker *maker, uint64_t id, uint64_t grace_s,
                          struct admin_key_secrets *secrets, struct admin_keys *out, char *error)
{
	char id_text[ADMIN_ID_MAX];

	memset(out, 0, sizeof(*out));
	memset(secrets, 0, sizeof(*secrets));
	if (id > INT64_MAX)
		return admin_fail(error, ERR_NOT_FOUND, "there is no key %" PRIu64, id);
	snprintf(id_text, sizeof(id_text), "%" PRIu64, id);
	enum err err = pg_sync_begin(db);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = rotate_in_transaction(db, maker, id_text, grace_s, secrets, out, error);
	if (err != ERR_OK) {
		explicit_bzero(secrets, sizeof(*secrets));
		admin_keys_free(out);
		pg_sync_rollback(db);
	}
	return err;
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
