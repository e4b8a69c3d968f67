#include "agent/usage_ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/listener.h"
#include "usage/octets.h"

/* HAProxy has one a process, and for a while those of processes before it. */
#define CONNECTIONS_MAX 64
#define BUFFER_BYTES    65536
/* Of all connections at the end: more than a full ring of HAProxy takes, so that whoever goes on sending cannot keep
 * the keeper from its end. */
#define DRAIN_READS 2048
_Static_assert(BUFFER_BYTES > 2 * USAGE_LINE_MAX, "a line fits, whatever is before it");

struct connection {
	struct connection *next;
	struct usage_ring *ring;
	struct loop_io io;
	int fd;
	bool known; /* has sent a line of our HAProxy's */
	size_t len;
	char bytes[BUFFER_BYTES];
};

struct usage_ring {
	struct loop *loop;
	struct listener *listener;
	struct usage_intake *intake;
	struct agent_usage *metrics;
	struct connection *connections;
	size_t count;
	struct log_gate gate;
};

static void end(struct connection *c)
{
	struct connection **link = &c->ring->connections;

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	c->ring->count--;
	loop_io_stop(&c->io);
	close(c->fd);
	free(c);
}

/*
 * What HAProxy puts into its ring when it was full: "… N event(s) dropped" (src/sink.c, sink_announce_dropped()).
 * Nobody vouches for it, so it is a number to look at, and no more.
 */
static uint64_t dropped_events(struct sv line)
{
	static const char *const ends[] = { " events dropped", " event dropped", " event(s) dropped" };
	const struct sv text = sv_trim(line);

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		const struct sv tail = sv_str(ends[i]);
		uint64_t n;

		if (text.n <= tail.n || !sv_eq(sv_skip(text, text.n - tail.n), tail))
			continue;
		size_t from = text.n - tail.n;
		while (from > 0 && text.p[from - 1] >= '0' && text.p[from - 1] <= '9')
			from--;
		if (sv_to_u64(sv_from(text.p + from, text.n - tail.n - from), &n) == ERR_OK && n < UINT32_MAX)
			return n;
	}
	return 0;
}

static void take_line(struct connection *c, struct sv line)
{
	struct usage_ring *r = c->ring;
	uint64_t lost = line.n < 256 ? dropped_events(line) : 0;

	if (lost == 0) {
		c->known |= usage_intake_line(r->intake, line);
		return;
	}
	atomic_fetch_add_explicit(&r->metrics->lost[AGENT_USAGE_LOST_RING], lost, memory_order_relaxed);
	log_error("usage: the ring of HAProxy was full: %" PRIu64 " of its records are gone, but for those that came "
	          "over UDP",
	          lost);
}

/* All whole lines of the buffer, as far as the intake is ready. ERR_INVALID: it cannot be read any further. */
static enum err take_lines(struct connection *c)
{
	struct sv rest = sv_from(c->bytes, c->len);
	enum err err = ERR_OK;

	while (err == ERR_OK && usage_intake_ready(c->ring->intake)) {
		struct sv line;
		size_t used;
		err = octets_take(rest, USAGE_LINE_MAX, &line, &used);
		if (err != ERR_OK)
			break;
		take_line(c, line);
		rest = sv_skip(rest, used);
	}
	usage_intake_flush(c->ring->intake);
	memmove(c->bytes, rest.p, rest.n);
	c->len = rest.n;
	return err == ERR_INVALID ? err : ERR_OK;
}

static void refuse(struct connection *c)
{
	uint64_t skipped;

	atomic_fetch_add_explicit(&c->ring->metrics->results[AGENT_USAGE_FORM], 1, memory_order_relaxed);
	if (log_gate(&c->ring->gate, clock_mono_ns(), 10 * NS_PER_SEC, &skipped))
		log_warn("usage: a connection does not count octets as HAProxy's ring does, or sends more than %d of "
		         "them: "
		         "closed skipped=%" PRIu64,
		         USAGE_LINE_MAX, skipped);
	end(c);
}

enum taken { TAKEN_ALL = 0, TAKEN_SOME, TAKEN_END, TAKEN_INVALID };

/* One read, and what it brought. */
static enum taken take_bytes(struct connection *c)
{
	ssize_t n = read(c->fd, c->bytes + c->len, sizeof(c->bytes) - c->len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return TAKEN_ALL;
	if (n <= 0)
		return TAKEN_END;
	c->len += (size_t)n;
	return take_lines(c) == ERR_OK ? TAKEN_SOME : TAKEN_INVALID;
}

static void on_readable(void *arg, unsigned events)
{
	struct connection *c = arg;
	const struct usage_intake *intake = c->ring->intake;

	(void)events;
	switch (take_bytes(c)) {
	case TAKEN_END:
		end(c);
		break;
	case TAKEN_INVALID:
		refuse(c);
		break;
	default:
		if (!usage_intake_ready(intake))
			loop_io_stop(&c->io);
		break;
	}
}

/* Whoever only holds connections must not keep HAProxy out: the one that is the longest here without a line of it goes.
 */
static void make_room(struct usage_ring *r)
{
	struct connection *oldest = NULL;

	for (struct connection *c = r->connections; c != NULL; c = c->next)
		if (!c->known)
			oldest = c;
	if (oldest != NULL)
		end(oldest);
}

static void on_accept(void *arg, int fd)
{
	struct usage_ring *r = arg;
	struct connection *c;

	if (r->count == CONNECTIONS_MAX)
		make_room(r);
	if (r->count == CONNECTIONS_MAX || (c = calloc(1, sizeof(*c))) == NULL) {
		uint64_t skipped;
		if (log_gate(&r->gate, clock_mono_ns(), 10 * NS_PER_SEC, &skipped))
			log_warn("usage: more than %d connections: closed skipped=%" PRIu64, CONNECTIONS_MAX, skipped);
		close(fd);
		return;
	}
	c->ring = r;
	c->fd = fd;
	c->next = r->connections;
	r->connections = c;
	r->count++;
	loop_io_init(&c->io, r->loop, on_readable, c);
	if (usage_intake_ready(r->intake))
		loop_io_start(&c->io, fd, LOOP_READ);
}

struct usage_ring *usage_ring_new(struct loop *loop, int fd, struct usage_intake *intake, struct agent_usage *metrics)
{
	struct usage_ring *r = check_calloc(1, sizeof(*r));

	r->loop = loop;
	r->intake = intake;
	r->metrics = metrics;
	r->listener = listener_new(loop, fd, on_accept, r);
	return r;
}

void usage_ring_resume(struct usage_ring *r)
{
	struct connection *next;

	for (struct connection *c = r->connections; c != NULL; c = next) {
		next = c->next;
		if (take_lines(c) != ERR_OK)
			refuse(c);
		else if (usage_intake_ready(r->intake))
			loop_io_start(&c->io, c->fd, LOOP_READ);
	}
}

void usage_ring_free(struct usage_ring *r)
{
	int reads = 0;

	if (r == NULL)
		return;
	listener_free(r->listener);
	for (struct connection *c = r->connections, *next = NULL; c != NULL; c = next) {
		next = c->next;
		while (reads++ < DRAIN_READS && usage_intake_ready(r->intake) && take_bytes(c) == TAKEN_SOME)
			;
		end(c);
	}
	free(r);
}
