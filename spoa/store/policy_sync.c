#include "store/policy_sync.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/policy_ids.h"
#include "store/policy_load.h"
#include "store/policy_rows.h"

#define CHANNEL          "gateway_policy"
#define COMPARE_EVERY_MS 5000
#define QUERY_TIMEOUT_MS 10000
/* Rows that one query asks for: a user's may hold an allow list of thousands of blocks. */
#define READ_MAX 1000

enum sync_state {
	SYNC_DOWN = 0, /* no connection */
	SYNC_IDLE,     /* nothing is under way */
	SYNC_COMPARE,  /* the generations are being compared */
	SYNC_LOAD,     /* a full load is under way */
	SYNC_CHANGE,   /* rows that notifications named are being read */
};

/* A generation with its stamp; number 0: none. */
struct generation {
	uint64_t number;
	char stamp[POLICY_STAMP_MAX];
};

struct policy_sync {
	struct pg *pg;
	struct policy_db *db;
	void (*broken)(void *arg);
	void *arg;
	enum sync_state state;
	struct loop_timer compare;
	struct policy_load load;
	struct policy_sync_status status;
	struct generation applied; /* of the file's content */
	uint64_t load_started_ns;
	/*
	 * What was notified and is not yet asked for. Generations come without a gap: `seen` is the newest that is
	 * applied, being read or pending; 0 while that is not known (during loads and first comparisons).
	 */
	struct policy_ids pending[2];
	uint64_t pending_first;
	struct generation pending_last;
	uint64_t seen;
	bool resync;
	bool fresh;      /* no comparison since the connection came up */
	uint64_t behind; /* the database's generation at the last comparison */
	/* What is being read: `read_count` rows of `read_table`, from `read_at` of its list on. */
	struct policy_ids reading[2];
	struct generation reading_last;
	enum policy_table read_table;
	size_t read_at;
	size_t read_count;
	struct policy_user_row user;
	char id_text[POLICY_IDS_TEXT(READ_MAX)];
};

/* The tables that notifications name, and the table of the file that holds the rows with their ids. */
static const struct {
	const char *name;
	enum policy_table table;
} sources[] = {
	{ "users", POLICY_USERS },          { "api_keys", POLICY_KEYS },      { "rate_limits", POLICY_USERS },
	{ "quotas", POLICY_USERS },         { "ip_whitelist", POLICY_USERS }, { "allowed_sources", POLICY_USERS },
	{ "image_policies", POLICY_USERS },
};

static void next_work(struct policy_sync *s);

static void query(struct policy_sync *s, const char *sql, const char *param, pg_query_cb *cb)
{
	pg_query(s->pg, sql, param != NULL ? 1 : 0, &param, QUERY_TIMEOUT_MS, cb, s);
}

static void log_failure(const char *what, enum err err, const struct pg_result *r)
{
	/* A lost connection has its own line. */
	if (err != ERR_CLOSED && err != ERR_UNAVAILABLE)
		log_error("policy: %s: %s%s%s", what, err_str(err), r != NULL ? ": " : "",
		          r != NULL ? pg_result_error(r) : "");
}

static void refresh_status(struct policy_sync *s)
{
	struct policy_db_info info;

	s->status.complete = policy_db_renew(s->db) == ERR_OK;
	if (s->status.complete && policy_db_info(s->db, &info) == ERR_OK) {
		s->status.generation = info.generation;
		s->status.users = info.users;
		s->status.keys = info.keys;
		s->applied.number = info.generation;
		memcpy(s->applied.stamp, info.stamp, sizeof(s->applied.stamp));
	}
	policy_db_release(s->db);
}

static void forget_pending(struct policy_sync *s)
{
	s->pending[POLICY_USERS].count = 0;
	s->pending[POLICY_KEYS].count = 0;
	s->pending_first = 0;
	s->pending_last.number = 0;
}

/*
 * The content is now known to be that of `applied`. What was notified meanwhile must follow on it: what is older is in
 * it already, and a gap means that a notification is missing.
 */
static void settle(struct policy_sync *s)
{
	s->seen = s->applied.number;
	if (s->pending_last.number <= s->applied.number)
		forget_pending(s);
	else if (s->pending_first > s->applied.number + 1)
		s->resync = true;
	else
		s->seen = s->pending_last.number;
}

/* Damaged pages do not heal: the owner throws the file away. */
static void check_broken(struct policy_sync *s, enum err err)
{
	if (err == ERR_CORRUPT)
		s->broken(s->arg);
}

/* ---- full loads ---- */

static void load_done(void *arg, enum err err)
{
	struct policy_sync *s = arg;

	if (err == ERR_OK) {
		refresh_status(s);
		s->status.full_loads++;
		s->status.unusable_keys = s->load.unusable_keys;
		s->status.synced_ns = clock_mono_ns();
		log_info("policy: loaded: generation=%" PRIu64 " users=%" PRIu64 " keys=%" PRIu64 " ms=%" PRIu64,
		         s->status.generation, s->status.users, s->status.keys,
		         (s->status.synced_ns - s->load_started_ns) / NS_PER_MS);
		if (s->load.unusable_keys > 0)
			log_warn("policy: keys with an unknown form of hash or scope, they never pass: %" PRIu64,
			         s->load.unusable_keys);
	}
	check_broken(s, err);
	if (s->state != SYNC_LOAD)
		return;
	s->state = SYNC_IDLE;
	if (err != ERR_OK) {
		/* Nothing may be applied over the gap; the next comparison, or notification, tries again. */
		s->resync = true;
		return;
	}
	settle(s);
	next_work(s);
}

static void start_load(struct policy_sync *s)
{
	s->state = SYNC_LOAD;
	s->resync = false;
	/* All that was notified so far is in the snapshot that the load takes from now on. */
	forget_pending(s);
	s->seen = 0;
	s->load_started_ns = clock_mono_ns();
	policy_load_start(&s->load);
}

/* ---- single changes ---- */

static enum err apply_row(struct policy_sync *s, const struct pg_result *r, size_t row)
{
	union policy_key_row key;
	size_t size;
	uint64_t id;

	if (s->read_table == POLICY_USERS) {
		if (policy_rows_user(r, row, &id, &s->user) == ERR_OK)
			return policy_db_put(s->db, POLICY_USERS, id, s->user.user, s->user.size);
	} else if (policy_rows_key(r, row, &id, &key, &size) == ERR_OK)
		return policy_db_put(s->db, POLICY_KEYS, id, &key, size);
	policy_rows_log_bad(s->read_table, r, row);
	return ERR_OK;
}

/* Rows that were asked for and did not come exist no more, or cannot be used. */
static enum err apply_rows(struct policy_sync *s, const struct pg_result *r)
{
	const uint64_t *ids = s->reading[s->read_table].ids + s->read_at;
	enum err err = ERR_OK;

	for (size_t i = 0; i < s->read_count && err == ERR_OK; i++)
		err = policy_db_delete(s->db, s->read_table, ids[i]);
	for (size_t i = 0; i < pg_result_rows(r) && err == ERR_OK; i++)
		err = apply_row(s, r, i);
	return err;
}

static void read_more(struct policy_sync *s);
static void change_end(void *arg, enum err err, const struct pg_result *r);

/* Which rows are missing now is not worth tracking: all are read, at the next notification or comparison. */
static void change_failed(struct policy_sync *s, enum err err, const struct pg_result *r)
{
	policy_db_abort(s->db);
	check_broken(s, err);
	if (s->state == SYNC_DOWN)
		return;
	log_failure("cannot apply a change", err, r);
	s->resync = true;
	s->state = SYNC_IDLE;
}

static void change_rows(void *arg, enum err err, const struct pg_result *r)
{
	struct policy_sync *s = arg;

	if (err == ERR_OK) {
		err = apply_rows(s, r);
		r = NULL;
	}
	if (err != ERR_OK) {
		change_failed(s, err, r);
		return;
	}
	s->status.changed_rows += s->read_count;
	s->read_at += s->read_count;
	read_more(s);
}

/*
 * The rows may be newer than the notification that asked for them. Only when the database has still its generation they
 * are exactly those of it; otherwise the file must not claim its stamp, for a server that takes over from exactly there
 * would be taken for equal. The next change sets it right.
 */
static void change_end(void *arg, enum err err, const struct pg_result *r)
{
	struct policy_sync *s = arg;
	struct generation now = { 0 };

	if (err == ERR_OK) {
		err = policy_generation_row(r, &now.number, now.stamp);
		r = NULL;
	}
	bool exact = now.number == s->reading_last.number && strcmp(now.stamp, s->reading_last.stamp) == 0;
	if (err == ERR_OK)
		err = policy_db_set_generation(s->db, s->reading_last.number, exact ? now.stamp : "");
	if (err == ERR_OK)
		err = policy_db_commit(s->db);
	if (err != ERR_OK) {
		change_failed(s, err, r);
		return;
	}
	refresh_status(s);
	s->status.synced_ns = clock_mono_ns();
	s->state = SYNC_IDLE;
	next_work(s);
}

/* Asks for the next rows; when all are there, for the generation that they are of. */
static void read_more(struct policy_sync *s)
{
	if (s->read_at == s->reading[s->read_table].count && s->read_table == POLICY_USERS) {
		s->read_table = POLICY_KEYS;
		s->read_at = 0;
	}
	const struct policy_ids *list = &s->reading[s->read_table];
	size_t left = list->count - s->read_at;
	if (left == 0) {
		query(s, POLICY_GENERATION, NULL, change_end);
		return;
	}
	s->read_count = left < READ_MAX ? left : READ_MAX;
	query(s, s->read_table == POLICY_USERS ? POLICY_ROWS_USERS_BY_ID : POLICY_ROWS_KEYS_BY_ID,
	      policy_ids_format(list->ids + s->read_at, s->read_count, s->id_text), change_rows);
}

static void start_change(struct policy_sync *s)
{
	s->state = SYNC_CHANGE;
	for (int table = POLICY_USERS; table <= POLICY_KEYS; table++) {
		/* Of a burst many name the same row. */
		policy_ids_compact(&s->pending[table]);
		s->reading[table].count = s->pending[table].count;
		memcpy(s->reading[table].ids, s->pending[table].ids, s->pending[table].count * sizeof(uint64_t));
	}
	s->reading_last = s->pending_last;
	s->read_table = POLICY_USERS;
	s->read_at = 0;
	forget_pending(s);
	enum err err = policy_db_begin(s->db);
	if (err != ERR_OK) {
		change_failed(s, err, NULL);
		return;
	}
	read_more(s);
}

/* Takes a notification of that generation in; `err` says whether its ids could be kept. */
static void add_generation(struct policy_sync *s, const struct generation *g, enum err err)
{
	uint64_t last = s->seen != 0 ? s->seen : s->pending_last.number;

	/* "resync", or too many ids, or from a newer schema, or one is missing before it: then everything is read. */
	if (err != ERR_OK || (last != 0 && g->number != last + 1))
		s->resync = true;
	if (s->pending_first == 0)
		s->pending_first = g->number;
	s->pending_last = *g;
	if (s->seen != 0)
		s->seen = g->number;
}

void policy_sync_notify(struct policy_sync *s, struct sv channel, struct sv payload)
{
	struct sv rest = payload;
	struct sv table;
	struct sv ids;
	struct sv number;
	struct generation g = { 0 };

	if (!sv_eq(channel, SV(CHANNEL)))
		return;
	if (!sv_split(&rest, ':', &table) || !sv_split(&rest, ':', &ids) || !sv_split(&rest, ':', &number) ||
	    sv_to_u64(number, &g.number) != ERR_OK || g.number == 0 ||
	    sv_copy(rest, g.stamp, sizeof(g.stamp)) != ERR_OK) {
		log_error("policy: a notification of an unknown form: everything is read");
		s->resync = true;
		next_work(s);
		return;
	}
	/* Of a commit that the last load or comparison has seen already. */
	if (s->seen != 0 && g.number <= s->seen)
		return;
	enum err err = ERR_INVALID;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (sv_eq(table, sv_str(sources[i].name)))
			err = policy_ids_add(&s->pending[sources[i].table], ids);
	add_generation(s, &g, err);
	next_work(s);
}

/* ---- comparison ---- */

static void compared(void *arg, enum err err, const struct pg_result *r)
{
	struct policy_sync *s = arg;
	struct generation now;

	if (err == ERR_OK)
		err = policy_generation_row(r, &now.number, now.stamp);
	if (s->state != SYNC_COMPARE)
		return;
	s->state = SYNC_IDLE;
	if (err != ERR_OK) {
		/* What is missing is not known: nothing may be applied over it. */
		s->resync |= s->fresh;
		log_failure("cannot read the generation (is the schema migrated?)", err, r);
		return;
	}
	bool equal = s->status.complete && now.number == s->applied.number && strcmp(now.stamp, s->applied.stamp) == 0;
	/* A notification may be on its way still: only what is missing at the next comparison as well was lost. */
	if (equal)
		s->status.synced_ns = clock_mono_ns();
	else if (s->fresh || now.number <= s->applied.number || s->applied.number < s->behind)
		s->resync = true;
	if (s->fresh && equal)
		settle(s);
	s->behind = now.number;
	s->fresh = false;
	next_work(s);
}

static void listening(void *arg, enum err err, const struct pg_result *r)
{
	(void)arg;
	if (err != ERR_OK)
		log_failure("cannot listen to changes, they take some seconds", err, r);
}

static void start_compare(struct policy_sync *s)
{
	s->state = SYNC_COMPARE;
	query(s, POLICY_GENERATION, NULL, compared);
}

static void on_compare(void *arg)
{
	struct policy_sync *s = arg;

	policy_db_sweep_readers(s->db);
	if (s->state != SYNC_IDLE)
		return;
	/* Somebody removed the file: what is written to it now reaches nobody. Only with PostgreSQL up it can be
	 * mended. */
	if (policy_db_replaced(s->db)) {
		s->broken(s->arg);
		return;
	}
	if (s->resync)
		next_work(s);
	else
		start_compare(s);
}

/* ---- the owner's side ---- */

static void next_work(struct policy_sync *s)
{
	if (s->state != SYNC_IDLE)
		return;
	if (s->resync)
		start_load(s);
	else if (s->pending[POLICY_USERS].count + s->pending[POLICY_KEYS].count > 0)
		start_change(s);
}

void policy_sync_up(struct policy_sync *s)
{
	refresh_status(s);
	forget_pending(s);
	s->resync = false;
	s->seen = 0;
	s->fresh = true;
	s->behind = 0;
	/* Compiling takes longer than any of these statements. */
	query(s, "SET jit = off", NULL, NULL);
	/* First listen, then compare: what changes between the two is notified. */
	query(s, "LISTEN " CHANNEL, NULL, listening);
	start_compare(s);
}

void policy_sync_down(struct policy_sync *s)
{
	policy_db_abort(s->db);
	s->state = SYNC_DOWN;
}

struct policy_sync *policy_sync_new(struct loop *loop, struct pg *pg, struct policy_db *db, void (*broken)(void *arg),
                                    void *arg)
{
	struct policy_sync *s = check_calloc(1, sizeof(*s));

	s->pg = pg;
	s->db = db;
	s->broken = broken;
	s->arg = arg;
	policy_load_init(&s->load, pg, db, load_done, s);
	loop_timer_init(&s->compare, loop, on_compare, s);
	loop_timer_start(&s->compare, COMPARE_EVERY_MS, COMPARE_EVERY_MS);
	policy_db_sweep_readers(db);
	refresh_status(s);
	return s;
}

void policy_sync_free(struct policy_sync *s)
{
	if (s == NULL)
		return;
	loop_timer_stop(&s->compare);
	policy_db_abort(s->db);
	policy_load_fini(&s->load);
	policy_rows_free(&s->user);
	free(s);
}

void policy_sync_status(const struct policy_sync *s, struct policy_sync_status *out)
{
	*out = s->status;
}
