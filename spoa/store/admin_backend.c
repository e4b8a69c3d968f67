#include "store/admin_backend.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define BACKEND_COLUMNS "id, name, url, weight, " ADMIN_UTC("created_at")

#define NUMBER_MAX 24

void admin_backends_free(struct admin_backends *list)
{
	free(list->items);
	pg_result_free(list->rows);
	memset(list, 0, sizeof(*list));
}

/* Runs a statement that gives BACKEND_COLUMNS. */
static enum err backends_query(struct pg_sync *db, const char *sql, int nparams, const char *const *params,
                               struct admin_backends *out, char *error)
{
	memset(out, 0, sizeof(*out));
	enum err err = pg_sync_exec(db, sql, nparams, params, &out->rows);
	if (err != ERR_OK)
		return admin_db_fail(db, err, error);
	out->count = pg_result_rows(out->rows);
	out->items = check_calloc(out->count + 1, sizeof(*out->items));
	for (size_t i = 0; i < out->count && err == ERR_OK; i++) {
		struct admin_backend *b = &out->items[i];
		err = pg_result_u64(out->rows, i, 0, &b->id);
		if (err == ERR_OK)
			err = pg_result_u64(out->rows, i, 3, &b->weight);
		b->name = pg_result_value(out->rows, i, 1).p;
		b->url = pg_result_value(out->rows, i, 2).p;
		b->created_at = pg_result_value(out->rows, i, 4).p;
	}
	if (err != ERR_OK) {
		admin_backends_free(out);
		return admin_fail(error, err, "database: unexpected value in table backends");
	}
	return ERR_OK;
}

/* The same for one backend, whose name is $1. */
static enum err one_backend(struct pg_sync *db, const char *sql, int nparams, const char *const *params,
                            struct admin_backends *out, char *error)
{
	enum err err = backends_query(db, sql, nparams, params, out, error);

	if (err == ERR_OK && out->count == 0) {
		admin_backends_free(out);
		err = admin_fail(error, ERR_NOT_FOUND, "there is no backend \"%s\"", params[0]);
	}
	return err;
}

static const char *weight_text(uint64_t weight, char buf[NUMBER_MAX])
{
	snprintf(buf, NUMBER_MAX, "%" PRIu64, weight);
	return buf;
}

enum err admin_backend_add(struct pg_sync *db, const char *name, const char *url, uint64_t weight,
                           struct admin_backends *out, char *error)
{
	char number[NUMBER_MAX];
	const char *params[] = { name, url, weight_text(weight, number) };

	return backends_query(db,
	                      "INSERT INTO backends (name, url, weight) VALUES ($1, $2, $3) RETURNING " BACKEND_COLUMNS,
	                      3, params, out, error);
}

enum err admin_backend_list(struct pg_sync *db, struct admin_backends *out, char *error)
{
	return backends_query(db, "SELECT " BACKEND_COLUMNS " FROM backends ORDER BY name COLLATE \"C\"", 0, NULL, out,
	                      error);
}

enum err admin_backend_find(struct pg_sync *db, const char *name, struct admin_backends *out, char *error)
{
	return one_backend(db, "SELECT " BACKEND_COLUMNS " FROM backends WHERE name = $1", 1, &name, out, error);
}

enum err admin_backend_set(struct pg_sync *db, const char *name, const char *url, const uint64_t *weight,
                           struct admin_backends *out, char *error)
{
	char number[NUMBER_MAX];
	const char *params[] = { name, url, weight != NULL ? weight_text(*weight, number) : NULL };

	return one_backend(db,
	                   "UPDATE backends SET url = coalesce($2, url), weight = coalesce($3::integer, weight) "
	                   "WHERE name = $1 RETURNING " BACKEND_COLUMNS,
	                   3, params, out, error);
}

enum err admin_backend_remove(struct pg_sync *db, const char *name, struct admin_backends *out, char *error)
{
	return one_backend(db, "DELETE FROM backends WHERE name = $1 RETURNING " BACKEND_COLUMNS, 1, &name, out, error);
}
