/*
 * SPOP to a verdict worker, as HAProxy speaks it: hello, then NOTIFY frames one after the other, whose answers come on
 * the same connection. The stream id of a frame is the number of its sample.
 */
#include "pacer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 16384u
#define IN_MAX    (4u * FRAME_MAX)
#define OUT_MAX   (64u * FRAME_MAX)

enum { HAPROXY_HELLO = 1, NOTIFY = 3, AGENT_HELLO = 101, ACK = 103 };
enum { TYPE_NULL = 0, TYPE_FALSE = 1, TYPE_UINT32 = 3, TYPE_INT64 = 4, TYPE_IPV4 = 6, TYPE_STRING = 8 };

static uint32_t run_id;

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct writer {
	char *at;
};

static void put_byte(struct writer *w, unsigned byte)
{
	*w->at++ = (char)byte;
}

static void put_varint(struct writer *w, uint64_t number)
{
	if (number < 240) {
		put_byte(w, (unsigned)number);
		return;
	}
	put_byte(w, (unsigned)(number & 15) | 240);
	for (number = (number - 240) >> 4; number >= 128; number = (number - 128) >> 7)
		put_byte(w, (unsigned)(number & 127) | 128);
	put_byte(w, (unsigned)number);
}

static void put_text(struct writer *w, const char *text)
{
	size_t len = strlen(text);
	put_varint(w, len);
	memcpy(w->at, text, len);
	w->at += len;
}

static void put_arg(struct writer *w, const char *name, unsigned type)
{
	put_text(w, name);
	put_byte(w, type);
}

static void put_string(struct writer *w, const char *name, const char *text)
{
	if (text == NULL) {
		put_arg(w, name, TYPE_NULL);
		return;
	}
	put_arg(w, name, TYPE_STRING);
	put_text(w, text);
}

/* The start of a frame; its length is set by end_frame(). */
static void begin_frame(struct writer *w, unsigned kind, uint64_t stream, uint64_t number)
{
	w->at += 4;
	put_byte(w, kind);
	memcpy(w->at, "\0\0\0\1", 4);
	w->at += 4;
	put_varint(w, stream);
	put_varint(w, number);
}

static void end_frame(const struct writer *w, char *begin)
{
	uint32_t len = htonl((uint32_t)(w->at - begin - 4));
	memcpy(begin, &len, sizeof(len));
}

/* The question of haproxy/spoe.conf. */
static void put_check(struct writer *w, uint32_t index, const struct flow *f)
{
	char id[64];

	put_text(w, "check");
	put_byte(w, 10);
	put_arg(w, "v", TYPE_INT64);
	put_varint(w, 1);
	snprintf(id, sizeof(id), "%08x-7ace-4000-8000-%012x", run_id, index);
	put_string(w, "id", id);
	put_arg(w, "ip", TYPE_IPV4);
	memcpy(w->at, "\x7f\0\0\1", 4);
	w->at += 4;
	put_string(w, "method", "GET");
	put_string(w, "path", f->path);
	put_string(w, "query", NULL);
	put_string(w, "key", f->key);
	put_string(w, "auth", NULL);
	put_arg(w, "length", TYPE_INT64);
	put_varint(w, 0);
	put_arg(w, "tls", TYPE_FALSE);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

struct reader {
	const unsigned char *at;
	const unsigned char *end;
	bool bad;
};

static unsigned take_byte(struct reader *r)
{
	if (r->at >= r->end) {
		r->bad = true;
		return 0;
	}
	return *r->at++;
}

static uint64_t take_varint(struct reader *r)
{
	uint64_t number = take_byte(r), byte;

	if (number < 240)
		return number;
	for (unsigned shift = 4; shift < 64; shift += 7) {
		byte = take_byte(r);
		number += byte << shift;
		if (byte < 128)
			return number;
	}
	r->bad = true;
	return 0;
}

static const char *take_text(struct reader *r, size_t *len)
{
	uint64_t size = take_varint(r);
	const char *text = (const char *)r->at;

	if (r->bad || size > (uint64_t)(r->end - r->at)) {
		r->bad = true;
		*len = 0;
		return "";
	}
	r->at += size;
	*len = (size_t)size;
	return text;
}

struct verdict {
	bool allow;
	bool deny;
	int status;
	const char *code;
	size_t code_len;
};

static bool text_is(const char *text, size_t len, const char *wanted)
{
	return len == strlen(wanted) && memcmp(text, wanted, len) == 0;
}

static void take_variable(struct reader *r, struct verdict *v)
{
	size_t name_len, len = 0;
	const char *text = "";
	uint64_t number = 0;

	take_byte(r); /* scope */
	const char *name = take_text(r, &name_len);
	unsigned type = take_byte(r) & 15;
	if (type >= 2 && type <= 5)
		number = take_varint(r);
	else if (type == 8 || type == 9)
		text = take_text(r, &len);
	else if (type > 1)
		r->bad = true;
	if (text_is(name, name_len, "verdict")) {
		v->allow = text_is(text, len, "allow");
		v->deny = text_is(text, len, "deny");
	} else if (text_is(name, name_len, "code")) {
		v->code = text;
		v->code_len = len;
	} else if (text_is(name, name_len, "status")) {
		v->status = (int)number;
	}
}

static void take_ack(struct reader *r)
{
	struct verdict v = { .code = "", .status = 0 };
	uint64_t index = take_varint(r);

	take_varint(r); /* the frame's number */
	while (!r->bad && r->at < r->end) {
		unsigned action = take_byte(r), args = take_byte(r);
		if (action != 1 || args != 3)
			r->bad = true;
		else
			take_variable(r, &v);
	}
	if (r->bad || index >= sample_count || samples[index].got != 0)
		die("the agent answers with a frame that is none, or to a question that was not asked");
	if (v.allow)
		sample_end((uint32_t)index, 200, "allow", 5);
	else if (v.deny)
		sample_end((uint32_t)index, v.status, v.code, v.code_len);
	else
		sample_end((uint32_t)index, 0, "no_verdict", 10);
}

/* Takes the frames that are there as a whole; false when the agent takes its leave. */
static bool take_frames(struct conn *c)
{
	size_t done = 0;
	uint32_t size;
	bool good = true;

	while (good && c->in_len - done >= 4) {
		memcpy(&size, c->in + done, 4);
		size = ntohl(size);
		if (size > FRAME_MAX)
			die("the agent answers with a frame of %u bytes", size);
		if (c->in_len - done - 4 < size)
			break;
		const unsigned char *begin = (const unsigned char *)c->in + done + 4;
		struct reader r = { .at = begin, .end = begin + size };
		unsigned kind = take_byte(&r);
		r.at += 4;
		if (kind == ACK)
			take_ack(&r);
		else
			good = false;
		done += 4 + size;
	}
	memmove(c->in, c->in + done, c->in_len - done);
	c->in_len -= done;
	return good;
}

/* ---- the protocol ------------------------------------------------------------------------------------------------ */

static void say_hello(struct conn *c)
{
	char frame[512], answer[FRAME_MAX];
	struct writer w = { frame };
	uint32_t size;

	begin_frame(&w, HAPROXY_HELLO, 0, 0);
	put_string(&w, "supported-versions", "2.0");
	put_arg(&w, "max-frame-size", TYPE_UINT32);
	put_varint(&w, 16380);
	put_string(&w, "capabilities", "pipelining");
	end_frame(&w, frame);
	if (send(c->fd, frame, (size_t)(w.at - frame), MSG_NOSIGNAL) != w.at - frame)
		die("%s: %s", c->target->address, strerror(errno));
	if (recv(c->fd, &size, 4, MSG_WAITALL) != 4 || ntohl(size) > sizeof(answer) ||
	    recv(c->fd, answer, ntohl(size), MSG_WAITALL) != (ssize_t)ntohl(size) || answer[0] != AGENT_HELLO)
		die("%s: no hello", c->target->address);
}

static void spop_open(struct target *t)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	run_id = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec << 20 ^ (uint32_t)getpid() << 8;
	for (; t->conns_used < t->conns_max; t->conns_used++) {
		struct conn *c = &t->conns[t->conns_used];
		c->fd = connect_to(t->address);
		if (c->fd < 0)
			die("%s: %s", t->address, strerror(errno));
		c->in = must_alloc(1, IN_MAX);
		c->out = must_alloc(1, OUT_MAX);
		say_hello(c);
		watch(c);
	}
}

static void spop_send(struct target *t, uint32_t flow, uint64_t now)
{
	uint32_t index = sample_new(flow, now);
	struct conn *c = &t->conns[index % t->conns_max];

	if (c->fd < 0 || c->out_len + FRAME_MAX > OUT_MAX) {
		sample_end(index, 0, c->fd < 0 ? "closed" : "not_sent", c->fd < 0 ? 6 : 8);
		return;
	}
	struct writer w = { c->out + c->out_len };
	begin_frame(&w, NOTIFY, index, 1);
	put_check(&w, index, &flows[flow]);
	end_frame(&w, c->out + c->out_len);
	c->out_len = (size_t)(w.at - c->out);
}

static void close_conn(struct conn *c)
{
	const struct target *t = c->target;

	close(c->fd);
	c->fd = -1;
	for (uint32_t i = 0; i < sample_count; i++)
		if (samples[i].got == 0 && flows[samples[i].flow].target == t && &t->conns[i % t->conns_max] == c)
			sample_end(i, 0, "closed", 6);
}

static void spop_flush(struct target *t)
{
	for (unsigned i = 0; i < t->conns_used; i++) {
		struct conn *c = &t->conns[i];
		if (c->fd < 0 || c->out_len == 0)
			continue;
		ssize_t sent = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN) {
			close_conn(c);
			continue;
		}
		sent = sent < 0 ? 0 : sent;
		memmove(c->out, c->out + sent, c->out_len - (size_t)sent);
		c->out_len -= (size_t)sent;
	}
}

static void spop_readable(struct conn *c)
{
	ssize_t got = recv(c->fd, c->in + c->in_len, IN_MAX - c->in_len, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		close_conn(c);
		return;
	}
	c->in_len += (size_t)got;
	if (!take_frames(c))
		close_conn(c);
}

const struct protocol spop_protocol = {
	.name = "spop", .open = spop_open, .send = spop_send, .flush = spop_flush, .readable = spop_readable
};
