#include "store/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/sv.h"

#define FILE_SIZE_MAX (16L * 1024 * 1024)
#define DIGITS_MIN    3
#define DIGITS_MAX    6

/* The number of the advisory lock: any, but always the same. ("gateway" in ASCII) */
#define LOCK_ID "29099075147620729"

__attribute__((format(printf, 3, 4))) static enum err fail(char *error, enum err err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, MIGRATE_ERROR_MAX, fmt, ap);
	va_end(ap);
	return err;
}

void migrations_free(struct migrations *m)
{
	for (size_t i = 0; i < m->count; i++) {
		free(m->items[i].name);
		free(m->items[i].sql);
		free(m->items[i].applied_at);
	}
	free(m->items);
	free(m->dir);
	memset(m, 0, sizeof(*m));
}

/* "007_some_name.sql" to 7. */
static bool parse_name(const char *name, uint32_t *version)
{
	size_t digits = strspn(name, "0123456789");
	const char *rest = name + digits;

	if (digits < DIGITS_MIN || digits > DIGITS_MAX || *rest != '_')
		return false;
	size_t word = strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (word < 2 || strcmp(rest + word, ".sql") != 0)
		return false;
	*version = (uint32_t)strtoul(name, NULL, 10);
	return *version > 0;
}

static int is_sql(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 4 && strcmp(entry->d_name + n - 4, ".sql") == 0;
}

static int by_version(const void *a, const void *b)
{
	const struct migration *x = a, *y = b;

	if (x->version != y->version)
		return x->version < y->version ? -1 : 1;
	return strcmp(x->name, y->name);
}

static enum err read_text(const char *path, char **out, size_t *len, char *error)
{
	struct stat st;
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return fail(error, ERR_IO, "%s: %s", path, strerror(errno));
	if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
		fclose(f);
		return fail(error, ERR_IO, "%s: not a file", path);
	}
	if (st.st_size > FILE_SIZE_MAX) {
		fclose(f);
		return fail(error, ERR_RANGE, "%s: larger than %ld bytes", path, FILE_SIZE_MAX);
	}
	char *text = check_calloc(1, (size_t)st.st_size + 1);
	*len = fread(text, 1, (size_t)st.st_size, f);
	int failed = ferror(f);
	fclose(f);
	if (failed || memchr(text, '\0', *len) != NULL) {
		free(text);
		return failed ? fail(error, ERR_IO, "%s: cannot be read", path)
		              : fail(error, ERR_INVALID, "%s: holds a NUL byte", path);
	}
	*out = text;
	return ERR_OK;
}

static enum err read_migration(const char *dir, struct migration *m, char *error)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned digest_len = 0;
	char *path = NULL;
	size_t len = 0;

	CHECK(asprintf(&path, "%s/%s", dir, m->name) >= 0);
	enum err err = read_text(path, &m->sql, &len, error);
	free(path);
	if (err != ERR_OK)
		return err;
	if (EVP_Digest(m->sql, len, digest, &digest_len, EVP_sha256(), NULL) != 1)
		return fail(error, ERR_CRYPTO, "the crypto library gives no SHA-256");
	CHECK(digest_len * 2 == MIGRATE_CHECKSUM_CHARS);
	for (unsigned i = 0; i < digest_len; i++)
		snprintf(m->checksum + (size_t)i * 2, 3, "%02x", digest[i]);
	return ERR_OK;
}

static enum err check_numbers(const struct migrations *m, char *error)
{
	for (size_t i = 0; i < m->count; i++) {
		if (i > 0 && m->items[i].version == m->items[i - 1].version)
			return fail(error, ERR_INVALID, "%s: the number of %s comes twice: %s", m->dir,
			            m->items[i - 1].name, m->items[i].name);
		if (m->items[i].version != i + 1)
			return fail(error, ERR_INVALID, "%s: number %03zu is missing before %s", m->dir, i + 1,
			            m->items[i].name);
	}
	return ERR_OK;
}

enum err migrations_read(const char *dir, struct migrations *out, char *error)
{
	struct dirent **entries = NULL;
	enum err err = ERR_OK;

	memset(out, 0, sizeof(*out));
	int n = scandir(dir, &entries, is_sql, NULL);
	if (n < 0)
		return fail(error, ERR_IO, "%s: %s", dir, strerror(errno));
	out->dir = strdup(dir);
	CHECK(out->dir != NULL);
	out->items = check_calloc((size_t)n + 1, sizeof(struct migration));
	for (int i = 0; i < n; i++) {
		struct migration *m = &out->items[out->count++];
		m->name = strdup(entries[i]->d_name);
		CHECK(m->name != NULL);
		if (err == ERR_OK && !parse_name(m->name, &m->version))
			err = fail(error, ERR_INVALID, "%s/%s: not named as a migration, NNN_name.sql", dir, m->name);
		free(entries[i]);
	}
	free(entries);
	if (err == ERR_OK && out->count == 0)
		err = fail(error, ERR_NOT_FOUND, "%s: no migrations (NNN_name.sql)", dir);
	if (err == ERR_OK) {
		qsort(out->items, out->count, sizeof(*out->items), by_version);
		err = check_numbers(out, error);
	}
	for (size_t i = 0; i < out->count && err == ERR_OK; i++)
		err = read_migration(dir, &out->items[i], error);
	if (err != ERR_OK)
		migrations_free(out);
	return err;
}

enum err migrations_compare(struct migrations *m, const struct migration_row *rows, size_t count, char *error)
{
	for (size_t i = 0; i < count; i++) {
		if (rows[i].version > m->count)
			return fail(error, ERR_VERSION,
			            "the database has migration %s, which is not in %s: is this an older program?",
			            rows[i].name, m->dir);
		if (rows[i].version != i + 1)
			return fail(error, ERR_BAD_STATE,
			            "the database has migration %s, but not %s, which comes before", rows[i].name,
			            m->items[i].name);
		if (strcmp(rows[i].checksum, m->items[i].checksum) != 0)
			return fail(error, ERR_CORRUPT,
			            "%s/%s: changed since it was applied at %s; undo the change, and write a new file",
			            m->dir, m->items[i].name, rows[i].applied_at);
	}
	for (size_t i = 0; i < count; i++) {
		free(m->items[i].applied_at);
		m->items[i].applied_at = strdup(rows[i].applied_at);
		CHECK(m->items[i].applied_at != NULL);
	}
	return ERR_OK;
}

static enum err db_fail(const struct pg_sync *db, enum err err, char *error)
{
	return fail(error, err, "database: %s", pg_sync_error(db));
}

static enum err compare_with_table(struct pg_sync *db, struct migrations *m, char *error)
{
	struct pg_result *r = NULL;

	enum err err = pg_sync_exec(db,
	                            "SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', "
	                            "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM schema_migrations ORDER BY version",
	                            0, NULL, &r);
	if (err != ERR_OK)
		return db_fail(db, err, error);
	size_t count = pg_result_rows(r);
	struct migration_row *rows = check_calloc(count + 1, sizeof(*rows));
	for (size_t i = 0; i < count && err == ERR_OK; i++) {
		uint64_t version = 0;
		err = pg_result_u64(r, i, 0, &version);
		rows[i].version = version <= UINT32_MAX ? (uint32_t)version : UINT32_MAX;
		rows[i].name = pg_result_value(r, i, 1).p;
		rows[i].checksum = pg_result_value(r, i, 2).p;
		rows[i].applied_at = pg_result_value(r, i, 3).p;
	}
	err = err == ERR_OK ? migrations_compare(m, rows, count, error)
	                    : fail(error, err, "database: unexpected value in table schema_migrations");
	free(rows);
	pg_result_free(r);
	return err;
}

enum err migrations_status(struct pg_sync *db, struct migrations *m, char *error)
{
	struct pg_result *r = NULL;
	bool exists = false;

	enum err err = pg_sync_exec(db, "SELECT to_regclass('schema_migrations') IS NOT NULL", 0, NULL, &r);
	if (err == ERR_OK)
		err = pg_result_bool(r, 0, 0, &exists);
	pg_result_free(r);
	if (err != ERR_OK)
		return db_fail(db, err, error);
	return exists ? compare_with_table(db, m, error) : ERR_OK;
}

/* The number of the transaction that is open, as text. */
static enum err transaction_id(struct pg_sync *db, char *buf, size_t size, char *error)
{
	struct pg_result *r = NULL;

	enum err err = pg_sync_exec(db, "SELECT pg_current_xact_id()", 0, NULL, &r);
	if (err != ERR_OK)
		return db_fail(db, err, error);
	err = sv_copy(pg_result_value(r, 0, 0), buf, size);
	pg_result_free(r);
	return err == ERR_OK ? ERR_OK : fail(error, err, "database: unexpected transaction id");
}

static enum err run_file(struct pg_sync *db, const struct migrations *m, const struct migration *file, char *error)
{
	char before[32], after[32], version[16];
	const char *params[] = { version, file->name, file->checksum };

	enum err err = transaction_id(db, before, sizeof(before), error);
	if (err != ERR_OK)
		return err;
	err = pg_sync_script(db, file->sql);
	if (err != ERR_OK)
		return fail(error, err, "%s/%s: %s", m->dir, file->name, pg_sync_error(db));
	err = transaction_id(db, after, sizeof(after), error);
	if (err != ERR_OK)
		return err;
	if (strcmp(before, after) != 0)
		return fail(error, ERR_BAD_STATE,
		            "%s/%s: ends its transaction (COMMIT or ROLLBACK); what it committed stays in the database",
		            m->dir, file->name);
	snprintf(version, sizeof(version), "%" PRIu32, file->version);
	err = pg_sync_exec(db, "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)", 3, params,
	                   NULL);
	if (err == ERR_OK)
		err = pg_sync_commit(db);
	return err == ERR_OK ? ERR_OK : fail(error, err, "%s/%s: %s", m->dir, file->name, pg_sync_error(db));
}

static enum err up_locked(struct pg_sync *db, struct migrations *m,
                          void (*done)(const struct migration *migration, void *arg), void *arg, char *error)
{
	enum err err = pg_sync_script(db, "CREATE TABLE IF NOT EXISTS schema_migrations ("
	                                  "version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
	                                  "applied_at timestamptz NOT NULL DEFAULT now())");
	if (err != ERR_OK)
		return db_fail(db, err, error);
	err = compare_with_table(db, m, error);
	for (size_t i = 0; i < m->count && err == ERR_OK; i++) {
		if (m->items[i].applied_at != NULL)
			continue;
		err = pg_sync_begin(db);
		if (err != ERR_OK)
			return db_fail(db, err, error);
		err = run_file(db, m, &m->items[i], error);
		if (err != ERR_OK)
			pg_sync_rollback(db);
		else if (done != NULL)
			done(&m->items[i], arg);
	}
	return err == ERR_OK ? compare_with_table(db, m, error) : err;
}

enum err migrations_up(struct pg_sync *db, struct migrations *m,
                       void (*done)(const struct migration *migration, void *arg), void *arg, char *error)
{
	/* Waiting for another runner, and long changes, are no reason to give up; notices are no news. */
	enum err err = pg_sync_script(db, "SET lock_timeout = 0; SET statement_timeout = 0; "
	                                  "SET idle_in_transaction_session_timeout = 0; "
	                                  "SET client_min_messages = warning; SELECT pg_advisory_lock(" LOCK_ID ")");
	if (err != ERR_OK)
		return db_fail(db, err, error);
	err = up_locked(db, m, done, arg, error);
	/* Whatever this answers, the lock ends with the connection. */
	if (pg_sync_exec(db, "SELECT pg_advisory_unlock(" LOCK_ID ")", 0, NULL, NULL) != ERR_OK && err == ERR_OK)
		return db_fail(db, ERR_CLOSED, error);
	return err;
}
