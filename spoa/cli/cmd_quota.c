#include <inttypes.h>

#include "cli/changes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "policy/period.h"

/* `quota set` */
enum { OPTION_REQUESTS = 0, OPTION_BANDWIDTH, OPTION_STORAGE, OPTION_RESET_DAY, OPTION_SHADOW };

/* A counter (policy/quota.h) holds more requests, and just as many bytes. */
#define REQUESTS_MAX     UINT64_C(1000000000000000)
#define BANDWIDTH_MB_MAX ((UINT64_C(1) << 30) - 1)
#define STORAGE_MB_MAX   ((UINT64_C(1) << 43) - 1)

static const char *const shadow_names[] = { "requests", "bandwidth" };
enum { SHADOW_REQUESTS = 1, SHADOW_BANDWIDTH = 2, SHADOWS = 2 };

/* The numbers that hold. */
struct effective {
	uint64_t requests;
	uint64_t bandwidth_mb;
	uint64_t storage_mb;
	uint64_t reset_day;
	char reset_at[ROWS_TEXT_MAX];
};

static void resolve(const struct settings *s, const struct admin_quotas *q, struct effective *e)
{
	struct period month;

	e->requests = rows_effective(&q->requests, s->quotas_monthly_requests);
	e->bandwidth_mb = rows_effective(&q->bandwidth_mb, s->quotas_monthly_bandwidth_mb);
	e->storage_mb = rows_effective(&q->storage_mb, s->quotas_storage_mb);
	e->reset_day = rows_effective(&q->reset_day, 1);
	period_at((int64_t)q->now, (unsigned)e->reset_day, &month);
	rows_time(month.end, e->reset_at);
}

static void show_json(struct cli_call *call, const struct admin_quotas *q, const struct effective *e)
{
	static const char *const names[] = { "monthly_requests", "monthly_bandwidth_mb", "storage_mb" };
	unsigned defaults = (q->requests.own ? 0 : 1u) | (q->bandwidth_mb.own ? 0 : 2u) | (q->storage_mb.own ? 0 : 4u);
	unsigned shadow = (q->shadow_requests ? SHADOW_REQUESTS : 0u) | (q->shadow_bandwidth ? SHADOW_BANDWIDTH : 0u);

	output_json(call->io->out, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "user",
	                                     output_text(q->username), "user_id", (json_int_t)q->user_id, names[0],
	                                     (json_int_t)e->requests, names[1], (json_int_t)e->bandwidth_mb, names[2],
	                                     (json_int_t)e->storage_mb, "reset_day", (json_int_t)e->reset_day,
	                                     "current_requests", (json_int_t)q->current_requests,
	                                     "current_bandwidth_mb", (json_int_t)q->current_bandwidth_mb, "reset_at",
	                                     e->reset_at, "shadow", rows_names_json(shadow_names, SHADOWS, shadow),
	                                     "defaults", rows_names_json(names, 3, defaults)));
}

static void show_table(struct cli_call *call, const struct admin_quotas *q, const struct effective *e)
{
	static const char *const heads[] = { "QUOTA", "VALUE", "FROM", "SHADOW", "USED", "PERCENT" };
	char text[8][ROWS_TEXT_MAX];
	const char *cells[] = {
		"monthly_requests",
		rows_limit(e->requests, text[0]),
		rows_from(&q->requests, "setting"),
		q->shadow_requests ? "yes" : "no",
		text[1],
		rows_percent_text(q->current_requests, e->requests, text[2]),
		"monthly_bandwidth_mb",
		rows_limit(e->bandwidth_mb, text[3]),
		rows_from(&q->bandwidth_mb, "setting"),
		q->shadow_bandwidth ? "yes" : "no",
		text[4],
		rows_percent_text(q->current_bandwidth_mb, e->bandwidth_mb, text[5]),
		"storage_mb",
		rows_limit(e->storage_mb, text[6]),
		rows_from(&q->storage_mb, "setting"),
		NULL,
		NULL,
		NULL,
		"reset_day",
		rows_limit(e->reset_day, text[7]),
		rows_from(&q->reset_day, "default"),
		NULL,
		NULL,
		NULL,
	};

	snprintf(text[1], ROWS_TEXT_MAX, "%" PRIu64, q->current_requests);
	snprintf(text[4], ROWS_TEXT_MAX, "%" PRIu64, q->current_bandwidth_mb);
	fprintf(call->io->out, "user %" PRIu64 " (%s); the month ends at %s\n", q->user_id, q->username, e->reset_at);
	output_table(call->io->out, 6, heads, cells, 4);
}

static enum cli_exit show(struct cli_call *call, struct admin_quotas *q)
{
	struct effective e;

	resolve(call->settings, q, &e);
	if (call->json)
		show_json(call, q, &e);
	else
		show_table(call, q, &e);
	admin_quotas_free(q);
	return CLI_DONE;
}

enum cli_exit cmd_quota_set(struct cli_call *call)
{
	struct admin_quotas_wish wish = { 0 };
	char error[ADMIN_ERROR_MAX];
	struct admin_quotas quotas;
	unsigned shadow = 0;

	if (!changes_number(call, OPTION_REQUESTS, 0, REQUESTS_MAX, &wish.requests) ||
	    !changes_number(call, OPTION_BANDWIDTH, 0, BANDWIDTH_MB_MAX, &wish.bandwidth_mb) ||
	    !changes_number(call, OPTION_STORAGE, 0, STORAGE_MB_MAX, &wish.storage_mb) ||
	    !changes_number(call, OPTION_RESET_DAY, 1, 31, &wish.reset_day) ||
	    !changes_names(call, OPTION_SHADOW, shadow_names, SHADOWS, &wish.shadow_given, &shadow))
		return CLI_REFUSED;
	wish.shadow_requests = (shadow & SHADOW_REQUESTS) != 0;
	wish.shadow_bandwidth = (shadow & SHADOW_BANDWIDTH) != 0;
	if (admin_quotas_set(call->db, call->args[0], &wish, &quotas, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return show(call, &quotas);
}

enum cli_exit cmd_quota_show(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_quotas quotas;

	if (admin_quotas_find(call->db, call->args[0], &quotas, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return show(call, &quotas);
}
