#include "cli/changes.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/args.h"

bool changes_number(struct cli_call *call, size_t option, uint64_t least, uint64_t most, struct admin_change *out)
{
	const char *name = call->command->options[option].name, *text = call->options[option];

	if (args_change(text, least, most, out) == ERR_OK)
		return true;
	(void)cli_refuse(call, "%s %s: a number from %" PRIu64 " to %" PRIu64 "%s, or `default`", name, text, least,
	                 most, least == 0 ? " (0: no limit)" : "");
	return false;
}

bool changes_thousandths(struct cli_call *call, size_t option, uint64_t least, uint64_t most, struct admin_change *out)
{
	const char *name = call->command->options[option].name, *text = call->options[option];

	if (args_thousandths(text, least, most, out) == ERR_OK)
		return true;
	(void)cli_refuse(call,
	                 "%s %s: a number from %" PRIu64 " to %" PRIu64
	                 " with at most three digits behind the point, or `default`",
	                 name, text, least, most);
	return false;
}

bool changes_names(struct cli_call *call, size_t option, const char *const *names, size_t count, bool *given,
                   unsigned *set)
{
	const char *name = call->command->options[option].name, *text = call->options[option];
	char list[128] = "";
	size_t n = 0;

	*given = text != NULL;
	if (text == NULL || args_names(text, names, count, set) == ERR_OK)
		return true;
	for (size_t i = 0; i < count && n < sizeof(list); i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i > 0 ? ", " : "", names[i]);
	(void)cli_refuse(call, "%s %s: a comma list of %s, each at most once, or `none`", name, text, list);
	return false;
}
