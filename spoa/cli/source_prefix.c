#include "cli/source_prefix.h"

#include <stdbool.h>
#include <string.h>

#include "base/cursor.h"
#include "base/sv.h"

static enum err fail(const char **why, const char *text)
{
	*why = text;
	return ERR_INVALID;
}

static bool known_scheme(struct sv scheme)
{
	static const char *const schemes[] = { "http", "https", "s3", "gs", "abs" };

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (sv_eq(scheme, sv_str(schemes[i])))
			return true;
	return false;
}

static bool host_ok(struct sv host)
{
	for (size_t i = 0; i < host.n; i++)
		if ((host.p[i] < 'a' || host.p[i] > 'z') && (host.p[i] < '0' || host.p[i] > '9') &&
		    memchr(".:_-[]", host.p[i], 6) == NULL)
			return false;
	return host.n > 0;
}

/* Bytes of the path that are the same in every spelling, and no segment that leads elsewhere. */
static bool path_ok(struct sv path)
{
	struct sv segment;

	for (size_t i = 0; i < path.n; i++)
		if (path.p[i] <= ' ' || path.p[i] > '~' || memchr("%?#\\", path.p[i], 4) != NULL)
			return false;
	while (sv_split(&path, '/', &segment))
		if (sv_eq(segment, SV(".")) || sv_eq(segment, SV("..")))
			return false;
	return true;
}

/* Takes only what has one spelling; what imgurl makes of others is not known here. */
enum err source_prefix(const char *text, char buf[SOURCE_PREFIX_MAX], const char **why)
{
	const char *colon = strstr(text, "://");
	struct wcur w;

	if (colon == NULL || !known_scheme(sv_from(text, (size_t)(colon - text))))
		return fail(why, "it must begin with http://, https://, s3://, gs:// or abs://, in lower case");
	const char *authority = colon + 3, *slash = strchr(authority, '/');
	struct sv host = sv_from(authority, slash != NULL ? (size_t)(slash - authority) : strlen(authority));
	struct sv path = slash != NULL ? sv_str(slash) : SV("/");
	if (!host_ok(host))
		return fail(why, "behind the scheme there must be a host or bucket of a-z 0-9 . : _ - [ ] alone");
	if (!path_ok(path))
		return fail(why, "its path must be printable ASCII without % ? # \\ and without the segments . and ..");
	wcur_init(&w, buf, SOURCE_PREFIX_MAX - 1);
	wcur_sv(&w, sv_from(text, (size_t)(host.p - text) + host.n));
	wcur_sv(&w, path);
	if (w.err != ERR_OK)
		return fail(why, "it is too long");
	*w.p = '\0';
	return ERR_OK;
}
