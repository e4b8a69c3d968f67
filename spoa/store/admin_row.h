/* What a user has one row of in a table (limits, quotas, bounds of images): parameters, and the row that comes back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_limit.h"

#define ADMIN_NUMBER_MAX 24

/* Two parameters: whether it was given, and to what (with NULL for the default). `text` is room for the number. */
void admin_put_change(const struct admin_change *c, char text[ADMIN_NUMBER_MAX], const char **params);
/* One parameter: NULL when it was not given. */
const char *admin_flag(bool given, bool value);

/* Columns of row 0. They do nothing after an error, so that one test at the end is enough. */
void admin_get_number(const struct pg_result *r, size_t col, struct admin_number *out, enum err *err);
void admin_get_u64(const struct pg_result *r, size_t col, uint64_t *out, enum err *err);
void admin_get_bool(const struct pg_result *r, size_t col, bool *out, enum err *err);

/*
 * Finds the user, then runs a statement whose $1 is the id (params[0] is this function's) and which gives one row, but
 * none for a deleted user. On success *rows is that of the caller, to be freed. Errors as in store/admin_user.h.
 */
MUST_CHECK enum err admin_one_row(struct pg_sync *db, const char *user, const char *sql, int nparams,
                                  const char **params, struct pg_result **rows, char *error);
