#include "imgurl/normalise.h"

#include "base/check.h"
#include "base/cursor.h"

/* Where in the text "\S+:/[^/]", greedy from its start, has its ":/"; the text's length when it does not match. */
static size_t find_lone_slash(struct sv text)
{
	for (size_t i = text.n; i >= 4; i--) {
		const char *p = text.p + i - 3;
		if (p[0] == ':' && p[1] == '/' && p[2] != '/')
			return i - 3;
	}
	return text.n;
}

/* Without the path's first slash, if it has one. */
static struct sv without_slash(struct sv path)
{
	return path.n > 0 && path.p[0] == '/' ? sv_skip(path, 1) : path;
}

/* Most paths are what they were. */
static bool is_normal(struct sv path)
{
	const char *end = path.p + path.n;
	const char *colon = path.p;

	if (path.n == 0)
		return true;
	if (memchr(path.p, '%', path.n) != NULL)
		return false;
	while ((colon = memchr(colon, ':', (size_t)(end - colon))) != NULL) {
		if (end - colon >= 3 && colon[1] == '/' && colon[2] != '/')
			return false;
		if (++colon == end)
			break;
	}
	return true;
}

struct sv imgurl_normalise(struct sv path, char buf[IMGURL_NORMALISED_MAX])
{
	struct sv head = { path.p, 0 };
	struct sv tail = { NULL, 0 };
	size_t lone;
	struct wcur w;

	CHECK(path.n <= IMGURL_PATH_MAX);
	if (is_normal(path)) {
		path = without_slash(path);
		return sv_from(path.p - 1, path.n + 1);
	}
	if (sv_starts(path, SV("plain/"))) {
		tail = sv_skip(path, 6);
	} else {
		const char *plain = path.n > 0 ? memmem(path.p, path.n, "/plain/", 7) : NULL;
		head = plain != NULL ? sv_from(path.p, (size_t)(plain - path.p)) : path;
		if (plain != NULL)
			tail = sv_skip(path, head.n + 7);
	}
	lone = find_lone_slash(tail);

	struct sv middle = sv_from(head.p + head.n, path.n - head.n - tail.n);
	wcur_init(&w, buf, IMGURL_NORMALISED_MAX);
	wcur_u8(&w, '/');
	for (struct sv rest = head; rest.n > 0;) {
		const char *colon = memmem(rest.p, rest.n, "%3A", 3);
		size_t n = colon != NULL ? (size_t)(colon - rest.p) : rest.n;
		wcur_bytes(&w, rest.p, n);
		rest = sv_skip(rest, n);
		if (colon != NULL) {
			wcur_u8(&w, ':');
			rest = sv_skip(rest, 3);
		}
	}
	wcur_sv(&w, middle);
	if (lone == tail.n) {
		wcur_sv(&w, tail);
	} else {
		wcur_bytes(&w, tail.p, lone);
		wcur_sv(&w, sv_eq(sv_from(tail.p, lone), SV("local")) ? SV(":///") : SV("://"));
		wcur_sv(&w, sv_skip(tail, lone + 2));
	}
	CHECK(w.err == ERR_OK);
	path = without_slash(sv_from(buf + 1, wcur_len(&w) - 1));
	return sv_from(path.p - 1, path.n + 1);
}
