/* The command line: words to a command with its arguments and options. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "cli/cli.h"

#define ARGS_ERROR_MAX 256

/* Views of argv. */
struct args {
	const struct cli_command *command; /* NULL: none was named */
	const char *group;                 /* the first word, when no command was named; or NULL */
	const char *words[CLI_ARGS_MAX];
	size_t nwords;
	const char *options[CLI_OPTIONS_MAX];
	const char *config;
	bool json;
	bool help;
	bool version;
	bool check_config;
};

/*
 * ERR_INVALID: no command of the table, or not as the table says; `error` (ARGS_ERROR_MAX bytes) says what, and
 * out->json whether --json was among the words. With --help, --version or --check-config a command may be missing or
 * unfinished. Values may be given as `--name value` or `--name=value`; `--` ends the options.
 */
MUST_CHECK enum err args_parse(int argc, char **argv, struct args *out, char *error);

/*
 * A span of time as `90s`, `45m`, `12h` or `30d`, in seconds. ERR_INVALID for another form, ERR_RANGE for zero and for
 * more than 36500 days.
 */
MUST_CHECK enum err args_duration(const char *text, uint64_t *seconds);
