/*
 * Results of PostgreSQL, as both clients (io/pg.h and io/pg_sync.h) hand them out. Values are in text form. Rows and
 * columns count from 0; asking outside of the bounds is a mistake of the program (CHECK).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

struct pg_result;

size_t pg_result_rows(const struct pg_result *r);
size_t pg_result_cols(const struct pg_result *r);
/* Rows that an INSERT, UPDATE, DELETE or SELECT touched. */
uint64_t pg_result_affected(const struct pg_result *r);

/* p == NULL: SQL NULL. Otherwise NUL-terminated, and valid as long as the result. */
struct sv pg_result_value(const struct pg_result *r, size_t row, size_t col);
bool pg_result_null(const struct pg_result *r, size_t row, size_t col);

/* ERR_NOT_FOUND for SQL NULL, ERR_INVALID for what is no such value, ERR_RANGE for an overflow; then *out is 0. */
MUST_CHECK enum err pg_result_i64(const struct pg_result *r, size_t row, size_t col, int64_t *out);
MUST_CHECK enum err pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out);
MUST_CHECK enum err pg_result_bool(const struct pg_result *r, size_t row, size_t col, bool *out);

/* Of an error result, else "": the server's message in one line, the SQLSTATE of 5 characters, the constraint's name.
 */
const char *pg_result_error(const struct pg_result *r);
const char *pg_result_sqlstate(const struct pg_result *r);
const char *pg_result_constraint(const struct pg_result *r);

/* Only for results that the caller owns (those of pg_sync_exec()); NULL is allowed. */
void pg_result_free(struct pg_result *r);
