/*
 * Remote sources of users: prefixes of the URLs that their images may come from. A user without one has no remote
 * sources. A prefix is in its canonical form when it comes here; this file does not look into it. Errors as in
 * store/admin_user.h; ERR_EXISTS is also a prefix that is on the list, ERR_NOT_FOUND one that is not, and ERR_INVALID
 * one that the table's checks refuse, or one more than a user may have.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"

/* The texts belong to the list that the entry is in. */
struct admin_source {
	uint64_t id;
	uint64_t user_id;
	const char *username;
	const char *prefix;
	const char *description; /* NULL: none */
	const char *created_at;
};

struct admin_sources {
	struct admin_source *items;
	size_t count;
	uint64_t left; /* after a removal: how many the list still has */
	struct pg_result *rows;
};

void admin_sources_free(struct admin_sources *list);

/* On success *out holds the one entry concerned (list: all of the user, by prefix); free it. */
MUST_CHECK enum err admin_source_add(struct pg_sync *db, const char *user, const char *prefix, const char *description,
                                     struct admin_sources *out, char *error);
MUST_CHECK enum err admin_source_list(struct pg_sync *db, const char *user, struct admin_sources *out, char *error);
/* By its prefix, or (prefix == NULL) by its id. */
MUST_CHECK enum err admin_source_remove(struct pg_sync *db, const char *user, const char *prefix, uint64_t id,
                                        struct admin_sources *out, char *error);
