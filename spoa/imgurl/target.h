/*
 * From a client's image path to the request target for imgproxy.
 *
 * This version accepts one narrow form, from which nothing of a tenant's choosing but checked words goes upstream:
 *
 *     /img/unsafe/ *(option "/") "plain/local:///" name ["@" format]
 *     option = (rs|resize|s|size|w|width|h|height|rt|resizing_type|q|quality|f|format|ext) 1*(":" *[A-Za-z0-9.-])
 *     name   = 1*255[A-Za-z0-9._-], not starting with "."          format = 1*8[a-z0-9]
 *
 * The target is made anew, "/<signature>/<options>/<base64url of local:///<user id>/<name>>[.<format>]", and signed
 * with imgproxy's own key and salt: base64url(HMAC-SHA-256(key, salt ‖ path)) without padding, imgproxy 4 "Signing the
 * URL".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

/* More than the longest accepted path can grow to. */
#define IMGURL_TARGET_MAX 8192

/* Signs with one key and salt. One for each process. */
struct imgurl_signer;
/* key and salt are hex, as imgproxy takes them. ERR_INVALID when they are empty or no hex; ERR_CRYPTO, ERR_NOMEM. */
MUST_CHECK enum err imgurl_signer_new(const char *key_hex, const char *salt_hex, struct imgurl_signer **out);
void imgurl_signer_free(struct imgurl_signer *s);

/*
 * Makes the target of `path` (undecoded, without the query) for the tenant's folder `user_id` in buf (size bytes, no
 * NUL); *target is a view into buf. ERR_INVALID: not of the form above. ERR_REFUSED: of that form, but the source is
 * not a file of the tenant's own folder. ERR_SPACE: buf is too small. ERR_CRYPTO. Allocates nothing.
 */
MUST_CHECK enum err imgurl_target(struct imgurl_signer *s, struct sv path, uint64_t user_id, char *buf, size_t size,
                                  struct sv *target);
