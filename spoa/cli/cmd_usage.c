#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "policy/period.h"
#include "store/admin_usage.h"

enum { OPTION_MONTH = 0 };

#define MONTH_MAX 8 /* 2026-01 and its NUL */
#define MB_SHIFT  20

/* A user's month, named after the calendar's in which it starts, since a user's may start on any day. */
struct month {
	char name[MONTH_MAX];
	char start[ROWS_TEXT_MAX];
	char end[ROWS_TEXT_MAX];
};

static void find_month(const struct admin_quotas *q, int64_t moment, struct month *m)
{
	struct period period;

	period_at(moment, (unsigned)rows_effective(&q->reset_day, 1), &period);
	rows_time(period.start, m->start);
	rows_time(period.end, m->end);
	snprintf(m->name, sizeof(m->name), "%.7s", m->start);
}

/* The last second of a calendar month (args_month() took it): whichever day a user's month starts on, it has begun. */
static int64_t last_second_of(const char *month)
{
	int year = (month[0] - '0') * 1000 + (month[1] - '0') * 100 + (month[2] - '0') * 10 + month[3] - '0';
	struct tm next = { .tm_year = year - 1900, .tm_mon = (month[5] - '0') * 10 + month[6] - '0', .tm_mday = 1 };

	return (int64_t)timegm(&next) - 1;
}

/* What is known of a month. `used` counts against the quotas: the counters of the running month, else the roll-ups. */
struct usage {
	struct month month;
	json_t *sums; /* as admin_usage_month() says */
	uint64_t used_requests;
	uint64_t used_bytes;
	uint64_t requests; /* quota; 0: none */
	uint64_t bandwidth_mb;
};

static uint64_t number(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static json_t *left_json(uint64_t used, uint64_t quota)
{
	return quota == 0 ? json_null() : json_integer((json_int_t)(used < quota ? quota - used : 0));
}

static void show_json(struct cli_call *call, const struct admin_quotas *q, const struct usage *u)
{
	uint64_t used_mb = u->used_bytes >> MB_SHIFT;
	json_t *v = json_pack("{s:o, s:I, s:s, s:s, s:s, s:I, s:o, s:I, s:I, s:o, s:I, s:I, s:o, s:o}", "user",
	                      output_text(q->username), "user_id", (json_int_t)q->user_id, "month", u->month.name,
	                      "start", u->month.start, "end", u->month.end, "monthly_requests", (json_int_t)u->requests,
	                      "requests_percent", rows_percent_json(u->used_requests, u->requests), "bandwidth_mb",
	                      (json_int_t)used_mb, "monthly_bandwidth_mb", (json_int_t)u->bandwidth_mb,
	                      "bandwidth_percent", rows_percent_json(used_mb, u->bandwidth_mb), "used_requests",
	                      (json_int_t)u->used_requests, "used_bytes", (json_int_t)u->used_bytes, "requests_left",
	                      left_json(u->used_requests, u->requests), "bytes_left",
	                      left_json(u->used_bytes, u->bandwidth_mb << MB_SHIFT));

	CHECK(v != NULL && json_object_update(v, u->sums) == 0);
	output_json(call->io->out, v);
}

static const char *text_of(uint64_t value, char buf[ROWS_TEXT_MAX])
{
	snprintf(buf, ROWS_TEXT_MAX, "%" PRIu64, value);
	return buf;
}

static void show_quotas(struct cli_call *call, const struct usage *u)
{
	static const char *const heads[] = { "COUNTER", "USED", "QUOTA", "LEFT", "PERCENT" };
	uint64_t used_mb = u->used_bytes >> MB_SHIFT;
	uint64_t left_mb = used_mb < u->bandwidth_mb ? u->bandwidth_mb - used_mb : 0;
	uint64_t left = u->used_requests < u->requests ? u->requests - u->used_requests : 0;
	char text[8][ROWS_TEXT_MAX];
	const char *cells[] = {
		"requests",
		text_of(u->used_requests, text[0]),
		rows_limit(u->requests, text[1]),
		u->requests != 0 ? text_of(left, text[2]) : NULL,
		rows_percent_text(u->used_requests, u->requests, text[3]),
		"bandwidth_mb",
		text_of(used_mb, text[4]),
		rows_limit(u->bandwidth_mb, text[5]),
		u->bandwidth_mb != 0 ? text_of(left_mb, text[6]) : NULL,
		rows_percent_text(used_mb, u->bandwidth_mb, text[7]),
	};

	output_table(call->io->out, 5, heads, cells, 2);
}

enum { PART_COLUMNS = 6 };

/* The keys or the backends of a month. */
static void show_parts(struct cli_call *call, const json_t *list, const char *head, const char *name)
{
	static const char *const sums[] = { "requests", "admitted", "request_bytes", "response_bytes", "billed_bytes" };
	const char *heads[PART_COLUMNS] = { head, "REQUESTS", "ADMITTED", "BYTES IN", "BYTES OUT", "BILLED" };
	size_t n = json_array_size(list);
	const char **cells = check_calloc(n + 1, sizeof(char *) * PART_COLUMNS);
	char(*text)[ROWS_TEXT_MAX] = check_calloc(n + 1, sizeof(*text) * PART_COLUMNS);

	for (size_t i = 0; i < n; i++) {
		const json_t *part = json_array_get(list, i), *id = json_object_get(part, name);
		const char **row = cells + i * PART_COLUMNS;
		char(*room)[ROWS_TEXT_MAX] = text + i * PART_COLUMNS;
		row[0] = json_is_integer(id) ? text_of((uint64_t)json_integer_value(id), room[0])
		                             : json_string_value(id);
		for (size_t c = 1; c < PART_COLUMNS; c++)
			row[c] = text_of(number(part, sums[c - 1]), room[c]);
	}
	fputc('\n', call->io->out);
	output_table(call->io->out, PART_COLUMNS, heads, cells, n);
	free(text);
	free(cells);
}

static void show_table(struct cli_call *call, const struct admin_quotas *q, const struct usage *u)
{
	json_t *refused = json_object_get(u->sums, "refused");
	uint64_t requests = number(u->sums, "requests"), admitted = number(u->sums, "admitted");
	FILE *out = call->io->out;
	const char *code;
	json_t *n;

	fprintf(out, "user %" PRIu64 " (%s), month %s: from %s to %s\n", q->user_id, q->username, u->month.name,
	        u->month.start, u->month.end);
	show_quotas(call, u);
	fprintf(out,
	        "\nrequests %" PRIu64 ": admitted %" PRIu64 " (images %" PRIu64 ", uploads %" PRIu64
	        "), refused %" PRIu64,
	        requests, admitted, number(u->sums, "images"), number(u->sums, "uploads"), requests - admitted);
	const char *before = " (";
	json_object_foreach(refused, code, n)
	{
		fprintf(out, "%s%s %" PRIu64, before, code, (uint64_t)json_integer_value(n));
		before = ", ";
	}
	fprintf(out, "%s\nbytes in %" PRIu64 ", out %" PRIu64 ", billed %" PRIu64 "\n",
	        json_object_size(refused) > 0 ? ")" : "", number(u->sums, "request_bytes"),
	        number(u->sums, "response_bytes"), number(u->sums, "billed_bytes"));
	if (requests == 0)
		return;
	show_parts(call, json_object_get(u->sums, "keys"), "KEY", "key_id");
	show_parts(call, json_object_get(u->sums, "backends"), "BACKEND", "backend");
}

static enum cli_exit load_sums(struct cli_call *call, uint64_t user_id, const char *month, json_t **sums)
{
	char error[ADMIN_ERROR_MAX];
	struct pg_result *rows;
	const char *json;

	if (admin_usage_month(call->db, user_id, month, &json, &rows, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	*sums = json_loads(json, 0, NULL);
	pg_result_free(rows);
	return *sums != NULL ? CLI_DONE : cli_refuse(call, "database: unexpected value in table usage_monthly");
}

static enum cli_exit show(struct cli_call *call, const struct admin_quotas *q, struct usage *u, bool running)
{
	enum cli_exit code = load_sums(call, q->user_id, u->month.name, &u->sums);

	if (code != CLI_DONE)
		return code;
	u->requests = rows_effective(&q->requests, call->settings->quotas_monthly_requests);
	u->bandwidth_mb = rows_effective(&q->bandwidth_mb, call->settings->quotas_monthly_bandwidth_mb);
	u->used_requests = running ? q->current_requests : number(u->sums, "images") + number(u->sums, "uploads");
	u->used_bytes = running ? q->current_bandwidth_bytes : number(u->sums, "billed_bytes");
	if (call->json)
		show_json(call, q, u);
	else
		show_table(call, q, u);
	json_decref(u->sums);
	return CLI_DONE;
}

enum cli_exit cmd_usage(struct cli_call *call)
{
	const char *wanted = call->options[OPTION_MONTH];
	char error[ADMIN_ERROR_MAX];
	struct admin_quotas quotas;
	struct month running;
	struct usage usage = { 0 };
	enum cli_exit code;

	if (wanted != NULL && args_month(wanted) != ERR_OK)
		return cli_refuse(call, "--month %s: a month as 2026-01", wanted);
	if (admin_quotas_find(call->db, call->args[0], &quotas, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	find_month(&quotas, (int64_t)quotas.now, &running);
	int order = wanted != NULL ? strcmp(wanted, running.name) : 0;
	if (order > 0) {
		code = cli_refuse(call, "--month %s has not begun (the running one is %s)", wanted, running.name);
	} else {
		usage.month = running;
		if (order < 0)
			find_month(&quotas, last_second_of(wanted), &usage.month);
		code = show(call, &quotas, &usage, order == 0);
	}
	admin_quotas_free(&quotas);
	return code;
}
