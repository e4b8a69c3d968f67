#include "store/usage_partitions.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "store/usage_sql.h"

#define DAYS_AHEAD   7
#define HOUR_NS      (3600 * NS_PER_SEC)
#define MINUTE_NS    (60 * NS_PER_SEC)
#define LOG_EVERY_NS (10 * MINUTE_NS)

static void query(struct usage_partitions *p, const char *sql, unsigned days, pg_query_cb *cb)
{
	char text[16];
	const char *params[] = { text };

	snprintf(text, sizeof(text), "%u", days);
	pg_query(p->pg, sql, 1, params, USAGE_SQL_TIMEOUT_MS, cb, p);
}

static void end(struct usage_partitions *p, enum err err, const struct pg_result *r)
{
	uint64_t skipped;

	p->due_ns = clock_mono_ns() + (err == ERR_OK ? HOUR_NS : MINUTE_NS);
	if (err != ERR_OK && log_gate(&p->gate, loop_now_ns(p->loop), LOG_EVERY_NS, &skipped))
		log_error("usage: cannot make or drop partitions of request_logs: %s: %s skipped=%" PRIu64,
		          err_str(err), r != NULL ? pg_result_error(r) : "", skipped);
	p->done(p->arg);
}

static void note(const struct pg_result *r, const char *what)
{
	uint64_t n;

	if (pg_result_rows(r) == 1 && pg_result_u64(r, 0, 0, &n) == ERR_OK && n > 0)
		log_info("usage: partitions of request_logs were %s: count=%" PRIu64, what, n);
}

/* The connection, and not only this query. */
static bool is_lost(const struct usage_partitions *p, enum err err)
{
	return err == ERR_CLOSED || !pg_is_up(p->pg);
}

static void on_dropped(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_partitions *p = arg;

	if (is_lost(p, err))
		return;
	if (err == ERR_OK)
		note(r, "dropped");
	end(p, err, r);
}

static void on_made(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_partitions *p = arg;

	if (is_lost(p, err))
		return;
	if (err == ERR_OK)
		note(r, "made");
	if (err == ERR_OK && p->retention_days > 0)
		query(p, SQL_DROP, p->retention_days, on_dropped);
	else
		end(p, err, r);
}

bool usage_partitions_due(const struct usage_partitions *p)
{
	return clock_mono_ns() >= p->due_ns;
}

void usage_partitions_tend(struct usage_partitions *p)
{
	query(p, SQL_MAKE, DAYS_AHEAD, on_made);
}
