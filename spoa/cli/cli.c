#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/output.h"
#include "io/pg.h"
#include "store/admin_json.h"

#define CONNECT_TIMEOUT_MS 10000
#define MESSAGE_MAX        2048

static const struct cli_command commands[] = {
	{ .group = "allow",
	  .verb = "add",
	  .args = "USER CIDR",
	  .help = "let a user call from these addresses; without a list, from anywhere",
	  .min_args = 2,
	  .max_args = 2,
	  .needs_database = true,
	  .options = { { .name = "--description", .value = "TEXT", .help = "what the addresses are" } },
	  .run = cmd_allow_add },
	{ .group = "allow",
	  .verb = "list",
	  .args = "USER",
	  .help = "list the addresses that a user may call from",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_allow_list },
	{ .group = "allow",
	  .verb = "remove",
	  .args = "USER CIDR",
	  .help = "undo `allow add`",
	  .min_args = 2,
	  .max_args = 2,
	  .needs_database = true,
	  .run = cmd_allow_remove },
	{ .group = "apply",
	  .args = "",
	  .help = "make users, keys, limits, lists and backends what a policy file says",
	  .needs_database = true,
	  .options = { { .name = "-f",
	                 .value = "FILE",
	                 .help = "the policy file; - for standard input",
	                 .required = true },
	               { .name = "--dry-run", .help = "say what would change, and change nothing" },
	               { .name = "--prune", .help = "users, keys and backends that its lists leave out go" },
	               { .name = "--keys-file",
	                 .value = "FILE",
	                 .help = "a new file for the keys that are made (they are printed)" } },
	  .run = cmd_apply },
	{ .group = "backend",
	  .verb = "add",
	  .args = "NAME URL",
	  .help = "add an image server",
	  .min_args = 2,
	  .max_args = 2,
	  .needs_database = true,
	  .options = { { .name = "--weight",
	                 .value = "N",
	                 .help = "its share of the requests, 0 to 256; 0: none",
	                 .required = true } },
	  .run = cmd_backend_add },
	{ .group = "backend",
	  .verb = "drain",
	  .args = "NAME",
	  .help = "give an image server no new requests: `backend set NAME --weight 0`",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_backend_drain },
	{ .group = "backend",
	  .verb = "list",
	  .args = "",
	  .help = "list the image servers",
	  .needs_database = true,
	  .run = cmd_backend_list },
	{ .group = "backend",
	  .verb = "remove",
	  .args = "NAME",
	  .help = "undo `backend add`",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_backend_remove },
	{ .group = "backend",
	  .verb = "set",
	  .args = "NAME",
	  .help = "set the weight of an image server",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .options = { { .name = "--weight",
	                 .value = "N",
	                 .help = "its share of the requests, 0 to 256; 0: none",
	                 .required = true } },
	  .run = cmd_backend_set },
	{ .group = "config",
	  .verb = "show",
	  .args = "",
	  .help = "print every setting with its value; secrets are hidden",
	  .run = cmd_config_show },
	{ .group = "export",
	  .args = "",
	  .help = "print users, keys, limits, lists and backends as a policy file, without secrets",
	  .needs_database = true,
	  .run = cmd_export },
	{ .group = "health",
	  .args = "agent|api",
	  .help = "whether this program of this machine is ready; for health checks",
	  .min_args = 1,
	  .max_args = 1,
	  .run = cmd_health },
	{ .group = "image",
	  .verb = "set",
	  .args = "USER",
	  .help = "bound a user's images, or `default`; what is not given stays",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .needs_option = true,
	  .options = { { .name = "--max-dimension", .value = "PX", .help = "longest side of a result, in pixels" },
	               { .name = "--max-dpr", .value = "X", .help = "highest dpr, as 4 or 1.5" },
	               { .name = "--max-zoom", .value = "X", .help = "highest zoom" },
	               { .name = "--max-blur", .value = "X", .help = "strongest blur; 0 for none" },
	               { .name = "--max-quality", .value = "Q", .help = "highest quality, 1 to 100" },
	               { .name = "--require-expires",
	                 .value = "on|off",
	                 .help = "whether URLs must have an end (exp)" },
	               { .name = "--presets", .value = "LIST", .help = "presets that may be used, or none" } },
	  .run = cmd_image_set },
	{ .group = "image",
	  .verb = "show",
	  .args = "USER",
	  .help = "show the bounds of a user's images",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_image_show },
	{ .group = "key",
	  .verb = "create",
	  .args = "USER",
	  .help = "make an API key; it is shown this once",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .options = { { .name = "--name", .value = "NAME", .help = "a name to tell keys apart" },
	               { .name = "--scopes", .value = "LIST", .help = "of read,upload,admin (read,upload)" },
	               { .name = "--expires", .value = "TIME", .help = "30d, 12h, 45m or 90s from now (never)" },
	               { .name = "--signing", .help = "with a signing key and salt, for signed URLs" } },
	  .run = cmd_key_create },
	{ .group = "key",
	  .verb = "list",
	  .args = "[USER]",
	  .help = "list the keys of a user, or all",
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_key_list },
	{ .group = "key",
	  .verb = "revoke",
	  .args = "KEY_ID",
	  .help = "make a key invalid for good",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_key_revoke },
	{ .group = "key",
	  .verb = "rotate",
	  .args = "KEY_ID",
	  .help = "make a key that replaces this one; it is shown this once",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .options = { { .name = "--grace",
	                 .value = "TIME",
	                 .help = "24h, 45m or 90s in which the old key still passes (none)" } },
	  .run = cmd_key_rotate },
	{ .group = "limit",
	  .verb = "set",
	  .args = "USER",
	  .help = "set rate limits of a user; what is not given stays",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .needs_option = true,
	  .options = { { .name = "--per-minute", .value = "N", .help = "requests a minute" },
	               { .name = "--per-hour", .value = "N", .help = "requests an hour" },
	               { .name = "--burst",
	                 .value = "N",
	                 .help = "requests at once after a pause; default: as per minute" },
	               { .name = "--shadow",
	                 .value = "LIST",
	                 .help = "limits that refuse nobody, only count: of minute,hour, or none" } },
	  .run = cmd_limit_set },
	{ .group = "limit",
	  .verb = "show",
	  .args = "USER",
	  .help = "show the rate limits of a user",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_limit_show },
	{ .group = "migrate",
	  .verb = "up",
	  .args = "",
	  .help = "bring the database's schema up to date",
	  .needs_database = true,
	  .options = { { .name = "--dir", .value = "FOLDER", .help = "the folder of the migrations" } },
	  .run = cmd_migrate_up },
	{ .group = "migrate",
	  .verb = "status",
	  .args = "",
	  .help = "list the migrations, and when each was applied",
	  .needs_database = true,
	  .options = { { .name = "--dir", .value = "FOLDER", .help = "the folder of the migrations" } },
	  .run = cmd_migrate_status },
	{ .group = "quota",
	  .verb = "set",
	  .args = "USER",
	  .help = "set quotas of a user; what is not given stays",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .needs_option = true,
	  .options = { { .name = "--requests", .value = "N", .help = "requests a month" },
	               { .name = "--bandwidth-mb", .value = "N", .help = "MB (of 2^20 bytes) a month" },
	               { .name = "--storage-mb", .value = "N", .help = "MB of uploads" },
	               { .name = "--reset-day",
	                 .value = "DAY",
	                 .help = "1 to 31, on which the month starts, or default: the calendar's" },
	               { .name = "--shadow",
	                 .value = "LIST",
	                 .help = "quotas that refuse nobody, only count: of requests,bandwidth, or none" } },
	  .run = cmd_quota_set },
	{ .group = "quota",
	  .verb = "show",
	  .args = "USER",
	  .help = "show the quotas of a user, and what is used of them",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_quota_show },
	{ .group = "reconcile",
	  .args = "",
	  .help = "compare HAProxy's counters, raw rows, roll-ups and quotas' counters",
	  .needs_database = true,
	  .options = { { .name = "--fix", .help = "mend what raw rows and roll-ups can tell" },
	               { .name = "--from",
	                 .value = "TIME",
	                 .help = "2026-01-31 or 2026-01-31T13:00Z (the month's start)" },
	               { .name = "--to", .value = "TIME", .help = "the same; not this hour any more (now)" },
	               { .name = "--user", .value = "USER", .help = "this user alone (all)" } },
	  .run = cmd_reconcile },
	{ .group = "source",
	  .verb = "add",
	  .args = "USER PREFIX",
	  .help = "let a user's images come from URLs that begin so",
	  .min_args = 2,
	  .max_args = 2,
	  .needs_database = true,
	  .options = { { .name = "--description", .value = "TEXT", .help = "what is there" } },
	  .run = cmd_source_add },
	{ .group = "source",
	  .verb = "list",
	  .args = "USER",
	  .help = "list the remote sources of a user",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_source_list },
	{ .group = "source",
	  .verb = "remove",
	  .args = "USER PREFIX|ID",
	  .help = "undo `source add`",
	  .min_args = 2,
	  .max_args = 2,
	  .needs_database = true,
	  .run = cmd_source_remove },
	{ .group = "usage",
	  .args = "USER",
	  .help = "show what a user has used in a month",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .options = { { .name = "--month", .value = "YYYY-MM", .help = "the month (the running one)" } },
	  .run = cmd_usage },
	{ .group = "user",
	  .verb = "add",
	  .args = "NAME",
	  .help = "add a user",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .options = { { .name = "--email",
	                 .value = "ADDRESS",
	                 .help = "the user's e-mail address",
	                 .required = true } },
	  .run = cmd_user_add },
	{ .group = "user",
	  .verb = "delete",
	  .args = "USER",
	  .help = "delete a user and revoke their keys; usage records stay",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_user_delete },
	{ .group = "user",
	  .verb = "disable",
	  .args = "USER",
	  .help = "refuse all requests of a user, until enabled",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_user_disable },
	{ .group = "user",
	  .verb = "enable",
	  .args = "USER",
	  .help = "undo `user disable`",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_user_enable },
	{ .group = "user",
	  .verb = "list",
	  .args = "",
	  .help = "list the users",
	  .needs_database = true,
	  .run = cmd_user_list },
	{ .group = "user",
	  .verb = "show",
	  .args = "USER",
	  .help = "show a user and their keys",
	  .min_args = 1,
	  .max_args = 1,
	  .needs_database = true,
	  .run = cmd_user_show },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

const struct cli_command *cli_commands(size_t *count)
{
	*count = COMMANDS;
	return commands;
}

const char *cli_command_name(const struct cli_command *c, char buf[CLI_NAME_MAX])
{
	snprintf(buf, CLI_NAME_MAX, "%s%s%s", c->group, c->verb != NULL ? " " : "", c->verb != NULL ? c->verb : "");
	return buf;
}

static void print_error(struct cli_io *io, bool json, const char *message)
{
	if (json)
		output_json(io->err, json_pack("{s:o}", "error", admin_json_text(message)));
	else
		fprintf(io->err, "gatewayctl: %s\n", message);
}

enum cli_exit cli_refuse(struct cli_call *call, const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	print_error(call->io, call->json, message);
	return CLI_REFUSED;
}

static void print_command(FILE *f, const struct cli_command *c)
{
	char line[256], name[CLI_NAME_MAX];
	size_t n = (size_t)snprintf(line, sizeof(line), "%s%s%s", cli_command_name(c, name),
	                            c->args[0] != '\0' ? " " : "", c->args);

	for (size_t k = 0; k < CLI_OPTIONS_MAX && c->options[k].name != NULL && n < sizeof(line); k++) {
		const struct cli_option *o = &c->options[k];
		if (o->required)
			n += (size_t)snprintf(line + n, sizeof(line) - n, " %s %s", o->name, o->value);
	}
	fprintf(f, "  %-34s %s\n", line, c->help);
	for (size_t k = 0; k < CLI_OPTIONS_MAX && c->options[k].name != NULL; k++) {
		snprintf(line, sizeof(line), "%s%s%s", c->options[k].name, c->options[k].value != NULL ? " " : "",
		         c->options[k].value != NULL ? c->options[k].value : "");
		fprintf(f, "      %-30s %s\n", line, c->options[k].help);
	}
}

/* The whole help, or that of one group, or of one command. */
static void print_help(FILE *f, const char *group, const struct cli_command *only)
{
	fputs("usage: gatewayctl [OPTION]… COMMAND [ARGUMENT]…\n\n"
	      "Commands (USER is a name or an id; KEY_ID is the id that `key create` printed; N is a number, 0 for no\n"
	      "limit, or `default` for what the settings say):\n",
	      f);
	for (size_t i = 0; i < COMMANDS; i++)
		if (only != NULL ? only == &commands[i] : group == NULL || strcmp(group, commands[i].group) == 0)
			print_command(f, &commands[i]);
	fputs("\n"
	      "Options of every command:\n"
	      "  --config FILE                      the settings (else $GATEWAY_CONFIG, var/gateway.yaml of the "
	      "checkout,\n"
	      "                                     /etc/imgproxy-gateway/config.yaml)\n"
	      "  --json                             answers and errors as JSON\n"
	      "  --check-config                     check the settings, do nothing else\n"
	      "  --version                          print the version\n"
	      "  --help                             print this help\n\n"
	      "Exit codes: 0 done, 1 refused (the reason is on stderr), 2 wrong usage.\n",
	      f);
}

/* Commands that need no database go without, so that `config show` shows what is wrong with it. */
static enum cli_exit check_dsn(struct cli_call *call)
{
	char where[SETTINGS_ERROR_MAX / 2], why[SETTINGS_ERROR_MAX / 2];

	if (pg_check_dsn(call->settings->database_dsn, why, sizeof(why)) == ERR_OK)
		return CLI_DONE;
	return cli_refuse(call, "%s: %s", settings_where(call->settings, "database.dsn", where, sizeof(where)), why);
}

static enum cli_exit run_with_database(struct cli_call *call)
{
	char error[512];

	if (check_dsn(call) != CLI_DONE)
		return CLI_REFUSED;
	if (pg_sync_open(call->settings->database_dsn, "gatewayctl", CONNECT_TIMEOUT_MS, &call->db, error,
	                 sizeof(error)) != ERR_OK)
		return cli_refuse(call, "database: %s", error);
	enum cli_exit code = call->command->run(call);
	pg_sync_close(call->db);
	call->db = NULL;
	return code;
}

static enum cli_exit check_config(struct cli_call *call)
{
	const char *source = call->settings->source != NULL ? call->settings->source : "(defaults and environment)";

	if (check_dsn(call) != CLI_DONE)
		return CLI_REFUSED;
	if (call->json)
		output_json(call->io->out,
		            json_pack("{s:o, s:b}", "source", admin_json_text(call->settings->source), "ok", 1));
	else
		fprintf(call->io->out, "%s: ok\n", source);
	return CLI_DONE;
}

static enum cli_exit run_with_settings(struct cli_call *call, const struct args *args)
{
	struct settings settings;
	char error[SETTINGS_ERROR_MAX];

	if (settings_load(&settings, args->config, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	call->settings = &settings;
	enum cli_exit code = CLI_DONE;
	if (args->check_config)
		code = check_config(call);
	else if (call->command->needs_database)
		code = run_with_database(call);
	else
		code = call->command->run(call);
	settings_free(&settings);
	call->settings = NULL;
	return code;
}

static enum cli_exit dispatch(struct cli_call *call, const struct args *args)
{
	if (args->help) {
		print_help(call->io->out, args->group, args->command);
		return CLI_DONE;
	}
	if (args->version) {
		if (call->json)
			output_json(call->io->out, json_pack("{s:s}", "version", GATEWAY_VERSION));
		else
			fputs("gatewayctl " GATEWAY_VERSION "\n", call->io->out);
		return CLI_DONE;
	}
	return run_with_settings(call, args);
}

int cli_run(struct cli_io *io, int argc, char **argv)
{
	char error[ARGS_ERROR_MAX];
	struct args args;

	if (args_parse(argc, argv, &args, error) != ERR_OK) {
		print_error(io, args.json, error);
		if (!args.json)
			fputs("Try `gatewayctl --help`.\n", io->err);
		return CLI_USAGE;
	}
	struct cli_call call = { .command = args.command, .nargs = args.nwords, .io = io, .json = args.json };
	memcpy(call.args, args.words, sizeof(call.args));
	memcpy(call.options, args.options, sizeof(call.options));
	enum cli_exit code = dispatch(&call, &args);
	/* A key that could not be printed is lost, so a full disk or a closed pipe must not look like success. */
	if ((fflush(io->out) != 0 || ferror(io->out)) && code == CLI_DONE)
		code = cli_refuse(&call, "the answer cannot be written: %m");
	return code;
}
