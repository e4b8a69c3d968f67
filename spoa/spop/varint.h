/*
 * Variable-length integers of SPOP (the same that HAProxy uses in its peers protocol; doc/SPOE.txt, intops.h).
 *
 * Below 240 a number is one byte. Above, the first byte holds its low 4 bits, the bytes after it 7 bits each while they
 * are >= 128, and the last one has no mark. Every number has exactly one encoding, of 1 to 10 bytes. HAProxy's own
 * reader has no ceiling; this one stops after 10 bytes and refuses what does not fit in 64 bits.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"

/* The longest encoding of a 64-bit number. */
#define SPOP_VARINT_MAX 10
/* Numbers below it are one byte. */
#define SPOP_VARINT_LONG 240

/*
 * Reads a number from the n bytes at p. On success sets *out and *used (the bytes it took).
 * ERR_INCOMPLETE: the bytes end inside of the number. ERR_RANGE: more than 64 bits, or more than 10 bytes.
 * Nothing is set on failure.
 */
MUST_CHECK enum err spop_varint_decode(const uint8_t *p, size_t n, uint64_t *out, size_t *used);

/* The number of bytes that v takes: 1 to 10. */
size_t spop_varint_size(uint64_t v);

/* Writes v, spop_varint_size(v) bytes, and returns how many; the caller has the room. */
size_t spop_varint_encode(uint64_t v, uint8_t out[SPOP_VARINT_MAX]);

/* The same with cursors, for numbers of any length: 0 after a failure, which stays in the cursor. */
uint64_t spop_varint_read_any(struct rcur *c);
void spop_varint_write_any(struct wcur *c, uint64_t v);

/* Nearly all numbers of a frame are lengths of one byte, hence inline. */
static inline uint64_t spop_varint_read(struct rcur *c)
{
	if (rcur_left(c) > 0 && *c->p < SPOP_VARINT_LONG)
		return *c->p++;
	return spop_varint_read_any(c);
}

static inline void spop_varint_write(struct wcur *c, uint64_t v)
{
	if (v < SPOP_VARINT_LONG)
		wcur_u8(c, (uint8_t)v);
	else
		spop_varint_write_any(c, v);
}

/* Bare strings: a number of bytes, then the bytes. The view lives as long as the cursor's bytes. */
static inline struct sv spop_string_read(struct rcur *c)
{
	uint64_t n = spop_varint_read(c);

	return rcur_bytes(c, n);
}

static inline void spop_string_write(struct wcur *c, struct sv v)
{
	spop_varint_write(c, v.n);
	wcur_sv(c, v);
}
