#include "base/cursor.h"

void wcur_u64(struct wcur *c, uint64_t v)
{
	char digits[20];
	size_t n = sizeof(digits);

	do {
		digits[--n] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	wcur_bytes(c, digits + n, sizeof(digits) - n);
}

void wcur_base64url(struct wcur *c, const void *src, size_t n)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = src;

	for (; n >= 3; p += 3, n -= 3) {
		wcur_u8(c, (uint8_t)alphabet[p[0] >> 2]);
		wcur_u8(c, (uint8_t)alphabet[(p[0] & 0x03) << 4 | p[1] >> 4]);
		wcur_u8(c, (uint8_t)alphabet[(p[1] & 0x0f) << 2 | p[2] >> 6]);
		wcur_u8(c, (uint8_t)alphabet[p[2] & 0x3f]);
	}
	if (n == 0)
		return;
	wcur_u8(c, (uint8_t)alphabet[p[0] >> 2]);
	if (n == 1) {
		wcur_u8(c, (uint8_t)alphabet[(p[0] & 0x03) << 4]);
		return;
	}
	wcur_u8(c, (uint8_t)alphabet[(p[0] & 0x03) << 4 | p[1] >> 4]);
	wcur_u8(c, (uint8_t)alphabet[(p[1] & 0x0f) << 2]);
}
