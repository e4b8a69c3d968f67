#include <inttypes.h>

#include "cli/changes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "store/admin_effective.h"
#include "store/admin_json.h"

/* `limit set` */
enum { OPTION_PER_MINUTE = 0, OPTION_PER_HOUR, OPTION_BURST, OPTION_SHADOW };

static void show_table(struct cli_call *call, const struct admin_limits *l, const struct admin_limits_effective *e)
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
	struct admin_limits_effective e;

	admin_limits_effective(call->settings, l, &e);
	if (call->json)
		output_json(call->io->out, admin_json_limits(call->settings, l));
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

	if (!changes_number(call, OPTION_PER_MINUTE, 0, ADMIN_RATE_MAX, &wish.per_minute) ||
	    !changes_number(call, OPTION_PER_HOUR, 0, ADMIN_RATE_MAX, &wish.per_hour) ||
	    !changes_number(call, OPTION_BURST, 1, ADMIN_RATE_MAX, &wish.burst) ||
	    !changes_names(call, OPTION_SHADOW, admin_limits_shadows, ADMIN_SHADOWS, &wish.shadow_given, &shadow))
		return CLI_REFUSED;
	wish.shadow_minute = (shadow & ADMIN_SHADOW_MINUTE) != 0;
	wish.shadow_hour = (shadow & ADMIN_SHADOW_HOUR) != 0;
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
