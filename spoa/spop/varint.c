#include "spop/varint.h"

enum err spop_varint_decode(const uint8_t *p, size_t n, uint64_t *out, size_t *used)
{
	if (n == 0)
		return ERR_INCOMPLETE;

	uint64_t v = p[0];
	size_t i = 1;

	if (v >= SPOP_VARINT_LONG) {
		uint8_t byte;
		unsigned shift = 4;

		do {
			if (i == n)
				return ERR_INCOMPLETE;
			byte = p[i++];
			/* The tenth byte (shift 60) can be 15 at most, so it is the last: the shift never passes 60. */
			if (byte > UINT64_MAX >> shift || __builtin_add_overflow(v, (uint64_t)byte << shift, &v))
				return ERR_RANGE;
			shift += 7;
		} while (byte >= 128);
	}
	*out = v;
	*used = i;
	return ERR_OK;
}

size_t spop_varint_encode(uint64_t v, uint8_t out[SPOP_VARINT_MAX])
{
	size_t n = 0;

	if (v < SPOP_VARINT_LONG) {
		out[n++] = (uint8_t)v;
		return n;
	}
	out[n++] = (uint8_t)(v | SPOP_VARINT_LONG);
	v = (v - SPOP_VARINT_LONG) >> 4;
	while (v >= 128) {
		out[n++] = (uint8_t)(v | 128);
		v = (v - 128) >> 7;
	}
	out[n++] = (uint8_t)v;
	return n;
}

size_t spop_varint_size(uint64_t v)
{
	uint8_t bytes[SPOP_VARINT_MAX];

	return spop_varint_encode(v, bytes);
}

uint64_t spop_varint_read_any(struct rcur *c)
{
	uint64_t v = 0;
	size_t used = 0;

	if (c->err != ERR_OK)
		return 0;
	enum err err = spop_varint_decode(c->p, rcur_left(c), &v, &used);
	if (err != ERR_OK) {
		rcur_fail(c, err);
		return 0;
	}
	c->p += used;
	return v;
}

void spop_varint_write_any(struct wcur *c, uint64_t v)
{
	uint8_t bytes[SPOP_VARINT_MAX];
	size_t n = spop_varint_encode(v, bytes);

	wcur_bytes(c, bytes, n);
}
