#include "store/admin_month.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "policy/period.h"
#include "store/admin_json.h"
#include "store/admin_usage.h"

#define MB_SHIFT 20

static void name_month(const struct admin_quotas *q, int64_t moment, struct admin_month *m)
{
	struct period period;

	period_at(moment, (unsigned)admin_effective(&q->reset_day, 1), &period);
	admin_time(period.start, m->start);
	admin_time(period.end, m->end);
	snprintf(m->name, sizeof(m->name), "%.7s", m->start);
}

/* The last second of a calendar month: whichever day a user's month starts on, it has begun. */
static int64_t last_second_of(const char *month)
{
	int year = (month[0] - '0') * 1000 + (month[1] - '0') * 100 + (month[2] - '0') * 10 + month[3] - '0';
	struct tm next = { .tm_year = year - 1900, .tm_mon = (month[5] - '0') * 10 + month[6] - '0', .tm_mday = 1 };

	return (int64_t)timegm(&next) - 1;
}

static uint64_t number(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static enum err load_sums(struct pg_sync *db, struct admin_month *m, char *error)
{
	struct pg_result *rows;
	const char *json;

	enum err err = admin_usage_month(db, m->quotas.user_id, m->name, &json, &rows, error);
	if (err != ERR_OK)
		return err;
	m->sums = json_loads(json, 0, NULL);
	pg_result_free(rows);
	return m->sums != NULL ? ERR_OK
	                       : admin_fail(error, ERR_INVALID, "database: unexpected value in table usage_monthly");
}

static enum err find(struct pg_sync *db, const struct settings *s, const char *wanted, struct admin_month *m,
                     char *error)
{
	const struct admin_quotas *q = &m->quotas;

	name_month(q, (int64_t)q->now, m);
	int order = wanted != NULL ? strcmp(wanted, m->name) : 0;
	if (order > 0)
		return admin_fail(error, ERR_INVALID, "month %s has not begun (the running one is %s)", wanted,
		                  m->name);
	if (order < 0)
		name_month(q, last_second_of(wanted), m);
	enum err err = load_sums(db, m, error);
	if (err != ERR_OK)
		return err;
	m->requests = admin_effective(&q->requests, s->quotas_monthly_requests);
	m->bandwidth_mb = admin_effective(&q->bandwidth_mb, s->quotas_monthly_bandwidth_mb);
	m->used_requests = order == 0 ? q->current_requests : number(m->sums, "images") + number(m->sums, "uploads");
	m->used_bytes = order == 0 ? q->current_bandwidth_bytes : number(m->sums, "billed_bytes");
	return ERR_OK;
}

enum err admin_month_find(struct pg_sync *db, const struct settings *s, const char *user, const char *wanted,
                          struct admin_month *out, char *error)
{
	memset(out, 0, sizeof(*out));
	enum err err = admin_quotas_find(db, user, &out->quotas, error);
	if (err == ERR_OK)
		err = find(db, s, wanted, out, error);
	if (err != ERR_OK)
		admin_month_free(out);
	return err;
}

void admin_month_free(struct admin_month *m)
{
	json_decref(m->sums);
	admin_quotas_free(&m->quotas);
	memset(m, 0, sizeof(*m));
}

static json_t *left_json(uint64_t used, uint64_t quota)
{
	return quota == 0 ? json_null() : json_integer((json_int_t)(used < quota ? quota - used : 0));
}

json_t *admin_month_json(const struct admin_month *m)
{
	uint64_t used_mb = m->used_bytes >> MB_SHIFT;
	json_t *v = json_pack("{s:o, s:I, s:s, s:s, s:s, s:I, s:o, s:I, s:I, s:o, s:I, s:I, s:o, s:o}", "user",
	                      admin_json_text(m->quotas.username), "user_id", (json_int_t)m->quotas.user_id, "month",
	                      m->name, "start", m->start, "end", m->end, "monthly_requests", (json_int_t)m->requests,
	                      "requests_percent", admin_json_percent(m->used_requests, m->requests), "bandwidth_mb",
	                      (json_int_t)used_mb, "monthly_bandwidth_mb", (json_int_t)m->bandwidth_mb,
	                      "bandwidth_percent", admin_json_percent(used_mb, m->bandwidth_mb), "used_requests",
	                      (json_int_t)m->used_requests, "used_bytes", (json_int_t)m->used_bytes, "requests_left",
	                      left_json(m->used_requests, m->requests), "bytes_left",
	                      left_json(m->used_bytes, m->bandwidth_mb << MB_SHIFT));

	CHECK(v != NULL && json_object_update(v, m->sums) == 0);
	return v;
}
