/* What the PostgreSQL clients share: the parsed DSN and the result. Only for spoa/io/pg*.c; it includes libpq. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "io/pg_result.h"

#define PG_ERROR_MAX  512
#define PG_PARAMS_MAX 96
#define PG_HOSTS_MAX  16

/* One server of the DSN; the strings are never NULL. */
struct pg_host {
	char *host;
	char *hostaddr;
	char *port;
};

struct pg_dsn {
	PQconninfoOption *options;
	struct pg_host hosts[PG_HOSTS_MAX];
	size_t count;
};

/* Parses and checks. The text in `error` holds nothing of the DSN that could be a password. */
MUST_CHECK enum err pg_dsn_parse(const char *text, struct pg_dsn *out, char *error, size_t error_size);
void pg_dsn_free(struct pg_dsn *dsn);

/* True when libpq would have to look the name up. */
bool pg_host_needs_lookup(const struct pg_host *h);

/* Keyword and value arrays for PQconnectStartParams(), NULL-terminated. The values are borrowed. */
struct pg_params {
	const char *keywords[PG_PARAMS_MAX];
	const char *values[PG_PARAMS_MAX];
	size_t count;
};

/* Everything that the DSN says, and defaults for what it does not: UTF-8, no GSS encryption, application_name. */
void pg_params_init(struct pg_params *p, const struct pg_dsn *dsn, const char *application_name);
/* Replaces or adds; value NULL takes the keyword out. */
void pg_params_set(struct pg_params *p, const char *keyword, const char *value);

struct pg_result {
	PGresult *res;
	char error[PG_ERROR_MAX];
};

/* ERR_OK, ERR_REFUSED for an error of the server, ERR_UNSUPPORTED when it wants to go on with a COPY. Takes res over
 * (not its PQclear()). */
MUST_CHECK enum err pg_result_init(struct pg_result *r, PGresult *res);

/* Copies a message of libpq, which may have several lines, as one line. */
void pg_one_line(char *dst, size_t size, const char *text);
/* The same of why a connection could not be begun: what libpq quotes of the DSN then is left out, it may be a password.
 */
void pg_start_error(char *dst, size_t size, const char *text);
