#include "agent/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#define BEAT_MS 50

static void on_beat(void *arg)
{
	struct child *c = arg;
	atomic_store_explicit(&c->slot->beat_ns, clock_mono_ns(), memory_order_relaxed);
}

static void stop(struct child *c)
{
	if (c->stopping)
		return;
	c->stopping = true;
	c->on_stop(c->arg);
}

static void on_control(void *arg, unsigned events)
{
	struct child *c = arg;
	char byte;

	(void)events;
	ssize_t n = read(CHILD_FD_CONTROL, &byte, 1);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 1 && byte == CHILD_GO && !c->stopping) {
		c->on_go(c->arg);
		return;
	}
	if (n <= 0) {
		loop_io_stop(&c->control);
		log_warn("the parent process is gone: stopping");
		c->orphan = true;
		stop(c);
	}
}

/* The terminal's Ctrl-C and the service manager's SIGHUP reach all processes of a group: both are the parent's. */
static void on_signal(void *arg, int signo)
{
	struct child *c = arg;

	if (signo == SIGTERM)
		stop(c);
}

static int inherited(int fd)
{
	return fcntl(fd, F_GETFD) >= 0 ? fd : -1;
}

enum err child_init(struct child *c, struct loop *loop, const struct settings *settings, unsigned index, unsigned slot)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	c->loop = loop;
	c->settings = settings;
	c->index = index;
	c->listen_fd = inherited(CHILD_FD_LISTEN);
	c->usage_tcp_fd = inherited(CHILD_FD_USAGE_TCP);
	c->usage_udp_fd = inherited(CHILD_FD_USAGE_UDP);
	if (slot >= AGENT_SLOTS || fcntl(CHILD_FD_CONTROL, F_SETFL, O_NONBLOCK) != 0)
		return ERR_INVALID;
	enum err err = agent_shared_map(CHILD_FD_SHARED, &c->shared);
	if (err != ERR_OK)
		return err;
	c->slot = &c->shared->slots[slot];
	loop_timer_init(&c->beat, loop, on_beat, c);
	loop_timer_start(&c->beat, BEAT_MS, BEAT_MS);
	on_beat(c);
	loop_io_init(&c->control, loop, on_control, c);
	loop_io_start(&c->control, CHILD_FD_CONTROL, LOOP_READ);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		loop_signal_init(&c->signals[i], loop, on_signal, c);
		loop_signal_start(&c->signals[i], signals[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	return ERR_OK;
}

enum err child_ready(struct child *c)
{
	const char byte = CHILD_READY;

	(void)c;
	return write(CHILD_FD_CONTROL, &byte, 1) == 1 ? ERR_OK : ERR_IO;
}

void child_fini(struct child *c)
{
	for (size_t i = 0; i < sizeof(c->signals) / sizeof(c->signals[0]); i++)
		loop_signal_stop(&c->signals[i]);
	loop_io_stop(&c->control);
	loop_timer_stop(&c->beat);
	agent_shared_unmap(c->shared);
}
