/*
 * The routes that need the database (rest_route.h), over HTTP: from the headers of a request to its answer. The request
 * waits, suspended, while a thread of the pool runs its handler; the threads of the HTTP server never wait for
 * PostgreSQL.
 */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/pool.h"
#include "api/problem.h"
#include "base/err.h"
#include "base/settings.h"
#include "base/sv.h"

/* What the requests need; it outlives them. */
struct rest_db_env {
	const struct settings *settings;
	struct pool *pool;
};

/* Who asks, as the proxy's headers tell. */
struct rest_db_caller {
	uint64_t user;
	struct sv key;    /* the key's id */
	struct sv scopes; /* comma list */
	const char *request_id;
};

struct rest_db;

/*
 * A request for one of these routes; what stands in the headers is checked. path and *caller must live as
 * long as the request. ERR_NOT_FOUND: none of these routes has this path; ERR_NOMEM.
 */
MUST_CHECK enum err rest_db_new(struct rest_db **out, const struct rest_db_env *env, struct MHD_Connection *conn,
                                const char *method, const char *path, const struct rest_db_caller *caller);
/* NULL is allowed. */
void rest_db_free(struct rest_db *r);

struct rest_db_refusal {
	enum problem problem;
	const char *detail; /* lives as long as the request */
	const char *allow;  /* with PROBLEM_METHOD_NOT_ALLOWED, else NULL */
};

/* Whether it is refused already, whatever the body says; *out is set then. */
bool rest_db_is_refused(const struct rest_db *r, struct rest_db_refusal *out);

/* The next bytes of the body; they are dropped when it is refused. */
void rest_db_body(struct rest_db *r, const char *data, size_t len);

/* The body is complete. True: the connection is suspended, and the server asks again when the answer is there. */
bool rest_db_suspend(struct rest_db *r);

/* Queues the answer; `closing` asks the peer to end the connection. MHD_NO: the connection should end. */
enum MHD_Result rest_db_answer(struct rest_db *r, bool closing);
