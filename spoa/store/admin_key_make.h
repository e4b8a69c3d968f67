/* Making a key: the text that its owner gets, and what of it is stored. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hex.h"
#include "policy/key.h"
#include "policy/sealed.h"
#include "store/admin_key.h"

#define ADMIN_SEALED_HEX (sizeof("\\x") - 1 + HEX_SIZE(SEALED_SIZE))

/* What stands in the row of a key that was made. */
struct admin_key_made {
	char hash[KEY_HASH_HEX];
	char sealed[ADMIN_SEALED_HEX]; /* as PostgreSQL takes bytes */
	const char *signing;           /* those, or NULL */
};

/*
 * Makes key `id`, which was taken from the sequence, because it goes into the hash. ERR_UNSUPPORTED: a signing key
 * without a sealer; ERR_CRYPTO. On a failure *secrets is to be wiped.
 */
MUST_CHECK enum err admin_key_make(const struct admin_key_maker *maker, uint64_t id, bool signing,
                                   struct admin_key_secrets *secrets, struct admin_key_made *made, char *error);
