/* Giving up root for an ordinary user, once, at start. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct privileges {
	uid_t uid;
	gid_t gid;
	char name[33];
};

/* Looks the user up. ERR_NOT_FOUND: no such user; ERR_REFUSED: the user is root; ERR_RANGE: the name is too long. */
MUST_CHECK enum err privileges_find(const char *user, struct privileges *out);

/* Becomes that user, with its groups, for good. ERR_IO: errno says why. */
MUST_CHECK enum err privileges_drop(const struct privileges *p);
