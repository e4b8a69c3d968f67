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
	/*
	 * A child that is frozen goes with its parent, too: it holds sockets that a new agent must be able to open. The
	 * keeper takes first what is in its sockets, when the end of its control socket tells it; it is only made to go
	 * on.
	 */
	if (prctl(PR_SET_PDEATHSIG, start->role == AGENT_KEEPER ? SIGCONT : SIGKILL) != 0 || getppid() != parent)
		_exit(126);
	struct {
		int fd; /* -1: not inherited */
		int number;
	} all[] = {
		{ start->shared_fd, CHILD_FD_SHARED },
		{ start->listen_fd, CHILD_FD_LISTEN },
		{ control, CHILD_FD_CONTROL },
		{ start->config_fd, CHILD_FD_CONFIG },
		{ start->usage_tcp_fd, CHILD_FD_USAGE_TCP },
		{ start->usage_udp_fd, CHILD_FD_USAGE_UDP },
	};
	const size_t count = sizeof(all) / sizeof(all[0]);

	for (size_t i = 0; i < count; i++)
		if (all[i].fd >= 0 && (all[i].fd = fcntl(all[i].fd, F_DUPFD, FD_SAFE)) < 0)
			_exit(126);
	for (size_t i = 0; i < count; i++) {
		if (all[i].fd < 0)
			close(all[i].number);
		else if (dup2(all[i].fd, all[i].number) < 0)
			_exit(126);
	}
	if (close_range(CHILD_FD_LAST + 1, ~0U, 0) != 0)
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

enum err process_config(const struct settings *settings, int *fd)
{
	int file = memfd_create("gateway-settings", MFD_CLOEXEC);

	if (file < 0)
		return ERR_IO;
	if (settings_pass(settings, file) != ERR_OK) {
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
