/*
 * An asynchronous PostgreSQL client: one connection that is kept up, and a queue of queries over it.
 *
 * It connects by itself, also again after a loss, with a back-off of 100 ms that doubles up to 5 s (less a random part
 * of up to a half). Host names are resolved off the loop, and libpq gets numeric addresses (hostaddr) beside the name,
 * which it still needs for TLS and .pgpass. With several hosts in the DSN each attempt takes the next one. Not covered:
 * a host that comes from a service file (service=…) is looked up by libpq and blocks.
 *
 * LISTEN belongs into on_up: a new connection listens to nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"
#include "io/loop.h"
#include "io/pg_result.h"

struct pg;

/* All strings are copied. All callbacks may be NULL, come from the loop, and may call pg_query(). */
struct pg_config {
	const char *dsn;              /* URL or key=value */
	const char *application_name; /* NULL: what the DSN says */
	unsigned connect_timeout_ms;  /* for one attempt, look-up included; 0: 5000 */
	size_t queue_max;             /* queries queued and in flight; 0: 1024 */
	void (*on_up)(void *arg);
	/* After an on_up: the connection is lost. `why` is a text for a log line. */
	void (*on_down)(void *arg, const char *why);
	/* A notification; the views are valid during the call. */
	void (*on_notify)(void *arg, struct sv channel, struct sv payload);
	void *arg;
};

/* Whether pg_new() would take the DSN: ERR_INVALID with a text that holds no part of it that could be a password. */
MUST_CHECK enum err pg_check_dsn(const char *dsn, char *error, size_t error_size);

/*
 * Checks the DSN and starts to connect; the first attempt begins in the next turn. ERR_INVALID with a text in
 * `error` for a DSN that cannot be; the text never holds a part of the DSN that could be a password.
 */
MUST_CHECK enum err pg_new(struct loop *loop, const struct pg_config *config, struct pg **out, char *error,
                           size_t error_size);

/*
 * Drops the connection; the queries that are left get ERR_CLOSED from inside of this call, on_down does not come. Not
 * to be called from a callback of this client, and the callbacks must not submit again. NULL is allowed.
 */
void pg_free(struct pg *pg);

bool pg_is_up(const struct pg *pg);

/* Text of the last failed attempt or loss; "" when there was none. Without secrets. */
const char *pg_last_error(const struct pg *pg);

/*
 * The end of a query. r is valid during the call, and NULL but for ERR_OK and ERR_REFUSED.
 *   ERR_OK           it was carried out
 *   ERR_REFUSED      the server answered with an error: pg_result_sqlstate(r), pg_result_error(r)
 *   ERR_TIMEOUT      the deadline passed; if it was sent already, the connection is dropped with it, since the answer
 *                    could come later, and whether it was carried out is unknown
 *   ERR_UNAVAILABLE  not sent: no connection, or the queue is full
 *   ERR_CLOSED       the connection was lost, or the client freed, after it was sent: whether it was carried out is
 *                    unknown (pg_free() gives this to the unsent ones as well)
 */
typedef void pg_query_cb(void *arg, enum err err, const struct pg_result *r);

/*
 * Queues one statement (extended protocol; $1, $2 … take the parameters as text, NULL is SQL NULL; sql and parameters
 * are copied). timeout_ms counts from now, time in the queue included, and must not be 0. cb is called exactly once,
 * and never from inside of this call; it may be NULL.
 */
void pg_query(struct pg *pg, const char *sql, int nparams, const char *const *params, unsigned timeout_ms,
              pg_query_cb *cb, void *arg);

/*
 * Queues a COPY … FROM STDIN, in the order of the queries and with the same endings. data (n bytes in COPY's text
 * format; NULL when there are none) comes from malloc() and belongs to the client from here on, whatever happens.
 * Sending it never blocks. pg_result_affected() is the number of rows. When the server finds a row that it does not
 * take the rest is sent all the same, and the end is ERR_REFUSED. A COPY through pg_query(), and COPY TO, end the
 * connection.
 */
void pg_copy_in(struct pg *pg, const char *sql, char *data, size_t n, unsigned timeout_ms, pg_query_cb *cb, void *arg);
