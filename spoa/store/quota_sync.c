#include "store/quota_sync.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "policy/quota.h"
#include "store/quota_slots.h"
#include "store/quota_sql.h"

#define QUERY_TIMEOUT_MS 10000
#define HOST_MAX         65
/* Twenty digits and a comma each, the braces and the NUL. */
#define LIST_MAX  (QUOTA_BATCH_MAX * 21 + 3)
#define LATELY_NS (10 * NS_PER_SEC)
/*
 * What PostgreSQL is given to rest after each row: with thousands of users at once each of their rows is written every
 * few seconds, not several times a second, which would take a processor from those who answer. Few are told at once.
 */
#define ADDED_REST_NS (2 * NS_PER_MS)
#define READ_REST_NS  (NS_PER_MS / 2)

enum quota_kind { KIND_REQUESTS = 0, KIND_BANDWIDTH, KIND_COUNT };
static const char *const kind_names[] = { "requests", "bandwidth" };
static const char *const warn_sql[] = { SQL_WARN("requests", "requests"), SQL_WARN("bandwidth", "bandwidth_mb") };

enum step { STEP_IDLE = 0, STEP_ADD, STEP_LOOK, STEP_REFRESH, STEP_WARN };

/* Users whose quota may have been passed. */
struct warn_list {
	size_t count;
	uint64_t ids[QUOTA_BATCH_MAX];
	uint64_t quotas[QUOTA_BATCH_MAX];
};

struct quota_sync {
	struct loop *loop;
	struct quota_sync_config config;
	char host[HOST_MAX];
	struct loop_timer timer;
	bool up;
	enum step step;
	uint64_t refreshed_ns; /* all that others have changed until then is known; 0: not on this connection */
	uint64_t tried_ns;     /* the last refresh, also one that failed */
	uint64_t add_rest_ns;  /* until then nothing is added, */
	uint64_t read_rest_ns; /* and nothing read of what others have changed */
	uint64_t piece_from;   /* users up to this one were refreshed */
	bool lately;           /* the refresh under way is of what was changed lately */
	bool unwritten;        /* and there was something that could not be written */
	bool forgotten;        /* old rows of quota_flushes were deleted */
	bool unknown;          /* whether PostgreSQL has the addition under way */
	struct quota_slots slots;
	struct warn_list warn[KIND_COUNT];
	enum quota_kind warning;
	struct log_gate gate;
	bool last; /* nothing is left behind the addition under way: so the program may end */
	void (*done)(void *arg);
	void *done_arg;
	char list[3][LIST_MAX];
};

static void next(struct quota_sync *q);
static void finish(struct quota_sync *q);

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* ---- texts of arrays ---- */

static const char *format(struct quota_sync *q, int which, uint64_t (*value)(struct quota_sync *q, size_t i),
                          size_t count)
{
	char *text = q->list[which];
	size_t n = 0;

	text[n++] = '{';
	for (size_t i = 0; i < count; i++)
		n += (size_t)snprintf(text + n, LIST_MAX - n, "%s%" PRIu64, i > 0 ? "," : "", value(q, i));
	text[n++] = '}';
	text[n] = '\0';
	return text;
}

static uint64_t user_at(struct quota_sync *q, size_t i)
{
	return load(&q->slots.batch[i]->user_id);
}

static uint64_t addition_at(struct quota_sync *q, size_t i)
{
	return quota_count(quota_slot_addition(q->slots.batch[i]));
}

static unsigned reset_day_of(struct quota_sync *q, uint64_t user_id)
{
	const struct policy_user *user = policy_db_user(q->config.db, user_id);
	return user != NULL ? user->reset_day : 0;
}

static uint64_t end_at(struct quota_sync *q, size_t i)
{
	struct period p;
	int64_t start = period_start_of(quota_period(load(&q->slots.batch[i]->flushing)));

	period_at(start, reset_day_of(q, user_at(q, i)), &p);
	return (uint64_t)p.end;
}

static uint64_t warn_user_at(struct quota_sync *q, size_t i)
{
	return q->warn[q->warning].ids[i];
}

static uint64_t warn_quota_at(struct quota_sync *q, size_t i)
{
	return q->warn[q->warning].quotas[i];
}

static void query(struct quota_sync *q, const char *sql, int nparams, const char *const *params, pg_query_cb *cb)
{
	pg_query(q->config.pg, sql, nparams, params, QUERY_TIMEOUT_MS, cb, q);
}

static void log_failure(struct quota_sync *q, const char *what, enum err err, const struct pg_result *r)
{
	uint64_t skipped;

	/* A lost connection has its own line. */
	if (err == ERR_CLOSED || err == ERR_UNAVAILABLE ||
	    !log_gate(&q->gate, loop_now_ns(q->loop), 30 * NS_PER_SEC, &skipped))
		return;
	log_error("quotas: %s: %s%s%s skipped=%" PRIu64, what, err_str(err), r != NULL ? ": " : "",
	          r != NULL ? pg_result_error(r) : "", skipped);
}

/* ---- what is known goes to policy.mdb ---- */

/* While a full load has the file, or when the disk is full, the next round writes it. */
static void save(struct quota_sync *q, bool all)
{
	bool more = true;
	enum err err = ERR_OK;

	for (size_t i = 0; i <= LIMITS_USERS_MAX / QUOTA_SAVE_MAX && more && err == ERR_OK; i++) {
		err = quota_slots_save(&q->slots, &more);
		more = more && all;
	}
	if (err != ERR_OK && err != ERR_BAD_STATE)
		log_failure(q, "cannot keep the counters in policy.mdb", err, NULL);
}

/* ---- what PostgreSQL has ---- */

static void note_warning(struct quota_sync *q, enum quota_kind kind, uint64_t user_id, uint64_t used, uint64_t quota)
{
	struct warn_list *w = &q->warn[kind];

	if (quota == 0 || used < quota - quota / 5 || w->count == QUOTA_BATCH_MAX)
		return;
	w->ids[w->count] = user_id;
	w->quotas[w->count++] = quota;
}

struct stored_row {
	uint64_t user_id;
	struct quota_stored stored;
	uint64_t reset_at;
};

static enum err read_row(const struct pg_result *r, size_t row, struct stored_row *out)
{
	return pg_result_u64(r, row, 0, &out->user_id) == ERR_OK &&
	                       pg_result_u64(r, row, 1, &out->stored.requests) == ERR_OK &&
	                       pg_result_u64(r, row, 2, &out->stored.bytes) == ERR_OK &&
	                       pg_result_u64(r, row, 3, &out->reset_at) == ERR_OK
	               ? ERR_OK
	               : ERR_INVALID;
}

static enum err apply_row(struct quota_sync *q, struct stored_row *row, bool writing)
{
	const struct policy_user *user = policy_db_user(q->config.db, row->user_id);
	struct limit_slot *slot = limits_find(q->config.memory, row->user_id);
	struct user_limits u;

	if (user == NULL)
		return ERR_OK;
	user_limits_make(user, &q->config.defaults, clock_real_s(), &u);
	if ((int64_t)row->reset_at <= u.period.start)
		row->stored = (struct quota_stored){ 0 };
	note_warning(q, KIND_REQUESTS, row->user_id, row->stored.requests, u.month_requests);
	note_warning(q, KIND_BANDWIDTH, row->user_id, row->stored.bytes / QUOTA_BYTES_PER_MB,
	             u.month_bytes / QUOTA_BYTES_PER_MB);
	if (slot == NULL)
		return quota_slots_learn_absent(&q->slots, row->user_id, &row->stored, u.period.id,
		                                writing ? NULL : &q->unwritten);
	quota_slots_learn(&q->slots, slot, &row->stored, u.period.id);
	return ERR_OK;
}

static enum err apply_rows(struct quota_sync *q, const struct pg_result *r)
{
	enum err err = policy_db_renew(q->config.db);

	if (err != ERR_OK) {
		policy_db_release(q->config.db);
		return err;
	}
	bool writing = policy_db_begin(q->config.db) == ERR_OK;
	q->unwritten = false;
	for (size_t i = 0; i < pg_result_rows(r) && err == ERR_OK; i++) {
		struct stored_row row;
		err = read_row(r, i, &row);
		if (err == ERR_OK)
			err = apply_row(q, &row, writing);
	}
	if (writing && err == ERR_OK)
		err = policy_db_commit(q->config.db);
	else if (writing)
		policy_db_abort(q->config.db);
	policy_db_release(q->config.db);
	return err;
}

/* ---- warnings ---- */

static void on_warned(void *arg, enum err err, const struct pg_result *r)
{
	struct quota_sync *q = arg;

	if (err != ERR_OK)
		log_failure(q, "cannot note who has passed a quota", err, r);
	for (size_t i = 0; err == ERR_OK && i < pg_result_rows(r); i++) {
		uint64_t user_id, percent;
		if (pg_result_u64(r, i, 0, &user_id) != ERR_OK || pg_result_u64(r, i, 1, &percent) != ERR_OK)
			continue;
		log_warn("quotas: user=%" PRIu64 " has used %" PRIu64 " %% of the month's %s", user_id, percent,
		         kind_names[q->warning]);
		atomic_fetch_add_explicit(q->config.warnings[q->warning][percent >= 100], 1, memory_order_relaxed);
	}
	q->warn[q->warning].count = 0;
	q->step = STEP_IDLE;
	next(q);
}

static bool start_warning(struct quota_sync *q)
{
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		if (q->warn[kind].count == 0)
			continue;
		q->warning = (enum quota_kind)kind;
		const char *params[] = { format(q, 0, warn_user_at, q->warn[kind].count),
			                 format(q, 1, warn_quota_at, q->warn[kind].count) };
		q->step = STEP_WARN;
		query(q, warn_sql[kind], 2, params, on_warned);
		return true;
	}
	return false;
}

/* ---- additions ---- */

static void on_looked(void *arg, enum err err, const struct pg_result *r)
{
	struct quota_sync *q = arg;

	q->add_rest_ns = clock_mono_ns() + q->slots.count * ADDED_REST_NS;
	if (err == ERR_OK) {
		err = apply_rows(q, r);
		r = NULL;
	}
	if (err != ERR_OK)
		log_failure(q, "cannot read the counters", err, r);
	save(q, false);
	q->slots.count = 0;
	q->step = STEP_IDLE;
	next(q);
}

static void on_added(void *arg, enum err err, const struct pg_result *r)
{
	struct quota_sync *q = arg;

	if (err != ERR_OK) {
		/* Whether it was carried out or not: it is sent again under its number. */
		log_failure(q, "cannot add to the counters", err, r);
		q->unknown = err != ERR_REFUSED && (q->unknown || err != ERR_UNAVAILABLE);
		save(q, false);
		q->step = STEP_IDLE;
		if (q->done != NULL)
			finish(q);
		return;
	}
	q->unknown = false;
	quota_slots_added(&q->slots);
	const char *params[] = { format(q, 0, user_at, q->slots.count) };
	q->step = STEP_LOOK;
	query(q, SQL_LOOK, 1, params, on_looked);
}

static void send_addition(struct quota_sync *q)
{
	char number[24];
	bool view = policy_db_renew(q->config.db) == ERR_OK;

	/* Without a policy there are no verdicts, so this is a file that is being made anew: the next round will do. */
	if (view) {
		snprintf(number, sizeof(number), "%" PRIu64, load(&q->config.memory->flush_number));
		const char *params[] = { q->host, number, format(q, 0, user_at, q->slots.count),
			                 format(q, 1, addition_at, q->slots.count),
			                 format(q, 2, end_at, q->slots.count) };
		q->step = STEP_ADD;
		query(q, SQL_ADD, 5, params, on_added);
	}
	policy_db_release(q->config.db);
}

/* ---- rows that others have changed ---- */

static void start_refresh(struct quota_sync *q);

/* The last piece of all rows, or those that were changed lately. What could not be written comes again. */
static bool refreshed(struct quota_sync *q, const struct pg_result *r, uint64_t *last_user)
{
	size_t rows = pg_result_rows(r);

	*last_user = 0;
	return q->lately || rows < PIECE_ROWS || pg_result_u64(r, rows - 1, 0, last_user) != ERR_OK;
}

static void on_refreshed(void *arg, enum err err, const struct pg_result *r)
{
	struct quota_sync *q = arg;
	uint64_t last_user = 0;
	bool end = true;

	q->step = STEP_IDLE;
	if (err == ERR_OK) {
		end = refreshed(q, r, &last_user);
		q->read_rest_ns = clock_mono_ns() + (end ? pg_result_rows(r) * READ_REST_NS : 0);
		err = apply_rows(q, r);
		r = NULL;
	}
	if (err != ERR_OK) {
		log_failure(q, "cannot read the counters", err, r);
	} else if (!q->unwritten) {
		q->piece_from = last_user;
		if (end)
			q->refreshed_ns = q->tried_ns;
		else if (q->up && q->done == NULL && !start_warning(q))
			start_refresh(q);
	}
	next(q);
}

static void start_refresh(struct quota_sync *q)
{
	char from[24];
	const char *params[] = { from };

	/* A change that comes while the pieces are read is one of lately. */
	if (q->piece_from == 0)
		q->tried_ns = clock_mono_ns();
	q->lately = q->refreshed_ns != 0 && q->tried_ns - q->refreshed_ns < LATELY_NS;
	snprintf(from, sizeof(from), "%" PRIu64, q->piece_from);
	q->step = STEP_REFRESH;
	query(q, q->lately ? SQL_LATELY : SQL_ALL, q->lately ? 0 : 1, params, on_refreshed);
	if (!q->forgotten)
		query(q, SQL_FORGET, 0, NULL, NULL);
	q->forgotten = true;
}

/* Before all rows were seen there is no time to lose, but then there must be a policy, and no load that has the file.
 */
static bool refresh_is_due(struct quota_sync *q)
{
	if (q->refreshed_ns != 0)
		return clock_mono_ns() - q->tried_ns >= QUOTA_REFRESH_MS * NS_PER_MS &&
		       clock_mono_ns() >= q->read_rest_ns;
	bool ready = policy_db_renew(q->config.db) == ERR_OK;
	policy_db_release(q->config.db);
	if (!ready || policy_db_begin(q->config.db) != ERR_OK)
		return false;
	policy_db_abort(q->config.db);
	return true;
}

/* ---- the rounds ---- */

static void finish(struct quota_sync *q)
{
	void (*done)(void *arg) = q->done;

	q->done = NULL;
	quota_slots_sweep(&q->slots);
	save(q, true);
	done(q->done_arg);
}

/* At the end of the program it goes on until nothing is left. During a reload there is always something new, which is
 * left to the next keeper. */
static void next_of_end(struct quota_sync *q)
{
	if (q->slots.count == 0 && !q->last) {
		quota_slots_sweep(&q->slots);
		quota_slots_collect(&q->slots);
		q->last = !quota_slots_full(&q->slots);
	}
	if (q->slots.count > 0)
		send_addition(q);
	if (q->step == STEP_IDLE)
		finish(q);
}

/* What has to be done now, one thing at a time. */
static void next(struct quota_sync *q)
{
	if (q->step != STEP_IDLE || (q->up && start_warning(q)) || q->done == NULL)
		return;
	if (q->up)
		next_of_end(q);
	else
		finish(q);
}

static void start_round(struct quota_sync *q)
{
	next(q);
	if (q->step != STEP_IDLE)
		return;
	/* What may be in PostgreSQL already must not be taken for others'. */
	if (q->unknown && q->slots.count > 0) {
		send_addition(q);
		return;
	}
	/* First what is stored, then what is added: what a user had before this agent started counts at once. */
	if (refresh_is_due(q)) {
		start_refresh(q);
		return;
	}
	if (clock_mono_ns() < q->add_rest_ns)
		return;
	quota_slots_collect(&q->slots);
	if (q->slots.count > 0)
		send_addition(q);
}

/* Whatever PostgreSQL does, what is counted is kept: when it answers, once with what it says, for the disk's sake. */
static void on_timer(void *arg)
{
	struct quota_sync *q = arg;
	bool waits = !q->up || q->step != STEP_IDLE;

	quota_slots_sweep(&q->slots);
	if (!waits)
		start_round(q);
	if (waits || q->step == STEP_IDLE)
		save(q, false);
}

struct quota_sync *quota_sync_new(struct loop *loop, const struct quota_sync_config *config)
{
	struct quota_sync *q = check_calloc(1, sizeof(*q));

	q->loop = loop;
	q->config = *config;
	q->config.host = NULL;
	snprintf(q->host, sizeof(q->host), "%s", config->host);
	loop_timer_init(&q->timer, loop, on_timer, q);
	loop_timer_start(&q->timer, QUOTA_SYNC_MS, QUOTA_SYNC_MS);
	quota_slots_init(&q->slots, config->memory, config->db, config->charges);
	q->unknown = q->slots.count > 0;
	return q;
}

void quota_sync_free(struct quota_sync *q)
{
	if (q == NULL)
		return;
	loop_timer_stop(&q->timer);
	free(q);
}

void quota_sync_up(struct quota_sync *q)
{
	q->up = true;
	q->refreshed_ns = 0;
	q->piece_from = 0;
}

void quota_sync_down(struct quota_sync *q)
{
	q->up = false;
	q->step = STEP_IDLE;
}

void quota_sync_finish(struct quota_sync *q, void (*done)(void *arg), void *arg)
{
	loop_timer_stop(&q->timer);
	q->done = done;
	q->done_arg = arg;
	/* PostgreSQL may take longer than there is time. */
	quota_slots_sweep(&q->slots);
	save(q, true);
	next(q);
}
