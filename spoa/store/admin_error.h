/* The sentences of the admin functions: what PostgreSQL refused, said for a person. */
#pragma once

#include "base/err.h"
#include "io/pg_sync.h"

#define ADMIN_ERROR_MAX 1024

/* Writes a sentence into error (ADMIN_ERROR_MAX bytes) and returns err. */
MUST_CHECK enum err admin_fail(char *error, enum err err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * After a call of pg_sync failed with err: the sentence for its constraint or SQLSTATE, else the server's own text. A
 * broken uniqueness becomes ERR_EXISTS, a broken check ERR_INVALID, everything else stays err.
 */
MUST_CHECK enum err admin_db_fail(const struct pg_sync *db, enum err err, char *error);

/* SQL that gives a timestamptz column as text, in UTC and whole seconds: 2026-11-22T21:32:36Z. */
#define ADMIN_UTC(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
