#include <inttypes.h>
#include <stdio.h>

#include "api/rest_handlers.h"
#include "store/admin_month.h"
#include "store/admin_user.h"
#include "store/admin_words.h"

/* Argument 0 is the month. */
static void usage_of(struct rest_db_call *c, const char *user)
{
	const char *wanted = c->given[0] ? c->args[0] : NULL;
	char error[ADMIN_ERROR_MAX];
	struct admin_month month;

	if (wanted != NULL && admin_month(wanted) != ERR_OK) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "month: a month as 2026-01.");
		return;
	}
	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_month_find(c->db, c->settings, user, wanted, &month, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, admin_month_json(&month));
	admin_month_free(&month);
}

void rest_usage_own(struct rest_db_call *c)
{
	char user[ADMIN_ID_MAX];

	snprintf(user, sizeof(user), "%" PRIu64, c->user);
	usage_of(c, user);
}

void rest_usage_user(struct rest_db_call *c)
{
	usage_of(c, c->params[0]);
}
