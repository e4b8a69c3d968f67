/*
 * A small blocking PostgreSQL client for programs without a loop (gatewayctl, the threads of gateway-api). Advisory
 * locks and session settings are plain SQL.
 *
 * Every function that fails leaves the text, the SQLSTATE and the constraint of the failure behind, until the next call
 * on the same handle. No text holds a password or a part of the DSN that could be one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "io/pg_result.h"

struct pg_sync;

/*
 * Connects. connect_timeout_ms is for each address of the host and is rounded up to whole seconds (at least 2, libpq's
 * rule). ERR_INVALID: the DSN cannot be; ERR_UNAVAILABLE: no connection. `error` then holds one line.
 */
MUST_CHECK enum err pg_sync_open(const char *dsn, const char *application_name, unsigned connect_timeout_ms,
                                 struct pg_sync **out, char *error, size_t error_size);
/* An open transaction is rolled back by the server. NULL is allowed. */
void pg_sync_close(struct pg_sync *s);

/*
 * How long a statement may take from now on, in milliseconds; 0 (at first): for ever. One whose answer is late loses
 * the connection (ERR_CLOSED), whatever becomes of it in the server: SET statement_timeout to less.
 */
void pg_sync_limit(struct pg_sync *s, unsigned statement_ms);

/*
 * Whether a connection that was not used for a while is as it was left: no transaction is open, and nothing came from
 * the server, which without being asked says only that it ends. Asks nobody.
 */
bool pg_sync_is_fresh(const struct pg_sync *s);

/*
 * One statement with text parameters ($1 …; NULL is SQL NULL). ERR_REFUSED: the server said no; ERR_CLOSED: the
 * connection is lost. *out (which may be NULL if nobody wants it) is freed by the caller with pg_result_free(); on an
 * error it is NULL.
 */
MUST_CHECK enum err pg_sync_exec(struct pg_sync *s, const char *sql, int nparams, const char *const *params,
                                 struct pg_result **out);

/*
 * Several statements in one text (simple protocol), for migrations. Without a BEGIN of its own, or one before it, the
 * text is one transaction. The error text names the line of the statement when the server tells the place.
 */
MUST_CHECK enum err pg_sync_script(struct pg_sync *s, const char *sql);

MUST_CHECK enum err pg_sync_begin(struct pg_sync *s);
/* ERR_REFUSED also when the transaction had failed before, and the server therefore rolled it back. */
MUST_CHECK enum err pg_sync_commit(struct pg_sync *s);
/* Errors do not matter here: a lost connection is a roll-back as well. */
void pg_sync_rollback(struct pg_sync *s);

/* Of the last call; "" when it was fine or the server told nothing of the kind. */
const char *pg_sync_error(const struct pg_sync *s);
const char *pg_sync_sqlstate(const struct pg_sync *s);
const char *pg_sync_constraint(const struct pg_sync *s);
