/*
 * A small model of PostgreSQL and of an agent for the tests of the months' counters: rows, numbered additions, a clock,
 * keepers and agents that start anew. Whoever includes it wraps the functions that are defined here.
 */
#pragma once

#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/quota.h"
#include "store/quota_slots.h"
#include "store/quota_sync.h"

#define USERS   2500 /* more than one batch */
#define FEW     5    /* that are busy in the random test */
#define QUERIES 8
#define QUOTA   1000
#define HOSTS   512
/* 2026-11-24 12:00 UTC, and the months around it. */
#define NOW      INT64_C(1795521600)
#define DECEMBER INT64_C(1796083200)
#define JANUARY  INT64_C(1798761600)

struct row {
	bool exists;
	uint64_t requests;
	uint64_t mb;
	int64_t reset_at;
	unsigned warned[2];
	int64_t updated_at;
};

struct query {
	const char *sql;
	int nparams;
	char *params[5];
	pg_query_cb *cb;
	void *arg;
};

struct pg_result {
	size_t rows;
	uint64_t cells[USERS + 1][4];
};

static struct world {
	struct row rows[USERS + 1];
	uint64_t numbers[HOSTS]; /* quota_flushes */
	int64_t pg_ahead;        /* PostgreSQL's clock, seconds */
	int64_t real;
	uint64_t mono;
	struct query queries[QUERIES];
	size_t count;
	bool up;
	unsigned host;
	unsigned additions; /* statements that added */
	unsigned rows_added;
	struct limits_memory *memory;
	struct policy_db *db;
	struct loop *loop;
	struct quota_sync *sync;
	void (*tick)(void *arg);
	void *tick_arg;
	bool done;
	uint64_t expected[USERS + 1];
	_Atomic uint64_t warnings[2][2];
	char dir[64];
} w;

static struct pg_result result;

/* ---- the fakes ---- */

void __wrap_pg_query(struct pg *pg, const char *sql, int nparams, const char *const *params, unsigned timeout_ms,
                     pg_query_cb *cb, void *arg);
size_t __wrap_pg_result_rows(const struct pg_result *r);
enum err __wrap_pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out);
const char *__wrap_pg_result_error(const struct pg_result *r);
void __wrap_loop_timer_init(struct loop_timer *t, struct loop *loop, void (*cb)(void *arg), void *arg);
void __wrap_loop_timer_start(struct loop_timer *t, uint64_t delay_ms, uint64_t repeat_ms);
void __wrap_loop_timer_stop(struct loop_timer *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

void __wrap_pg_query(struct pg *pg, const char *sql, int nparams, const char *const *params, unsigned timeout_ms,
                     pg_query_cb *cb, void *arg)
{
	(void)pg;
	(void)timeout_ms;
	assert_true(w.up);
	assert_true(w.count < QUERIES);
	struct query *q = &w.queries[w.count++];
	*q = (struct query){ .sql = sql, .nparams = nparams, .cb = cb, .arg = arg };
	for (int i = 0; i < nparams; i++)
		q->params[i] = strdup(params[i]);
}

size_t __wrap_pg_result_rows(const struct pg_result *r)
{
	return r->rows;
}

enum err __wrap_pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out)
{
	*out = r->cells[row][col];
	return ERR_OK;
}

const char *__wrap_pg_result_error(const struct pg_result *r)
{
	(void)r;
	return "canceling statement due to statement timeout";
}

/* The only timer is that of the synchronisation; the tests turn it. */
void __wrap_loop_timer_init(struct loop_timer *t, struct loop *loop, void (*cb)(void *arg), void *arg)
{
	(void)t;
	(void)loop;
	w.tick = cb;
	w.tick_arg = arg;
}

void __wrap_loop_timer_start(struct loop_timer *t, uint64_t delay_ms, uint64_t repeat_ms)
{
	(void)t;
	(void)delay_ms;
	assert_int_equal(repeat_ms, QUOTA_SYNC_MS);
}

void __wrap_loop_timer_stop(struct loop_timer *t)
{
	(void)t;
	w.tick = NULL;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	*ts = id == CLOCK_REALTIME ? (struct timespec){ .tv_sec = w.real }
	                           : (struct timespec){ .tv_sec = (time_t)(w.mono / NS_PER_SEC),
		                                        .tv_nsec = (long)(w.mono % NS_PER_SEC) };
	return 0;
}

/* ---- the server ---- */

static int64_t pg_now(void)
{
	return w.real + w.pg_ahead;
}

static uint64_t next_number(const char **at)
{
	char *end;
	uint64_t number = strtoull(*at + 1, &end, 10); /* behind the brace or the comma */

	*at = end;
	return number;
}

static void add_to_row(uint64_t id, uint64_t n, int64_t ends)
{
	struct row *row = &w.rows[id];
	const struct row fresh = { .exists = true, .requests = n, .reset_at = ends };

	if (!row->exists)
		*row = fresh;
	else if (ends <= pg_now() && row->reset_at != ends)
		return;
	else if (row->reset_at < ends && (row->reset_at <= pg_now() || row->reset_at <= ends - 28 * 86400))
		*row = fresh;
	else
		row->requests += n;
	row->reset_at = ends;
	row->updated_at = pg_now();
}

static void add_rows(const struct query *q)
{
	const char *at[3] = { q->params[2], q->params[3], q->params[4] };
	unsigned host = (unsigned)strtoul(q->params[0], NULL, 10);
	uint64_t number = strtoull(q->params[1], NULL, 10);

	if (number <= w.numbers[host])
		return;
	w.numbers[host] = number;
	w.additions++;
	while (*at[0] != '}') {
		uint64_t id = next_number(&at[0]);
		uint64_t n = next_number(&at[1]);
		assert_true(n > 0 && n < QUOTA * 100);
		add_to_row(id, n, (int64_t)next_number(&at[2]));
		w.rows_added++;
	}
}

static void select_row(uint64_t id)
{
	const struct row *row = &w.rows[id];
	uint64_t *cells = result.cells[result.rows];

	if (!row->exists)
		return;
	cells[0] = id;
	cells[1] = row->requests;
	cells[2] = row->mb * QUOTA_BYTES_PER_MB;
	cells[3] = (uint64_t)row->reset_at;
	result.rows++;
}

static void warn_rows(const struct query *q, int kind)
{
	const char *ids = q->params[0];
	const char *quotas = q->params[1];

	while (*ids != '}') {
		uint64_t id = next_number(&ids);
		uint64_t quota = next_number(&quotas);
		struct row *row = &w.rows[id];
		uint64_t used = kind == 0 ? row->requests : row->mb;
		unsigned level = used >= quota ? 100 : used * 100 >= quota * 80 ? 80 : 0;
		if (row->reset_at <= pg_now() || level <= row->warned[kind])
			continue;
		row->warned[kind] = level;
		result.cells[result.rows][0] = id;
		result.cells[result.rows++][1] = level;
	}
}

static void execute(const struct query *q)
{
	result.rows = 0;
	if (strstr(q->sql, "INSERT INTO quota_flushes") != NULL) {
		add_rows(q);
	} else if (strstr(q->sql, "= ANY") != NULL) {
		for (const char *at = q->params[0]; *at != '}';)
			select_row(next_number(&at));
	} else if (strstr(q->sql, "LIMIT 2000") != NULL) {
		for (uint64_t id = strtoull(q->params[0], NULL, 10) + 1; id <= USERS && result.rows < 2000; id++)
			if (w.rows[id].reset_at > pg_now() && w.rows[id].requests + w.rows[id].mb > 0)
				select_row(id);
	} else if (strstr(q->sql, "20 seconds") != NULL) {
		for (uint64_t id = 1; id <= USERS; id++)
			if (w.rows[id].updated_at >= pg_now() - 20)
				select_row(id);
	} else if (strstr(q->sql, "UPDATE quotas") != NULL) {
		warn_rows(q, strstr(q->sql, "warned_bandwidth") != NULL);
	} else {
		assert_non_null(strstr(q->sql, "DELETE FROM quota_flushes"));
	}
}

static void free_query(struct query *q)
{
	for (int i = 0; i < q->nparams; i++)
		free(q->params[i]);
}

static void answer(enum err err)
{
	struct query q = w.queries[0];

	memmove(w.queries, w.queries + 1, --w.count * sizeof(q));
	if (q.cb != NULL)
		q.cb(q.arg, err, err == ERR_OK || err == ERR_REFUSED ? &result : NULL);
	free_query(&q);
}

static void serve_one(void)
{
	if (w.count == 0)
		return;
	execute(&w.queries[0]);
	answer(ERR_OK);
}

static void serve_all(void)
{
	for (int i = 0; i < 100 && w.count > 0; i++)
		serve_one();
	assert_int_equal(w.count, 0);
}

static void connection_up(void)
{
	w.up = true;
	quota_sync_up(w.sync);
}

/* The first of what was sent may have been carried out. As io/pg does it: first the loss, then the queries. */
static void connection_down(bool carried_out)
{
	w.up = false;
	if (w.count > 0 && carried_out)
		execute(&w.queries[0]);
	quota_sync_down(w.sync);
	for (bool first = true; w.count > 0; first = false)
		answer(first ? ERR_CLOSED : ERR_UNAVAILABLE);
}

/* ---- the agent ---- */

static void start_keeper(void)
{
	char host[16];
	const struct quota_sync_config config = {
		.db = w.db,
		.memory = w.memory,
		.defaults = { .month_requests = QUOTA, .month_bytes = 100 * QUOTA_BYTES_PER_MB },
		.host = host,
		.warnings = { { &w.warnings[0][0], &w.warnings[0][1] }, { &w.warnings[1][0], &w.warnings[1][1] } },
	};

	snprintf(host, sizeof(host), "%u", w.host);
	w.sync = quota_sync_new(w.loop, &config);
}

/* Nobody is called back. */
static void kill_keeper(bool carried_out)
{
	if (w.count > 0 && carried_out)
		execute(&w.queries[0]);
	for (size_t i = 0; i < w.count; i++)
		free_query(&w.queries[i]);
	w.count = 0;
	w.up = false;
	quota_sync_free(w.sync);
	start_keeper();
}

static void on_done(void *arg)
{
	(void)arg;
	assert_false(w.done);
	w.done = true;
}

/* Ends the agent in order; a new one has a memory and a name of its own. */
static void restart_agent(void)
{
	w.done = false;
	quota_sync_finish(w.sync, on_done, NULL);
	serve_all();
	assert_true(w.done);
	quota_sync_free(w.sync);
	w.up = false;
	assert_int_equal(madvise(w.memory, sizeof(*w.memory), MADV_REMOVE), 0);
	w.host++;
	start_keeper();
}

static void tick(void)
{
	w.mono += QUOTA_SYNC_MS * NS_PER_MS;
	w.tick(w.tick_arg);
}

static struct user_limits limits_of(uint64_t id)
{
	struct user_limits u;
	const struct limits_defaults defaults = { .month_requests = QUOTA, .month_bytes = 100 * QUOTA_BYTES_PER_MB };

	user_limits_make(policy_db_user(w.db, id), &defaults, w.real, &u);
	return u;
}

static enum verdict_code ask(uint64_t id)
{
	struct limits_take t = { .hosts = 1, .now_ns = w.mono + NS_PER_SEC, .now = w.real };

	assert_int_equal(policy_db_renew(w.db), ERR_OK);
	struct limit_slot *slot = limits_find(w.memory, id);
	if (slot == NULL)
		slot = limits_slot(w.memory, id, policy_db_usage(w.db, id));
	struct user_limits u = limits_of(id);
	policy_db_release(w.db);
	if (limits_take(w.memory, slot, &u, &t) == LIMITS_TAKEN)
		w.expected[id]++;
	return t.code;
}

static void ask_times(uint64_t id, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(ask(id), VERDICT_ALLOW);
}
