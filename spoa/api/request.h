/*
 * One request to gateway-api, from its headers to its answer: who may ask, and the body of an upload, which is a
 * multipart form with a part `file` or the image itself. Bodies are streamed into the upload store, never held. All
 * other routes are those of rest.h and rest_db.h.
 *
 * A refused body is read to its end before the answer, up to a bound, so that the proxy gets the answer and not a reset
 * of its connection; a client that waits for 100-continue is answered at once. A body that is longer than the bound, or
 * comes too slowly, is cut: its answer comes in the middle of it, the rest is read for a moment more, which the proxy
 * needs to see the answer before the end, and then the connection ends.
 */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>

#include "api/rest_db.h"
#include "api/upload.h"

/* What requests need to know; it outlives them and is only read. */
struct request_env {
	const struct uploads *uploads;
	const struct rest_db_env *db; /* NULL: no routes with the database */
	const char *token;            /* what X-GW-Token must say; "" demands none */
	/* How slowly a body may come: any way for so many ms, behind that on average so many bytes a second. 0: as it
	 * likes. */
	uint64_t body_grace_ms;
	uint64_t body_rate;
};

struct request;

/*
 * A new request for the connection, its first headers read. `full`: there are too many already, and all but /healthz is
 * refused. NULL: no memory.
 */
struct request *request_new(const struct request_env *env, struct MHD_Connection *conn, const char *method,
                            const char *path, bool full);

/* Removes what an unfinished upload left. NULL is allowed. */
void request_free(struct request *r);

/* Whether the answer should come now, before the body. */
bool request_answers_early(const struct request *r);

/* The next bytes of the body. False: the connection must end now. */
bool request_body(struct request *r, const char *data, size_t len);

/* Whether the answer has been sent in the middle of the body: behind it the connection must end. */
bool request_is_cut(const struct request *r);

/* Whether the answer is yet to be made: the connection is suspended, and the server asks again. */
bool request_suspend(struct request *r);

/* Queues the answer; `closing` asks the peer to end the connection. MHD_NO: the connection should end. */
enum MHD_Result request_answer(struct request *r, bool closing);
