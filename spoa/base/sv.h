/*
 * String views: a pointer and a length, no NUL assumed, nothing owned. A view lives as long as the bytes that it points
 * at; whoever hands one out says in its header how long that is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct sv {
	const char *p;
	size_t n;
};

/* For printf: printf("%.*s", SV_ARG(v)). */
#define SV_ARG(v) (int)(v).n, (v).p != NULL ? (v).p : ""
/* A view of a string literal. */
#define SV(lit) ((struct sv){ .p = (lit), .n = sizeof(lit) - 1 })

static inline struct sv sv_from(const void *p, size_t n)
{
	return (struct sv){ .p = p, .n = n };
}

static inline struct sv sv_str(const char *s)
{
	return (struct sv){ .p = s, .n = s != NULL ? strlen(s) : 0 };
}

static inline bool sv_eq(struct sv a, struct sv b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool sv_starts(struct sv v, struct sv prefix)
{
	return v.n >= prefix.n && (prefix.n == 0 || memcmp(v.p, prefix.p, prefix.n) == 0);
}

/* The rest of the view after its first n bytes (n is cut to its length). */
static inline struct sv sv_skip(struct sv v, size_t n)
{
	if (n > v.n)
		n = v.n;
	return (struct sv){ .p = n > 0 ? v.p + n : v.p, .n = v.n - n };
}

/* An ASCII letter or digit, without regard to the locale. */
static inline bool sv_alnum(char c)
{
	unsigned char letter = (unsigned char)(c | 0x20);

	return (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9');
}

/* Compares without regard to the case of ASCII letters, and without regard to the locale. */
bool sv_ieq(struct sv a, struct sv b);

/*
 * Takes the bytes before the first `sep` off the front of *rest into *part, and the separator with them. Without a
 * separator all of *rest is the part. Returns false, and changes nothing, when *rest is finished (p == NULL).
 */
bool sv_split(struct sv *rest, char sep, struct sv *part);

/* Without blanks, tabs and line ends on both sides. */
struct sv sv_trim(struct sv v);

/* A decimal number of digits alone: no sign, no blank, no leading zero (but "0"), no overflow; *out is set on success.
 */
MUST_CHECK enum err sv_to_u64(struct sv v, uint64_t *out);

/* Copies into a buffer of size bytes and ends it with NUL. ERR_SPACE (and an empty string) when it does not fit. */
MUST_CHECK enum err sv_copy(struct sv v, char *dst, size_t size);
