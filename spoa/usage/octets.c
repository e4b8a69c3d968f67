#include "usage/octets.h"

#include <stdint.h>

enum err octets_take(struct sv bytes, size_t max, struct sv *message, size_t *used)
{
	size_t length = 0;
	size_t i = 0;

	for (; i < bytes.n && bytes.p[i] != ' '; i++) {
		if (bytes.p[i] < '0' || bytes.p[i] > '9' || (i == 0 && bytes.p[i] == '0'))
			return ERR_INVALID;
		length = length * 10 + (size_t)(bytes.p[i] - '0');
		if (length > max)
			return ERR_INVALID;
	}
	if (i == bytes.n)
		return ERR_INCOMPLETE;
	if (i == 0)
		return ERR_INVALID;
	if (bytes.n - i - 1 < length)
		return ERR_INCOMPLETE;
	*message = sv_from(bytes.p + i + 1, length);
	*used = i + 1 + length;
	return ERR_OK;
}
