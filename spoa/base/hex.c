#include "base/hex.h"

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

enum err hex_decode(struct sv hex, uint8_t *out, size_t n)
{
	if (hex.n % 2 != 0 || hex.n / 2 != n)
		return ERR_INVALID;
	for (size_t i = 0; i < hex.n; i++)
		if (digit(hex.p[i]) < 0)
			return ERR_INVALID;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)((unsigned)digit(hex.p[2 * i]) << 4 | (unsigned)digit(hex.p[2 * i + 1]));
	return ERR_OK;
}

const char *hex_encode(const uint8_t *in, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}
