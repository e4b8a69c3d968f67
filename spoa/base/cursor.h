/*
 * Cursors over bytes, for reading and for writing, with a sticky error.
 *
 * A length is compared with the room that is left, never added to a pointer. After the first failure every call does
 * nothing, a reader's results are zero, and the error stays: callers do a run of calls and test once at the end. A
 * reader never owns its bytes and hands out views of them; a writer never grows its buffer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

struct rcur {
	const uint8_t *p;   /* next byte */
	const uint8_t *end; /* one past the last */
	enum err err;
};

struct wcur {
	uint8_t *start;
	uint8_t *p;   /* where the next byte goes */
	uint8_t *end; /* one past the last */
	enum err err;
};

static inline void rcur_init(struct rcur *c, const void *p, size_t n)
{
	c->p = p;
	c->end = c->p != NULL ? c->p + n : NULL;
	c->err = ERR_OK;
}

static inline size_t rcur_left(const struct rcur *c)
{
	return c->err == ERR_OK ? (size_t)(c->end - c->p) : 0;
}

/* Keeps the first error. */
static inline void rcur_fail(struct rcur *c, enum err err)
{
	if (c->err == ERR_OK)
		c->err = err;
}

static inline uint8_t rcur_u8(struct rcur *c)
{
	if (rcur_left(c) < 1) {
		rcur_fail(c, ERR_INCOMPLETE);
		return 0;
	}
	return *c->p++;
}

/* Big endian. */
static inline uint16_t rcur_be16(struct rcur *c)
{
	if (rcur_left(c) < 2) {
		rcur_fail(c, ERR_INCOMPLETE);
		return 0;
	}
	uint16_t v = (uint16_t)((c->p[0] << 8) | c->p[1]);
	c->p += 2;
	return v;
}

/* Big endian. */
static inline uint32_t rcur_be32(struct rcur *c)
{
	if (rcur_left(c) < 4) {
		rcur_fail(c, ERR_INCOMPLETE);
		return 0;
	}
	uint32_t v = ((uint32_t)c->p[0] << 24) | ((uint32_t)c->p[1] << 16) | ((uint32_t)c->p[2] << 8) | c->p[3];
	c->p += 4;
	return v;
}

/* A view of the next n bytes; {NULL, 0} and ERR_INCOMPLETE when there are fewer. */
static inline struct sv rcur_bytes(struct rcur *c, uint64_t n)
{
	if (n > rcur_left(c)) {
		rcur_fail(c, ERR_INCOMPLETE);
		return sv_from(NULL, 0);
	}
	struct sv v = sv_from(c->p, (size_t)n);
	c->p += n;
	return v;
}

static inline void wcur_init(struct wcur *c, void *p, size_t n)
{
	c->start = p;
	c->p = p;
	c->end = c->p != NULL ? c->p + n : NULL;
	c->err = ERR_OK;
}

static inline size_t wcur_left(const struct wcur *c)
{
	return c->err == ERR_OK ? (size_t)(c->end - c->p) : 0;
}

/* Bytes written so far. */
static inline size_t wcur_len(const struct wcur *c)
{
	return (size_t)(c->p - c->start);
}

static inline void wcur_fail(struct wcur *c, enum err err)
{
	if (c->err == ERR_OK)
		c->err = err;
}

static inline void wcur_u8(struct wcur *c, uint8_t v)
{
	if (wcur_left(c) < 1) {
		wcur_fail(c, ERR_SPACE);
		return;
	}
	*c->p++ = v;
}

/* Big endian. */
static inline void wcur_be32(struct wcur *c, uint32_t v)
{
	if (wcur_left(c) < 4) {
		wcur_fail(c, ERR_SPACE);
		return;
	}
	c->p[0] = (uint8_t)(v >> 24);
	c->p[1] = (uint8_t)(v >> 16);
	c->p[2] = (uint8_t)(v >> 8);
	c->p[3] = (uint8_t)v;
	c->p += 4;
}

static inline void wcur_bytes(struct wcur *c, const void *p, size_t n)
{
	if (n > wcur_left(c)) {
		wcur_fail(c, ERR_SPACE);
		return;
	}
	if (n > 0)
		memcpy(c->p, p, n);
	c->p += n;
}

static inline void wcur_sv(struct wcur *c, struct sv v)
{
	wcur_bytes(c, v.p, v.n);
}

/* Decimal, no padding. */
void wcur_u64(struct wcur *c, uint64_t v);

/* Base64url (RFC 4648 section 5) without padding. */
void wcur_base64url(struct wcur *c, const void *p, size_t n);
