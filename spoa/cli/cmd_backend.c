#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/sv.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "store/admin_json.h"

/* `backend add` and `backend set` */
enum { OPTION_WEIGHT = 0 };

static bool take_weight(struct cli_call *call, uint64_t *weight)
{
	const char *text = call->options[OPTION_WEIGHT];

	if (sv_to_u64(sv_str(text), weight) == ERR_OK && *weight <= ADMIN_WEIGHT_MAX)
		return true;
	(void)cli_refuse(call, "--weight %s: a number from 0 to %d (0: no new requests)", text, ADMIN_WEIGHT_MAX);
	return false;
}

/* Prints the one backend of the list, with a word for people, and frees the list. */
static enum cli_exit tell(struct cli_call *call, struct admin_backends *list, const char *what)
{
	const struct admin_backend *b = &list->items[0];

	if (call->json)
		output_json(call->io->out, admin_json_backend(b));
	else
		fprintf(call->io->out, "backend %s (%s) %s; weight %" PRIu64 "\n", b->name, b->url, what, b->weight);
	admin_backends_free(list);
	return CLI_DONE;
}

enum cli_exit cmd_backend_add(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;
	uint64_t weight;

	if (!take_weight(call, &weight))
		return CLI_REFUSED;
	if (admin_backend_add(call->db, call->args[0], call->args[1], weight, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return tell(call, &list, "added");
}

static void list_table(FILE *f, const struct admin_backends *list)
{
	static const char *const heads[] = { "NAME", "URL", "WEIGHT", "CREATED" };
	enum { COLUMNS = sizeof(heads) / sizeof(heads[0]) };
	const char **cells = check_calloc(list->count + 1, sizeof(char *) * COLUMNS);
	char(*weights)[ROWS_TEXT_MAX] = check_calloc(list->count + 1, sizeof(*weights));

	for (size_t i = 0; i < list->count; i++) {
		const struct admin_backend *b = &list->items[i];
		const char **row = cells + i * COLUMNS;
		snprintf(weights[i], ROWS_TEXT_MAX, "%" PRIu64, b->weight);
		row[0] = b->name;
		row[1] = b->url;
		row[2] = weights[i];
		row[3] = b->created_at;
	}
	output_table(f, COLUMNS, heads, cells, list->count);
	free(weights);
	free(cells);
}

enum cli_exit cmd_backend_list(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;

	if (admin_backend_list(call->db, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (call->json)
		output_json(call->io->out, admin_json_backends(&list));
	else
		list_table(call->io->out, &list);
	admin_backends_free(&list);
	return CLI_DONE;
}

static enum cli_exit set_weight(struct cli_call *call, uint64_t weight, const char *what)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;

	if (admin_backend_set(call->db, call->args[0], NULL, &weight, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return tell(call, &list, what);
}

enum cli_exit cmd_backend_set(struct cli_call *call)
{
	uint64_t weight;

	return take_weight(call, &weight) ? set_weight(call, weight, "changed") : CLI_REFUSED;
}

enum cli_exit cmd_backend_drain(struct cli_call *call)
{
	return set_weight(call, 0, "drained");
}

enum cli_exit cmd_backend_remove(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;

	if (admin_backend_remove(call->db, call->args[0], &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return tell(call, &list, "removed");
}
