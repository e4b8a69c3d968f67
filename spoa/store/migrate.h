/*
 * Schema migrations: files NNN_name.sql of one folder, numbered from 001 without a gap, each run once and in one
 * transaction. What ran is in the table schema_migrations (version, name, checksum, applied_at); the checksum is the
 * SHA-256 of the file in lower-case hex. A file that changed after it ran, and a version that ran but is not in the
 * folder, are refused before anything is done.
 *
 * Every function writes a sentence for a person into `error` (MIGRATE_ERROR_MAX bytes) when it fails.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"

#define MIGRATE_ERROR_MAX      2048
#define MIGRATE_CHECKSUM_CHARS 64

struct migration {
	uint32_t version;
	char *name; /* the file's name */
	char *sql;  /* its text */
	char checksum[MIGRATE_CHECKSUM_CHARS + 1];
	char *applied_at; /* UTC, as 2026-01-31T12:00:00Z; NULL: not applied. Filled in by status and up */
};

struct migrations {
	char *dir;
	struct migration *items; /* items[i].version == i + 1 */
	size_t count;
};

/*
 * Reads a folder. ERR_IO: it cannot be read; ERR_NOT_FOUND: it holds no migration; ERR_INVALID: a .sql file is not
 * named NNN_name.sql (at least three digits, then a-z 0-9 _), a number is missing or comes twice, or a file holds a NUL
 * byte; ERR_RANGE: a file is too large. Files that do not end in .sql are skipped. Free with migrations_free().
 */
MUST_CHECK enum err migrations_read(const char *dir, struct migrations *out, char *error);
void migrations_free(struct migrations *m);

/* A row of schema_migrations; views. */
struct migration_row {
	uint32_t version;
	const char *name;
	const char *checksum;
	const char *applied_at;
};

/*
 * Holds the rows (ordered by version) against the files, and copies their applied_at. ERR_CORRUPT: a file changed;
 * ERR_VERSION: the database is ahead of the folder; ERR_BAD_STATE: a version before an applied one was not applied.
 */
MUST_CHECK enum err migrations_compare(struct migrations *m, const struct migration_row *rows, size_t count,
                                       char *error);

/* Reads what was applied, and changes nothing. */
MUST_CHECK enum err migrations_status(struct pg_sync *db, struct migrations *m, char *error);

/*
 * Runs what is missing, in order, and calls done() after each commit. Of two runners at once, the second waits for the
 * first (an advisory lock of the session) and then finds nothing to do. On a failure, what ran before stays.
 */
MUST_CHECK enum err migrations_up(struct pg_sync *db, struct migrations *m,
                                  void (*done)(const struct migration *migration, void *arg), void *arg, char *error);
