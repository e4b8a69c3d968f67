/* Scopes of an API key: what it may be used for. A key has a set of them; none contains another. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

enum scope {
	SCOPE_READ = 1,   /* fetch images, read one's own data */
	SCOPE_UPLOAD = 2, /* upload and delete images */
	SCOPE_ADMIN = 4,  /* the administration of users, keys and backends */
};

#define SCOPES_TEXT_MAX 32

/* A comma list of names, as "read,upload". ERR_INVALID on an unknown, empty or repeated name and on an empty list. */
MUST_CHECK enum err scopes_parse(struct sv list, uint32_t *out);

/* The comma list of a set, in the order read, upload, admin. buf has at least SCOPES_TEXT_MAX bytes; returns buf. */
const char *scopes_format(uint32_t scopes, char *buf, size_t size);
