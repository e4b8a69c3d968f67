#include "base/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "base/sv.h"

enum err privileges_find(const char *user, struct privileges *out)
{
	if (sv_copy(sv_str(user), out->name, sizeof(out->name)) != ERR_OK)
		return ERR_RANGE;
	const struct passwd *pw = getpwnam(user);
	if (pw == NULL)
		return ERR_NOT_FOUND;
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	return pw->pw_uid != 0 ? ERR_OK : ERR_REFUSED;
}

enum err privileges_drop(const struct privileges *p)
{
	if (initgroups(p->name, p->gid) != 0 || setgid(p->gid) != 0 || setuid(p->uid) != 0)
		return ERR_IO;
	/* The way back must be shut. */
	if (setuid(0) == 0) {
		errno = EPERM;
		return ERR_IO;
	}
	return ERR_OK;
}
