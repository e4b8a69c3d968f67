#include "store/reconciled.h"

#include <math.h>

#define EVERY_MS   15000
#define TIMEOUT_MS 5000
#define SQL_LAST                                                                                         \
	"SELECT greatest(differences - fixed, 0)::bigint, extract(epoch FROM finished_at)::bigint FROM " \
	"usage_reconcile_runs WHERE only_user IS NULL ORDER BY id DESC LIMIT 1"

/* A failure leaves the last value, whose time is told with it. */
static void on_last(void *arg, enum err err, const struct pg_result *result)
{
	struct reconciled *r = arg;
	uint64_t differences;
	uint64_t at;

	if (err != ERR_OK || pg_result_rows(result) != 1 || pg_result_u64(result, 0, 0, &differences) != ERR_OK ||
	    pg_result_u64(result, 0, 1, &at) != ERR_OK)
		return;
	r->differences = (double)differences;
	r->at = (double)at;
}

void reconciled_look(struct reconciled *r)
{
	if (pg_is_up(r->pg))
		pg_query(r->pg, SQL_LAST, 0, NULL, TIMEOUT_MS, on_last, r);
}

static void on_timer(void *arg)
{
	reconciled_look(arg);
}

void reconciled_start(struct reconciled *r, struct loop *loop, struct pg *pg)
{
	r->differences = r->at = NAN;
	r->pg = pg;
	loop_timer_init(&r->timer, loop, on_timer, r);
	loop_timer_start(&r->timer, EVERY_MS, EVERY_MS);
}

void reconciled_stop(struct reconciled *r)
{
	loop_timer_stop(&r->timer);
}
