#include "store/admin_limit.h"

#include <string.h>

#include "store/admin_row.h"
#include "store/admin_user.h"

const char *const admin_limits_shadows[ADMIN_SHADOWS] = { "minute", "hour" };
const char *const admin_quotas_shadows[ADMIN_SHADOWS] = { "requests", "bandwidth" };

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

static enum err limits_query(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                             struct admin_limits *out, char *error)
{
	struct pg_result *r;

	memset(out, 0, sizeof(*out));
	enum err err = admin_one_row(db, user, sql, nparams, params, &r, error);
	if (err != ERR_OK)
		return err;
	out->rows = r;
	out->username = pg_result_value(r, 0, 1).p;
	admin_get_u64(r, 0, &out->user_id, &err);
	admin_get_number(r, 2, &out->per_minute, &err);
	admin_get_number(r, 3, &out->per_hour, &err);
	admin_get_number(r, 4, &out->burst, &err);
	admin_get_bool(r, 5, &out->shadow_minute, &err);
	admin_get_bool(r, 6, &out->shadow_hour, &err);
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
	char numbers[3][ADMIN_NUMBER_MAX];
	const char *params[9] = { NULL };

	admin_put_change(&wish->per_minute, numbers[0], params + 1);
	admin_put_change(&wish->per_hour, numbers[1], params + 3);
	admin_put_change(&wish->burst, numbers[2], params + 5);
	params[7] = admin_flag(wish->shadow_given, wish->shadow_minute);
	params[8] = admin_flag(wish->shadow_given, wish->shadow_hour);
	return limits_query(db, user, limits_set_sql, 9, params, out, error);
}

static enum err quotas_query(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                             struct admin_quotas *out, char *error)
{
	struct pg_result *r;

	memset(out, 0, sizeof(*out));
	enum err err = admin_one_row(db, user, sql, nparams, params, &r, error);
	if (err != ERR_OK)
		return err;
	out->rows = r;
	out->username = pg_result_value(r, 0, 1).p;
	admin_get_u64(r, 0, &out->user_id, &err);
	admin_get_number(r, 2, &out->requests, &err);
	admin_get_number(r, 3, &out->bandwidth_mb, &err);
	admin_get_number(r, 4, &out->storage_mb, &err);
	admin_get_number(r, 5, &out->reset_day, &err);
	admin_get_bool(r, 6, &out->shadow_requests, &err);
	admin_get_bool(r, 7, &out->shadow_bandwidth, &err);
	admin_get_u64(r, 8, &out->current_requests, &err);
	admin_get_u64(r, 9, &out->current_bandwidth_mb, &err);
	admin_get_u64(r, 10, &out->current_bandwidth_bytes, &err);
	admin_get_u64(r, 11, &out->now, &err);
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
	char numbers[4][ADMIN_NUMBER_MAX];
	const char *params[11] = { NULL };

	admin_put_change(&wish->requests, numbers[0], params + 1);
	admin_put_change(&wish->bandwidth_mb, numbers[1], params + 3);
	admin_put_change(&wish->storage_mb, numbers[2], params + 5);
	admin_put_change(&wish->reset_day, numbers[3], params + 7);
	params[9] = admin_flag(wish->shadow_given, wish->shadow_requests);
	params[10] = admin_flag(wish->shadow_given, wish->shadow_bandwidth);
	return quotas_query(db, user, quotas_set_sql, 11, params, out, error);
}
