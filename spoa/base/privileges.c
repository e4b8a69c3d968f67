#include "base/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "base/log.h"
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

enum err privileges_choose(const char *agent_user, struct privileges *found, const struct privileges **owner)
{
	*owner = NULL;
	if (geteuid() != 0)
		return ERR_OK;
	if (agent_user[0] == '\0') {
		log_error("refusing to run as root: set agent.user (AGENT_USER) to the user to become");
		return ERR_REFUSED;
	}
	enum err err = privileges_find(agent_user, found);
	if (err != ERR_OK)
		log_error("agent.user: %s: %s", agent_user, err == ERR_REFUSED ? "this is root" : err_str(err));
	*owner = found;
	return err;
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
