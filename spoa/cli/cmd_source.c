#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/sv.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/source_prefix.h"
#include "store/admin_json.h"

/* `source add` */
enum { OPTION_DESCRIPTION = 0 };

/* On false a refusal has been printed. */
static bool take_prefix(struct cli_call *call, char prefix[SOURCE_PREFIX_MAX])
{
	const char *text = call->args[1], *why = "";

	if (source_prefix(text, prefix, &why) == ERR_OK)
		return true;
	(void)cli_refuse(call, "\"%s\" is no prefix of remote sources (such as https://cdn.example.com/images/): %s",
	                 text, why);
	return false;
}

enum cli_exit cmd_source_add(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX], prefix[SOURCE_PREFIX_MAX];
	struct admin_sources list;

	if (!take_prefix(call, prefix))
		return CLI_REFUSED;
	if (admin_source_add(call->db, call->args[0], prefix, call->options[OPTION_DESCRIPTION], &list, error) !=
	    ERR_OK)
		return cli_refuse(call, "%s", error);
	const struct admin_source *s = &list.items[0];
	if (call->json)
		output_json(call->io->out, admin_json_source(s));
	else
		fprintf(call->io->out, "%s may use images from %s\n", s->username, s->prefix);
	admin_sources_free(&list);
	return CLI_DONE;
}

static void list_table(FILE *f, const struct admin_sources *list)
{
	static const char *const heads[] = { "ID", "PREFIX", "DESCRIPTION", "CREATED" };
	enum { COLUMNS = sizeof(heads) / sizeof(heads[0]), ID_MAX = 24 };
	const char **cells = check_calloc(list->count + 1, COLUMNS * sizeof(char *));
	char(*ids)[ID_MAX] = check_calloc(list->count + 1, sizeof(*ids));

	for (size_t i = 0; i < list->count; i++) {
		const char **row = cells + i * COLUMNS;
		snprintf(ids[i], ID_MAX, "%" PRIu64, list->items[i].id);
		row[0] = ids[i];
		row[1] = list->items[i].prefix;
		row[2] = list->items[i].description;
		row[3] = list->items[i].created_at;
	}
	output_table(f, COLUMNS, heads, cells, list->count);
	free(ids);
	free(cells);
}

enum cli_exit cmd_source_list(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_sources list;

	if (admin_source_list(call->db, call->args[0], &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (call->json)
		output_json(call->io->out, admin_json_sources(&list));
	else if (list.count == 0)
		fprintf(call->io->out, "the list is empty: %s has no remote sources\n", call->args[0]);
	else
		list_table(call->io->out, &list);
	admin_sources_free(&list);
	return CLI_DONE;
}

enum cli_exit cmd_source_remove(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX], prefix[SOURCE_PREFIX_MAX];
	struct admin_sources list;
	uint64_t id = 0;
	bool by_id = sv_to_u64(sv_str(call->args[1]), &id) == ERR_OK;

	if (!by_id && !take_prefix(call, prefix))
		return CLI_REFUSED;
	if (admin_source_remove(call->db, call->args[0], by_id ? NULL : prefix, id, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	const struct admin_source *s = &list.items[0];
	if (call->json)
		output_json(call->io->out, admin_json_source(s));
	else
		fprintf(call->io->out, "%s is off the list of %s%s\n", s->prefix, s->username,
		        list.left == 0 ? ", which is empty now: they have no remote sources" : "");
	admin_sources_free(&list);
	return CLI_DONE;
}
