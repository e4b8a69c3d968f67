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

/* The same with cursors: 0 after a failure, which stays in the cursor. */
uint64_t spop_varint_read(struct rcur *c);
void spop_varint_write(struct wcur *c, uint64_t v);

/* Bare strings: a number of bytes, then the bytes. The view lives as long as the cursor's bytes. */
struct sv spop_string_read(struct rcur *c);
void spop_string_write(struct wcur *c, struct sv v);
