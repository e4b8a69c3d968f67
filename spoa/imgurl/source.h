/*
 * Remote sources of images: the one canonical spelling of their URLs, so that a prefix that an operator allowed can be
 * compared byte by byte.
 *
 *     http, https   RFC 3986: scheme and host in lower case, no default port, dot segments resolved, percent escapes
 *                   decoded where the character needs none (RFC 3986 section 2.3) and in upper case where it does, an
 *                   empty path is "/", an empty query is none; the query is otherwise kept as it is
 *     s3, gs, abs   scheme://bucket/key, the key as it is: these URLs have no escapes
 *
 * Refused is what two programs may read in two ways: user names, fragments, backslashes, bytes outside of printable
 * ASCII (in a key: other than printable UTF-8), escaped slashes, backslashes, control characters and UTF-8 that is not
 * well-formed, escapes of escapes, dot segments with parameters ("..;"), hosts that are not made of letters, digits and
 * hyphens (other names have a form in punycode), IPv4 addresses other than as four plain decimal numbers, zones of IPv6
 * addresses, empty ports, empty and dot segments of a key.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/sv.h"

/* The longest canonical URL; longer ones are refused. */
#define IMGURL_SOURCE_MAX 4096

/*
 * The canonical form of `url` in buf, for *out a view of it; what is canonical stays as it is. It takes whole URLs and
 * prefixes of them, which have scheme, host and slash at least after that. ERR_INVALID: it is no such URL. ERR_REFUSED:
 * it is one, but may not be used. ERR_SPACE: it does not fit. After all of these *why is a static text that may follow
 * "The source is not allowed: ".
 */
MUST_CHECK enum err imgurl_source_canonical(struct sv url, char *buf, size_t size, struct sv *out, const char **why);

/*
 * Whether a canonical URL is the (canonical) prefix or lies below it: what follows starts with "/", or the prefix ends
 * with one, or the query follows. A prefix with a query is a whole URL, which has nothing below it.
 */
bool imgurl_source_below(struct sv url, struct sv prefix);
