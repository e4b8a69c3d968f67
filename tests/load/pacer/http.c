/* HTTP to HAProxy: kept connections, one request on each at a time. What HAProxy answers has a Content-Length. */
#include "pacer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_MAX 32768u

static void close_conn(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
	c->in_len = 0;
	c->sample = NO_SAMPLE;
	c->again = NO_SAMPLE;
}

static void fail(struct conn *c, const char *why)
{
	if (c->sample != NO_SAMPLE)
		sample_end(c->sample, 0, why, strlen(why));
	close_conn(c);
}

static bool start(struct conn *c)
{
	c->fd = connect_to(c->target->address);
	if (c->fd < 0)
		return false;
	if (c->in == NULL)
		c->in = must_alloc(1, IN_MAX + 1);
	c->used = false;
	watch(c);
	return true;
}

static bool put(struct conn *c, const struct flow *f)
{
	/* It always fits into an empty socket buffer. */
	return send(c->fd, f->request, f->request_len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)f->request_len;
}

static void http_open(struct target *t)
{
	for (struct flow *f = flows; f->target != NULL; f++) {
		if (f->target != t)
			continue;
		int len = asprintf(&f->request, "GET %s HTTP/1.1\r\nHost: pacer.test\r\n%s%s%s\r\n", f->path,
		                   f->key != NULL ? "X-API-Key: " : "", f->key != NULL ? f->key : "",
		                   f->key != NULL ? "\r\n" : "");
		if (len < 0)
			die("no memory");
		f->request_len = (size_t)len;
	}
	if (!start(&t->conns[0]))
		die("%s: %s", t->address, strerror(errno));
	t->conns_used = 1;
}

/* One that is open and has nothing to do, else one more; NULL when there are no more. */
static struct conn *find_conn(struct target *t)
{
	struct conn *closed = NULL;

	for (unsigned i = 0; i < t->conns_used; i++) {
		struct conn *c = &t->conns[i];
		if (c->fd < 0)
			closed = closed == NULL ? c : closed;
		else if (c->sample == NO_SAMPLE)
			return c;
	}
	if (closed == NULL && t->conns_used < t->conns_max)
		closed = &t->conns[t->conns_used++];
	return closed;
}

static void http_send(struct target *t, uint32_t flow, uint64_t now)
{
	struct conn *c = find_conn(t);

	if (c == NULL && t->waiting_count < WAITING_MAX) {
		t->waiting[(t->waiting_first + t->waiting_count++) % WAITING_MAX] = flow;
		return;
	}
	uint32_t index = sample_new(flow, now);
	if (c == NULL) {
		sample_end(index, 0, "not_sent", 8);
		return;
	}
	if (c->fd < 0 && !start(c)) {
		sample_end(index, 0, "connect", 7);
		return;
	}
	c->sample = index;
	if (!put(c, &flows[flow]) && !c->used)
		fail(c, "send");
	/* On a kept connection the end is read next, and the request sent once more. */
}

static void http_flush(struct target *t)
{
	(void)t;
}

static void send_waiting(struct target *t)
{
	if (t->waiting_count == 0)
		return;
	uint32_t flow = t->waiting[t->waiting_first];
	t->waiting_first = (t->waiting_first + 1) % WAITING_MAX;
	t->waiting_count--;
	http_send(t, flow, clock_ns());
}

/* The connection was closed before the first byte of an answer. */
static void send_again(struct conn *c)
{
	uint32_t index = c->sample;

	close_conn(c);
	if (!start(c)) {
		sample_end(index, 0, "connect", 7);
		return;
	}
	c->sample = index;
	c->again = index;
	if (!put(c, &flows[samples[index].flow]))
		fail(c, "send");
}

static size_t header_number(const char *head, const char *name)
{
	const char *found = strcasestr(head, name);
	return found != NULL ? strtoul(found + strlen(name), NULL, 10) : 0;
}

/* The answer's end when it is there as a whole, else 0. */
static size_t whole_answer(const struct conn *c, const char **body)
{
	char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
	if (end == NULL)
		return 0;
	end[3] = '\0';
	size_t length = header_number(c->in, "\ncontent-length:");
	end[3] = '\n';
	*body = end + 4;
	size_t whole = (size_t)(*body - c->in) + length;
	return c->in_len >= whole ? whole : 0;
}

static void finish(struct conn *c, size_t whole, const char *body)
{
	struct target *t = c->target;
	int status = (int)strtol(c->in + strcspn(c->in, " "), NULL, 10);
	const char *code = "allow";
	size_t code_len = 5;

	if (status != 200) {
		c->in[c->in_len] = '\0';
		const char *mark = strstr(body, "\"code\":\"");
		code = mark != NULL ? mark + 8 : "";
		code_len = strcspn(code, "\"");
	}
	if (whole != c->in_len || strncmp(c->in, "HTTP/1.1 ", 9) != 0) {
		fail(c, "garbage");
		return;
	}
	sample_end(c->sample, status, code, code_len);
	c->sample = NO_SAMPLE;
	c->again = NO_SAMPLE;
	c->in_len = 0;
	c->used = true;
	send_waiting(t);
}

static void http_readable(struct conn *c)
{
	const char *body = NULL;

	ssize_t got = recv(c->fd, c->in + c->in_len, IN_MAX - c->in_len, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		if (c->sample != NO_SAMPLE && c->used && c->in_len == 0 && c->again == NO_SAMPLE)
			send_again(c);
		else
			fail(c, "closed");
		return;
	}
	c->in_len += (size_t)got;
	if (c->sample == NO_SAMPLE) {
		/* 408 to a connection that said nothing, say. */
		close_conn(c);
		return;
	}
	size_t whole = whole_answer(c, &body);
	if (whole != 0)
		finish(c, whole, body);
	else if (c->in_len == IN_MAX)
		fail(c, "too_large");
}

const struct protocol http_protocol = {
	.name = "http", .open = http_open, .send = http_send, .flush = http_flush, .readable = http_readable
};
