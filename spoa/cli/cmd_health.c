#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "io/http_probe.h"

#define TIMEOUT_MS 2000

/* The address, or NULL with `error` set. */
static const char *address_of(const struct settings *s, const char *program, const char **path, const char **error)
{
	if (strcmp(program, "agent") == 0) {
		*path = "/readyz";
		*error = "the agent's stats port is off (metrics.enabled)";
		return s->metrics_enabled ? s->metrics_bind : NULL;
	}
	*path = "/healthz";
	*error = "the program is agent or api";
	return strcmp(program, "api") == 0 ? s->api_bind : NULL;
}

enum cli_exit cmd_health(struct cli_call *call)
{
	char error[512];
	const char *path, *why;
	unsigned status;

	const char *address = address_of(call->settings, call->args[0], &path, &why);
	if (address == NULL)
		return cli_refuse(call, "health: %s", why);
	if (http_probe(address, path, TIMEOUT_MS, &status, error, sizeof(error)) != ERR_OK)
		return cli_refuse(call, "health: %s: %s", call->args[0], error);
	if (status != 200)
		return cli_refuse(call, "health: %s: not ready (%s answers %u at %s)", call->args[0], address, status,
		                  path);
	if (call->json)
		output_json(call->io->out, json_pack("{s:s, s:b}", "program", call->args[0], "ready", 1));
	else
		fprintf(call->io->out, "%s: ready\n", call->args[0]);
	return CLI_DONE;
}
