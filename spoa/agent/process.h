/* Starting a child process with its inheritance (see child.h). */
#pragma once

#include <sys/types.h>

#include "agent/child.h"
#include "base/err.h"
#include "base/settings.h"

struct process_start {
	const char *program;
	int config_fd; /* the settings, as CHILD_CONFIG */
	enum agent_role role;
	unsigned index;
	unsigned slot;
	int shared_fd;
	int listen_fd;    /* or -1 */
	int usage_tcp_fd; /* these two for the keeper alone; or -1 */
	int usage_udp_fd;
};

/* Puts the settings where children find them (settings_load_passed()); *fd is the caller's. ERR_IO with errno. */
MUST_CHECK enum err process_config(const struct settings *settings, int *fd);

/* Sets *pid, and *control to the parent's end of the control socket (non-blocking). ERR_IO with errno. */
MUST_CHECK enum err process_spawn(const struct process_start *start, pid_t *pid, int *control);
