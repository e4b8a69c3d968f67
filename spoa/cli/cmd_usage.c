#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "store/admin_month.h"
#include "store/admin_words.h"

enum { OPTION_MONTH = 0 };

#define MB_SHIFT 20

static uint64_t number(const json_t *object, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(object, name));
}

static const char *text_of(uint64_t value, char buf[ROWS_TEXT_MAX])
{
	snprintf(buf, ROWS_TEXT_MAX, "%" PRIu64, value);
	return buf;
}

static void show_quotas(struct cli_call *call, const struct admin_month *u)
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

static void show_table(struct cli_call *call, const struct admin_month *u)
{
	json_t *refused = json_object_get(u->sums, "refused");
	uint64_t requests = number(u->sums, "requests"), admitted = number(u->sums, "admitted");
	FILE *out = call->io->out;
	const char *code;
	json_t *n;

	fprintf(out, "user %" PRIu64 " (%s), month %s: from %s to %s\n", u->quotas.user_id, u->quotas.username, u->name,
	        u->start, u->end);
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

enum cli_exit cmd_usage(struct cli_call *call)
{
	const char *wanted = call->options[OPTION_MONTH];
	char error[ADMIN_ERROR_MAX];
	struct admin_month month;

	if (wanted != NULL && admin_month(wanted) != ERR_OK)
		return cli_refuse(call, "--month %s: a month as 2026-01", wanted);
	if (admin_month_find(call->db, call->settings, call->args[0], wanted, &month, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (call->json)
		output_json(call->io->out, admin_month_json(&month));
	else
		show_table(call, &month);
	admin_month_free(&month);
	return CLI_DONE;
}
