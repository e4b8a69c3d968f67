#include "io/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

#define IN_STEP    16384
#define OUT_FIRST  4096
#define KEEP_BYTES 65536 /* a larger buffer goes when it is empty, so that one burst does not cost memory for ever */

enum stream_state {
	STATE_OPEN = 0,
	STATE_FLUSHING, /* closed for the user, output still leaves */
	STATE_CLOSED,   /* the socket is gone, on_close is due */
};

struct buffer {
	uint8_t *bytes;
	size_t start; /* bytes before it are done with */
	size_t end;   /* one past the last byte that is in use */
	size_t size;
};

struct stream {
	const struct stream_ops *ops;
	void *arg;
	struct loop_io io;
	struct loop_task flush;
	struct loop_task end;
	struct stream_limits limits;
	struct buffer in;
	struct buffer out;
	int fd;
	enum stream_state state;
	unsigned reason;
	bool blocked; /* the socket took less than it was given: POLLOUT says when to go on */
};

const char *stream_reason_str(unsigned reason)
{
	static const char *const names[STREAM_REASON_COUNT] = {
		[STREAM_EOF] = "eof",         [STREAM_RESET] = "reset",       [STREAM_ERROR] = "error",
		[STREAM_IN_FULL] = "in_full", [STREAM_OUT_FULL] = "out_full", [STREAM_DONE] = "done",
	};
	return reason < STREAM_REASON_COUNT ? names[reason] : "user";
}

static size_t buffer_len(const struct buffer *b)
{
	return b->end - b->start;
}

/* Makes room for `need` bytes after the used ones, within max used bytes. */
static enum err buffer_room(struct buffer *b, size_t need, size_t first, size_t max)
{
	size_t len = buffer_len(b), size = b->size > 0 ? b->size : first;
	uint8_t *bytes;
	if (need > max || len > max - need)
		return ERR_SPACE;
	if (b->size - b->end >= need)
		return ERR_OK;
	if (b->start > 0) {
		memmove(b->bytes, b->bytes + b->start, len);
		b->start = 0;
		b->end = len;
		if (b->size - b->end >= need)
			return ERR_OK;
	}
	while (size < len + need)
		size *= 2;
	if (size > max)
		size = max;
	bytes = realloc(b->bytes, size);
	if (bytes == NULL)
		return ERR_NOMEM;
	b->bytes = bytes;
	b->size = size;
	return ERR_OK;
}

static void buffer_take(struct buffer *b, size_t n)
{
	CHECK(n <= buffer_len(b));
	b->start += n;
	if (b->start != b->end)
		return;
	b->start = b->end = 0;
	if (b->size > KEEP_BYTES) {
		free(b->bytes);
		b->bytes = NULL;
		b->size = 0;
	}
}

static void watch(struct stream *s)
{
	unsigned events = 0;
	if (s->state == STATE_OPEN)
		events |= LOOP_READ;
	if (s->state != STATE_CLOSED && s->blocked)
		events |= LOOP_WRITE;
	loop_io_start(&s->io, s->fd, events);
}

static void finish(struct stream *s)
{
	if (s->state == STATE_CLOSED)
		return;
	s->state = STATE_CLOSED;
	loop_io_stop(&s->io);
	loop_task_cancel(&s->flush);
	close(s->fd);
	s->fd = -1;
	loop_defer(&s->end);
}

static void fail(struct stream *s, unsigned reason)
{
	if (s->state == STATE_OPEN)
		s->reason = reason;
	finish(s);
}

static void fail_errno(struct stream *s, const char *what, int number)
{
	if (number == ECONNRESET || number == EPIPE) {
		fail(s, STREAM_RESET);
		return;
	}
	log_warn("connection ends: call=%s error=\"%s\"", what, strerror(number));
	fail(s, STREAM_ERROR);
}

static void write_out(struct stream *s)
{
	size_t len = buffer_len(&s->out);
	if (len > 0) {
		ssize_t n = send(s->fd, s->out.bytes + s->out.start, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			fail_errno(s, "send", errno);
			return;
		}
		if (n > 0)
			buffer_take(&s->out, (size_t)n);
	}
	s->blocked = buffer_len(&s->out) > 0;
	if (s->state == STATE_FLUSHING && !s->blocked) {
		finish(s);
		return;
	}
	watch(s);
}

static void read_in(struct stream *s)
{
	size_t room = s->limits.in_max - buffer_len(&s->in), used;
	ssize_t n;
	enum err err = buffer_room(&s->in, room < IN_STEP ? room : IN_STEP, IN_STEP, s->limits.in_max);
	if (err != ERR_OK) {
		fail(s, err == ERR_SPACE ? STREAM_IN_FULL : STREAM_ERROR);
		return;
	}
	room = s->in.size - s->in.end;
	n = recv(s->fd, s->in.bytes + s->in.end, room, 0);
	if (n == 0) {
		fail(s, STREAM_EOF);
		return;
	}
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			fail_errno(s, "recv", errno);
		return;
	}
	s->in.end += (size_t)n;
	used = s->ops->on_data(s->arg, s->in.bytes + s->in.start, buffer_len(&s->in));
	if (s->state != STATE_OPEN)
		return;
	buffer_take(&s->in, used);
	if (buffer_len(&s->in) == s->limits.in_max)
		fail(s, STREAM_IN_FULL);
}

static void on_ready(void *arg, unsigned events)
{
	struct stream *s = arg;
	if ((events & LOOP_WRITE) != 0)
		write_out(s);
	if ((events & LOOP_READ) != 0 && s->state == STATE_OPEN)
		read_in(s);
}

static void on_flush(void *arg)
{
	struct stream *s = arg;
	if (s->state != STATE_CLOSED && !s->blocked)
		write_out(s);
}

static void on_end(void *arg)
{
	struct stream *s = arg;
	s->ops->on_close(s->arg, s->reason);
	free(s->in.bytes);
	free(s->out.bytes);
	free(s);
}

struct stream *stream_new(struct loop *loop, int fd, struct stream_limits limits, const struct stream_ops *ops,
                          void *arg)
{
	struct stream *s = check_calloc(1, sizeof(*s));
	CHECK(limits.in_max > 0 && limits.out_max > 0);
	s->ops = ops;
	s->arg = arg;
	s->limits = limits;
	s->fd = fd;
	loop_io_init(&s->io, loop, on_ready, s);
	loop_task_init(&s->flush, loop, on_flush, s);
	loop_task_init(&s->end, loop, on_end, s);
	watch(s);
	return s;
}

enum err stream_out(struct stream *s, size_t need, struct wcur *out)
{
	enum err err;
	wcur_init(out, NULL, 0);
	if (s->state != STATE_OPEN)
		return ERR_CLOSED;
	err = buffer_room(&s->out, need, OUT_FIRST, s->limits.out_max);
	if (err != ERR_OK) {
		fail(s, err == ERR_SPACE ? STREAM_OUT_FULL : STREAM_ERROR);
		return err;
	}
	wcur_init(out, s->out.bytes + s->out.end, s->out.size - s->out.end);
	return ERR_OK;
}

enum err stream_commit(struct stream *s, const struct wcur *out)
{
	if (s->state != STATE_OPEN)
		return ERR_CLOSED;
	if (out->err != ERR_OK)
		return out->err;
	CHECK(out->start == s->out.bytes + s->out.end && wcur_len(out) <= s->out.size - s->out.end);
	s->out.end += wcur_len(out);
	if (buffer_len(&s->out) > 0)
		loop_defer(&s->flush);
	return ERR_OK;
}

enum err stream_write(struct stream *s, const void *p, size_t n)
{
	struct wcur out;
	enum err err = stream_out(s, n, &out);
	if (err != ERR_OK)
		return err;
	wcur_bytes(&out, p, n);
	return stream_commit(s, &out);
}

size_t stream_out_len(const struct stream *s)
{
	return buffer_len(&s->out);
}

bool stream_is_open(const struct stream *s)
{
	return s->state == STATE_OPEN;
}

void stream_close(struct stream *s, unsigned reason)
{
	fail(s, reason);
}

void stream_close_after_flush(struct stream *s, unsigned reason)
{
	if (s->state != STATE_OPEN)
		return;
	if (buffer_len(&s->out) == 0) {
		fail(s, reason);
		return;
	}
	s->reason = reason;
	s->state = STATE_FLUSHING;
	if (s->blocked)
		watch(s);
	else
		loop_io_stop(&s->io);
}
