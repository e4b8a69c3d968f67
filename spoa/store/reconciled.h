/* What the last `gatewayctl reconcile` of all users has left in PostgreSQL, for the metrics. For the keeper. */
#pragma once

#include "io/loop.h"
#include "io/pg.h"

struct reconciled {
	double differences; /* that are left; NAN: not known, or there was no run */
	double at;          /* when the run ended, Unix time in seconds; NAN likewise */
	/* Private. */
	struct pg *pg;
	struct loop_timer timer;
};

/* Looks now and then from here on, over a connection that others use, too. */
void reconciled_start(struct reconciled *r, struct loop *loop, struct pg *pg);
/* Before the connection is freed or after it; does nothing on one that is all zero bytes. */
void reconciled_stop(struct reconciled *r);
/* Looks at once: the connection has come up. */
void reconciled_look(struct reconciled *r);
