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

/*
 * Who a program that was started by this process's user shall be: as root the user named by the setting agent.user
 * (*owner points to *found), else whoever it is (*owner is NULL). An error is logged; root without such a setting is
 * ERR_REFUSED.
 */
MUST_CHECK enum err privileges_choose(const char *agent_user, struct privileges *found,
                                      const struct privileges **owner);

/* Looks the user up. ERR_NOT_FOUND: no such user; ERR_REFUSED: the user is root; ERR_RANGE: the name is too long. */
MUST_CHECK enum err privileges_find(const char *user, struct privileges *out);

/* Becomes that user, with its groups, for good. ERR_IO: errno says why. */
MUST_CHECK enum err privileges_drop(const struct privileges *p);
