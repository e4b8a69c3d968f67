#include "cli/cli.h"
#include "cli/output.h"
#include "cli/policy_file.h"

enum cli_exit cmd_export(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_policy policy;

	/* Several statements that see one moment. */
	enum err err = pg_sync_exec(call->db, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 0, NULL, NULL);
	if (err != ERR_OK)
		err = admin_db_fail(call->db, err, error);
	else
		err = admin_policy_load(call->db, NULL, &policy, error);
	if (err != ERR_OK)
		return cli_refuse(call, "%s", error);
	pg_sync_rollback(call->db);
	if (call->json)
		output_json(call->io->out, policy_file_json(&policy));
	else
		policy_file_write(call->io->out, &policy);
	admin_policy_free(&policy);
	return CLI_DONE;
}
