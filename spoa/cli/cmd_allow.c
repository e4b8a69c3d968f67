#include <stdlib.h>

#include "base/check.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "store/admin_json.h"

/* `allow add` */
enum { OPTION_DESCRIPTION = 0 };

enum cli_exit cmd_allow_add(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_allows list;

	if (admin_allow_add(call->db, call->args[0], call->args[1], call->options[OPTION_DESCRIPTION], &list, error) !=
	    ERR_OK)
		return cli_refuse(call, "%s", error);
	const struct admin_allow *a = &list.items[0];
	if (call->json)
		output_json(call->io->out, admin_json_allow(a));
	else
		fprintf(call->io->out, "%s may call from %s\n", a->username, a->cidr);
	admin_allows_free(&list);
	return CLI_DONE;
}

static void list_table(FILE *f, const struct admin_allows *list)
{
	static const char *const heads[] = { "CIDR", "DESCRIPTION", "CREATED" };
	const char **cells = check_calloc(list->count + 1, 3 * sizeof(char *));

	for (size_t i = 0; i < list->count; i++) {
		cells[i * 3] = list->items[i].cidr;
		cells[i * 3 + 1] = list->items[i].description;
		cells[i * 3 + 2] = list->items[i].created_at;
	}
	output_table(f, 3, heads, cells, list->count);
	free(cells);
}

enum cli_exit cmd_allow_list(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_allows list;

	if (admin_allow_list(call->db, call->args[0], &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (call->json)
		output_json(call->io->out, admin_json_allows(&list));
	else if (list.count == 0)
		fprintf(call->io->out, "the list is empty: %s may call from anywhere\n", call->args[0]);
	else
		list_table(call->io->out, &list);
	admin_allows_free(&list);
	return CLI_DONE;
}

enum cli_exit cmd_allow_remove(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_allows list;

	if (admin_allow_remove(call->db, call->args[0], call->args[1], &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	const struct admin_allow *a = &list.items[0];
	if (call->json)
		output_json(call->io->out, admin_json_allow(a));
	else
		fprintf(call->io->out, "%s is off the list of %s%s\n", a->cidr, a->username,
		        list.left == 0 ? ", which is empty now: they may call from anywhere" : "");
	admin_allows_free(&list);
	return CLI_DONE;
}
