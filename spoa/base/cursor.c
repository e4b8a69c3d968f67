#include "base/cursor.h"

/* Two digits in one step: the numbers of a limit have many. */
void wcur_u64(struct wcur *c, uint64_t v)
{
	static const char pairs[] =
	        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445"
	        "46474849505152535455565758596061626364656667686970717273747576777879808182838485868788899091"
	        "9293949596979899";
	char digits[20];
	char *p = digits + sizeof(digits);

	for (; v >= 100; v /= 100)
		memcpy(p -= 2, pairs + 2 * (v % 100), 2);
	if (v >= 10)
		memcpy(p -= 2, pairs + 2 * v, 2);
	else
		*--p = (char)('0' + v);
	wcur_bytes(c, p, (size_t)(digits + sizeof(digits) - p));
}

void wcur_base64url(struct wcur *c, const void *src, size_t n)
{
	static const uint8_t alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = src;
	size_t left = wcur_left(c);

	/* Four characters for three bytes, and one more than is left over for the rest. */
	if (n / 3 > left / 4 || n / 3 * 4 + (n % 3 > 0 ? n % 3 + 1 : 0) > left) {
		wcur_fail(c, ERR_SPACE);
		return;
	}
	uint8_t *q = c->p;
	for (; n >= 3; p += 3, q += 4, n -= 3) {
		q[0] = alphabet[p[0] >> 2];
		q[1] = alphabet[(p[0] & 0x03) << 4 | p[1] >> 4];
		q[2] = alphabet[(p[1] & 0x0f) << 2 | p[2] >> 6];
		q[3] = alphabet[p[2] & 0x3f];
	}
	if (n > 0) {
		*q++ = alphabet[p[0] >> 2];
		*q++ = alphabet[(p[0] & 0x03) << 4 | (n > 1 ? p[1] >> 4 : 0)];
	}
	if (n > 1)
		*q++ = alphabet[(p[1] & 0x0f) << 2];
	c->p = q;
}
