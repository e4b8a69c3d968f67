#include <inttypes.h>

#include "cli/changes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "store/admin_effective.h"
#include "store/admin_json.h"

/* `quota set` */
enum { OPTION_REQUESTS = 0, OPTION_BANDWIDTH, OPTION_STORAGE, OPTION_RESET_DAY, OPTION_SHADOW };

static void show_table(struct cli_call *call, const struct admin_quotas *q, const struct admin_quotas_effective *e)
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
	struct admin_quotas_effective e;

	admin_quotas_effective(call->settings, q, &e);
	if (call->json)
		output_json(call->io->out, admin_json_quotas(call->settings, q));
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

	if (!changes_number(call, OPTION_REQUESTS, 0, ADMIN_REQUESTS_MAX, &wish.requests) ||
	    !changes_number(call, OPTION_BANDWIDTH, 0, ADMIN_BANDWIDTH_MB_MAX, &wish.bandwidth_mb) ||
	    !changes_number(call, OPTION_STORAGE, 0, ADMIN_STORAGE_MB_MAX, &wish.storage_mb) ||
	    !changes_number(call, OPTION_RESET_DAY, 1, 31, &wish.reset_day) ||
	    !changes_names(call, OPTION_SHADOW, admin_quotas_shadows, ADMIN_SHADOWS, &wish.shadow_given, &shadow))
		return CLI_REFUSED;
	wish.shadow_requests = (shadow & ADMIN_SHADOW_REQUESTS) != 0;
	wish.shadow_bandwidth = (shadow & ADMIN_SHADOW_BANDWIDTH) != 0;
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
