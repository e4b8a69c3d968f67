#include <inttypes.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "store/admin_json.h"

/* Prints the one user of the list, with a sentence for people, and frees the list. */
static enum cli_exit tell(struct cli_call *call, struct admin_users *list, const char *what)
{
	const struct admin_user *u = &list->items[0];

	if (call->json)
		output_json(call->io->out, admin_json_user(u));
	else
		fprintf(call->io->out, "user %" PRIu64 " (%s) %s\n", u->id, u->username, what);
	admin_users_free(list);
	return CLI_DONE;
}

enum cli_exit cmd_user_add(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;

	if (admin_user_add(call->db, call->args[0], call->options[0], &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return tell(call, &list, "added");
}

enum cli_exit cmd_user_list(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;

	if (admin_user_list(call->db, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (call->json) {
		json_t *v = json_array();
		for (size_t i = 0; i < list.count; i++)
			json_array_append_new(v, admin_json_user(&list.items[i]));
		output_json(call->io->out, v);
	} else {
		rows_user_table(call->io->out, &list);
	}
	admin_users_free(&list);
	return CLI_DONE;
}

enum cli_exit cmd_user_show(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;
	struct admin_keys keys;

	if (admin_user_find(call->db, call->args[0], &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	if (admin_key_list(call->db, call->args[0], &keys, error) != ERR_OK) {
		admin_users_free(&list);
		return cli_refuse(call, "%s", error);
	}
	if (call->json) {
		json_t *v = admin_json_user(&list.items[0]);
		json_object_set_new(v, "keys", admin_json_keys(&keys));
		output_json(call->io->out, v);
	} else {
		rows_user_table(call->io->out, &list);
		fputc('\n', call->io->out);
		rows_key_table(call->io->out, &keys);
	}
	admin_keys_free(&keys);
	admin_users_free(&list);
	return CLI_DONE;
}

static enum cli_exit set_active(struct cli_call *call, bool active)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;

	if (admin_user_set(call->db, call->args[0], NULL, &active, &list, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return tell(call, &list, active ? "enabled" : "disabled");
}

enum cli_exit cmd_user_enable(struct cli_call *call)
{
	return set_active(call, true);
}

enum cli_exit cmd_user_disable(struct cli_call *call)
{
	return set_active(call, false);
}

enum cli_exit cmd_user_delete(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX], what[64];
	struct admin_users list;
	uint64_t revoked = 0;

	if (admin_user_delete(call->db, call->args[0], &list, &revoked, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	snprintf(what, sizeof(what), "deleted; keys revoked: %" PRIu64, revoked);
	return tell(call, &list, what);
}
