/*
 * gatewayctl: one table of commands (cli.c), from which the arguments are checked and the help is printed. A command
 * is `GROUP VERB [ARGUMENT…] [OPTION…]`, or without the VERB where a group is one command alone; options may stand
 * anywhere after the program's name.
 *
 * With --json an answer is one line of JSON on `out`, and a failure one line {"error": "…"} on `err`.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/settings.h"
#include "io/pg_sync.h"

enum cli_exit {
	CLI_DONE = 0,
	CLI_REFUSED = 1, /* the reason is on `err` */
	CLI_USAGE = 2,   /* the command line is no command */
};

struct cli_io {
	FILE *out;
	FILE *err;
};

#define CLI_ARGS_MAX    4
#define CLI_OPTIONS_MAX 8
#define CLI_NAME_MAX    32

struct cli_option {
	const char *name;  /* with its dashes; NULL ends the list */
	const char *value; /* how the help calls its value; NULL: it is a flag, and has none */
	const char *help;
	bool required;
};

struct cli_call;

struct cli_command {
	const char *group;
	const char *verb; /* NULL: the group is this command */
	const char *args; /* as the help shows them; "" for none */
	const char *help;
	size_t min_args;
	size_t max_args;
	bool needs_database;
	bool needs_option; /* at least one of `options`; which one does not matter */
	struct cli_option options[CLI_OPTIONS_MAX];
	enum cli_exit (*run)(struct cli_call *call);
};

/* What a command gets. Texts are those of argv. */
struct cli_call {
	const struct cli_command *command;
	const char *args[CLI_ARGS_MAX];
	size_t nargs;
	const char
	        *options[CLI_OPTIONS_MAX]; /* by their place in the command's list; NULL: not given; a flag's is "" */
	const struct settings *settings;
	struct pg_sync *db; /* NULL unless needs_database */
	struct cli_io *io;
	bool json;
};

/* Runs a command line; returns the exit code. */
int cli_run(struct cli_io *io, int argc, char **argv);

/* The table, for the parser, the help and the tests. */
const struct cli_command *cli_commands(size_t *count);

/* "GROUP VERB", or "GROUP"; returns buf. */
const char *cli_command_name(const struct cli_command *c, char buf[CLI_NAME_MAX]);

/* Reports a failure and returns CLI_REFUSED. */
enum cli_exit cli_refuse(struct cli_call *call, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* One file a group. */
enum cli_exit cmd_apply(struct cli_call *call);
enum cli_exit cmd_export(struct cli_call *call);
enum cli_exit cmd_user_add(struct cli_call *call);
enum cli_exit cmd_user_list(struct cli_call *call);
enum cli_exit cmd_user_show(struct cli_call *call);
enum cli_exit cmd_user_enable(struct cli_call *call);
enum cli_exit cmd_user_disable(struct cli_call *call);
enum cli_exit cmd_user_delete(struct cli_call *call);
enum cli_exit cmd_key_create(struct cli_call *call);
enum cli_exit cmd_key_list(struct cli_call *call);
enum cli_exit cmd_key_rotate(struct cli_call *call);
enum cli_exit cmd_key_revoke(struct cli_call *call);
enum cli_exit cmd_limit_set(struct cli_call *call);
enum cli_exit cmd_limit_show(struct cli_call *call);
enum cli_exit cmd_quota_set(struct cli_call *call);
enum cli_exit cmd_quota_show(struct cli_call *call);
enum cli_exit cmd_allow_add(struct cli_call *call);
enum cli_exit cmd_allow_list(struct cli_call *call);
enum cli_exit cmd_allow_remove(struct cli_call *call);
enum cli_exit cmd_source_add(struct cli_call *call);
enum cli_exit cmd_source_list(struct cli_call *call);
enum cli_exit cmd_source_remove(struct cli_call *call);
enum cli_exit cmd_image_set(struct cli_call *call);
enum cli_exit cmd_image_show(struct cli_call *call);
enum cli_exit cmd_backend_add(struct cli_call *call);
enum cli_exit cmd_backend_list(struct cli_call *call);
enum cli_exit cmd_backend_set(struct cli_call *call);
enum cli_exit cmd_backend_drain(struct cli_call *call);
enum cli_exit cmd_backend_remove(struct cli_call *call);
enum cli_exit cmd_usage(struct cli_call *call);
enum cli_exit cmd_reconcile(struct cli_call *call);
enum cli_exit cmd_migrate_up(struct cli_call *call);
enum cli_exit cmd_migrate_status(struct cli_call *call);
enum cli_exit cmd_config_show(struct cli_call *call);
enum cli_exit cmd_health(struct cli_call *call);
