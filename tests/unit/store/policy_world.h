/*
 * A small model of PostgreSQL for the synchronisation's tests: rows, generations, cursors, and notifications that the
 * tests give; queries fail now and then unless the world is calm. Whoever includes it wraps the functions of pg.h and
 * pg_result.h that are defined here.
 */
#pragma once

#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cidr.h"
#include "base/log.h"
#include "store/policy_sync.h"

#define KEYS    12
#define USERS   4
#define QUERIES 64
#define NOTES   64
#define COPIES  8
#define COLUMNS 22
#define CELL    640
#define HASH    "abababababababababababababababababababababababababababababababab"

struct row {
	bool exists;
	bool active;
	bool odd; /* a value that no record can hold */
	/* Of a user's rows in other tables; 0: there is none. */
	unsigned minute;
	unsigned requests;
	int allow; /* so many blocks; -1: one that nobody understands */
	unsigned storage;
	unsigned dimension;
	int sources;  /* so many prefixes; -1: too long a one */
	bool signing; /* of a key: it has a signing key */
};

/* A database: what a snapshot sees. */
struct model {
	struct row users[USERS + 1];
	struct row keys[KEYS + 1];
	uint64_t generation;
	uint64_t stamp;
};

struct query {
	char sql[2048];
	char *param; /* NULL: none */
	pg_query_cb *cb;
	void *arg;
};

struct pg_result {
	size_t rows;
	char cells[KEYS + 1][COLUMNS][CELL];
	bool nulls[KEYS + 1][COLUMNS];
};

static struct world {
	struct model live;
	struct model snapshot; /* of the open transaction */
	bool in_transaction;
	bool aborted;
	int fetched[2]; /* how far each cursor has come */
	bool calm;      /* nothing fails */
	bool up;
	bool listening;
	bool closing; /* queries are being closed: none may be submitted */
	struct query queries[QUERIES];
	size_t query_count;
	char notes[NOTES][256];
	size_t note_count;
	struct model copies[COPIES];
	uint64_t stamps;
	uint64_t usage[USERS + 1];
	unsigned reads; /* queries for rows that were named */
	unsigned loads; /* full loads that began */
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
	assert_true(w.query_count < QUERIES && strlen(sql) < sizeof(w.queries[0].sql));
	struct query *q = &w.queries[w.query_count++];
	snprintf(q->sql, sizeof(q->sql), "%s", sql);
	q->param = nparams > 0 ? strdup(params[0]) : NULL;
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

static inline void add_row(struct pg_result *r, bool keys, int id, const struct row *row)
{
	char(*cell)[CELL] = r->cells[r->rows];
	bool *null = r->nulls[r->rows];

	memset(null, 0, sizeof(r->nulls[0]));
	snprintf(cell[0], CELL, "%s%d", row->odd ? "-" : "", id);
	if (keys) {
		snprintf(cell[1], CELL, "1");
		snprintf(cell[2], CELL, HASH);
		snprintf(cell[3], CELL, "read");
		snprintf(cell[4], CELL, "%s", row->active ? "t" : "f");
		null[5] = true;
		null[6] = !row->signing;
		for (size_t i = 0; i < SEALED_SIZE; i++)
			snprintf(cell[6] + 2 * i, 3, "%02x", (unsigned)id);
	} else {
		/* As POLICY_ROWS_USERS has them: limits from 2 on, quotas from 7 on, the allow list, storage, bounds of
		 * images from 14 on, the sources. */
		memset(null + 2, true, COLUMNS - 2);
		snprintf(cell[1], CELL, "%s", row->active ? "t" : "f");
		snprintf(cell[2], CELL, "%u", row->minute);
		null[2] = row->minute == 0;
		snprintf(cell[7], CELL, "%u", row->requests);
		null[7] = row->requests == 0;
		null[12] = row->allow == 0;
		snprintf(cell[12], CELL, "%s", row->allow < 0 ? "10.0.0.0/16,what" : "");
		for (int i = 0; i < row->allow; i++)
			snprintf(cell[12] + strlen(cell[12]), CELL - strlen(cell[12]), "%s10.%d.0.0/16",
			         i > 0 ? "," : "", i);
		snprintf(cell[13], CELL, "%u", row->storage);
		null[13] = row->storage == 0;
		snprintf(cell[14], CELL, "%u", row->dimension);
		null[14] = row->dimension == 0;
		null[21] = row->sources == 0;
		snprintf(cell[21], CELL, "%*d", row->sources < 0 ? POLICY_SOURCE_MAX + 1 : 0, 0);
		for (char *blank = cell[21]; *blank == ' ';)
			*blank++ = '0';
		for (int i = 0; i < row->sources; i++)
			snprintf(cell[21] + (i > 0 ? strlen(cell[21]) : 0), 72, "%shttps://host-%d/", i > 0 ? " " : "",
			         i);
	}
	r->rows++;
}

static inline bool named(const char *list, int id)
{
	char item[16];
	size_t n = (size_t)snprintf(item, sizeof(item), "%d", id);

	for (const char *p = list; (p = strstr(p, item)) != NULL; p++)
		if ((p[-1] == '{' || p[-1] == ',') && (p[n] == ',' || p[n] == '}'))
			return true;
	return false;
}

static inline void select_rows(const struct model *m, bool keys, const char *ids, struct pg_result *r)
{
	const struct row *rows = keys ? m->keys : m->users;

	for (int id = 1; id <= (keys ? KEYS : USERS); id++)
		if (rows[id].exists && named(ids, id))
			add_row(r, keys, id, &rows[id]);
}

static inline void fetch_rows(bool keys, struct pg_result *r)
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

static inline enum err execute(const struct query *q, struct pg_result *r)
{
	const struct model *m = w.in_transaction ? &w.snapshot : &w.live;

	if (strcmp(q->sql, "ROLLBACK") == 0 || strcmp(q->sql, "COMMIT") == 0) {
		w.in_transaction = false;
		w.aborted = false;
		return ERR_OK;
	}
	if (w.aborted)
		return ERR_REFUSED;
	/* It holds for the session, and nothing hangs on it. */
	if (strcmp(q->sql, "SET jit = off") == 0)
		return ERR_OK;
	bool needs_transaction = strncmp(q->sql, "FETCH", 5) == 0 || strncmp(q->sql, "DECLARE", 7) == 0;
	if ((!w.calm && random() % 40 == 0) || (needs_transaction && !w.in_transaction)) {
		w.aborted = w.in_transaction;
		return ERR_REFUSED;
	}
	if (strncmp(q->sql, "BEGIN", 5) == 0) {
		w.in_transaction = true;
		w.snapshot = w.live;
		w.loads++;
		memset(w.fetched, 0, sizeof(w.fetched));
	} else if (strncmp(q->sql, "LISTEN", 6) == 0) {
		w.listening = true;
	} else if (strstr(q->sql, "FROM policy_generation") != NULL) {
		snprintf(r->cells[0][0], CELL, "%" PRIu64, m->generation);
		snprintf(r->cells[0][1], CELL, "%036" PRIu64, m->stamp);
		r->rows = 1;
	} else if (strncmp(q->sql, "FETCH", 5) == 0) {
		fetch_rows(strstr(q->sql, "policy_keys") != NULL, r);
	} else if (strstr(q->sql, "= ANY") != NULL) {
		assert_non_null(q->param);
		w.reads++;
		select_rows(m, strstr(q->sql, "FROM api_keys") != NULL, q->param, r);
	} else {
		assert_non_null(strstr(q->sql, "DECLARE"));
	}
	return ERR_OK;
}

static inline void serve_one(void)
{
	struct pg_result r;
	if (w.query_count == 0)
		return;
	struct query q = w.queries[0];
	memmove(w.queries, w.queries + 1, --w.query_count * sizeof(q));
	memset(&r, 0, sizeof(r));
	enum err err = execute(&q, &r);
	free(q.param);
	if (q.cb != NULL)
		q.cb(q.arg, err, &r);
}

static inline void connection_up(void)
{
	w.up = true;
	policy_sync_up(w.sync);
}

static inline void connection_down(void)
{
	bool queries_first = random() % 2 == 0;

	w.up = w.listening = w.in_transaction = w.aborted = false;
	w.note_count = 0;
	if (!queries_first)
		policy_sync_down(w.sync);
	w.closing = true;
	for (size_t i = 0; i < w.query_count; i++) {
		free(w.queries[i].param);
		if (w.queries[i].cb != NULL)
			w.queries[i].cb(w.queries[i].arg, ERR_CLOSED, NULL);
	}
	w.closing = false;
	w.query_count = 0;
	if (queries_first)
		policy_sync_down(w.sync);
}

static inline void deliver_one(void)
{
	char note[256];
	if (!w.up || w.note_count == 0)
		return;
	memcpy(note, w.notes[0], sizeof(note));
	memmove(w.notes, w.notes + 1, --w.note_count * sizeof(note));
	policy_sync_notify(w.sync, SV("gateway_policy"), sv_str(note));
}

/* ---- what must hold ---- */

static inline void check_row(const struct row *row, bool found, bool active, const char *what, int id)
{
	bool wanted = row->exists && !row->odd && row->allow >= 0 && row->sources >= 0;
	if (found != wanted || (found && active != row->active))
		fail_msg("%s %d: found=%d active=%d, wanted=%d active=%d", what, id, found, active, wanted,
		         row->active);
}

static inline void check_limits(const struct row *row, const struct policy_user *u, int id)
{
	uint8_t addr[CIDR_ADDR_SIZE];
	const uint8_t bytes[4] = { 10, (uint8_t)row->allow, 0, 1 };

	if (u->per_minute != (row->minute != 0 ? row->minute : POLICY_DEFAULT) ||
	    u->month_requests != (row->requests != 0 ? row->requests : POLICY_DEFAULT) ||
	    u->storage_bytes != (row->storage != 0 ? (uint64_t)row->storage << 20 : POLICY_DEFAULT) ||
	    u->max_dimension != (row->dimension != 0 ? row->dimension : POLICY_BOUND_DEFAULT))
		fail_msg("user %d: limits of another row", id);
	if (u->sources_bytes != (unsigned)row->sources * POLICY_ENTRY_SIZE(sizeof("https://host-0/") - 1))
		fail_msg("user %d: a list of %u bytes for %d sources", id, (unsigned)u->sources_bytes, row->sources);
	if (u->allow_bytes != (row->allow > 0 ? 8 + (unsigned)row->allow * 5 : 0))
		fail_msg("user %d: an allow list of %u bytes for %d blocks", id, (unsigned)u->allow_bytes, row->allow);
	assert_int_equal(cidr_addr(sv_from(bytes, sizeof(bytes)), addr), ERR_OK);
	assert_false(cidr_set_contains(u->lists, u->allow_bytes, addr));
	addr[13]--;
	assert_true(row->allow == 0 || cidr_set_contains(u->lists, u->allow_bytes, addr));
}

/* Usage is the keeper's own: it is there whatever was loaded meanwhile. */
static inline void check_usage(void)
{
	for (uint64_t id = 1; id <= USERS; id++) {
		const struct policy_usage *usage = policy_db_usage(w.db, id);
		if (w.usage[id] == 0)
			assert_null(usage);
		else if (usage == NULL || usage->requests != w.usage[id])
			fail_msg("the usage of user %d is lost", (int)id);
	}
}

/* True when the file claims the database's generation; then its rows are compared. */
static inline bool check(void)
{
	struct policy_db_info info;
	char stamp[POLICY_STAMP_MAX];

	snprintf(stamp, sizeof(stamp), "%036" PRIu64, w.live.stamp);
	bool complete = policy_db_renew(w.db) == ERR_OK;
	bool same = complete && policy_db_info(w.db, &info) == ERR_OK && info.generation == w.live.generation &&
	            strcmp(info.stamp, stamp) == 0;
	for (int id = 1; same && id <= KEYS; id++) {
		const struct policy_key *k = policy_db_key(w.db, (uint64_t)id);
		check_row(&w.live.keys[id], k != NULL, k != NULL && (k->flags & KEY_ACTIVE) != 0, "key", id);
		if (k != NULL && w.live.keys[id].signing != (policy_key_signing(k).p != NULL))
			fail_msg("key %d: the signing key is another row's", id);
	}
	for (int id = 1; same && id <= USERS; id++) {
		const struct policy_user *u = policy_db_user(w.db, (uint64_t)id);
		check_row(&w.live.users[id], u != NULL, u != NULL && (u->flags & USER_ACTIVE) != 0, "user", id);
		if (u != NULL)
			check_limits(&w.live.users[id], u, id);
	}
	if (complete)
		check_usage();
	policy_db_release(w.db);
	return same;
}

static inline void on_broken(void *arg)
{
	(void)arg;
	w.broken = true;
}

static struct loop *loop;
static char dir[64];

/* An empty file, and a database with generation 1. */
static inline void world_new(void)
{
	char error[256];

	memset(&w, 0, sizeof(w));
	w.live.generation = 1;
	strcpy(dir, "/tmp/test-policy-sync-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(policy_db_open(dir, true, &w.db, error), ERR_OK);
	loop = loop_new();
	assert_non_null(loop);
	w.sync = policy_sync_new(loop, NULL, w.db, on_broken, NULL);
}

static inline void world_free(void)
{
	char path[128];

	if (w.up)
		connection_down();
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
