/*
 * The month's counters against a small model of PostgreSQL: answers that are lost before and after the commit,
 * connections that come and go, keepers that are killed and agents that start anew.
 *
 * What must always hold: nobody passes a quota; and when it is calm again, PostgreSQL, the memory and policy.mdb have
 * what was admitted, each request once.
 */
/* LDFLAGS: -Wl,--wrap=pg_query,--wrap=pg_result_rows,--wrap=pg_result_u64,--wrap=pg_result_error */
/* LDFLAGS: -Wl,--wrap=loop_timer_init,--wrap=loop_timer_start,--wrap=loop_timer_stop,--wrap=clock_gettime */
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
	cells[2] = row->mb;
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
		.defaults = { .month_requests = QUOTA, .month_bytes = quota_bytes(100) },
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
	const struct limits_defaults defaults = { .month_requests = QUOTA, .month_bytes = quota_bytes(100) };

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

/* ---- what must hold ---- */

static void turn(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		tick();
		serve_all();
	}
}

static void catch_up(void)
{
	if (!w.up)
		connection_up();
	/* More than a second, so that rows that others have changed are read. */
	turn(12);
}

/* Of users who are there, in the month that runs. */
static void check(void)
{
	assert_int_equal(policy_db_renew(w.db), ERR_OK);
	for (uint64_t id = 1; id <= USERS; id++) {
		const struct limit_slot *slot = limits_find(w.memory, id);
		const struct policy_usage *usage = policy_db_usage(w.db, id);
		uint32_t period = limits_of(id).period.id;
		uint64_t in_file = usage != NULL ? quota_used(usage->requests, period) : 0;
		uint64_t in_memory = slot != NULL ? quota_used(slot->requests, period) : in_file;
		if (w.rows[id].requests != w.expected[id] || in_file != w.expected[id] || in_memory != w.expected[id])
			fail_msg("user %d: %d were admitted; PostgreSQL %d, file %d, memory %d", (int)id,
			         (int)w.expected[id], (int)w.rows[id].requests, (int)in_file, (int)in_memory);
		if (usage != NULL)
			assert_int_equal(usage->unflushed, 0);
	}
	policy_db_release(w.db);
}

/* Others have so many more. */
static void change_row(uint64_t id, uint64_t requests, uint64_t mb)
{
	w.rows[id] = (struct row){
		.exists = true, .requests = requests, .mb = mb, .reset_at = DECEMBER, .updated_at = pg_now()
	};
	w.expected[id] = requests;
}

static int setup(void **state)
{
	char error[256];
	const struct policy_user user = { .version = POLICY_LAYOUT,
		                          .flags = USER_ACTIVE,
		                          .month_requests = POLICY_DEFAULT,
		                          .month_bytes = POLICY_DEFAULT };

	(void)state;
	memset(&w, 0, sizeof(w));
	w.real = NOW;
	w.mono = 1000 * NS_PER_SEC;
	w.memory = mmap(NULL, sizeof(*w.memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(w.memory, MAP_FAILED);
	/* Tens of thousands of commits: where there is no disk to wait for, if there is such a place. */
	strcpy(w.dir,
	       access("/dev/shm", W_OK) == 0 ? "/dev/shm/test-quota-sync-XXXXXX" : "/tmp/test-quota-sync-XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	assert_int_equal(policy_db_open(w.dir, true, &w.db, error), ERR_OK);
	assert_int_equal(policy_db_begin(w.db), ERR_OK);
	for (uint64_t id = 1; id <= USERS; id++)
		assert_int_equal(policy_db_put(w.db, POLICY_USERS, id, &user, sizeof(user)), ERR_OK);
	assert_int_equal(policy_db_set_generation(w.db, 1, "stamp"), ERR_OK);
	assert_int_equal(policy_db_commit(w.db), ERR_OK);
	w.loop = loop_new();
	start_keeper();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (w.up)
		connection_down(false);
	quota_sync_free(w.sync);
	loop_free(w.loop);
	policy_db_close(w.db);
	policy_db_discard(w.dir);
	rmdir(w.dir);
	munmap(w.memory, sizeof(*w.memory));
	return 0;
}

/* ---- the tests ---- */

/* An agent that ends while nobody knows whether its last addition was carried out may add it once more. */
static bool answer_is_due(void)
{
	return w.numbers[w.host] == w.memory->flush_number && w.memory->flush_number > 0;
}

static void step(bool *lost)
{
	long what = random() % 1000;

	if (what < 400) {
		ask(1 + (uint64_t)random() % FEW);
	} else if (what < 650) {
		tick();
	} else if (what < 900) {
		serve_one();
	} else if (what < 920 && w.count > 0) {
		answer(ERR_REFUSED);
	} else if (what < 950 && w.up) {
		connection_down(random() % 2 == 0);
		*lost = answer_is_due();
	} else if (what < 980 && !w.up) {
		connection_up();
	} else if (what < 990) {
		kill_keeper(random() % 2 == 0);
		*lost = answer_is_due();
	} else if (what < 993 && (w.up || !*lost)) {
		restart_agent();
		*lost = false;
	}
}

static void test_each_request_once(void **state)
{
	uint64_t admitted = 0;
	unsigned additions = 0;

	for (unsigned round = 1; round <= 40; round++) {
		bool lost = false;
		srandom(round);
		setup(state);
		for (int i = 0; i < 6000; i++)
			step(&lost);
		catch_up();
		check();
		for (uint64_t id = 1; id <= FEW; id++) {
			assert_true(w.expected[id] <= QUOTA);
			admitted += w.expected[id];
		}
		additions += w.additions;
		teardown(state);
	}
	assert_true(admitted > 40000 && additions > 4000);
}

/* An addition whose answer was lost is not taken for another host's, not even for a moment. */
static void test_a_lost_answer_is_no_others(void **state)
{
	(void)state;
	connection_up();
	ask_times(1, 100);
	turn(6);
	ask_times(1, 600);
	for (int i = 0; i < 20 && w.rows[1].requests < 700; i++) {
		tick();
		if (w.count > 0 && strstr(w.queries[0].sql, "INSERT INTO quota_flushes") == NULL)
			serve_all();
		else if (w.count > 0)
			connection_down(true);
	}
	assert_int_equal(w.rows[1].requests, 700);
	assert_false(w.up);
	connection_up();
	for (int i = 0; i < 40; i++) {
		if (w.count == 0)
			tick();
		serve_one();
		assert_int_equal(quota_count(limits_find(w.memory, 1)->requests), 700);
	}
	check();
}

static void test_the_quota_is_exact(void **state)
{
	(void)state;
	connection_up();
	for (int i = 0; i < QUOTA * 2; i++) {
		ask(1);
		if (i % 7 == 0)
			tick();
		if (i % 5 == 0)
			serve_one();
		if (i % 97 == 0)
			kill_keeper(i % 2 == 0);
		if (i % 193 == 0 && !w.up)
			connection_up();
	}
	assert_int_equal(w.expected[1], QUOTA);
	assert_int_equal(ask(1), VERDICT_QUOTA_REQUESTS);
	catch_up();
	check();
	restart_agent();
	assert_int_equal(ask(1), VERDICT_QUOTA_REQUESTS);
}

/* All that was admitted while PostgreSQL was away, of more users than a batch has, is in the file when the agent ends.
 */
static void test_many_users_without_postgresql(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= USERS; id++)
		ask_times(id, 2);
	turn(1);
	for (uint64_t id = 1; id <= USERS; id++)
		ask_times(id, 1);
	restart_agent();
	ask_times(7, 1);
	ask_times(USERS, 1);
	for (uint64_t id = 1; id <= USERS; id++) {
		assert_int_equal(policy_db_renew(w.db), ERR_OK);
		assert_int_equal(quota_count(policy_db_usage(w.db, id)->unflushed), 3);
		policy_db_release(w.db);
	}
	/* Those who do not come again are added too. */
	catch_up();
	check();
	for (uint64_t id = 1; id <= USERS; id++)
		ask_times(id, 1);
	catch_up();
	check();
}

static void test_others_are_learnt(void **state)
{
	(void)state;
	connection_up();
	ask_times(1, 3);
	catch_up();
	change_row(1, 13, 0); /* ten of another host */
	change_row(2, 990, 0);
	turn(6);
	check();
	ask_times(2, 10);
	assert_int_equal(ask(2), VERDICT_QUOTA_REQUESTS);
	catch_up();
	check();
	change_row(2, 0, 0); /* by an operator */
	change_row(1, 13, 101);
	turn(6);
	check();
	assert_int_equal(ask(2), VERDICT_ALLOW);
	assert_int_equal(ask(1), VERDICT_QUOTA_BANDWIDTH);
	/* Also by one that starts without PostgreSQL, and before the user has asked again. */
	connection_down(false);
	restart_agent();
	assert_int_equal(ask(1), VERDICT_QUOTA_BANDWIDTH);
	connection_up();
	change_row(1, 13, 99);
	turn(6);
	ask_times(1, 1);
	catch_up();
	check();
}

/* A load has the file for some seconds. */
static void test_the_file_is_taken(void **state)
{
	(void)state;
	connection_up();
	ask_times(1, 5);
	turn(1);
	assert_int_equal(policy_db_begin(w.db), ERR_OK);
	ask_times(1, 5);
	change_row(3, 700, 0);
	/* Longer than a change is one of lately. */
	turn(125);
	w.real += 25;
	assert_int_equal(w.rows[1].requests, 10);
	policy_db_abort(w.db);
	catch_up();
	check();
	ask_times(3, 300);
	assert_int_equal(ask(3), VERDICT_QUOTA_REQUESTS);
}

static void test_more_rows_than_a_piece(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= USERS; id++) {
		change_row(id, id % 900 + 1, 0);
		w.rows[id].updated_at = pg_now() - 100;
	}
	catch_up();
	check();
}

static void new_month(int64_t agent, int64_t pg_ahead)
{
	w.real = agent;
	w.pg_ahead = pg_ahead;
}

static void test_the_month_turns_over(void **state)
{
	/* PostgreSQL's clock beside the agent's. */
	static const int64_t ahead[] = { 0, -5, 5 };

	for (size_t i = 0; i < sizeof(ahead) / sizeof(ahead[0]); i++) {
		if (i > 0) {
			teardown(state);
			setup(state);
		}
		connection_up();
		ask_times(1, QUOTA);
		ask_times(2, 10);
		assert_int_equal(ask(1), VERDICT_QUOTA_REQUESTS);
		catch_up();
		check();
		ask_times(2, 5); /* not yet told */
		new_month(DECEMBER + 1, ahead[i]);
		memset(w.expected, 0, sizeof(w.expected));
		w.rows[1].updated_at = pg_now(); /* a moment ago */
		/* What PostgreSQL still has of the old month is nobody's any more. */
		turn(6);
		ask_times(1, 7);
		catch_up();
		assert_int_equal(w.rows[1].requests, 7);
		assert_int_equal(w.rows[1].reset_at, JANUARY);
		ask_times(1, QUOTA - 7);
		assert_int_equal(ask(1), VERDICT_QUOTA_REQUESTS);
		new_month(DECEMBER + 20, ahead[i]);
		ask_times(2, 4);
		catch_up();
		assert_int_equal(w.rows[1].requests, QUOTA);
		assert_int_equal(w.rows[2].requests, 4);
		restart_agent();
		assert_int_equal(ask(1), VERDICT_QUOTA_REQUESTS);
	}
}

static void test_the_reset_day_moves(void **state)
{
	struct policy_user user = { .version = POLICY_LAYOUT, .flags = USER_ACTIVE, .month_requests = QUOTA };
	static const uint8_t days[] = { 20, 0, 15, 1 };

	(void)state;
	connection_up();
	ask_times(1, 100);
	catch_up();
	for (size_t i = 0; i < sizeof(days); i++) {
		user.reset_day = days[i];
		assert_int_equal(policy_db_begin(w.db), ERR_OK);
		assert_int_equal(policy_db_put(w.db, POLICY_USERS, 1, &user, sizeof(user)), ERR_OK);
		assert_int_equal(policy_db_commit(w.db), ERR_OK);
		w.rows[1].updated_at = pg_now();
		turn(6);
		ask_times(1, 10);
		catch_up();
		check();
	}
	ask_times(1, QUOTA - 140);
	assert_int_equal(ask(1), VERDICT_QUOTA_REQUESTS);
}

static void test_warnings_come_once(void **state)
{
	(void)state;
	connection_up();
	ask_times(1, 799);
	catch_up();
	assert_int_equal(w.warnings[0][0], 0);
	ask_times(1, 1);
	catch_up();
	assert_int_equal(w.warnings[0][0], 1);
	ask_times(1, 199);
	restart_agent();
	catch_up();
	assert_int_equal(w.warnings[0][0], 1);
	assert_int_equal(w.warnings[0][1], 0);
	ask_times(1, 1);
	catch_up();
	kill_keeper(false);
	catch_up();
	assert_int_equal(w.warnings[0][0], 1);
	assert_int_equal(w.warnings[0][1], 1);
	change_row(2, 1, 80);
	turn(6);
	assert_int_equal(w.warnings[1][0], 1);
	new_month(DECEMBER + 1, 0);
	ask_times(1, 1000);
	catch_up();
	assert_int_equal(w.warnings[0][0], 1);
	assert_int_equal(w.warnings[0][1], 2);
}

/* What others have and what is not told yet are both used. */
static void test_learning(void **state)
{
	struct quota_slots *s = calloc(1, sizeof(*s));
	struct quota_stored stored = { .requests = 60 };

	(void)state;
	quota_slots_init(s, w.memory, w.db);
	ask_times(1, 10);
	struct limit_slot *slot = limits_find(w.memory, 1);
	uint32_t period = quota_period(slot->requests);
	quota_slots_learn(s, slot, &stored, period);
	assert_int_equal(quota_count(slot->requests), 70);
	quota_slots_learn(s, slot, &stored, period);
	assert_int_equal(quota_count(slot->requests), 70);
	/* Redis knew more of other hosts already: that is not added to it. */
	slot->requests = quota_word(period, 90);
	stored.requests = 75;
	quota_slots_learn(s, slot, &stored, period);
	assert_int_equal(quota_count(slot->requests), 90);
	stored.requests = 85;
	quota_slots_learn(s, slot, &stored, period);
	assert_int_equal(quota_count(slot->requests), 95);
	stored.requests = 0;
	quota_slots_learn(s, slot, &stored, period);
	assert_int_equal(quota_count(slot->requests), 10);
	free(s);
}

/* A keeper that was killed between any two of its steps. */
static void test_half_done(void **state)
{
	struct quota_slots *s = calloc(1, sizeof(*s));
	struct limit_slot *slot;

	(void)state;
	for (int cut = 0; cut < 4; cut++) {
		ask_times(1, 10);
		slot = limits_find(w.memory, 1);
		memset(s, 0, sizeof(*s));
		quota_slots_init(s, w.memory, w.db);
		quota_slots_sweep(s); /* and the bits are gone */
		if (cut == 1)
			w.memory->flush_number++;
		if (cut >= 2)
			quota_slots_collect(s);
		if (cut >= 3) {
			/* It is there, and only the first mark was moved. */
			w.numbers[w.host] = w.memory->flush_number;
			add_to_row(1, quota_count(quota_slot_addition(slot)), DECEMBER);
			slot->flushed = slot->flushing;
		}
		kill_keeper(false);
		catch_up();
		check();
	}
	free(s);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_request_once),
		T(test_a_lost_answer_is_no_others),
		T(test_the_quota_is_exact),
		T(test_many_users_without_postgresql),
		T(test_others_are_learnt),
		T(test_the_file_is_taken),
		T(test_more_rows_than_a_piece),
		T(test_the_month_turns_over),
		T(test_the_reset_day_moves),
		T(test_warnings_come_once),
		T(test_learning),
		T(test_half_done),
	};
	log_init("test", (enum log_level)(LOG_ERROR + 1)); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
