#include <inttypes.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "policy/period.h"

enum { OPTION_MONTH = 0 };

#define MONTH_MAX 8 /* 2026-01 and its NUL */

/* The running month: named after the one in which it starts, since a user's may start on any day. */
struct month {
	char name[MONTH_MAX];
	char start[ROWS_TEXT_MAX];
	char end[ROWS_TEXT_MAX];
};

static void find_month(const struct admin_quotas *q, struct month *m)
{
	struct period period;

	period_at((int64_t)q->now, (unsigned)rows_effective(&q->reset_day, 1), &period);
	rows_time(period.start, m->start);
	rows_time(period.end, m->end);
	snprintf(m->name, sizeof(m->name), "%.7s", m->start);
}

static void show_json(struct cli_call *call, const struct admin_quotas *q, const struct month *m, uint64_t requests,
                      uint64_t bandwidth_mb)
{
	output_json(call->io->out,
	            json_pack("{s:o, s:I, s:s, s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:o}", "user",
	                      output_text(q->username), "user_id", (json_int_t)q->user_id, "month", m->name, "start",
	                      m->start, "end", m->end, "requests", (json_int_t)q->current_requests, "monthly_requests",
	                      (json_int_t)requests, "requests_percent",
	                      rows_percent_json(q->current_requests, requests), "bandwidth_mb",
	                      (json_int_t)q->current_bandwidth_mb, "monthly_bandwidth_mb", (json_int_t)bandwidth_mb,
	                      "bandwidth_percent", rows_percent_json(q->current_bandwidth_mb, bandwidth_mb)));
}

static void show_table(struct cli_call *call, const struct admin_quotas *q, const struct month *m, uint64_t requests,
                       uint64_t bandwidth_mb)
{
	static const char *const heads[] = { "COUNTER", "USED", "QUOTA", "PERCENT" };
	char text[6][ROWS_TEXT_MAX];
	const char *cells[] = {
		"requests",
		text[0],
		rows_limit(requests, text[1]),
		rows_percent_text(q->current_requests, requests, text[2]),
		"bandwidth_mb",
		text[3],
		rows_limit(bandwidth_mb, text[4]),
		rows_percent_text(q->current_bandwidth_mb, bandwidth_mb, text[5]),
	};

	snprintf(text[0], ROWS_TEXT_MAX, "%" PRIu64, q->current_requests);
	snprintf(text[3], ROWS_TEXT_MAX, "%" PRIu64, q->current_bandwidth_mb);
	fprintf(call->io->out, "user %" PRIu64 " (%s), month %s: from %s to %s\n", q->user_id, q->username, m->name,
	        m->start, m->end);
	output_table(call->io->out, 4, heads, cells, 2);
}

enum cli_exit cmd_usage(struct cli_call *call)
{
	const struct settings *s = call->settings;
	const char *wanted = call->options[OPTION_MONTH];
	char error[ADMIN_ERROR_MAX];
	struct admin_quotas quotas;
	struct month month;

	if (wanted != NULL && args_month(wanted) != ERR_OK)
		return cli_refuse(call, "--month %s: a month as 2026-01", wanted);
	if (admin_quotas_find(call->db, call->args[0], &quotas, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	find_month(&quotas, &month);
	int order = wanted != NULL ? strcmp(wanted, month.name) : 0;
	uint64_t requests = rows_effective(&quotas.requests, s->quotas_monthly_requests);
	uint64_t bandwidth_mb = rows_effective(&quotas.bandwidth_mb, s->quotas_monthly_bandwidth_mb);
	if (order == 0 && call->json)
		show_json(call, &quotas, &month, requests, bandwidth_mb);
	else if (order == 0)
		show_table(call, &quotas, &month, requests, bandwidth_mb);
	admin_quotas_free(&quotas);
	if (order < 0)
		return cli_refuse(call,
		                  "--month %s: usage of past months is not recorded by this version (the running one "
		                  "is %s)",
		                  wanted, month.name);
	if (order > 0)
		return cli_refuse(call, "--month %s has not begun (the running one is %s)", wanted, month.name);
	return CLI_DONE;
}
