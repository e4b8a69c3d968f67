#include "agent/usage_datagrams.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#define BATCH        64
#define TURN_BATCHES 8 /* in one turn of the loop */
/* At the end: more than the socket can hold, so that whoever goes on sending cannot keep the keeper from its end. */
#define DRAIN_BATCHES 1024

struct usage_datagrams {
	struct loop_io io;
	int fd;
	struct usage_intake *intake;
	struct agent_usage *metrics;
	struct log_gate gate;
	struct log_gate overflow_gate;
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	union {
		char bytes[CMSG_SPACE(sizeof(uint32_t))];
		struct cmsghdr align;
	} controls[BATCH];
	char lines[BATCH][USAGE_LINE_MAX];
	char rest[BATCH]; /* of those that are taken out nobody looks at the bytes */
};

static void log_failure(struct usage_datagrams *d, const char *what)
{
	uint64_t skipped;

	if (log_gate(&d->gate, clock_mono_ns(), 10 * NS_PER_SEC, &skipped))
		log_error("usage: %s: %s skipped=%" PRIu64, what, strerror(errno), skipped);
}

/* What the kernel had to drop since the socket was made, as each message tells. */
static void note_overflow(struct usage_datagrams *d, struct msghdr *header)
{
	_Atomic uint64_t *counter = &d->metrics->results[AGENT_USAGE_OVERFLOW];
	uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
	uint64_t skipped;
	uint32_t total;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
			continue;
		memcpy(&total, CMSG_DATA(c), sizeof(total));
		const uint32_t more = total - (uint32_t)before;
		if (more == 0)
			continue;
		atomic_store_explicit(counter, before + more, memory_order_relaxed);
		if (log_gate(&d->overflow_gate, clock_mono_ns(), 10 * NS_PER_SEC, &skipped))
			log_warn("usage: datagrams did not fit into the socket: %" PRIu64
			         " since the start; the ring of HAProxy brings their records",
			         before + more);
	}
}

/* Where the next look begins: with the first datagram. A look at one leaves off behind it. */
static bool look_from_the_first(struct usage_datagrams *d)
{
	const int zero = 0;

	return setsockopt(d->fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) == 0;
}

static int look(struct usage_datagrams *d)
{
	if (!look_from_the_first(d))
		return -1;
	for (int i = 0; i < BATCH; i++) {
		d->parts[i] = (struct iovec){ .iov_base = d->lines[i], .iov_len = sizeof(d->lines[i]) };
		d->messages[i].msg_hdr = (struct msghdr){ .msg_iov = &d->parts[i],
			                                  .msg_iovlen = 1,
			                                  .msg_control = &d->controls[i],
			                                  .msg_controllen = sizeof(d->controls[i]) };
	}
	return recvmmsg(d->fd, d->messages, BATCH, MSG_PEEK | MSG_DONTWAIT, NULL);
}

/* As many as were looked at; the kernel gives them in the same order. */
static bool take_out(struct usage_datagrams *d, int n)
{
	for (int taken = 0; taken < n;) {
		for (int i = 0; i < n - taken; i++) {
			d->parts[i] = (struct iovec){ .iov_base = &d->rest[i], .iov_len = 1 };
			d->messages[i].msg_hdr = (struct msghdr){ .msg_iov = &d->parts[i], .msg_iovlen = 1 };
		}
		int got = recvmmsg(d->fd, d->messages, (unsigned)(n - taken), MSG_DONTWAIT | MSG_TRUNC, NULL);
		if (got < 0 && errno == EINTR)
			continue;
		/* A datagram whose checksum fails is dropped by the kernel between the two: then there is one less. */
		if (got < 0 && errno == EAGAIN)
			return true;
		if (got < 0)
			return false;
		taken += got;
	}
	return true;
}

/*
 * A datagram without a byte is passed over by each look but its first one. When it is alone there, and was looked at
 * before (behind one that was cut, or by a keeper that was killed), the socket stays readable and shows nothing. It is
 * the first one then, which has the length that FIONREAD tells. Returns whether there was one.
 */
static bool take_empty(struct usage_datagrams *d)
{
	struct pollfd readable = { .fd = d->fd, .events = POLLIN };
	char byte;
	int first = -1;

	if (poll(&readable, 1, 0) <= 0 || ioctl(d->fd, FIONREAD, &first) != 0 || first != 0)
		return false;
	usage_intake_line(d->intake, sv_from(&byte, 0));
	return recv(d->fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* False when there is nothing more, or no more can be taken now. */
static bool take_batch(struct usage_datagrams *d)
{
	int n = look(d);
	int seen = 0;

	if (n <= 0) {
		if (n < 0 && errno == EAGAIN)
			return take_empty(d);
		if (n < 0 && errno != EINTR)
			log_failure(d, "cannot read datagrams");
		return n < 0 && errno == EINTR;
	}
	while (seen < n) {
		struct msghdr *header = &d->messages[seen].msg_hdr;
		note_overflow(d, header);
		usage_intake_line(d->intake, sv_from(d->lines[seen], d->messages[seen].msg_len));
		seen++;
		/* The look after one that is too long would begin in its middle; and there may be no room. */
		if ((header->msg_flags & MSG_TRUNC) != 0 || !usage_intake_ready(d->intake))
			break;
	}
	usage_intake_flush(d->intake);
	if (!take_out(d, seen)) {
		log_failure(d, "cannot take datagrams out of the socket");
		return false;
	}
	return usage_intake_ready(d->intake);
}

static void on_readable(void *arg, unsigned events)
{
	struct usage_datagrams *d = arg;

	(void)events;
	/* The ring may have filled the memory in this very turn. */
	for (int i = 0; i < TURN_BATCHES && usage_intake_ready(d->intake) && take_batch(d); i++)
		;
	if (!usage_intake_ready(d->intake))
		loop_io_stop(&d->io);
}

struct usage_datagrams *usage_datagrams_new(struct loop *loop, int fd, struct usage_intake *intake,
                                            struct agent_usage *metrics)
{
	struct usage_datagrams *d = check_calloc(1, sizeof(*d));

	d->fd = fd;
	d->intake = intake;
	d->metrics = metrics;
	loop_io_init(&d->io, loop, on_readable, d);
	loop_io_start(&d->io, fd, LOOP_READ);
	return d;
}

void usage_datagrams_free(struct usage_datagrams *d)
{
	if (d == NULL)
		return;
	loop_io_stop(&d->io);
	free(d);
}

void usage_datagrams_resume(struct usage_datagrams *d)
{
	loop_io_start(&d->io, d->fd, LOOP_READ);
}

void usage_datagrams_drain(struct usage_datagrams *d)
{
	for (int i = 0; i < DRAIN_BATCHES && usage_intake_ready(d->intake) && take_batch(d); i++)
		;
}
