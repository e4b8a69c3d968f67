/*
 * Signing keys as they are stored: key and salt of a key's signed URLs, encrypted and authenticated by AES-256-GCM
 * (NIST SP 800-38D) under the setting auth.master_key, which the database never sees.
 *
 * The bytes: nonce (12, random), ciphertext of key and salt (32 and 32), tag (16). What is authenticated besides is
 * "igw-signing-v1:" and the API key's id in decimal, so that one row's bytes are worth nothing in another row.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define SEALED_NONCE   12
#define SEALED_TAG     16
#define SIGNING_SIZE   32 /* of a signing key, and of a salt */
#define SEALED_SIZE    (SEALED_NONCE + 2 * SIGNING_SIZE + SEALED_TAG)
#define MASTER_KEY_HEX 64 /* digits of auth.master_key */

struct signing_key {
	uint8_t key[SIGNING_SIZE];
	uint8_t salt[SIGNING_SIZE];
};

/* Makes both from the kernel's random numbers. ERR_IO when there are none. Whoever holds it wipes it. */
MUST_CHECK enum err signing_key_make(struct signing_key *out);

/* The master key, prepared for many calls, which then allocate nothing. One for each process. */
struct sealer;
/*
 * From MASTER_KEY_HEX hex digits, either case. ERR_INVALID: it is no such text (the empty one too); ERR_CRYPTO: the
 * crypto library refuses.
 */
MUST_CHECK enum err sealer_new(const char *master_hex, struct sealer **out);
/* NULL is allowed. */
void sealer_free(struct sealer *s);

/* ERR_IO: no random numbers; ERR_CRYPTO. */
MUST_CHECK enum err sealer_seal(struct sealer *s, uint64_t key_id, const struct signing_key *in,
                                uint8_t out[SEALED_SIZE]);

/* ERR_CORRUPT: another master key or another row sealed it, or it was changed; *out is then zeros, as on ERR_CRYPTO. */
MUST_CHECK enum err sealer_open(struct sealer *s, uint64_t key_id, const uint8_t sealed[SEALED_SIZE],
                                struct signing_key *out);
