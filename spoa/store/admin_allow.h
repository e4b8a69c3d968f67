/*
 * Allow lists of users: the address blocks that they may call from. A user without one may call from anywhere. Errors
 * as in store/admin_user.h; ERR_INVALID is also a text that is no block, ERR_EXISTS a block that is on the list, and
 * ERR_NOT_FOUND one that is not.
 *
 * A block is written "10.0.0.0/8", "2001:db8::/32", or as an address alone. IPv4 mapped into IPv6 (::ffff:10.0.0.0/104)
 * is the IPv4 block.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"

#define ADMIN_BLOCK_MAX 64 /* a block as text, with its NUL */

/* The texts belong to the list that the entry is in. */
struct admin_allow {
	uint64_t id;
	uint64_t user_id;
	const char *username;
	const char *cidr;
	const char *description; /* NULL: none */
	const char *created_at;
};

struct admin_allows {
	struct admin_allow *items;
	size_t count;
	uint64_t left; /* after a removal: how many the list still has */
	struct pg_result *rows;
};

void admin_allows_free(struct admin_allows *list);

/* The block as PostgreSQL takes it, always with its length. ERR_INVALID, with a sentence, also when bits behind the
 * length are set. */
MUST_CHECK enum err admin_allow_block(const char *text, char block[ADMIN_BLOCK_MAX], char *error);

/* On success *out holds the one entry concerned (list: all of the user, by address); free it. */
MUST_CHECK enum err admin_allow_add(struct pg_sync *db, const char *user, const char *block, const char *description,
                                    struct admin_allows *out, char *error);
MUST_CHECK enum err admin_allow_list(struct pg_sync *db, const char *user, struct admin_allows *out, char *error);
MUST_CHECK enum err admin_allow_remove(struct pg_sync *db, const char *user, const char *block,
                                       struct admin_allows *out, char *error);
