#include "store/admin_reconcile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COUNT_MAX 24

static enum err ask(struct pg_sync *db, const char *sql, int nparams, const char *const *params, struct pg_result **out,
                    char *error)
{
	enum err err = pg_sync_exec(db, sql, nparams, params, out);
	return err == ERR_OK ? ERR_OK : admin_db_fail(db, err, error);
}

/* A statement that gives one number. */
static enum err ask_number(struct pg_sync *db, const char *sql, int nparams, const char *const *params, uint64_t *out,
                           char *error)
{
	struct pg_result *r;

	enum err err = ask(db, sql, nparams, params, &r, error);
	if (err != ERR_OK)
		return err;
	err = pg_result_u64(r, 0, 0, out);
	pg_result_free(r);
	return err == ERR_OK ? ERR_OK : admin_fail(error, err, "database: unexpected value in the tables of usage");
}

static const char interval_sql[] = "SELECT " ADMIN_UTC("greatest(b.f, b.kept)") ", " ADMIN_UTC(
        "b.t") ", b.f < b.kept, greatest(b.f, b.kept) < b.t, " ADMIN_UTC("b.kept") " FROM (SELECT "
                                                                                   "coalesce($1::timestamptz, "
                                                                                   "date_trunc('month', now(), 'UTC')) "
                                                                                   "AS f, "
                                                                                   "coalesce($2::timestamptz, "
                                                                                   "date_trunc('hour', now(), 'UTC') + "
                                                                                   "interval '1 hour') AS t, "
                                                                                   "greatest(usage_rows_since(), "
                                                                                   "'1970-01-01 00:00:00+00') AS kept) "
                                                                                   "AS b";

enum err admin_reconcile_interval(struct pg_sync *db, const char *from, const char *to, const char *user,
                                  struct admin_interval *out, char *error)
{
	const char *params[] = { from, to };
	struct pg_result *r;
	bool fits = false;

	memset(out, 0, sizeof(*out));
	out->user = user;
	enum err err = ask(db, interval_sql, 2, params, &r, error);
	if (err != ERR_OK)
		return err;
	err = pg_result_bool(r, 0, 2, &out->cut);
	if (err == ERR_OK)
		err = pg_result_bool(r, 0, 3, &fits);
	if (err == ERR_OK)
		err = sv_copy(pg_result_value(r, 0, 0), out->from, sizeof(out->from));
	if (err == ERR_OK)
		err = sv_copy(pg_result_value(r, 0, 1), out->to, sizeof(out->to));
	pg_result_free(r);
	if (err != ERR_OK)
		return admin_fail(error, err, "database: unexpected value of an interval");
	if (!fits && out->cut)
		return admin_fail(error, ERR_INVALID,
		                  "nothing is left to compare before %s: raw rows before %s were dropped", out->to,
		                  out->from);
	if (!fits)
		return admin_fail(error, ERR_INVALID, "the interval is empty: from %s to %s", out->from, out->to);
	return ERR_OK;
}

#define SUMS(array)                                                                                           \
	"json_build_object('requests', " array "[1], 'request_bytes', " array "[2], 'response_bytes', " array \
	"[3], 'billed_bytes', " array "[4], 'active_ms', " array "[5])"
#define KEYS "'key_id', nullif(d.api_key_id, 0), 'code', d.code, 'kind', d.kind, 'backend', nullif(d.backend, '')"
#define USER "'user_id', d.user_id, 'user', u.username"

static const char hours_sql[] =
        "SELECT d.user_id, NULL, json_build_object('part', 'hours', " USER
        ", 'hour', " ADMIN_UTC("d.hour") ", " KEYS ", 'rows', " SUMS("d.should") ", 'rollup', " SUMS(
                "d.have") ")::text "
                          "FROM usage_differences_hourly($1, $2, $3) AS d LEFT JOIN users u ON u.id = d.user_id";
static const char months_sql[] =
        "SELECT d.user_id, NULL, json_build_object('part', 'months', " USER ", 'month', d.month, " KEYS
        ", 'hours', " SUMS("d.should") ", 'rollup', " SUMS(
                "d.have") ")::text "
                          "FROM usage_differences_monthly($1, $2, $3) AS d LEFT JOIN users u ON u.id = d.user_id";
static const char quotas_sql[] =
        "SELECT d.user_id, (d.requests_have - d.requests_should) || ' ' || (d.bytes_have - d.bytes_should), "
        "json_build_object('part', 'quotas', " USER ", 'month', d.month, 'requests', json_build_object('rollup', "
        "d.requests_should, 'counter', d.requests_have), 'billed_bytes', json_build_object('rollup', d.bytes_should, "
        "'counter', d.bytes_have))::text FROM usage_differences_quotas($1) AS d LEFT JOIN users u ON u.id = d.user_id";
static const char moved_sql[] = "SELECT d.user_id, NULL, json_build_object('part', 'moved', " USER ")::text "
                                "FROM usage_moved_users($1, $2) AS d LEFT JOIN users u ON u.id = d.user_id";

enum err admin_reconcile_list(struct pg_sync *db, enum admin_reconcile_part part, const struct admin_interval *in,
                              struct pg_result **out, char *error)
{
	const char *params[] = { in->from, in->to, in->user };
	const char *moved[] = { in->from, in->user };

	*out = NULL;
	switch (part) {
	case ADMIN_RECONCILE_HOURS:
		return ask(db, hours_sql, 3, params, out, error);
	case ADMIN_RECONCILE_MONTHS:
		return ask(db, months_sql, 3, params, out, error);
	case ADMIN_RECONCILE_QUOTAS:
		return ask(db, quotas_sql, 1, &in->user, out, error);
	case ADMIN_RECONCILE_MOVED:
		break;
	}
	return ask(db, moved_sql, 2, moved, out, error);
}

enum err admin_reconcile_users(struct pg_sync *db, const struct admin_interval *in, uint64_t *users, char *error)
{
	const char *params[] = { in->from, in->to, in->user };

	return ask_number(db,
	                  "SELECT count(*) FROM (SELECT user_id FROM usage_hourly WHERE hour >= $1 AND hour < $2 "
	                  "UNION SELECT id FROM users WHERE deleted_at IS NULL) AS u "
	                  "WHERE $3::bigint IS NULL OR user_id = $3::bigint",
	                  3, params, users, error);
}

enum err admin_reconcile_positions(struct pg_sync *db, struct pg_result **out, char *error)
{
	return ask(db,
	           "SELECT coalesce(string_agg(agent || ' ' || segment || ' ' || \"offset\", ',' ORDER BY agent), '') "
	           "FROM usage_positions",
	           0, NULL, out, error);
}

static enum err mend(struct pg_sync *db, const struct admin_interval *in, const char *raised, struct admin_mended *out,
                     char *error)
{
	const char *params[] = { in->from, in->to, in->user };
	const char *counters[] = { in->user, raised };

	enum err err = ask_number(db, "SELECT usage_mend_hourly($1, $2, $3)", 3, params, &out->hours, error);
	if (err == ERR_OK)
		err = ask_number(db, "SELECT usage_mend_monthly($1, $2, $3)", 3, params, &out->months, error);
	if (err == ERR_OK)
		err = ask_number(db, "SELECT usage_mend_quotas($1, $2)", 2, counters, &out->counters, error);
	if (err != ERR_OK)
		return err;
	err = pg_sync_commit(db);
	return err == ERR_OK ? ERR_OK : admin_db_fail(db, err, error);
}

enum err admin_reconcile_mend(struct pg_sync *db, const struct admin_interval *in, const char *raised,
                              struct admin_mended *out, char *error)
{
	memset(out, 0, sizeof(*out));
	enum err err = pg_sync_begin(db);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	err = mend(db, in, raised, out, error);
	if (err != ERR_OK)
		pg_sync_rollback(db);
	return err;
}

enum err admin_reconcile_clock(struct pg_sync *db, const char *ago, char moment[ADMIN_MOMENT_MAX], char *error)
{
	struct pg_result *r;

	enum err err = ask(db, "SELECT (clock_timestamp() - $1::interval)::text", 1, &ago, &r, error);
	if (err != ERR_OK)
		return err;
	err = sv_copy(pg_result_value(r, 0, 0), moment, ADMIN_MOMENT_MAX);
	pg_result_free(r);
	return err == ERR_OK ? ERR_OK : admin_fail(error, err, "database: unexpected value of the clock");
}

enum err admin_reconcile_compare(struct pg_sync *db, const char *process, const char *ids, const char *ended,
                                 const char *sent, const char *since, struct pg_result **out, char *error)
{
	const char *params[] = { process, ids, ended, sent, since };

	*out = NULL;
	return ask(db, "SELECT * FROM usage_compare_haproxy($1, $2, $3, $4, $5)", 5, params, out, error);
}

static const char mark_sql[] =
        "INSERT INTO usage_reconcile_marks AS m (user_id, process, requests, bytes_out, in_flight, since, rows, "
        "row_bytes) "
        "SELECT t.id, $1, t.ended, t.sent, t.flying, $6::timestamptz, t.rows, t.bytes FROM unnest($2::bigint[], "
        "$3::bigint[], $4::bigint[], $5::bigint[], $7::bigint[], $8::bigint[]) AS t (id, ended, sent, flying, rows, "
        "bytes) "
        "ORDER BY t.id ON CONFLICT (user_id) DO UPDATE SET process = EXCLUDED.process, requests = EXCLUDED.requests, "
        "bytes_out = EXCLUDED.bytes_out, in_flight = EXCLUDED.in_flight, since = EXCLUDED.since, rows = EXCLUDED.rows, "
        "row_bytes = EXCLUDED.row_bytes, marked_at = now()";

enum err admin_reconcile_mark(struct pg_sync *db, const char *process, const char *ids, const char *ended,
                              const char *sent, const char *in_flight, const char *since, const char *rows,
                              const char *row_bytes, char *error)
{
	const char *params[] = { process, ids, ended, sent, in_flight, since, rows, row_bytes };

	return ask(db, mark_sql, 8, params, NULL, error);
}

static const char mark_process_sql[] =
        "INSERT INTO usage_reconcile_marks (user_id, process, requests, bytes_out, in_flight, since, rows, row_bytes, "
        "marked_at) SELECT 0, $1, 0, 0, 0, m, 0, 0, m FROM (SELECT greatest($2::timestamptz, "
        "to_timestamp(split_part($1, '@', 2)::bigint)) AS m) AS o ON CONFLICT (user_id) DO UPDATE SET "
        "process = EXCLUDED.process, since = EXCLUDED.since, marked_at = EXCLUDED.marked_at";

enum err admin_reconcile_mark_process(struct pg_sync *db, const char *process, const char *moment, char *error)
{
	const char *params[] = { process, moment };

	return ask(db, mark_process_sql, 2, params, NULL, error);
}

enum err admin_reconcile_names(struct pg_sync *db, const char *ids, struct pg_result **out, char *error)
{
	*out = NULL;
	return ask(db, "SELECT id, username FROM users WHERE id = ANY ($1::bigint[])", 1, &ids, out, error);
}

enum err admin_reconcile_save(struct pg_sync *db, const struct admin_interval *in, uint64_t users, uint64_t differences,
                              uint64_t fixed, const char *details, char *error)
{
	char counts[3][COUNT_MAX];
	const char *params[] = { in->from, in->to, in->user, counts[0], counts[1], counts[2], details };

	snprintf(counts[0], COUNT_MAX, "%" PRIu64, users);
	snprintf(counts[1], COUNT_MAX, "%" PRIu64, differences);
	snprintf(counts[2], COUNT_MAX, "%" PRIu64, fixed);
	return ask(db,
	           "INSERT INTO usage_reconcile_runs (from_at, to_at, only_user, users, differences, fixed, details) "
	           "VALUES ($1, $2, $3, $4, $5, $6, $7)",
	           7, params, NULL, error);
}
