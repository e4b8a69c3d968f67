#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "store/admin_key_make.h"
#include "store/admin_policy.h"
#include "store/admin_policy_sql.h"

/* One apply at a time; until the end of the transaction. */
static const char one_at_a_time_sql[] = "SELECT pg_advisory_xact_lock(hashtextextended('gateway policy apply', 0))";

/*
 * The planner knows nothing of rows that were just written, nor of those that come as JSON, and takes both for few: the
 * loops that it then makes of joins cost the square of thousands of users.
 */
static const char no_loops_sql[] = "SET LOCAL enable_nestloop = off";

/*
 * Before the first change, since from that on the row of the policy's generation is locked: users, then keys, each in
 * the order of their ids, as admin_user_delete() does. Whoever changes what a user has holds the user's row FOR SHARE,
 * so that what is read after this stays as it is. $1 as in admin_policy_load().
 */
#define CHOSEN "u.deleted_at IS NULL AND ($1::text[] IS NULL OR u.username = ANY($1::text[]))"
static const char *const lock_sql[] = {
	"SELECT FROM users u WHERE " CHOSEN " ORDER BY u.id FOR NO KEY UPDATE",
	"SELECT FROM api_keys k WHERE k.revoked_at IS NULL AND k.user_id IN (SELECT u.id FROM users u WHERE " CHOSEN
	") ORDER BY k.id FOR NO KEY UPDATE OF k",
	"SELECT FROM backends WHERE $1::text[] IS NULL OR true ORDER BY id FOR UPDATE",
};

/* E-mail addresses of the rows $1 that belong to users who are not among $2. */
static const char emails_sql[] = "SELECT x.\"user\", u.username FROM jsonb_to_recordset($1::jsonb) "
                                 "AS x(\"user\" text, email text) JOIN users u ON lower(u.email) = lower(x.email) "
                                 "WHERE u.deleted_at IS NULL AND u.username <> ALL($2::text[]) ORDER BY 1";

/* The users that the policy names, as an array literal. The caller frees it. */
static char *names_literal(const struct admin_policy *want)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	CHECK(f != NULL);
	fputc('{', f);
	for (size_t i = 0; i < want->users_count; i++) {
		fputs(i > 0 ? ",\"" : "\"", f);
		for (const char *p = want->users[i].name; *p != '\0'; p++) {
			if (*p == '"' || *p == '\\')
				fputc('\\', f);
			fputc(*p, f);
		}
		fputc('"', f);
	}
	fputc('}', f);
	CHECK(fclose(f) == 0);
	return text;
}

static enum err lock(struct pg_sync *db, const char *names, char *error)
{
	enum err err = pg_sync_exec(db, one_at_a_time_sql, 0, NULL, NULL);

	if (err == ERR_OK)
		err = pg_sync_exec(db, no_loops_sql, 0, NULL, NULL);
	for (size_t i = 0; i < sizeof(lock_sql) / sizeof(lock_sql[0]) && err == ERR_OK; i++)
		err = pg_sync_exec(db, lock_sql[i], 1, &names, NULL);
	return err == ERR_OK ? ERR_OK : admin_db_fail(db, err, error);
}

static int compare_name(const void *name, const void *user)
{
	const struct admin_policy_user *u = user;

	return strcmp(name, u->name);
}

/* Names the users whose addresses belong to others; the table's own check would not say whose. */
static enum err check_emails(struct pg_sync *db, const json_t *rows, const char *names, const struct admin_policy *want,
                             struct admin_policy_errors *errors, char *error)
{
	struct pg_result *taken;

	if (json_array_size(rows) == 0 || names == NULL)
		return ERR_OK;
	char *text = json_dumps(rows, JSON_COMPACT);
	CHECK(text != NULL);
	const char *params[] = { text, names };
	enum err err = pg_sync_exec(db, emails_sql, 2, params, &taken);
	free(text);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	for (size_t i = 0; i < pg_result_rows(taken); i++) {
		const char *name = pg_result_value(taken, i, 0).p;
		const struct admin_policy_user *u = bsearch(name, want->users, want->users_count, sizeof(*u),
		                                            compare_name);
		admin_policy_error(errors, u != NULL ? u->line : 0,
		                   "users.%s.email: this address belongs to the user %s", name,
		                   pg_result_value(taken, i, 1).p);
	}
	pg_result_free(taken);
	return ERR_OK;
}

/* The next ids of keys. */
static enum err take_ids(struct pg_sync *db, size_t count, struct pg_result **ids, char *error)
{
	char number[24];
	const char *params[] = { number };

	snprintf(number, sizeof(number), "%zu", count);
	enum err err = pg_sync_exec(db,
	                            "SELECT nextval(pg_get_serial_sequence('api_keys', 'id')) "
	                            "FROM generate_series(1, $1::bigint)",
	                            1, params, ids);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	return ERR_OK;
}

/* Puts into the row of a key what only the making of it tells. */
static enum err make_key(const struct admin_key_maker *maker, json_t *row, uint64_t id,
                         struct admin_policy_new_key *key, char *error)
{
	bool signing = strcmp(json_string_value(json_object_get(row, "signing")), "true") == 0;
	struct admin_key_made made;

	*key = (struct admin_policy_new_key){ .id = id,
		                              .user = json_string_value(json_object_get(row, "user")),
		                              .name = json_string_value(json_object_get(row, "name")) };
	enum err err = admin_key_make(maker, id, signing, &key->secrets, &made, error);
	if (err != ERR_OK)
		return err;
	CHECK(json_object_set_new(row, "id", json_integer((json_int_t)id)) == 0 &&
	      json_object_set_new(row, "hash", json_string(made.hash)) == 0 &&
	      json_object_set_new(row, "sealed", made.signing != NULL ? json_string(made.signing) : json_null()) == 0);
	return ERR_OK;
}

static enum err make_keys(struct pg_sync *db, const struct admin_policy_job *job, struct admin_policy_result *out,
                          char *error)
{
	json_t *rows = out->diff.rows[ROWS_KEY_ADD];
	size_t count = json_array_size(rows);
	struct pg_result *ids;
	uint64_t id = 0;

	if (count == 0)
		return ERR_OK;
	if (job->maker == NULL)
		return admin_fail(error, ERR_UNSUPPORTED, "%s", job->no_maker);
	enum err err = take_ids(db, count, &ids, error);
	if (err != ERR_OK)
		return err;
	out->keys = check_calloc(count, sizeof(*out->keys));
	for (size_t i = 0; i < count && err == ERR_OK; i++) {
		if (pg_result_rows(ids) != count || pg_result_u64(ids, i, 0, &id) != ERR_OK)
			err = admin_fail(error, ERR_INVALID, "database: the sequence of api_keys.id gives no id");
		else
			err = make_key(job->maker, json_array_get(rows, i), id, &out->keys[out->keys_count++], error);
	}
	pg_result_free(ids);
	return err;
}

static enum err write_rows(struct pg_sync *db, const struct admin_policy_diff *diff, char *error)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (json_array_size(diff->rows[i]) == 0)
			continue;
		char *text = json_dumps(diff->rows[i], JSON_COMPACT);
		CHECK(text != NULL);
		const char *params[] = { text };
		enum err err = pg_sync_exec(db, admin_policy_rows_sql[i], 1, params, NULL);
		free(text);
		if (err != ERR_OK)
			return admin_db_fail(db, err, error);
	}
	return ERR_OK;
}

static enum err apply_in_transaction(struct pg_sync *db, const struct admin_policy_job *job, const char *names,
                                     struct admin_policy_errors *errors, struct admin_policy_result *out, char *error)
{
	const struct admin_policy *want = job->want;

	enum err err = lock(db, names, error);
	if (err == ERR_OK)
		err = admin_policy_load(db, names, &out->have, error);
	if (err != ERR_OK)
		return err;
	admin_policy_compare(&out->have, want, job->prune, errors, &out->diff);
	err = check_emails(db, out->diff.rows[ROWS_USER_SET], names, want, errors, error);
	if (err == ERR_OK)
		err = check_emails(db, out->diff.rows[ROWS_USER_ADD], names, want, errors, error);
	if (err == ERR_OK && errors->count > 0)
		err = ERR_INVALID;
	if (err == ERR_OK)
		err = make_keys(db, job, out, error);
	if (err == ERR_OK)
		err = write_rows(db, &out->diff, error);
	if (err == ERR_OK && out->keys_count > 0 && !job->dry_run && job->keep != NULL)
		err = job->keep(out, job->arg, error);
	return err;
}

enum err admin_policy_apply(struct pg_sync *db, const struct admin_policy_job *job, struct admin_policy_errors *errors,
                            struct admin_policy_result *out, char *error)
{
	bool all = job->prune && job->want->users_given;
	char *names = all ? NULL : names_literal(job->want);

	memset(out, 0, sizeof(*out));
	error[0] = '\0';
	enum err err = pg_sync_begin(db);
	if (err != ERR_OK)
		err = admin_db_fail(db, err, error);
	else
		err = apply_in_transaction(db, job, names, errors, out, error);
	free(names);
	if (err == ERR_OK && !job->dry_run) {
		err = pg_sync_commit(db);
		if (err != ERR_OK)
			err = admin_db_fail(db, err, error);
	} else {
		pg_sync_rollback(db);
	}
	if (err != ERR_OK)
		admin_policy_result_free(out);
	return err;
}

void admin_policy_result_free(struct admin_policy_result *r)
{
	if (r->keys != NULL)
		explicit_bzero(r->keys, r->keys_count * sizeof(*r->keys));
	free(r->keys);
	admin_policy_diff_free(&r->diff);
	admin_policy_free(&r->have);
	memset(r, 0, sizeof(*r));
}
