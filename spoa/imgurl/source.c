#include "imgurl/source.h"

#include "base/cursor.h"
#include "imgurl/source_int.h"
#include "imgurl/text.h"

#define SEGMENT_MAX 255
#define BUCKET_MAX  255

static const char not_a_url[] = "it must have the form scheme://host/path";

static const struct scheme {
	struct sv name;
	unsigned port; /* 0: it is an object store, without ports */
} schemes[] = {
	{ { "https", 5 }, 443 }, { { "http", 4 }, 80 }, { { "s3", 2 }, 0 }, { { "gs", 2 }, 0 }, { { "abs", 3 }, 0 },
};

/* What a byte of a path is. */
enum { ORDINARY = 0, SLASH, DOT, HIGH, BAD };
static const uint8_t kinds[256] = {
	[0x00 ... 0x1f] = BAD, ['#'] = BAD,   ['%'] = BAD,
	['.'] = DOT,           ['/'] = SLASH, ['?'] = BAD,
	['\\'] = BAD,          [0x7f] = BAD,  [0x80 ... 0xff] = HIGH,
};

bool imgurl_path_is_plain(struct sv path, bool folder)
{
	size_t start = 0; /* of the segment */
	size_t i = 0;

	for (;;) {
		while (i < path.n && kinds[(uint8_t)path.p[i]] == ORDINARY)
			i++;
		uint8_t kind = i < path.n ? kinds[(uint8_t)path.p[i]] : SLASH;
		size_t taken = 1;
		if (kind == SLASH) {
			if (i - start > SEGMENT_MAX || (i == start && (i < path.n || !folder)))
				return false;
			if (i >= path.n)
				return true;
			start = i + 1;
		} else if (kind == HIGH) {
			taken = imgurl_printable(sv_from(path.p + i, path.n - i));
		} else if (kind == BAD || i == start) {
			return false;
		}
		if (taken == 0)
			return false;
		i += taken;
	}
}

static const char *write_object(struct wcur *w, struct sv rest)
{
	struct sv bucket;

	/* As the first byte of a name, "." and "_" are out. */
	if (!sv_split(&rest, '/', &bucket) || bucket.n == 0 || bucket.n > BUCKET_MAX)
		return not_a_url;
	for (size_t i = 0; i < bucket.n; i++) {
		char c = bucket.p[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (!word && (i == 0 || (c != '.' && c != '_' && c != '-')))
			return "a bucket's name has lower-case letters, digits, dots, hyphens and underscores";
	}
	if (!imgurl_path_is_plain(rest, true))
		return "an object's key has no empty or hidden segments, no control characters and none of \\ ? # %";
	wcur_sv(w, bucket);
	wcur_u8(w, '/');
	wcur_sv(w, rest);
	return NULL;
}

static const char *write_http(struct wcur *w, struct sv rest, unsigned port)
{
	size_t n = 0;

	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
		n++;
	const char *why = imgurl_host_write(w, sv_from(rest.p, n), port);
	return why != NULL ? why : imgurl_path_write(w, sv_skip(rest, n));
}

enum err imgurl_source_canonical(struct sv url, char *buf, size_t size, struct sv *out, const char **why)
{
	struct sv rest = url;
	struct sv name;
	struct wcur w;

	*why = not_a_url;
	if (url.n == 0 || !sv_split(&rest, ':', &name) || !sv_starts(rest, SV("//")))
		return ERR_INVALID;
	rest = sv_skip(rest, 2);
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		const struct scheme *s = &schemes[i];
		if (!sv_ieq(name, s->name))
			continue;
		wcur_init(&w, buf, size < IMGURL_SOURCE_MAX ? size : IMGURL_SOURCE_MAX);
		wcur_sv(&w, s->name);
		wcur_sv(&w, SV("://"));
		*why = s->port != 0 ? write_http(&w, rest, s->port) : write_object(&w, rest);
		if (w.err != ERR_OK) {
			*why = "it is too long";
			return w.err;
		}
		if (*why != NULL)
			return *why == not_a_url ? ERR_INVALID : ERR_REFUSED;
		*out = sv_from(buf, wcur_len(&w));
		return ERR_OK;
	}
	*why = sv_ieq(name, SV("local")) ? "a file of the account's own is named as local:///<name>"
	                                 : "the scheme must be http, https, s3, gs or abs";
	return ERR_REFUSED;
}

bool imgurl_source_below(struct sv url, struct sv prefix)
{
	if (prefix.n == 0 || !sv_starts(url, prefix))
		return false;
	if (url.n == prefix.n)
		return true;
	if (memchr(prefix.p, '?', prefix.n) != NULL)
		return false;
	char next = url.p[prefix.n];
	return prefix.p[prefix.n - 1] == '/' || next == '/' || next == '?';
}
