#include "io/pg_copy.h"

/* libpq copies what it is given, and its buffer never shrinks. */
#define PIECE_BYTES ((size_t)64 * 1024)

int pg_copy_put(struct pg_copy *c, PGconn *conn)
{
	size_t piece = c->n - c->at < PIECE_BYTES ? c->n - c->at : PIECE_BYTES;
	int rc;

	if (c->state != PG_COPY_SENDING)
		return 0;
	if (piece > 0) {
		rc = PQputCopyData(conn, c->data + c->at, (int)piece);
		c->at += rc > 0 ? piece : 0;
	} else {
		rc = PQputCopyEnd(conn, NULL);
		c->state = rc > 0 ? PG_COPY_SENT : PG_COPY_SENDING;
	}
	/* 0: there is no memory for a buffer that is empty. */
	return rc > 0 ? 1 : -1;
}
