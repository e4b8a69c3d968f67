#include "imgurl/text.h"

#define NO IMGURL_BASE64_NONE
/* clang-format off */
const uint8_t imgurl_base64_values[256] = {
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 62, NO, NO,
	52, 53, 54, 55, 56, 57, 58, 59, 60, 61, NO, NO, NO, NO, NO, NO,
	NO,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14,
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, NO, NO, NO, NO, 63,
	NO, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
	41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
};
/* clang-format on */

bool imgurl_base64_decode(struct wcur *out, struct sv text)
{
	const uint8_t *p = (const uint8_t *)text.p;
	const uint8_t *end = p + text.n;
	uint32_t bits = 0;
	unsigned have = 0;

	if (text.n == 0)
		return true;
	/* Four characters at a time until the first chunk ends; the rest one by one. */
	uint8_t *q = out->p;
	for (; end - p >= 4 && out->end - q >= 3; p += 4, q += 3) {
		uint8_t a = imgurl_base64_value(p[0]);
		uint8_t b = imgurl_base64_value(p[1]);
		uint8_t c = imgurl_base64_value(p[2]);
		uint8_t d = imgurl_base64_value(p[3]);
		if (((a | b | c | d) & 0x80) != 0)
			break;
		q[0] = (uint8_t)(a << 2 | b >> 4);
		q[1] = (uint8_t)(b << 4 | c >> 2);
		q[2] = (uint8_t)(c << 6 | d);
	}
	out->p = q;
	for (; p < end; p++) {
		uint8_t value = imgurl_base64_value(*p);
		if (*p == '/')
			continue;
		if (value == IMGURL_BASE64_NONE)
			return false;
		bits = bits << 6 | value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			wcur_u8(out, (uint8_t)(bits >> have));
		}
	}
	/* One character alone is no byte. */
	return have != 6 && out->err == ERR_OK;
}

bool imgurl_percent_decode(struct wcur *out, struct sv text)
{
	while (text.n > 0) {
		const char *escape = memchr(text.p, '%', text.n);
		size_t plain = escape != NULL ? (size_t)(escape - text.p) : text.n;
		wcur_bytes(out, text.p, plain);
		text = sv_skip(text, plain);
		if (text.n == 0)
			break;
		if (text.n < 3)
			return false;
		int high = imgurl_hex_value(text.p[1]);
		int low = imgurl_hex_value(text.p[2]);
		if (high < 0 || low < 0)
			return false;
		wcur_u8(out, (uint8_t)(high << 4 | low));
		text = sv_skip(text, 3);
	}
	return out->err == ERR_OK;
}

static bool is_tail(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

size_t imgurl_printable_utf8(struct sv v)
{
	const uint8_t *p = (const uint8_t *)v.p;

	/* RFC 3629 section 4; what the second byte may be closes the longer forms and the surrogates. */
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		if (v.n < 2 || !is_tail(p[1]))
			return 0;
		return p[0] == 0xc2 && p[1] < 0xa0 ? 0 : 2; /* U+0080 to U+009F are controls */
	}
	if (p[0] >= 0xe0 && p[0] <= 0xef) {
		if (v.n < 3 || !is_tail(p[1]) || !is_tail(p[2]))
			return 0;
		return (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ? 0 : 3;
	}
	if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		if (v.n < 4 || !is_tail(p[1]) || !is_tail(p[2]) || !is_tail(p[3]))
			return 0;
		return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : 4;
	}
	return 0;
}
