#include "store/admin_source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "store/admin_user.h"

/* Of s (a row of allowed_sources) and u (its user); what is left of the list comes after them. */
#define SOURCE_COLUMNS "s.id, s.user_id, u.username, s.prefix, s.description, " ADMIN_UTC("s.created_at")

void admin_sources_free(struct admin_sources *list)
{
	free(list->items);
	pg_result_free(list->rows);
	memset(list, 0, sizeof(*list));
}

/* Runs a statement that gives SOURCE_COLUMNS and what is left of the list; $1 is the user's id. */
static enum err sources_query(struct pg_sync *db, const char *user, const char *sql, int nparams, const char **params,
                              struct admin_sources *out, char *error)
{
	char id[ADMIN_ID_MAX];

	memset(out, 0, sizeof(*out));
	enum err err = admin_user_id(db, user, id, error);
	if (err != ERR_OK)
		return err;
	params[0] = id;
	err = pg_sync_exec(db, sql, nparams, params, &out->rows);
	params[0] = NULL;
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	out->count = pg_result_rows(out->rows);
	out->items = check_calloc(out->count + 1, sizeof(*out->items));
	for (size_t i = 0; i < out->count && err == ERR_OK; i++) {
		struct admin_source *s = &out->items[i];
		err = pg_result_u64(out->rows, i, 0, &s->id);
		if (err == ERR_OK)
			err = pg_result_u64(out->rows, i, 1, &s->user_id);
		if (err == ERR_OK)
			err = pg_result_u64(out->rows, i, 6, &out->left);
		s->username = pg_result_value(out->rows, i, 2).p;
		s->prefix = pg_result_value(out->rows, i, 3).p;
		s->description = pg_result_value(out->rows, i, 4).p;
		s->created_at = pg_result_value(out->rows, i, 5).p;
	}
	if (err != ERR_OK) {
		admin_sources_free(out);
		return admin_fail(error, err, "database: unexpected value in table allowed_sources");
	}
	return ERR_OK;
}

enum err admin_source_add(struct pg_sync *db, const char *user, const char *prefix, const char *description,
                          struct admin_sources *out, char *error)
{
	const char *params[] = { NULL, prefix, description };

	enum err err = sources_query(db, user,
	                             ADMIN_LIVING_USER
	                             "s AS (INSERT INTO allowed_sources (user_id, prefix, description) "
	                             "SELECT u.id, $2, $3 FROM u RETURNING *) "
	                             "SELECT " SOURCE_COLUMNS ", 0 FROM s JOIN u ON u.id = s.user_id",
	                             3, params, out, error);
	if (err == ERR_EXISTS)
		return admin_fail(error, err, "%s is on the list of \"%s\" already", prefix, user);
	if (err == ERR_OK && out->count != 1) {
		admin_sources_free(out);
		err = admin_fail(error, ERR_BAD_STATE, "user \"%s\" was deleted just now", user);
	}
	return err;
}

enum err admin_source_list(struct pg_sync *db, const char *user, struct admin_sources *out, char *error)
{
	const char *params[] = { NULL };

	return sources_query(db, user,
	                     "SELECT " SOURCE_COLUMNS ", 0 FROM allowed_sources s JOIN users u ON u.id = s.user_id "
	                     "WHERE s.user_id = $1 ORDER BY s.prefix",
	                     1, params, out, error);
}

enum err admin_source_remove(struct pg_sync *db, const char *user, const char *prefix, uint64_t id,
                             struct admin_sources *out, char *error)
{
	char id_text[ADMIN_ID_MAX];
	const char *params[] = { NULL, prefix, prefix == NULL ? id_text : NULL };

	/* No row has an id beyond the column's. */
	snprintf(id_text, sizeof(id_text), "%" PRIu64, id <= INT64_MAX ? id : 0);
	/* The count sees the list as it was before the removal. */
	enum err err = sources_query(
	        db, user,
	        ADMIN_LIVING_USER
	        "s AS (DELETE FROM allowed_sources d USING u "
	        "WHERE d.user_id = u.id AND (d.prefix = $2::text OR d.id = $3::bigint) RETURNING d.*) "
	        "SELECT " SOURCE_COLUMNS ", (SELECT count(*) FROM allowed_sources a WHERE a.user_id = u.id) - 1 "
	        "FROM s JOIN u ON u.id = s.user_id",
	        3, params, out, error);
	if (err == ERR_OK && out->count != 1) {
		admin_sources_free(out);
		if (prefix != NULL)
			return admin_fail(error, ERR_NOT_FOUND, "%s is not on the list of \"%s\"", prefix, user);
		return admin_fail(error, ERR_NOT_FOUND, "no source of \"%s\" has the id %" PRIu64, user, id);
	}
	return err;
}
