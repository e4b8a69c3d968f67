/*
 * API keys: igw_<id>_<secret>_<check>
 *
 * id is the row's number in decimal and public; secret is 32 characters of base62 (190 random bits); check is the
 * CRC-32 (IEEE 802.3, as zlib's crc32()) of "igw_<id>_<secret>" as six base62 digits, so that a mistyped key is told
 * from a wrong one without a look-up. What is stored is HMAC-SHA-256 (RFC 2104) of "igw_<id>_<secret>" under the
 * server's pepper; since the id is inside, a hash fits one row only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

#define KEY_TEXT_MAX     96 /* the longest key with its NUL */
#define KEY_SECRET_CHARS 32
#define KEY_CHECK_CHARS  6
#define KEY_HASH_SIZE    32
#define KEY_HASH_HEX     (2 * KEY_HASH_SIZE + 1)

/* Views into the text that was parsed. */
struct key_parts {
	uint64_t id;
	struct sv body; /* "igw_<id>_<secret>": what is hashed */
};

/* Splits a key and verifies its check digits. ERR_INVALID for everything that key_generate() cannot have made. */
MUST_CHECK enum err key_parse(struct sv text, struct key_parts *out);

/* Makes a new key for row `id`, from the kernel's random numbers. ERR_IO when there are none. */
MUST_CHECK enum err key_generate(uint64_t id, char text[KEY_TEXT_MAX]);

/* Holds the pepper as a prepared HMAC key. One for each process. */
struct key_hasher;
/* NULL when the crypto library refuses. The pepper is copied. */
struct key_hasher *key_hasher_new(const char *pepper);
void key_hasher_free(struct key_hasher *h);

/* The hash of key_parts.body. */
MUST_CHECK enum err key_hash(struct key_hasher *h, struct sv body, uint8_t out[KEY_HASH_SIZE]);

/* The hash of a whole key as lower-case hex, as the column api_keys.key_hash holds it. ERR_INVALID as key_parse(). */
MUST_CHECK enum err key_hash_hex(struct key_hasher *h, struct sv text, char hex[KEY_HASH_HEX]);

/* Reads 64 hex digits, either case. ERR_INVALID for everything else; out is then untouched. */
MUST_CHECK enum err key_hash_from_hex(struct sv hex, uint8_t out[KEY_HASH_SIZE]);
