/*
 * An asynchronous Redis client: one connection that is kept up, with a deadline for each command.
 *
 * It connects by itself (look-up off the loop, AUTH, SELECT, PING; up means that all of them were answered), and again
 * after a loss with a back-off of 100 ms that doubles up to 5 s (less a random part of up to a half). While nothing is
 * received it sends PING, and drops a connection that does not answer. When it is down, commands fail at once (from the
 * loop, never from inside of the submit) instead of waiting.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"
#include "io/loop.h"
#include "io/redis_batch.h"

struct redis;

enum redis_type {
	REDIS_NIL = 0,
	REDIS_STRING,
	REDIS_INTEGER,
	REDIS_ARRAY,
	REDIS_STATUS,
	REDIS_ERROR,
};

/* A view of a reply (RESP2), valid during the callback. */
struct redis_reply {
	enum redis_type type;
	int64_t integer;      /* of REDIS_INTEGER, else 0 */
	struct sv str;        /* of REDIS_STRING, REDIS_STATUS and REDIS_ERROR, else {NULL, 0} */
	size_t count;         /* elements of REDIS_ARRAY, else 0 */
	const void *elements; /* private */
};

/* Element i of an array; i < count (CHECK). */
struct redis_reply redis_reply_at(const struct redis_reply *r, size_t i);

/* All strings are copied. Callbacks may be NULL, come from the loop, and may call redis_command(). */
struct redis_config {
	const char *addr;     /* host:port or unix@/path */
	const char *password; /* NULL or "": no AUTH */
	unsigned db;          /* 0: no SELECT */
	bool tls;           /* over TLS, to a server that shows a certificate for the host of `addr` (io/redis_tls.h) */
	const char *tls_ca; /* PEM file of the authority; NULL or "": the system's */
	unsigned connect_timeout_ms; /* for one attempt, AUTH and SELECT included; 0: 1000 */
	unsigned ping_interval_ms; /* silence after which PING goes out, and time that it has for its answer; 0: 1000 */
	size_t inflight_max;       /* commands without an answer; 0: 4096 */
	unsigned reconnect_max_ms; /* the longest back-off; 0: 5000 */
	void (*on_up)(void *arg);
	/* After an on_up: the connection is lost. */
	void (*on_down)(void *arg, const char *why);
	void *arg;
};

/*
 * ERR_INVALID with a text in `error` for an address that cannot be, or a PEM file that cannot be read; ERR_UNSUPPORTED
 * when this build speaks no TLS. The first attempt begins in the next turn.
 */
MUST_CHECK enum err redis_new(struct loop *loop, const struct redis_config *config, struct redis **out, char *error,
                              size_t error_size);

/*
 * Drops the connection; the commands that are left get ERR_CLOSED from inside of this call, on_down does not come. Not
 * to be called from a callback of this client, and the callbacks must not submit again. NULL is allowed.
 */
void redis_free(struct redis *r);

bool redis_is_up(const struct redis *r);
/* Text of the last failed attempt or loss; "" when there was none. */
const char *redis_last_error(const struct redis *r);

/*
 * The end of a command. r is NULL but for ERR_OK and ERR_REFUSED.
 *   ERR_OK           the reply
 *   ERR_REFUSED      the server answered with an error (r->type is REDIS_ERROR)
 *   ERR_TIMEOUT      no reply in time; the command may still be carried out, a late reply is swallowed
 *   ERR_UNAVAILABLE  not sent: down, or inflight_max is reached
 *   ERR_CLOSED       the connection was lost, or the client freed, after it was submitted
 */
typedef void redis_command_cb(void *arg, enum err err, const struct redis_reply *r);

/*
 * Sends a command of argc >= 1 words; argvlen may be NULL (then the words are NUL-terminated). The words are copied.
 * timeout_ms must not be 0. cb is called exactly once, and never from inside of this call; it may be NULL. No commands
 * that change the kind of the connection (SUBSCRIBE, MONITOR, MULTI across callers).
 */
void redis_command(struct redis *r, int argc, const char *const *argv, const size_t *argvlen, unsigned timeout_ms,
                   redis_command_cb *cb, void *arg);

/*
 * Sends the commands of the batch as one transaction (MULTI … EXEC), which is copied. The callback is as with
 * redis_command() and gets EXEC's reply: an array with the reply of each command. It counts as one command. The
 * batch must be redis_batch_ok() (CHECK).
 *
 * What is submitted in one turn of the loop, commands and transactions, leaves in one write.
 */
void redis_transaction(struct redis *r, const struct redis_batch *batch, unsigned timeout_ms, redis_command_cb *cb,
                       void *arg);

/*
 * Writes what waits to be written now, as far as the socket takes it, instead of in the next turn. Not to be called
 * from a callback of this client; when the write fails, callbacks come from inside of this call.
 */
void redis_flush(struct redis *r);
