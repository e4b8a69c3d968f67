/*
 * imgproxy's URL signatures: base64url without padding of HMAC-SHA-256(key, salt ‖ path), where path begins with the
 * slash behind the signature (imgproxy 4, "Signing a URL"; all 32 bytes, so 43 characters).
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/hmac.h"
#include "base/sv.h"

#define IMGURL_SIGNATURE_CHARS 43

/* A key and its salt, prepared: a signature costs its message alone. Only read once it is made. */
struct imgurl_key {
	struct hmac_sha256 hmac; /* its messages begin with the salt */
};

/* Neither is kept. ERR_INVALID when one is empty, for then imgproxy would check nothing; ERR_CRYPTO. */
MUST_CHECK enum err imgurl_key_init(struct imgurl_key *k, const void *key, size_t key_n, const void *salt,
                                    size_t salt_n);

/* The same from hex digits, as imgproxy takes them; ERR_INVALID also when they are none, or more than 512. */
MUST_CHECK enum err imgurl_key_hex(struct imgurl_key *k, const char *key_hex, const char *salt_hex);

/* Wipes it. */
void imgurl_key_clear(struct imgurl_key *k);

/*
 * ERR_REFUSED: the signature is another one, or not 43 characters of base64url whose two unused bits are zero, so that
 * each path has one signature. What is compared takes the same time wherever it differs. ERR_CRYPTO.
 */
MUST_CHECK enum err imgurl_verify(const struct imgurl_key *k, struct sv signature, struct sv path);

/* No NUL behind it. ERR_CRYPTO. */
MUST_CHECK enum err imgurl_sign(const struct imgurl_key *k, struct sv path, char out[IMGURL_SIGNATURE_CHARS]);
