/* ROOM: usage */
/*
 * Usage lines, as they come and cut in two. Whatever is accepted is a record that can be written and read again, has no
 * signature in its path, bills no more than was sent, and is believed with its token alone; what the first piece says
 * of a line that it holds as far as its path is what the whole line says.
 */
#include <string.h>

#include "base/check.h"
#include "usage/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The length of the record's text; 0 when the line has none. */
static size_t read_text(struct sv line, struct sv token, char *buf, struct usage_record *r,
                        struct usage_line_room *room)
{
	size_t n = 0;

	if (usage_line_read(line, token, room, r) != USAGE_LINE_OK)
		return 0;
	CHECK(usage_record_format(r, buf, USAGE_TEXT_MAX, &n) == ERR_OK);
	return n;
}

static bool within(struct sv v, const void *p, size_t n)
{
	uintptr_t from = (uintptr_t)p;
	uintptr_t at = (uintptr_t)v.p;
	return v.n == 0 || (at >= from && v.n <= n && at - from <= n - v.n);
}

static void check_views(const struct usage_record *r, struct sv line, const struct usage_line_room *room)
{
	CHECK(within(r->id, line.p, line.n) && within(r->termination, line.p, line.n));
	CHECK(within(r->method, line.p, line.n) && within(r->backend, line.p, line.n));
	CHECK(within(r->server, line.p, line.n) && within(r->address, line.p, line.n));
	CHECK(within(r->path, room->path, sizeof(room->path)));
}

/* Behind /signed/<key id>/ stands a star, if anything. */
static void check_mask(struct sv path)
{
	struct sv segment;

	if (!sv_starts(path, SV("/signed/")))
		return;
	struct sv rest = sv_skip(path, 8);
	CHECK(sv_split(&rest, '/', &segment));
	if (sv_split(&rest, '/', &segment))
		CHECK(sv_eq(segment, SV("*")) || (segment.n == 0 && path.n == USAGE_PATH_MAX));
}

static void check_bytes(const struct usage_record *r)
{
	CHECK(r->request_bytes <= USAGE_BYTES_MAX && r->response_bytes <= USAGE_BYTES_MAX);
	CHECK(r->billed_bytes == 0 || sv_eq(r->code, SV("allow")));
	if (r->kind == USAGE_UPLOAD)
		CHECK(r->billed_bytes == 0 || r->billed_bytes == r->request_bytes);
	else
		CHECK(r->billed_bytes == 0 || (r->kind == USAGE_IMAGE && r->billed_bytes == r->response_bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct usage_line_room room;
	static char text[USAGE_TEXT_MAX], other[USAGE_TEXT_MAX];
	const struct sv token = SV("t0ken");
	struct sv line = sv_from(data, size);
	struct usage_record r;
	struct usage_record again;

	size_t n = read_text(line, token, text, &r, &room);
	CHECK(usage_line_read(line, SV(""), &room, &again) != USAGE_LINE_OK);
	CHECK(usage_line_read(line, SV("t0keN"), &room, &again) != USAGE_LINE_OK || n == 0);
	size_t split = size > 0 ? data[size - 1] % (size + 1) : 0;
	for (size_t cut = split; cut < size; cut += 1 + size / 16) {
		size_t m = read_text(sv_from(data, cut), token, other, &again, &room);
		CHECK(m == 0 || (m == n && memcmp(text, other, n) == 0));
	}
	if (n == 0)
		return 0;
	CHECK(read_text(line, token, other, &r, &room) == n && memcmp(text, other, n) == 0);
	check_views(&r, line, &room);
	check_mask(r.path);
	check_bytes(&r);
	CHECK(usage_record_parse(sv_from(text, n), &again) == ERR_OK);
	CHECK(sv_eq(again.path, r.path) && sv_eq(again.id, r.id) && again.billed_bytes == r.billed_bytes);
	return 0;
}
