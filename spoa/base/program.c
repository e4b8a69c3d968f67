#include "base/program.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

enum { OPTION_CHECK = 1, OPTION_CONFIG, OPTION_HELP, OPTION_VERSION, OPTION_EXTRA };

int program_options(int argc, char **argv, const char *name, const char *usage, const struct program_extra *extra,
                    size_t extra_count, struct program_options *out)
{
	struct option longs[5 + PROGRAM_EXTRA_MAX] = {
		{ "check-config", no_argument, NULL, OPTION_CHECK },
		{ "config", required_argument, NULL, OPTION_CONFIG },
		{ "help", no_argument, NULL, OPTION_HELP },
		{ "version", no_argument, NULL, OPTION_VERSION },
	};
	int c;

	CHECK(extra_count <= PROGRAM_EXTRA_MAX);
	for (size_t i = 0; i < extra_count; i++)
		longs[4 + i] = (struct option){ extra[i].name, required_argument, NULL, OPTION_EXTRA + (int)i };
	memset(out, 0, sizeof(*out));
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case OPTION_CHECK:
			out->check = true;
			break;
		case OPTION_CONFIG:
			out->config = optarg;
			break;
		case OPTION_HELP:
			fputs(usage, stdout);
			return 0;
		case OPTION_VERSION:
			printf("%s %s\n", name, GATEWAY_VERSION);
			return 0;
		case '?':
			fputs(usage, stderr);
			return 2;
		default:
			*extra[c - OPTION_EXTRA].value = optarg;
			break;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unexpected argument %s\n%s", name, argv[optind], usage);
		return 2;
	}
	return -1;
}
