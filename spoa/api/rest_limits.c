/* Limits and quotas: PATCH changes what is given, PUT sets everything, to what the settings say where nothing is given.
 */
#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "store/admin_json.h"

static bool nothing_given(struct rest_db_call *c)
{
	if (json_object_size(c->body) > 0)
		return false;
	rest_deny(c, PROBLEM_BAD_REQUEST, "The body changes nothing: at least one field is needed.");
	return true;
}

static void reply_limits(struct rest_db_call *c, enum err err, struct admin_limits *l, const char *error)
{
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, admin_json_limits(c->settings, l));
	admin_limits_free(l);
}

void rest_limits_get(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_limits limits;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_limits_find(c->db, c->params[0], &limits, error);
	reply_limits(c, err, &limits, error);
}

static void set_limits(struct rest_db_call *c, bool all)
{
	static const char *const fields[] = { "requests_per_minute", "requests_per_hour", "burst", "shadow", NULL };
	struct admin_limits_wish wish = { 0 };
	char error[ADMIN_ERROR_MAX];
	struct admin_limits limits;
	unsigned shadow;

	if (!rest_fields(c, fields) || !rest_change(c, fields[0], 0, ADMIN_RATE_MAX, &wish.per_minute) ||
	    !rest_change(c, fields[1], 0, ADMIN_RATE_MAX, &wish.per_hour) ||
	    !rest_change(c, fields[2], 1, ADMIN_RATE_MAX, &wish.burst) ||
	    !rest_names(c, fields[3], admin_limits_shadows, ADMIN_SHADOWS, &wish.shadow_given, &shadow) ||
	    (!all && nothing_given(c)) || rest_connection(c) == NULL)
		return;
	wish.per_minute.given |= all;
	wish.per_hour.given |= all;
	wish.burst.given |= all;
	wish.shadow_given |= all;
	wish.shadow_minute = (shadow & ADMIN_SHADOW_MINUTE) != 0;
	wish.shadow_hour = (shadow & ADMIN_SHADOW_HOUR) != 0;
	enum err err = admin_limits_set(c->db, c->params[0], &wish, &limits, error);
	reply_limits(c, err, &limits, error);
}

void rest_limits_put(struct rest_db_call *c)
{
	set_limits(c, true);
}

void rest_limits_patch(struct rest_db_call *c)
{
	set_limits(c, false);
}

static void reply_quotas(struct rest_db_call *c, enum err err, struct admin_quotas *q, const char *error)
{
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, admin_json_quotas(c->settings, q));
	admin_quotas_free(q);
}

void rest_quota_get(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_quotas quotas;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_quotas_find(c->db, c->params[0], &quotas, error);
	reply_quotas(c, err, &quotas, error);
}

static void set_quotas(struct rest_db_call *c, bool all)
{
	static const char *const fields[] = { "monthly_requests", "monthly_bandwidth_mb",
		                              "storage_mb",       "reset_day",
		                              "shadow",           NULL };
	struct admin_quotas_wish wish = { 0 };
	char error[ADMIN_ERROR_MAX];
	struct admin_quotas quotas;
	unsigned shadow;

	if (!rest_fields(c, fields) || !rest_change(c, fields[0], 0, ADMIN_REQUESTS_MAX, &wish.requests) ||
	    !rest_change(c, fields[1], 0, ADMIN_BANDWIDTH_MB_MAX, &wish.bandwidth_mb) ||
	    !rest_change(c, fields[2], 0, ADMIN_STORAGE_MB_MAX, &wish.storage_mb) ||
	    !rest_change(c, fields[3], 1, 31, &wish.reset_day) ||
	    !rest_names(c, fields[4], admin_quotas_shadows, ADMIN_SHADOWS, &wish.shadow_given, &shadow) ||
	    (!all && nothing_given(c)) || rest_connection(c) == NULL)
		return;
	wish.requests.given |= all;
	wish.bandwidth_mb.given |= all;
	wish.storage_mb.given |= all;
	wish.reset_day.given |= all;
	wish.shadow_given |= all;
	wish.shadow_requests = (shadow & ADMIN_SHADOW_REQUESTS) != 0;
	wish.shadow_bandwidth = (shadow & ADMIN_SHADOW_BANDWIDTH) != 0;
	enum err err = admin_quotas_set(c->db, c->params[0], &wish, &quotas, error);
	reply_quotas(c, err, &quotas, error);
}

void rest_quota_put(struct rest_db_call *c)
{
	set_quotas(c, true);
}

void rest_quota_patch(struct rest_db_call *c)
{
	set_quotas(c, false);
}
