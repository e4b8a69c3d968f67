/* Starting a child process with its inheritance (see child.h). */
#pragma once

#include <sys/types.h>

#include "agent/child.h"
#include "base/err.h"

struct process_start {
	const char *program;
	const char *config; /* --config option, or NULL */
	enum agent_role role;
	unsigned index;
	unsigned slot;
	int shared_fd;
	int listen_fd; /* or -1 */
};

/* Sets *pid, and *control to the parent's end of the control socket (non-blocking). ERR_IO with errno. */
MUST_CHECK enum err process_spawn(const struct process_start *start, pid_t *pid, int *control);
