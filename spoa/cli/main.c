/* gatewayctl: what operators do with users, keys, the schema and the settings. */
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "cli/cli.h"

int main(int argc, char **argv)
{
	struct cli_io io = { .out = stdout, .err = stderr };

	/* A closed pipe is told as a failed write, with its exit code. */
	signal(SIGPIPE, SIG_IGN);
	log_init("gatewayctl", LOG_WARN, LOG_TEXT);
	return cli_run(&io, argc, argv);
}
