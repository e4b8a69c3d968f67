/*
 * What every child process of the agent does: it finds its inheritance (descriptors and a slot), beats, tells the
 * parent when it is ready, waits for the word to go, and ends when it is told to or when the parent is gone.
 *
 * A child is the same program, started anew with `--child ROLE --index I --slot S`; it inherits descriptors with
 * fixed numbers. CHILD_FD_CONFIG is the text of the settings as the parent has read it, so that a process which
 * replaces another has the same settings, whatever the file says by then. Over the control socket go single bytes: 'R'
 * from the child (ready), 'G' to it (go: serve). Its end of file tells each side that the other is gone.
 */
#pragma once

#include <stdbool.h>

#include "agent/shared.h"
#include "base/settings.h"
#include "io/loop.h"

enum agent_role { AGENT_VERDICT = 0, AGENT_KEEPER };

enum {
	CHILD_FD_SHARED = 3,
	CHILD_FD_LISTEN,
	CHILD_FD_CONTROL,
	CHILD_FD_CONFIG,
	CHILD_FD_USAGE_TCP,
	CHILD_FD_USAGE_UDP,
	CHILD_FD_LAST = CHILD_FD_USAGE_UDP
};
#define CHILD_CONFIG "/proc/self/fd/6"

#define CHILD_READY 'R'
#define CHILD_GO    'G'

struct child {
	struct loop *loop;
	const struct settings *settings;
	struct agent_shared *shared;
	struct agent_slot *slot;
	unsigned index;             /* of a verdict worker, from 0 */
	int listen_fd;              /* the socket to accept on, or -1 */
	int usage_tcp_fd;           /* the keeper's: to accept HAProxy's ring on, or -1 (agent/sockets.h) */
	int usage_udp_fd;           /* and its datagrams (io/datagram.h); both are there, or none */
	void (*on_go)(void *arg);   /* serve from now on; comes once */
	void (*on_stop)(void *arg); /* finish, then loop_stop(); comes once */
	void *arg;
	bool orphan; /* the parent is gone: for on_stop */
	/* Private. */
	struct loop_io control;
	struct loop_timer beat;
	struct loop_signal signals[3];
	bool stopping;
};

/* Takes the inheritance over. ERR_VERSION when the parent is of a build with other shared memory. */
MUST_CHECK enum err child_init(struct child *c, struct loop *loop, const struct settings *settings, unsigned index,
                               unsigned slot);
/* Tells the parent that this process could serve; on_go follows. */
MUST_CHECK enum err child_ready(struct child *c);
void child_fini(struct child *c);

/* The programs of the two roles: run until the end, and return the exit code. */
int verdict_run(const struct settings *settings, unsigned index, unsigned slot);
int keeper_run(const struct settings *settings, unsigned slot);
