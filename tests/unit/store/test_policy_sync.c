/*
 * The synchronisation against a small model of PostgreSQL: rows, generations, notifications, cursors; queries that
 * fail, connections that are lost at any moment, and databases that come back older than they were.
 *
 * What must always hold: when the file says that it has the database's generation and stamp, it has its rows.
 */
/* LDFLAGS: -Wl,--wrap=pg_query,--wrap=pg_result_rows,--wrap=pg_result_value,--wrap=pg_result_null */
/* LDFLAGS: -Wl,--wrap=pg_result_u64,--wrap=pg_result_i64,--wrap=pg_result_bool,--wrap=pg_result_error */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "store/policy_sync.h"

#define KEYS    12
#define USERS   4
#define QUERIES 64
#define NOTES   64
#define COPIES  8
#define HASH    "abababababababababababababababababababababababababababababababab"
#define STEPS   4000
#define ROUNDS  30

struct row {
	bool exists;
	bool active;
	bool odd; /* a value that no record can hold */
};

/* A database: what a snapshot sees. */
struct model {
	struct row users[USERS + 1];
	struct row keys[KEYS + 1];
	uint64_t generation;
	uint64_t stamp;
};

struct query {
	char sql[400];
	char param[400];
	pg_query_cb *cb;
	void *arg;
};

struct pg_result {
	size_t rows;
	char cells[KEYS + 1][6][72];
	bool nulls[KEYS + 1][6];
};

static struct world {
	struct model live;
	struct model snapshot; /* of the open transaction */
	bool in_transaction;
	bool aborted;
	int fetched[2]; /* how far each cursor has come */
	bool up;
	bool listening;
	bool closing; /* queries are being closed: none may be submitted */
	struct query queries[QUERIES];
	size_t query_count;
	char notes[NOTES][256];
	size_t note_count;
	struct model copies[COPIES];
	uint64_t stamps;
	struct policy_db *db;
	struct policy_sync *sync;
	bool broken;
} w;

/* ---- the fakes ---- */

void __wrap_pg_query(struct pg *pg, const char *sql, int nparams, const char *const *params, unsigned timeout_ms,
                     pg_query_cb *cb, void *arg);
size_t __wrap_pg_result_rows(const struct pg_result *r);
struct sv __wrap_pg_result_value(const struct pg_result *r, size_t row, size_t col);
bool __wrap_pg_result_null(const struct pg_result *r, size_t row, size_t col);
enum err __wrap_pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out);
enum err __wrap_pg_result_i64(const struct pg_result *r, size_t row, size_t col, int64_t *out);
enum err __wrap_pg_result_bool(const struct pg_result *r, size_t row, size_t col, bool *out);
const char *__wrap_pg_result_error(const struct pg_result *r);

void __wrap_pg_query(struct pg *pg, const char *sql, int nparams, const char *const *params, unsigned timeout_ms,
                     pg_query_cb *cb, void *arg)
{
	(void)pg;
	(void)timeout_ms;
	assert_false(w.closing);
	assert_true(w.query_count < QUERIES);
	struct query *q = &w.queries[w.query_count++];
	snprintf(q->sql, sizeof(q->sql), "%s", sql);
	snprintf(q->param, sizeof(q->param), "%s", nparams > 0 ? params[0] : "");
	q->cb = cb;
	q->arg = arg;
}

size_t __wrap_pg_result_rows(const struct pg_result *r)
{
	return r->rows;
}

struct sv __wrap_pg_result_value(const struct pg_result *r, size_t row, size_t col)
{
	return r->nulls[row][col] ? sv_from(NULL, 0) : sv_str(r->cells[row][col]);
}

bool __wrap_pg_result_null(const struct pg_result *r, size_t row, size_t col)
{
	return r->nulls[row][col];
}

enum err __wrap_pg_result_u64(const struct pg_result *r, size_t row, size_t col, uint64_t *out)
{
	return sv_to_u64(sv_str(r->cells[row][col]), out);
}

enum err __wrap_pg_result_i64(const struct pg_result *r, size_t row, size_t col, int64_t *out)
{
	*out = atoll(r->cells[row][col]);
	return ERR_OK;
}

enum err __wrap_pg_result_bool(const struct pg_result *r, size_t row, size_t col, bool *out)
{
	*out = r->cells[row][col][0] == 't';
	return ERR_OK;
}

const char *__wrap_pg_result_error(const struct pg_result *r)
{
	(void)r;
	return "canceling statement due to statement timeout";
}

/* ---- the server ---- */

static void add_row(struct pg_result *r, bool keys, int id, const struct row *row)
{
	char(*cell)[72] = r->cells[r->rows];

	memset(r->nulls[r->rows], 0, sizeof(r->nulls[0]));
	snprintf(cell[0], 72, "%s%d", row->odd ? "-" : "", id);
	if (keys) {
		snprintf(cell[1], 72, "1");
		snprintf(cell[2], 72, HASH);
		snprintf(cell[3], 72, "read");
		snprintf(cell[4], 72, "%s", row->active ? "t" : "f");
		r->nulls[r->rows][5] = true;
	} else {
		snprintf(cell[1], 72, "%s", row->active ? "t" : "f");
	}
	r->rows++;
}

static bool named(const char *list, int id)
{
	char item[16];
	size_t n = (size_t)snprintf(item, sizeof(item), "%d", id);

	for (const char *p = list; (p = strstr(p, item)) != NULL; p++)
		if ((p[-1] == '{' || p[-1] == ',') && (p[n] == ',' || p[n] == '}'))
			return true;
	return false;
}

static void select_rows(const struct model *m, bool keys, const char *ids, struct pg_result *r)
{
	const struct row *rows = keys ? m->keys : m->users;

	for (int id = 1; id <= (keys ? KEYS : USERS); id++)
		if (rows[id].exists && named(ids, id))
			add_row(r, keys, id, &rows[id]);
}

static void fetch_rows(bool keys, struct pg_result *r)
{
	const struct row *rows = keys ? w.snapshot.keys : w.snapshot.users;
	int *at = &w.fetched[keys];

	/* In small pieces, as a large table comes. */
	while (*at < (keys ? KEYS : USERS) && r->rows < 3) {
		++*at;
		if (rows[*at].exists)
			add_row(r, keys, *at, &rows[*at]);
	}
}

static enum err execute(const struct query *q, struct pg_result *r)
{
	const struct model *m = w.in_transaction ? &w.snapshot : &w.live;

	if (strcmp(q->sql, "ROLLBACK") == 0 || strcmp(q->sql, "COMMIT") == 0) {
		w.in_transaction = false;
		w.aborted = false;
		return ERR_OK;
	}
	if (w.aborted)
		return ERR_REFUSED;
	bool needs_transaction = strncmp(q->sql, "FETCH", 5) == 0 || strncmp(q->sql, "DECLARE", 7) == 0;
	if (random() % 40 == 0 || (needs_transaction && !w.in_transaction)) {
		w.aborted = w.in_transaction;
		return ERR_REFUSED;
	}
	if (strncmp(q->sql, "BEGIN", 5) == 0) {
		w.in_transaction = true;
		w.snapshot = w.live;
		memset(w.fetched, 0, sizeof(w.fetched));
	} else if (strncmp(q->sql, "LISTEN", 6) == 0) {
		w.listening = true;
	} else if (strstr(q->sql, "FROM policy_generation") != NULL) {
		snprintf(r->cells[0][0], 72, "%" PRIu64, m->generation);
		snprintf(r->cells[0][1], 72, "%036" PRIu64, m->stamp);
		r->rows = 1;
	} else if (strncmp(q->sql, "FETCH", 5) == 0) {
		fetch_rows(strstr(q->sql, "policy_keys") != NULL, r);
	} else if (strstr(q->sql, "= ANY") != NULL) {
		select_rows(m, strstr(q->sql, "FROM api_keys") != NULL, q->param, r);
	} else {
		assert_non_null(strstr(q->sql, "DECLARE"));
	}
	return ERR_OK;
}

static void serve_one(void)
{
	struct pg_result r;
	if (w.query_count == 0)
		return;
	struct query q = w.queries[0];
	memmove(w.queries, w.queries + 1, --w.query_count * sizeof(q));
	memset(&r, 0, sizeof(r));
	enum err err = execute(&q, &r);
	if (q.cb != NULL)
		q.cb(q.arg, err, &r);
}

static void connection_up(void)
{
	w.up = true;
	policy_sync_up(w.sync);
}

static void connection_down(void)
{
	bool queries_first = random() % 2 == 0;

	w.up = w.listening = w.in_transaction = w.aborted = false;
	w.note_count = 0;
	if (!queries_first)
		policy_sync_down(w.sync);
	w.closing = true;
	for (size_t i = 0; i < w.query_count; i++)
		if (w.queries[i].cb != NULL)
			w.queries[i].cb(w.queries[i].arg, ERR_CLOSED, NULL);
	w.closing = false;
	w.query_count = 0;
	if (queries_first)
		policy_sync_down(w.sync);
}

/* One statement that changes some rows of a table, as the trigger of migrations/002 sees it. */
static void change(void)
{
	bool keys = random() % 3 != 0;
	int first = 1 + (int)(random() % (keys ? KEYS : USERS));
	int second = 1 + (int)(random() % (keys ? KEYS : USERS));
	struct row *rows = keys ? w.live.keys : w.live.users;
	const int ids[] = { first, second };

	for (int i = 0; i < 2; i++) {
		struct row *row = &rows[ids[i]];
		row->exists = random() % 4 != 0;
		row->active = random() % 2 != 0;
		row->odd = random() % 20 == 0;
	}
	w.live.generation++;
	w.live.stamp = ++w.stamps;
	if (!w.listening || w.note_count == NOTES)
		return;
	char *note = w.notes[w.note_count++];
	if (random() % 15 == 0)
		snprintf(note, 256, "resync::%" PRIu64 ":%036" PRIu64, w.live.generation, w.live.stamp);
	else
		snprintf(note, 256, "%s:%d,%d:%" PRIu64 ":%036" PRIu64, keys ? "api_keys" : "users", first, second,
		         w.live.generation, w.live.stamp);
}

static void deliver_one(void)
{
	char note[256];
	if (!w.up || w.note_count == 0)
		return;
	memcpy(note, w.notes[0], sizeof(note));
	memmove(w.notes, w.notes + 1, --w.note_count * sizeof(note));
	policy_sync_notify(w.sync, SV("gateway_policy"), sv_str(note));
}

/* ---- what must hold ---- */

static void check_row(const struct row *row, bool found, bool active, const char *what, int id)
{
	bool wanted = row->exists && !row->odd;
	if (found != wanted || (found && active != row->active))
		fail_msg("%s %d: found=%d active=%d, wanted=%d active=%d", what, id, found, active, wanted,
		         row->active);
}

/* True when the file claims the database's generation; then its rows are compared. */
static bool check(void)
{
	struct policy_db_info info;
	char stamp[POLICY_STAMP_MAX];

	snprintf(stamp, sizeof(stamp), "%036" PRIu64, w.live.stamp);
	bool same = policy_db_renew(w.db) == ERR_OK && policy_db_info(w.db, &info) == ERR_OK &&
	            info.generation == w.live.generation && strcmp(info.stamp, stamp) == 0;
	for (int id = 1; same && id <= KEYS; id++) {
		const struct policy_key *k = policy_db_key(w.db, (uint64_t)id);
		check_row(&w.live.keys[id], k != NULL, k != NULL && (k->flags & KEY_ACTIVE) != 0, "key", id);
	}
	for (int id = 1; same && id <= USERS; id++) {
		const struct policy_user *u = policy_db_user(w.db, (uint64_t)id);
		check_row(&w.live.users[id], u != NULL, u != NULL && (u->flags & USER_ACTIVE) != 0, "user", id);
	}
	policy_db_release(w.db);
	return same;
}

static void on_broken(void *arg)
{
	(void)arg;
	w.broken = true;
}

static void step(void)
{
	long what = random() % 100;

	if (what < 55) {
		serve_one();
	} else if (what < 75) {
		deliver_one();
	} else if (what < 80) {
		change();
	} else if (what < 94 && w.up) {
		connection_down();
		/* Sometimes another server answers next time, which is older: a standby, a backup. */
		struct model *copy = &w.copies[random() % COPIES];
		if (random() % 3 == 0 && copy->generation > 0)
			w.live = *copy;
	} else if (what < 98 && !w.up) {
		connection_up();
	} else {
		w.copies[random() % COPIES] = w.live;
	}
}

/* Without failures it gets there, whatever happened before. */
static void catch_up(void)
{
	for (int tries = 0; tries < 50; tries++) {
		if (w.up)
			connection_down();
		connection_up();
		for (int i = 0; i < 200; i++) {
			serve_one();
			deliver_one();
		}
		if (check())
			return;
	}
	fail_msg("the file never caught up");
}

static void test_model(void **state)
{
	unsigned total = 0;

	(void)state;
	for (unsigned round = 1; round <= ROUNDS; round++) {
		char dir[] = "/tmp/test-policy-sync-XXXXXX";
		char path[64];
		char error[256];
		unsigned equal = 0;

		srandom(round);
		memset(&w, 0, sizeof(w));
		w.live.generation = 1;
		assert_non_null(mkdtemp(dir));
		assert_int_equal(policy_db_open(dir, true, &w.db, error), ERR_OK);
		struct loop *loop = loop_new();
		assert_non_null(loop);
		w.sync = policy_sync_new(loop, NULL, w.db, on_broken, NULL);
		for (int i = 0; i < STEPS; i++) {
			step();
			equal += check();
		}
		total += equal;
		catch_up();
		assert_false(w.broken);
		policy_sync_free(w.sync);
		loop_free(loop);
		policy_db_close(w.db);
		snprintf(path, sizeof(path), "%s/policy.mdb", dir);
		unlink(path);
		snprintf(path, sizeof(path), "%s/policy.mdb-lock", dir);
		unlink(path);
		rmdir(dir);
	}
	/* A test in which the file never follows would prove nothing. */
	assert_true(total > ROUNDS * STEPS / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_model) };
	log_init("test", (enum log_level)(LOG_ERROR + 1)); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
