/*
 * Records of keys and users as they lie in policy.mdb, and read there in place, without a copy.
 *
 * The layouts are fixed, host byte order, packed (the store aligns to two bytes only), and start with their version; a
 * reader treats a record of another version as absent, and the store as not readable when its POLICY_LAYOUT is another.
 * Changing a layout means a new POLICY_LAYOUT: the keeper then fills the store anew.
 */
#pragma once

#include <stdint.h>

#include "policy/key.h"

#define POLICY_LAYOUT 1

enum policy_user_flag {
	USER_ACTIVE = 1,
};

enum policy_key_flag {
	KEY_ACTIVE = 1, /* neither revoked nor switched off */
	KEY_USABLE = 2, /* its stored hash is one that this build understands */
};

/* In the store under the user's id. Deleted users have no record. */
struct policy_user {
	uint8_t version; /* POLICY_LAYOUT */
	uint8_t flags;   /* enum policy_user_flag */
	uint8_t unused[6];
} __attribute__((packed));

/* In the store under the key's id. Those of deleted users are there too; the user is not. */
struct policy_key {
	uint8_t version; /* POLICY_LAYOUT */
	uint8_t flags;   /* enum policy_key_flag */
	uint16_t scopes; /* enum scope */
	uint32_t unused;
	uint64_t user_id;
	int64_t expires_at; /* seconds since 1970 UTC; 0: never */
	uint8_t hash[KEY_HASH_SIZE];
} __attribute__((packed));

_Static_assert(sizeof(struct policy_user) == 8, "layout of policy.mdb");
_Static_assert(sizeof(struct policy_key) == 56, "layout of policy.mdb");
