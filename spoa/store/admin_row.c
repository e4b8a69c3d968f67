#include "store/admin_row.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/admin_user.h"

void admin_put_change(const struct admin_change *c, char text[ADMIN_NUMBER_MAX], const char **params)
{
	snprintf(text, ADMIN_NUMBER_MAX, "%" PRIu64, c->to.value);
	params[0] = c->given ? "true" : "false";
	params[1] = c->given && c->to.own ? text : NULL;
}

const char *admin_flag(bool given, bool value)
{
	return !given ? NULL : value ? "true" : "false";
}

void admin_get_number(const struct pg_result *r, size_t col, struct admin_number *out, enum err *err)
{
	out->own = !pg_result_null(r, 0, col);
	if (*err == ERR_OK && out->own)
		*err = pg_result_u64(r, 0, col, &out->value);
}

void admin_get_u64(const struct pg_result *r, size_t col, uint64_t *out, enum err *err)
{
	if (*err == ERR_OK)
		*err = pg_result_u64(r, 0, col, out);
}

void admin_get_bool(const struct pg_result *r, size_t col, bool *out, enum err *err)
{
	if (*err == ERR_OK)
		*err = pg_result_bool(r, 0, col, out);
}

enum err admin_one_row(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                       struct pg_result **rows, char *error)
{
	char id[ADMIN_ID_MAX];

	*rows = NULL;
	enum err err = admin_user_id(db, user, id, error);
	if (err != ERR_OK)
		return err;
	params[0] = id;
	err = pg_sync_exec(db, sql, nparams, params, rows);
	params[0] = NULL;
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	if (pg_result_rows(*rows) == 1)
		return ERR_OK;
	pg_result_free(*rows);
	*rows = NULL;
	return admin_fail(error, ERR_BAD_STATE, "user \"%s\" was deleted just now", user);
}
