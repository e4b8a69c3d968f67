#include "usage/bill.h"

/* What the headers of a message are taken for when nothing tells: rather more than they are. */
#define HEADERS_GUESS 256

/* What is left of the bytes of a message without its headers; 0 when nothing is, or the bytes are not known. */
static int64_t body_of(int64_t bytes, int64_t headers)
{
	return bytes > headers ? bytes - headers : 0;
}

static int64_t at_most(int64_t bytes, int64_t most)
{
	return bytes < most ? bytes : most;
}

/* Of what response_body() and request_body() say, which is never negative. */
static uint64_t capped(int64_t bytes)
{
	return (uint64_t)at_most(bytes, (int64_t)USAGE_BYTES_MAX);
}

static bool no_body(const struct usage_measured *m)
{
	return m->status < 200 || m->status == 204 || m->status == 304 || sv_eq(m->method, SV("HEAD"));
}

/*
 * A server's answer is complete with "--". An answer of HAProxy's own has there why it was made ("LR", "PR", "sH"), and
 * is handed over whole unless the client went away ("C") or stopped reading ("c").
 */
static bool answer_complete(const struct usage_measured *m)
{
	if (m->head >= 0 || m->termination.n == 0)
		return sv_starts(m->termination, SV("--"));
	return m->termination.p[0] != 'C' && m->termination.p[0] != 'c';
}

static int64_t response_body(const struct usage_measured *m)
{
	bool complete = answer_complete(m);

	if (no_body(m))
		return 0;
	if (complete && m->length >= 0)
		return m->length;
	if (complete)
		return m->head >= 0 ? body_of(m->bytes_read, m->head) : 0;
	int64_t taken = body_of(m->bytes_read, m->head >= 0 ? m->head : HEADERS_GUESS);
	return m->length >= 0 ? at_most(taken, m->length) : taken;
}

/* A refused or failed request may have been answered before its body was read. */
static int64_t request_body(const struct usage_measured *m)
{
	bool complete = sv_starts(m->termination, SV("--"));

	if (m->request_length < 0)
		return 0;
	if (complete && m->status >= 200 && m->status < 300)
		return m->request_length;
	return at_most(body_of(m->bytes_uploaded, HEADERS_GUESS), m->request_length);
}

static uint64_t billed(const struct usage_measured *m, const struct usage_bytes *b)
{
	if (!m->admitted)
		return 0;
	if (m->kind == USAGE_UPLOAD)
		return b->request;
	return m->kind == USAGE_IMAGE && m->head >= 0 ? b->response : 0;
}

struct usage_bytes usage_bill(const struct usage_measured *m)
{
	struct usage_bytes b = {
		.request = capped(request_body(m)),
		.response = capped(response_body(m)),
	};

	b.billed = billed(m, &b);
	return b;
}
