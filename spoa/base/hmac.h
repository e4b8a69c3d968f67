/*
 * HMAC-SHA-256 (RFC 2104, FIPS 180-4) under a key that stays the same for many messages.
 *
 * The state after the key's block of both hashes is computed once (RFC 2104 section 4), so that a message costs its own
 * blocks and one more, and no look-ups or allocations as with EVP_MAC. A prepared key is only read afterwards.
 */
#pragma once

#include <openssl/sha.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HMAC_SHA256_SIZE 32

struct hmac_sha256 {
	SHA256_CTX inner;
	SHA256_CTX outer;
};

/* Prepares a key of any length; it is not kept. ERR_CRYPTO when the crypto library refuses, as below. */
MUST_CHECK enum err hmac_sha256_init(struct hmac_sha256 *h, const void *key, size_t n);

/* From now on every message starts with these bytes (after those of earlier calls). */
MUST_CHECK enum err hmac_sha256_prefix(struct hmac_sha256 *h, const void *p, size_t n);

MUST_CHECK enum err hmac_sha256(const struct hmac_sha256 *h, const void *p, size_t n, uint8_t out[HMAC_SHA256_SIZE]);
