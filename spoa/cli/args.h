/* The command line: words to a command with its arguments and options. */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "cli/cli.h"
#include "store/admin_limit.h"

#define ARGS_ERROR_MAX 256

/* Views of argv. */
struct args {
	const struct cli_command *command; /* NULL: none was named */
	const char *group;                 /* the first word, when no command was named; or NULL */
	const char *words[CLI_ARGS_MAX];
	size_t nwords; /* those behind the command's name */
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
 * A number from `least` to `most`, or the word `default`; NULL: not given. ERR_INVALID for another form, ERR_RANGE for
 * another number.
 */
MUST_CHECK enum err args_change(const char *text, uint64_t least, uint64_t most, struct admin_change *out);

/* Likewise with up to three digits behind a point, as 1.5; bounds are whole, what comes out is in thousandths. */
MUST_CHECK enum err args_thousandths(const char *text, uint64_t least, uint64_t most, struct admin_change *out);

/*
 * A comma list of some of `names`, each at most once, or the word `none`. Bit i of *set stands for names[i].
 * ERR_INVALID for everything else, the empty list too.
 */
MUST_CHECK enum err args_names(const char *text, const char *const *names, size_t count, unsigned *set);

#define ARGS_HOUR_MAX 20 /* 2026-01-31T13:00Z and its NUL */

/* The first minute of an hour, or of a day, in UTC: 2026-01-31T13:00Z or 2026-01-31, from 1970 on. ERR_INVALID. */
MUST_CHECK enum err args_hour(const char *text, char hour[ARGS_HOUR_MAX]);
