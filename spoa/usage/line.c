#include "usage/line.h"

#include <openssl/crypto.h>

#include "usage/bill.h"

#define HEADER_WORDS 6

/* The fields behind the token, in the line's order. */
enum {
	FIELD_ID = 0,
	FIELD_USER,
	FIELD_KEY,
	FIELD_CODE,
	FIELD_STATUS,
	FIELD_BYTES_READ,
	FIELD_BYTES_UPLOADED,
	FIELD_LENGTH,
	FIELD_HEAD,
	FIELD_REQUEST_LENGTH,
	FIELD_START,
	FIELD_ACTIVE_MS,
	FIELD_RESPONSE_MS,
	FIELD_TERMINATION,
	FIELD_BACKEND,
	FIELD_SERVER,
	FIELD_ROUTE,
	FIELD_METHOD,
	FIELD_ADDRESS,
	FIELD_PATH,
	FIELD_COUNT
};

static const char *const reason_names[USAGE_LINE_REASONS] = {
	[USAGE_LINE_OK] = "ok",         [USAGE_LINE_TOKEN] = "token",   [USAGE_LINE_FORM] = "form",
	[USAGE_LINE_NOBODY] = "nobody", [USAGE_LINE_NOTICE] = "notice",
};

const char *usage_line_reason_name(enum usage_line_reason reason)
{
	return (unsigned)reason < USAGE_LINE_REASONS ? reason_names[reason] : "unknown";
}

/* ---- what a field may be ---- */

static bool absent(struct sv v)
{
	return v.n == 1 && v.p[0] == '-';
}

/*
 * A number, or -1 without one or for one below 0. HAProxy writes "+" before a number that was not final when it was
 * logged, and hands on the leading zeros of a client's Content-Length: a client must not be able to make its own line
 * unreadable. A number that is too large is the largest.
 */
static bool get_number(struct sv v, int64_t *out)
{
	int64_t value = 0;
	bool negative = v.n > 0 && v.p[0] == '-';

	if (absent(v)) {
		*out = -1;
		return true;
	}
	if (negative || (v.n > 0 && v.p[0] == '+'))
		v = sv_skip(v, 1);
	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, v.p[i] - '0', &value))
			value = INT64_MAX;
	}
	*out = negative ? -1 : value;
	return v.n > 0;
}

/* The id of a user or a key; 0 without one. */
static bool get_id(struct sv v, uint64_t *out)
{
	*out = 0;
	return absent(v) || (sv_to_u64(v, out) == ERR_OK && *out <= USAGE_NUMBER_MAX);
}

/* 0 is no answer, like -1. */
static bool get_status(struct sv v, int *out)
{
	int64_t status;

	if (!get_number(v, &status) || status > 999 || (status > 0 && status < 100))
		return false;
	*out = status > 0 ? (int)status : -1;
	return true;
}

/* Milliseconds. */
static bool get_start(struct sv v, int64_t *out)
{
	uint64_t ms;

	if (sv_to_u64(v, &ms) != ERR_OK || ms > (uint64_t)USAGE_START_MAX_MS)
		return false;
	*out = (int64_t)ms;
	return true;
}

/* Printable text, cut; an empty view without one. */
static bool get_text(struct sv v, size_t max, struct sv *out)
{
	if (v.n == 0 || !usage_printable(v))
		return false;
	*out = absent(v) ? sv_from(NULL, 0) : sv_from(v.p, v.n < max ? v.n : max);
	return true;
}

static bool get_word(struct sv v, struct sv *out)
{
	return get_text(v, USAGE_WORD_MAX, out);
}

/* ---- the path ---- */

struct path_writer {
	char *buf;
	size_t n;
	bool full;
};

/* Escapes are written whole or not at all, and after the first byte that has no room nothing is. */
static void put_path(struct path_writer *w, struct sv v)
{
	static const char digits[] = "0123456789ABCDEF";

	if (!w->full && v.n <= USAGE_PATH_MAX - w->n && usage_printable(v)) {
		memcpy(w->buf + w->n, v.p, v.n);
		w->n += v.n;
		return;
	}
	for (size_t i = 0; i < v.n && !w->full; i++) {
		unsigned char c = (unsigned char)v.p[i];
		bool plain = c >= 0x21 && c <= 0x7e;

		if (w->n + (plain ? 1 : 3) > USAGE_PATH_MAX) {
			w->full = true;
		} else if (plain) {
			w->buf[w->n++] = (char)c;
		} else {
			w->buf[w->n++] = '%';
			w->buf[w->n++] = digits[c >> 4];
			w->buf[w->n++] = digits[c & 15];
		}
	}
}

/* The bytes of a path before its first '/', or all of them. */
static struct sv segment(struct sv path)
{
	const char *slash = path.n > 0 ? memchr(path.p, '/', path.n) : NULL;
	return slash != NULL ? sv_from(path.p, (size_t)(slash - path.p)) : path;
}

static struct sv write_path(struct sv path, char buf[USAGE_PATH_MAX])
{
	static const struct sv prefix = { "/signed/", 8 };
	struct path_writer w = { .buf = buf };

	if (sv_starts(path, prefix)) {
		struct sv rest = sv_skip(path, prefix.n);
		size_t head = prefix.n + segment(rest).n;

		/* With a slash behind the key's id something follows that is a signature, if it is anything. */
		if (head < path.n) {
			put_path(&w, sv_from(path.p, head + 1));
			put_path(&w, SV("*"));
			path = sv_skip(path, head + 1);
			path = sv_skip(path, segment(path).n);
		}
	}
	put_path(&w, path);
	/* An escape of the client's own that the cut has split. */
	if (w.full && w.n >= 2 && buf[w.n - 2] == '%')
		w.n -= 2;
	else if (w.full && buf[w.n - 1] == '%')
		w.n--;
	return sv_from(buf, w.n);
}

/* ---- the line ---- */

static bool get_kind(const struct sv *f, enum usage_kind *out)
{
	struct sv route = f[FIELD_ROUTE];
	struct sv path = f[FIELD_PATH];

	if (sv_eq(route, SV("image")))
		*out = USAGE_IMAGE;
	else if (sv_eq(route, SV("api")))
		*out = sv_eq(f[FIELD_METHOD], SV("POST")) && sv_eq(path, SV("/api/v1/upload")) ? USAGE_UPLOAD
		                                                                               : USAGE_API;
	else if (absent(route))
		*out = sv_starts(path, SV("/api/")) ? USAGE_API : USAGE_IMAGE;
	else
		return false;
	return true;
}

/* What the record and the bill share is in the record by now. */
static bool read_bytes(const struct sv *f, struct usage_record *r)
{
	struct usage_measured m = {
		.kind = r->kind,
		.admitted = sv_eq(r->code, SV("allow")),
		.method = r->method,
		.termination = r->termination,
		.status = r->status,
	};

	if (!get_number(f[FIELD_BYTES_READ], &m.bytes_read) ||
	    !get_number(f[FIELD_BYTES_UPLOADED], &m.bytes_uploaded) || !get_number(f[FIELD_LENGTH], &m.length) ||
	    !get_number(f[FIELD_HEAD], &m.head) || !get_number(f[FIELD_REQUEST_LENGTH], &m.request_length))
		return false;
	struct usage_bytes bytes = usage_bill(&m);
	r->request_bytes = bytes.request;
	r->response_bytes = bytes.response;
	r->billed_bytes = bytes.billed;
	return true;
}

static bool read_record(const struct sv *f, struct usage_line_room *room, struct usage_record *r)
{
	int64_t response_ms;

	if (!get_text(f[FIELD_ID], USAGE_ID_MAX, &r->id) || r->id.n == 0 || !get_id(f[FIELD_KEY], &r->key) ||
	    !get_word(f[FIELD_CODE], &r->code) || !get_status(f[FIELD_STATUS], &r->status) ||
	    !get_start(f[FIELD_START], &r->start_ms) || !get_number(f[FIELD_ACTIVE_MS], &r->active_ms) ||
	    !get_number(f[FIELD_RESPONSE_MS], &response_ms) || !get_word(f[FIELD_TERMINATION], &r->termination) ||
	    !get_word(f[FIELD_BACKEND], &r->backend) || !get_word(f[FIELD_SERVER], &r->server) ||
	    !get_word(f[FIELD_METHOD], &r->method) || !get_word(f[FIELD_ADDRESS], &r->address) ||
	    f[FIELD_PATH].n == 0 || !get_kind(f, &r->kind))
		return false;
	/* A verdict that allows has no code. */
	if (r->code.n == 0)
		r->code = SV("allow");
	if (r->active_ms > USAGE_ACTIVE_MAX_MS)
		r->active_ms = USAGE_ACTIVE_MAX_MS;
	if (!absent(f[FIELD_PATH]))
		r->path = write_path(f[FIELD_PATH], room->path);
	return read_bytes(f, r);
}

/* The token's field, and the fields behind it in *rest (p == NULL: none). False when it is no usage line. */
static bool find_token(struct sv line, struct sv *token, struct sv *rest)
{
	struct sv word;

	*rest = line;
	for (int i = 0; i < HEADER_WORDS; i++)
		if (!sv_split(rest, ' ', &word))
			return false;
	if (!sv_starts(*rest, SV("gwu1\t")))
		return false;
	*rest = sv_skip(*rest, 5);
	return sv_split(rest, '\t', token);
}

/* The priority is 8 * facility + severity (RFC 5424 section 6.2.1). */
static bool is_notice(struct sv line)
{
	enum { LOCAL1 = 17, ERR = 3, INFO = 6, DEBUG = 7 };
	struct sv head;
	uint64_t priority;

	if (!sv_starts(line, SV("<")) || !sv_split(&line, '>', &head) ||
	    sv_to_u64(sv_skip(head, 1), &priority) != ERR_OK)
		return false;
	return priority / 8 == LOCAL1 && priority % 8 != ERR && priority % 8 != INFO && priority % 8 != DEBUG;
}

enum usage_line_reason usage_line_read(struct sv line, struct sv token, struct usage_line_room *room,
                                       struct usage_record *out)
{
	struct usage_record r = { 0 };
	struct sv f[FIELD_COUNT];
	struct sv given;
	struct sv rest;

	if (!find_token(line, &given, &rest))
		return is_notice(line) ? USAGE_LINE_NOTICE : USAGE_LINE_FORM;
	if (token.n == 0 || given.n != token.n || CRYPTO_memcmp(given.p, token.p, token.n) != 0)
		return USAGE_LINE_TOKEN;
	for (int i = 0; i < FIELD_COUNT; i++)
		if (!sv_split(&rest, '\t', &f[i]) || rest.p == NULL)
			return USAGE_LINE_FORM;
	if (!get_id(f[FIELD_USER], &r.user))
		return USAGE_LINE_FORM;
	if (r.user == 0)
		return USAGE_LINE_NOBODY;
	if (!read_record(f, room, &r))
		return USAGE_LINE_FORM;
	*out = r;
	return USAGE_LINE_OK;
}
