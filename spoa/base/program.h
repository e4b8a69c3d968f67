/* The options that every program of the gateway has: --config FILE, --check-config, --version, --help. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A further option of one program, `--name VALUE`; *value is set when it is given. */
struct program_extra {
	const char *name;
	const char **value;
};

struct program_options {
	const char *config; /* NULL: not given */
	bool check;
};

#define PROGRAM_EXTRA_MAX 8

/*
 * Reads the command line. Returns the exit status when the program is done with that (after --help and --version, or 2
 * for wrong usage), or -1 to go on. `usage` is the whole help text.
 */
int program_options(int argc, char **argv, const char *name, const char *usage, const struct program_extra *extra,
                    size_t extra_count, struct program_options *out);
