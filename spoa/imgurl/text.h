/*
 * Inside of imgurl: the encodings of a URL, decoded as imgproxy does, and the characters that a name may have.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/sv.h"

#define IMGURL_BASE64_NONE 0xff

extern const uint8_t imgurl_base64_values[256];

/* The six bits of a character of base64url (RFC 4648 section 5), or IMGURL_BASE64_NONE. */
static inline uint8_t imgurl_base64_value(uint8_t c)
{
	return imgurl_base64_values[c];
}

/* Of a hex digit of either case; -1 when it is none. */
static inline int imgurl_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	char letter = (char)(c | 0x20);
	return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Whether the view is this string, which is not empty. */
static inline bool imgurl_is_word(struct sv v, const char *word)
{
	for (size_t i = 0; i < v.n; i++)
		if (word[i] == '\0' || word[i] != v.p[i])
			return false;
	return word[v.n] == '\0';
}

/*
 * Base64url in chunks: slashes do not count, wherever they are. No padding; the bits that the last character has too
 * many are not looked at, as in Go's RawURLEncoding. False when it is no base64url or does not fit.
 */
bool imgurl_base64_decode(struct wcur *out, struct sv text);

/* %XX once, as Go's url.PathUnescape: "+" stays. False when an escape is cut or has other digits, or it does not fit.
 */
bool imgurl_percent_decode(struct wcur *out, struct sv text);

/* imgurl_printable() of a byte from 0x80 on. */
size_t imgurl_printable_utf8(struct sv v);

/*
 * The length of the printable character at the front: one byte 0x20 to 0x7e, or well-formed UTF-8 (RFC 3629: the
 * shortest form, no surrogates, up to U+10FFFF) from U+00A0 on. 0: there is none. v must not be empty.
 */
static inline size_t imgurl_printable(struct sv v)
{
	unsigned char c = (unsigned char)v.p[0];

	if (c < 0x80)
		return c >= 0x20 && c != 0x7f ? 1 : 0;
	return imgurl_printable_utf8(v);
}
