/*
 * Backends: the image servers that operators know by name. Errors as in store/admin_user.h; ERR_NOT_FOUND: no backend
 * of that name, ERR_EXISTS: one of that name is there.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"

#define ADMIN_WEIGHT_MAX 256 /* as HAProxy's; 0: drained, it gets no new requests */

/* The texts belong to the list that the backend is in. */
struct admin_backend {
	uint64_t id;
	const char *name;
	const char *url;
	uint64_t weight;
	const char *created_at;
};

struct admin_backends {
	struct admin_backend *items;
	size_t count;
	struct pg_result *rows;
};

void admin_backends_free(struct admin_backends *list);

/* On success *out holds the one backend concerned (list: all, by name); free it. */
MUST_CHECK enum err admin_backend_add(struct pg_sync *db, const char *name, const char *url, uint64_t weight,
                                      struct admin_backends *out, char *error);
MUST_CHECK enum err admin_backend_list(struct pg_sync *db, struct admin_backends *out, char *error);
MUST_CHECK enum err admin_backend_find(struct pg_sync *db, const char *name, struct admin_backends *out, char *error);
/* url NULL, weight NULL: it stays. */
MUST_CHECK enum err admin_backend_set(struct pg_sync *db, const char *name, const char *url, const uint64_t *weight,
                                      struct admin_backends *out, char *error);
MUST_CHECK enum err admin_backend_remove(struct pg_sync *db, const char *name, struct admin_backends *out, char *error);
