/* The routes that need the database (the others are in rest.h and request.h): one table, which docs/api.md and
 * configs/openapi.yaml are held against by tests. */
#pragma once

#include <stddef.h>

#include "api/rest_call.h"

const struct rest_route *rest_routes(size_t *count);

#define REST_ALLOW_MAX 48

struct rest_match {
	uint32_t scope;                 /* what the path needs */
	const struct rest_route *route; /* NULL: the path is one of the table's, but not with this method */
	char params[REST_PARAMS_MAX][REST_PARAM_MAX];
	char allow[REST_ALLOW_MAX]; /* the methods of the path, for a header Allow */
};

/*
 * Finds the route of a path as it was sent, with its escapes and without its query. ERR_NOT_FOUND: no route has this
 * path. Parameters are decoded: printable ASCII, or the path is not found. HEAD is as GET.
 */
MUST_CHECK enum err rest_route_find(const char *method, const char *path, struct rest_match *out);

/* Whether all of it is printable ASCII, without blanks. */
bool rest_is_plain(struct sv v);

/* Undoes percent escapes. ERR_INVALID: a broken one, or what is not printable ASCII then; ERR_SPACE. */
MUST_CHECK enum err rest_unescape(struct sv v, char *buf, size_t size);
