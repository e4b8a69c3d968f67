/*
 * The signing keys of API keys, ready for use: a signed URL is verified by each key's own, which the policy has sealed
 * (policy/sealed.h). To open one and to prepare its HMAC costs some microseconds, so the last ones stay, a few thousand
 * of them, in memory that is taken once. For a verdict worker.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "imgurl/sign.h"
#include "policy/record.h"

struct signers;

/* `master_hex` is auth.master_key; empty: there are no signing keys. ERR_INVALID, ERR_CRYPTO as sealer_new(). */
MUST_CHECK enum err signers_new(const char *master_hex, struct signers **out);
/* NULL is allowed. */
void signers_free(struct signers *s);

/*
 * The signing key of the API key `id`, whose record is `key`; valid until the next call. NULL: it has none, or it was
 * sealed under another master key. Allocates nothing.
 */
const struct imgurl_key *signers_get(struct signers *s, uint64_t id, const struct policy_key *key);
