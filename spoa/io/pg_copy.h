/* The data of a COPY … FROM STDIN on its way to the server. Only for spoa/io/pg.c. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

enum pg_copy_state {
	PG_COPY_NONE = 0, /* the query is none */
	PG_COPY_WAITING,  /* for the server to ask for the data */
	PG_COPY_SENDING,
	PG_COPY_SENT, /* with its end: the result is due */
};

struct pg_copy {
	enum pg_copy_state state;
	char *data; /* owned */
	size_t n, at;
};

/* Hands the next piece, or the end, to libpq, which must have sent all that it had. 1: then flush again; 0: there is
 * nothing to hand over now; -1: the connection is lost. */
int pg_copy_put(struct pg_copy *c, PGconn *conn);
