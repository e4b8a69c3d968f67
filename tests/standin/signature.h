/* imgproxy's signature: what is signed for what arrives, and the check. */
#pragma once

#include "config.h"

/*
 * The path after the signature (no leading "/" of the separator, no query) as imgproxy signs it, with a leading "/".
 * A new string, the caller frees it.
 */
char *signature_normalise(const char *path);

/* Whether `signature` (len bytes) is good for `signed_path`. */
bool signature_verify(const struct config *c, const char *signature, size_t len, const char *signed_path);

/* Base64url without padding, not strict about trailing bits. Returns the length, or -1; out has room for len bytes. */
long base64url_decode(const char *in, size_t len, uint8_t *out);
