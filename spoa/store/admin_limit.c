#include "store/admin_limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/admin_user.h"

#define NUMBER_MAX 24

/* Of u (the user) and t (their row of the table, which may be missing). */
#define LIMIT_COLUMNS                                                             \
	"u.id, u.username, t.requests_per_minute, t.requests_per_hour, t.burst, " \
	"coalesce(t.shadow_minute, false), coalesce(t.shadow_hour, false)"
#define QUOTA_COLUMNS                                                                               \
	"u.id, u.username, t.monthly_requests, t.monthly_bandwidth_mb, t.storage_mb, t.reset_day, " \
	"coalesce(t.shadow_requests, false), coalesce(t.shadow_bandwidth, false), "                 \
	"CASE WHEN t.reset_at > now() THEN t.current_requests ELSE 0 END, "                         \
	"CASE WHEN t.reset_at > now() THEN t.current_bandwidth_mb ELSE 0 END, "                     \
	"CASE WHEN t.reset_at > now() THEN t.current_bandwidth_bytes ELSE 0 END, "                  \
	"floor(extract(epoch FROM now()))::bigint"

static const char limits_find_sql[] = "SELECT " LIMIT_COLUMNS
                                      " FROM users u LEFT JOIN rate_limits t ON t.user_id = u.id "
                                      "WHERE u.id = $1 AND u.deleted_at IS NULL";

/* A new row names every column: what was not given is the settings' (NULL), not the column's own DEFAULT. */
static const char limits_set_sql[] = ADMIN_LIVING_USER
        "t AS (INSERT INTO rate_limits AS t "
        "(user_id, requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour) "
        "SELECT u.id, $3::bigint, $5::bigint, $7::bigint, coalesce($8::boolean, false), coalesce($9::boolean, false) "
        "FROM u "
        "ON CONFLICT (user_id) DO UPDATE SET "
        "requests_per_minute = CASE WHEN $2::boolean THEN $3::bigint ELSE t.requests_per_minute END, "
        "requests_per_hour = CASE WHEN $4::boolean THEN $5::bigint ELSE t.requests_per_hour END, "
        "burst = CASE WHEN $6::boolean THEN $7::bigint ELSE t.burst END, "
        "shadow_minute = coalesce($8::boolean, t.shadow_minute), "
        "shadow_hour = coalesce($9::boolean, t.shadow_hour) RETURNING *) "
        "SELECT " LIMIT_COLUMNS " FROM t JOIN u ON u.id = t.user_id";

static const char quotas_find_sql[] = "SELECT " QUOTA_COLUMNS " FROM users u LEFT JOIN quotas t ON t.user_id = u.id "
                                      "WHERE u.id = $1 AND u.deleted_at IS NULL";

static const char quotas_set_sql[] = ADMIN_LIVING_USER
        "t AS (INSERT INTO quotas AS t "
        "(user_id, monthly_requests, monthly_bandwidth_mb, storage_mb, reset_day, shadow_requests, shadow_bandwidth) "
        "SELECT u.id, $3::bigint, $5::bigint, $7::bigint, $9::smallint, coalesce($10::boolean, false), "
        "coalesce($11::boolean, false) FROM u "
        "ON CONFLICT (user_id) DO UPDATE SET "
        "monthly_requests = CASE WHEN $2::boolean THEN $3::bigint ELSE t.monthly_requests END, "
        "monthly_bandwidth_mb = CASE WHEN $4::boolean THEN $5::bigint ELSE t.monthly_bandwidth_mb END, "
        "storage_mb = CASE WHEN $6::boolean THEN $7::bigint ELSE t.storage_mb END, "
        "reset_day = CASE WHEN $8::boolean THEN $9::smallint ELSE t.reset_day END, "
        "shadow_requests = coalesce($10::boolean, t.shadow_requests), "
        "shadow_bandwidth = coalesce($11::boolean, t.shadow_bandwidth) RETURNING *) "
        "SELECT " QUOTA_COLUMNS " FROM t JOIN u ON u.id = t.user_id";

/* Two parameters: whether it was given, and to what. */
static void put_change(const struct admin_change *c, char text[NUMBER_MAX], const char **params)
{
	snprintf(text, NUMBER_MAX, "%" PRIu64, c->to.value);
	params[0] = c->given ? "true" : "false";
	params[1] = c->given && c->to.own ? text : NULL;
}

static const char *flag(bool given, bool value)
{
	return !given ? NULL : value ? "true" : "false";
}

static void get_number(const struct pg_result *r, size_t col, struct admin_number *out, enum err *err)
{
	out->own = !pg_result_null(r, 0, col);
	if (*err == ERR_OK && out->own)
		*err = pg_result_u64(r, 0, col, &out->value);
}

static void get_u64(const struct pg_result *r, size_t col, uint64_t *out, enum err *err)
{
	if (*err == ERR_OK)
		*err = pg_result_u64(r, 0, col, out);
}

static void get_bool(const struct pg_result *r, size_t col, bool *out, enum err *err)
{
	if (*err == ERR_OK)
		*err = pg_result_bool(r, 0, col, out);
}

/* Finds the user, then runs a statement whose $1 is the id and which gives one row, but none for a deleted user. */
static enum err one_row(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                        struct pg_result **rows, char *error)
{
	char id[ADMIN_ID_MAX];

	*rows = NULL;
	enum err err = admin_user_id(db, user, id, error);
	if (err != ERR_OK)
		return err;
	params[0] = id;
	err = pg_sync_exec(db, sql, nparams, params, rows);
	params[0] = NULL;
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	if (pg_result_rows(*rows) == 1)
		return ERR_OK;
	pg_result_free(*rows);
	*rows = NULL;
	return admin_fail(error, ERR_BAD_STATE, "user \"%s\" was deleted just now", user);
}

static enum err limits_query(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                             struct admin_limits *out, char *error)
{
	struct pg_result *r;

	memset(out, 0, sizeof(*out));
	enum err err = one_row(db, user, sql, nparams, params, &r, error);
	if (err != ERR_OK)
		return err;
	out->rows = r;
	out->username = pg_result_value(r, 0, 1).p;
	get_u64(r, 0, &out->user_id, &err);
	get_number(r, 2, &out->per_minute, &err);
	get_number(r, 3, &out->per_hour, &err);
	get_number(r, 4, &out->burst, &err);
	get_bool(r, 5, &out->shadow_minute, &err);
	get_bool(r, 6, &out->shadow_hour, &err);
	if (err == ERR_OK)
		return ERR_OK;
	admin_limits_free(out);
	return admin_fail(error, err, "database: unexpected value in table rate_limits");
}

void admin_limits_free(struct admin_limits *l)
{
	pg_result_free(l->rows);
	memset(l, 0, sizeof(*l));
}

enum err admin_limits_find(struct pg_sync *db, const char *user, struct admin_limits *out, char *error)
{
	const char *params[1] = { NULL };

	return limits_query(db, user, limits_find_sql, 1, params, out, error);
}

enum err admin_limits_set(struct pg_sync *db, const char *user, const struct admin_limits_wish *wish,
                          struct admin_limits *out, char *error)
{
	char numbers[3][NUMBER_MAX];
	const char *params[9] = { NULL };

	put_change(&wish->per_minute, numbers[0], params + 1);
	put_change(&wish->per_hour, numbers[1], params + 3);
	put_change(&wish->burst, numbers[2], params + 5);
	params[7] = flag(wish->shadow_given, wish->shadow_minute);
	params[8] = flag(wish->shadow_given, wish->shadow_hour);
	return limits_query(db, user, limits_set_sql, 9, params, out, error);
}

static enum err quotas_query(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                             struct admin_quotas *out, char *error)
{
	struct pg_result *r;

	memset(out, 0, sizeof(*out));
	enum err err = one_row(db, user, sql, nparams, params, &r, error);
	if (err != ERR_OK)
		return err;
	out->rows = r;
	out->username = pg_result_value(r, 0, 1).p;
	get_u64(r, 0, &out->user_id, &err);
	get_number(r, 2, &out->requests, &err);
	get_number(r, 3, &out->bandwidth_mb, &err);
	get_number(r, 4, &out->storage_mb, &err);
	get_number(r, 5, &out->reset_day, &err);
	get_bool(r, 6, &out->shadow_requests, &err);
	get_bool(r, 7, &out->shadow_bandwidth, &err);
	get_u64(r, 8, &out->current_requests, &err);
	get_u64(r, 9, &out->current_bandwidth_mb, &err);
	get_u64(r, 10, &out->current_bandwidth_bytes, &err);
	get_u64(r, 11, &out->now, &err);
	if (err == ERR_OK)
		return ERR_OK;
	admin_quotas_free(out);
	return admin_fail(error, err, "database: unexpected value in table quotas");
}

void admin_quotas_free(struct admin_quotas *q)
{
	pg_result_free(q->rows);
	memset(q, 0, sizeof(*q));
}

enum err admin_quotas_find(struct pg_sync *db, const char *user, struct admin_quotas *out, char *error)
{
	const char *params[1] = { NULL };

	return quotas_query(db, user, quotas_find_sql, 1, params, out, error);
}

enum err admin_quotas_set(struct pg_sync *db, const char *user, const struct admin_quotas_wish *wish,
                          struct admin_quotas *out, char *error)
{
	char numbers[4][NUMBER_MAX];
	const char *params[11] = { NULL };

	put_change(&wish->requests, numbers[0], params + 1);
	put_change(&wish->bandwidth_mb, numbers[1], params + 3);
	put_change(&wish->storage_mb, numbers[2], params + 5);
	put_change(&wish->reset_day, numbers[3], params + 7);
	params[9] = flag(wish->shadow_given, wish->shadow_requests);
	params[10] = flag(wish->shadow_given, wish->shadow_bandwidth);
	return quotas_query(db, user, quotas_set_sql, 11, params, out, error);
}
