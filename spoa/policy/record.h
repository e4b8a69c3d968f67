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

#define POLICY_LAYOUT 2

enum policy_user_flag {
	USER_ACTIVE = 1,
	/* Limits in shadow: decided and counted, but nobody is refused by them. */
	USER_SHADOW_MINUTE = 2,
	USER_SHADOW_HOUR = 4,
	USER_SHADOW_REQUESTS = 8,
	USER_SHADOW_BANDWIDTH = 16,
};

enum policy_key_flag {
	KEY_ACTIVE = 1, /* neither revoked nor switched off */
	KEY_USABLE = 2, /* its stored hash is one that this build understands */
};

/* A limit for which the settings' value holds. 0 is no limit. */
#define POLICY_DEFAULT UINT64_MAX

/* In the store under the user's id. Deleted users have no record. */
struct policy_user {
	uint8_t version;   /* POLICY_LAYOUT */
	uint8_t flags;     /* enum policy_user_flag */
	uint8_t reset_day; /* 0: the calendar's month; 1 to 31 */
	uint8_t unused;
	uint32_t allow_bytes;    /* of `allow`; 0: from anywhere */
	uint64_t per_minute;     /* requests; 0: no limit; POLICY_DEFAULT. So are the other three limits */
	uint64_t per_hour;       /* requests */
	uint64_t burst;          /* what the minute's bucket holds; 0: per_minute */
	uint64_t month_requests; /* requests in a month */
	uint64_t month_bytes;    /* bandwidth in a month */
	uint8_t allow[];         /* a CIDR set (base/cidr.h) */
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

/*
 * In the store under the user's id: what the month's counters were when the keeper wrote them last, so that an agent
 * which starts without PostgreSQL knows them. Absent: nothing was counted.
 */
struct policy_usage {
	uint8_t version; /* POLICY_LAYOUT */
	uint8_t unused[7];
	uint64_t requests;  /* a word of quota.h: all that was admitted, as far as known */
	uint64_t bytes;     /* likewise: bandwidth */
	uint64_t unflushed; /* likewise: of the requests, those admitted here that PostgreSQL did not have yet */
} __attribute__((packed));

_Static_assert(sizeof(struct policy_user) == 48, "layout of policy.mdb");
_Static_assert(sizeof(struct policy_key) == 56, "layout of policy.mdb");
_Static_assert(sizeof(struct policy_usage) == 32, "layout of policy.mdb");
