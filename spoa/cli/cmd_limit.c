#include <inttypes.h>

#include "cli/changes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"

/* `limit set` */
enum { OPTION_PER_MINUTE = 0, OPTION_PER_HOUR, OPTION_BURST, OPTION_SHADOW };

#define RATE_MAX UINT64_C(1000000000)

static const char *const shadow_names[] = { "minute", "hour" };
enum { SHADOW_MINUTE = 1, SHADOW_HOUR = 2, SHADOWS = 2 };

/* The numbers that hold. */
struct effective {
	uint64_t per_minute;
	uint64_t per_hour;
	uint64_t burst;
};

static struct effective resolve(const struct settings *s, const struct admin_limits *l)
{
	struct effective e = {
		.per_minute = rows_effective(&l->per_minute, s->rate_limits_user_level_requests_per_minute),
		.per_hour = rows_effective(&l->per_hour, s->rate_limits_user_level_requests_per_hour),
	};

	e.burst = l->burst.own ? l->burst.value : e.per_minute;
	return e;
}

static void show_json(struct cli_call *call, const struct admin_limits *l, const struct effective *e)
{
	static const char *const names[] = { "requests_per_minute", "requests_per_hour" };
	unsigned defaults = (l->per_minute.own ? 0 : 1u) | (l->per_hour.own ? 0 : 2u);
	unsigned shadow = (l->shadow_minute ? SHADOW_MINUTE : 0u) | (l->shadow_hour ? SHADOW_HOUR : 0u);

	output_json(call->io->out, json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "user", output_text(l->username),
	                                     "user_id", (json_int_t)l->user_id, names[0], (json_int_t)e->per_minute,
	                                     names[1], (json_int_t)e->per_hour, "burst", (json_int_t)e->burst, "shadow",
	                                     rows_names_json(shadow_names, SHADOWS, shadow), "defaults",
	                                     rows_names_json(names, 2, defaults)));
}

static void show_table(struct cli_call *call, const struct admin_limits *l, const struct effective *e)
{
	static const char *const heads[] = { "LIMIT", "VALUE", "FROM", "SHADOW" };
	char minute[ROWS_TEXT_MAX], hour[ROWS_TEXT_MAX], burst[ROWS_TEXT_MAX];
	const char *cells[] = {
		"requests_per_minute",
		rows_limit(e->per_minute, minute),
		rows_from(&l->per_minute, "setting"),
		l->shadow_minute ? "yes" : "no",
		"burst",
		rows_limit(e->burst, burst),
		rows_from(&l->burst, "requests_per_minute"),
		NULL,
		"requests_per_hour",
		rows_limit(e->per_hour, hour),
		rows_from(&l->per_hour, "setting"),
		l->shadow_hour ? "yes" : "no",
	};

	fprintf(call->io->out, "user %" PRIu64 " (%s)\n", l->user_id, l->username);
	output_table(call->io->out, 4, heads, cells, 3);
}

static enum cli_exit show(struct cli_call *call, struct admin_limits *l)
{
	struct effective e = resolve(call->settings, l);

	if (call->json)
		show_json(call, l, &e);
	else
		show_table(call, l, &e);
	admin_limits_free(l);
	return CLI_DONE;
}

enum cli_exit cmd_limit_set(struct cli_call *call)
{
	struct admin_limits_wish wish = { 0 };
	char error[ADMIN_ERROR_MAX];
	struct admin_limits limits;
	unsigned shadow = 0;

	if (!changes_number(call, OPTION_PER_MINUTE, 0, RATE_MAX, &wish.per_minute) ||
	    !changes_number(call, OPTION_PER_HOUR, 0, RATE_MAX, &wish.per_hour) ||
	    !changes_number(call, OPTION_BURST, 1, RATE_MAX, &wish.burst) ||
	    !changes_names(call, OPTION_SHADOW, shadow_names, SHADOWS, &wish.shadow_given, &shadow))
		return CLI_REFUSED;
	wish.shadow_minute = (shadow & SHADOW_MINUTE) != 0;
	wish.shadow_hour = (shadow & SHADOW_HOUR) != 0;
	if (admin_limits_set(call->db, call->args[0], &wish, &limits, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return show(call, &limits);
}

enum cli_exit cmd_limit_show(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_limits limits;

	if (admin_limits_find(call->db, call->args[0], &limits, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return show(call, &limits);
}
