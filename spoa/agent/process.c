#include "agent/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Above the numbers that the child gets, so that no dup2() destroys a source. */
#define FD_SAFE 10

static const char *const role_names[] = { [AGENT_VERDICT] = "verdict", [AGENT_KEEPER] = "keeper" };

/* In the child, before exec: only calls that are safe there. */
static void inherit(const struct process_start *start, int control, pid_t parent)
{
	/* A child that is frozen goes with its parent, too: it holds sockets that a new agent must be able to open. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(126);
	int shared = fcntl(start->shared_fd, F_DUPFD, FD_SAFE);
	int listen_fd = start->listen_fd >= 0 ? fcntl(start->listen_fd, F_DUPFD, FD_SAFE) : -1;
	int control_fd = fcntl(control, F_DUPFD, FD_SAFE);
	int config = fcntl(start->config_fd, F_DUPFD, FD_SAFE);

	if (shared < 0 || control_fd < 0 || config < 0 || dup2(shared, CHILD_FD_SHARED) < 0 ||
	    dup2(control_fd, CHILD_FD_CONTROL) < 0 || dup2(config, CHILD_FD_CONFIG) < 0)
		_exit(126);
	if (listen_fd < 0)
		close(CHILD_FD_LISTEN);
	else if (dup2(listen_fd, CHILD_FD_LISTEN) < 0)
		_exit(126);
	if (close_range(CHILD_FD_CONFIG + 1, ~0U, 0) != 0)
		_exit(126);
}

/* The handlers first, then the mask: a signal that waits meanwhile must end the child, not be swallowed. */
static void reset_signals(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		if (signo != SIGKILL && signo != SIGSTOP)
			signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

enum err process_config(const char *text, int *fd)
{
	size_t len = text != NULL ? strlen(text) : 0;
	int file = memfd_create("gateway-settings", MFD_CLOEXEC);

	if (file < 0)
		return ERR_IO;
	if (len > 0 && write(file, text, len) != (ssize_t)len) {
		int saved = errno;
		close(file);
		errno = saved;
		return ERR_IO;
	}
	*fd = file;
	return ERR_OK;
}

enum err process_spawn(const struct process_start *start, pid_t *pid, int *control)
{
	char index[16];
	char slot[16];
	const char *argv[12];
	sigset_t all;
	sigset_t before;
	int n = 0;
	int pair[2];

	snprintf(index, sizeof(index), "%u", start->index);
	snprintf(slot, sizeof(slot), "%u", start->slot);
	argv[n++] = "gateway-agent";
	argv[n++] = "--child";
	argv[n++] = role_names[start->role];
	argv[n++] = "--index";
	argv[n++] = index;
	argv[n++] = "--slot";
	argv[n++] = slot;
	argv[n++] = "--config";
	argv[n++] = CHILD_CONFIG;
	argv[n] = NULL;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return ERR_IO;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t parent = getpid();
	pid_t child = fork();
	if (child != 0)
		sigprocmask(SIG_SETMASK, &before, NULL);
	if (child < 0) {
		int saved = errno;
		close(pair[0]);
		close(pair[1]);
		errno = saved;
		return ERR_IO;
	}
	if (child == 0) {
		union {
			const char **in;
			char *const *out;
		} args = { .in = argv };
		reset_signals();
		inherit(start, pair[1], parent);
		execv(start->program, args.out);
		_exit(127);
	}
	close(pair[1]);
	*pid = child;
	*control = pair[0];
	return ERR_OK;
}
