#include "usage/record.h"

#include "base/cursor.h"

static const char *const kind_names[USAGE_KIND_COUNT] = {
	[USAGE_IMAGE] = "image",
	[USAGE_UPLOAD] = "upload",
	[USAGE_API] = "api",
};

const char *usage_kind_name(enum usage_kind kind)
{
	return (unsigned)kind < USAGE_KIND_COUNT ? kind_names[kind] : "unknown";
}

/* Eight bytes at a time: the high bit of a byte in `good` is 1 when the byte is in the range. */
static bool eight_printable(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t high = 0x80 * ones;
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	uint64_t good = ((v | high) - 0x21 * ones) & ~(v + ones) & ~v;
	return (good & high) == high;
}

bool usage_printable(struct sv v)
{
	size_t i = 0;

	for (; v.n - i >= 8; i += 8)
		if (!eight_printable(v.p + i))
			return false;
	for (; i < v.n; i++)
		if (v.p[i] < 0x21 || v.p[i] > 0x7e)
			return false;
	return true;
}

/* ---- the bounds of a record, the same for writing and reading ---- */

/* Printable, not too long, and not what stands for an unknown one. An empty view is. */
static bool text_valid(struct sv v, size_t max)
{
	return v.n <= max && !(v.n == 1 && v.p[0] == '-') && usage_printable(v);
}

static bool numbers_valid(const struct usage_record *r)
{
	return r->user > 0 && r->user <= USAGE_NUMBER_MAX && r->key <= USAGE_NUMBER_MAX &&
	       (r->status == -1 || (r->status >= 100 && r->status <= 999)) && r->start_ms >= 0 &&
	       r->start_ms <= USAGE_START_MAX_MS && r->active_ms >= -1 && r->active_ms <= USAGE_ACTIVE_MAX_MS &&
	       r->request_bytes <= USAGE_BYTES_MAX && r->response_bytes <= USAGE_BYTES_MAX &&
	       r->billed_bytes <= USAGE_BYTES_MAX && (unsigned)r->kind < USAGE_KIND_COUNT;
}

static bool record_valid(const struct usage_record *r)
{
	return numbers_valid(r) && r->id.n > 0 && r->code.n > 0 && text_valid(r->id, USAGE_ID_MAX) &&
	       text_valid(r->code, USAGE_WORD_MAX) && text_valid(r->termination, USAGE_WORD_MAX) &&
	       text_valid(r->method, USAGE_WORD_MAX) && text_valid(r->backend, USAGE_WORD_MAX) &&
	       text_valid(r->server, USAGE_WORD_MAX) && text_valid(r->address, USAGE_WORD_MAX) &&
	       text_valid(r->path, USAGE_PATH_MAX);
}

/* ---- writing ---- */

static void put_text(struct wcur *w, struct sv v)
{
	wcur_u8(w, '\t');
	wcur_sv(w, v.n > 0 ? v : SV("-"));
}

static void put_number(struct wcur *w, uint64_t v)
{
	wcur_u8(w, '\t');
	wcur_u64(w, v);
}

static void put_number_if(struct wcur *w, bool known, uint64_t v)
{
	if (known)
		put_number(w, v);
	else
		put_text(w, SV("-"));
}

enum err usage_record_format(const struct usage_record *r, char *buf, size_t size, size_t *n)
{
	struct wcur w;

	if (!record_valid(r))
		return ERR_INVALID;
	wcur_init(&w, buf, size);
	wcur_sv(&w, r->id);
	put_number(&w, r->user);
	put_number_if(&w, r->key > 0, r->key);
	put_text(&w, r->code);
	put_number_if(&w, r->status >= 0, (uint64_t)r->status);
	put_number(&w, (uint64_t)r->start_ms);
	put_number_if(&w, r->active_ms >= 0, (uint64_t)r->active_ms);
	put_number(&w, r->request_bytes);
	put_number(&w, r->response_bytes);
	put_number(&w, r->billed_bytes);
	put_text(&w, sv_str(usage_kind_name(r->kind)));
	put_text(&w, r->termination);
	put_text(&w, r->method);
	put_text(&w, r->backend);
	put_text(&w, r->server);
	put_text(&w, r->address);
	put_text(&w, r->path);
	if (w.err != ERR_OK)
		return w.err;
	*n = wcur_len(&w);
	return ERR_OK;
}

/* ---- reading ---- */

/* The fields that are left, and whether one of those before broke the grammar. */
struct fields {
	struct sv rest;
	bool bad;
};

static struct sv take(struct fields *f)
{
	struct sv field = { NULL, 0 };

	if (!sv_split(&f->rest, '\t', &field) || field.n == 0)
		f->bad = true;
	return field;
}

static struct sv take_text(struct fields *f)
{
	struct sv field = take(f);
	return sv_eq(field, SV("-")) ? sv_from(NULL, 0) : field;
}

static uint64_t number(struct fields *f, struct sv field, uint64_t max)
{
	uint64_t v = 0;

	if (sv_to_u64(field, &v) != ERR_OK || v > max)
		f->bad = true;
	return v;
}

static uint64_t take_number(struct fields *f, uint64_t max)
{
	return number(f, take(f), max);
}

/* A number that is at least `least`, or -1. */
static int64_t take_number_or_none(struct fields *f, uint64_t least, uint64_t max)
{
	struct sv field = take(f);

	if (sv_eq(field, SV("-")))
		return -1;
	uint64_t v = number(f, field, max);
	if (v < least)
		f->bad = true;
	return (int64_t)v;
}

static enum usage_kind take_kind(struct fields *f)
{
	struct sv field = take(f);

	for (int kind = 0; kind < USAGE_KIND_COUNT; kind++)
		if (sv_eq(field, sv_str(kind_names[kind])))
			return (enum usage_kind)kind;
	f->bad = true;
	return USAGE_IMAGE;
}

enum err usage_record_parse(struct sv text, struct usage_record *out)
{
	struct fields f = { .rest = text };
	struct usage_record r = { .id = take(&f) };

	r.user = take_number(&f, USAGE_NUMBER_MAX);
	int64_t key = take_number_or_none(&f, 1, USAGE_NUMBER_MAX);
	r.key = key < 0 ? 0 : (uint64_t)key;
	r.code = take(&f);
	r.status = (int)take_number_or_none(&f, 100, 999);
	r.start_ms = (int64_t)take_number(&f, USAGE_START_MAX_MS);
	r.active_ms = take_number_or_none(&f, 0, USAGE_ACTIVE_MAX_MS);
	r.request_bytes = take_number(&f, USAGE_BYTES_MAX);
	r.response_bytes = take_number(&f, USAGE_BYTES_MAX);
	r.billed_bytes = take_number(&f, USAGE_BYTES_MAX);
	r.kind = take_kind(&f);
	r.termination = take_text(&f);
	r.method = take_text(&f);
	r.backend = take_text(&f);
	r.server = take_text(&f);
	r.address = take_text(&f);
	r.path = take_text(&f);
	if (f.bad || f.rest.p != NULL || !record_valid(&r))
		return ERR_INVALID;
	*out = r;
	return ERR_OK;
}
