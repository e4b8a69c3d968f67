/*
 * Records of keys and users as they lie in policy.mdb, and read there in place, without a copy.
 *
 * The layouts are fixed, host byte order, packed (the store aligns to two bytes only), and start with their version; a
 * reader treats a record of another version, or whose sizes do not add up, as absent, and the store as not readable
 * when its POLICY_LAYOUT is another. Changing a layout means a new POLICY_LAYOUT: the keeper then fills the store anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sv.h"
#include "policy/key.h"
#include "policy/sealed.h"

#define POLICY_LAYOUT 3

enum policy_user_flag {
	USER_ACTIVE = 1,
	/* Limits in shadow: decided and counted, but nobody is refused by them. */
	USER_SHADOW_MINUTE = 2,
	USER_SHADOW_HOUR = 4,
	USER_SHADOW_REQUESTS = 8,
	USER_SHADOW_BANDWIDTH = 16,
};

/* Whether image URLs must have an end; neither: as the setting images.require_expires says. */
enum policy_image_flag {
	USER_IMAGE_REQUIRE_EXPIRES = 1,
	USER_IMAGE_NO_EXPIRES_REQUIRED = 2,
};

enum policy_key_flag {
	KEY_ACTIVE = 1, /* neither revoked nor switched off */
	KEY_USABLE = 2, /* its stored hash is one that this build understands */
};

/* A limit for which the settings' value holds. 0 is no limit. */
#define POLICY_DEFAULT UINT64_MAX
/* Likewise a bound of images. */
#define POLICY_BOUND_DEFAULT UINT32_MAX

/* What migrations/007_tenants.sql lets a user have, so that a record has less than 520 KiB and its allow list. */
#define POLICY_SOURCES_MAX 1000 /* prefixes */
#define POLICY_SOURCE_MAX  512  /* bytes of one */
#define POLICY_PRESETS_MAX 100  /* names */
#define POLICY_PRESET_MAX  64   /* bytes of one */

/* In the store under the user's id. Deleted users have no record. */
struct policy_user {
	uint8_t version;     /* POLICY_LAYOUT */
	uint8_t flags;       /* enum policy_user_flag */
	uint8_t reset_day;   /* 0: the calendar's month; 1 to 31 */
	uint8_t image_flags; /* enum policy_image_flag */
	/* Of the parts of `lists`, which are all that stands behind this struct. */
	uint32_t allow_bytes;
	uint32_t sources_bytes;
	uint32_t presets_bytes;
	uint32_t max_dimension; /* px; POLICY_BOUND_DEFAULT. So are the other four bounds */
	uint32_t max_dpr;       /* thousandths */
	uint32_t max_zoom;      /* thousandths */
	uint32_t max_blur;      /* thousandths */
	uint32_t max_quality;   /* 1 to 100 */
	uint32_t unused;
	uint64_t per_minute;     /* requests; 0: no limit; POLICY_DEFAULT. So are the other three limits */
	uint64_t per_hour;       /* requests */
	uint64_t burst;          /* what the minute's bucket holds; 0: per_minute */
	uint64_t month_requests; /* requests in a month */
	uint64_t month_bytes;    /* bandwidth in a month */
	uint64_t storage_bytes;  /* of uploads; 0: no limit; POLICY_DEFAULT */
	uint8_t lists[];         /* a CIDR set (base/cidr.h), then the list of sources, then that of presets */
} __attribute__((packed));

/* In the store under the key's id. Those of deleted users are there too; the user is not. */
struct policy_key {
	uint8_t version;        /* POLICY_LAYOUT */
	uint8_t flags;          /* enum policy_key_flag */
	uint16_t scopes;        /* enum scope */
	uint32_t signing_bytes; /* of `signing`: SEALED_SIZE; 0: the key has no signing key */
	uint64_t user_id;
	int64_t expires_at; /* seconds since 1970 UTC; 0: never */
	uint8_t hash[KEY_HASH_SIZE];
	uint8_t signing[]; /* signing key and salt, sealed (policy/sealed.h) */
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

_Static_assert(sizeof(struct policy_user) == 88, "layout of policy.mdb");
_Static_assert(sizeof(struct policy_key) == 56, "layout of policy.mdb");
_Static_assert(sizeof(struct policy_usage) == 32, "layout of policy.mdb");

/* A list is its entries one after the other: the length (uint16_t, host order, any alignment), then so many bytes. */
#define POLICY_ENTRY_SIZE(n) (sizeof(uint16_t) + (n))

/* The addresses that the user may call from, as a CIDR set; empty: from anywhere. Views as long as the record. */
static inline struct sv policy_user_allow(const struct policy_user *u)
{
	return sv_from(u->lists, u->allow_bytes);
}

/* A list of prefixes of remote sources, in their canonical form and in the order of their bytes; empty: none. */
static inline struct sv policy_user_sources(const struct policy_user *u)
{
	return sv_from(u->lists + u->allow_bytes, u->sources_bytes);
}

/* A list of names, in the order in which they were given; empty: none. */
static inline struct sv policy_user_presets(const struct policy_user *u)
{
	return sv_from(u->lists + u->allow_bytes + u->sources_bytes, u->presets_bytes);
}

/* SEALED_SIZE bytes; {NULL, 0} for a key without signing key. */
static inline struct sv policy_key_signing(const struct policy_key *k)
{
	return k->signing_bytes == SEALED_SIZE ? sv_from(k->signing, SEALED_SIZE) : sv_from(NULL, 0);
}

/* Whether a record of `size` bytes holds what it says: no less, and no more. Of any version. */
static inline bool policy_user_whole(const struct policy_user *u, size_t size)
{
	return size >= sizeof(*u) &&
	       (uint64_t)size - sizeof(*u) == (uint64_t)u->allow_bytes + u->sources_bytes + u->presets_bytes;
}

static inline bool policy_key_whole(const struct policy_key *k, size_t size)
{
	return size >= sizeof(*k) && (k->signing_bytes == 0 || k->signing_bytes == SEALED_SIZE) &&
	       size - sizeof(*k) == k->signing_bytes;
}
