#include "store/policy_sync.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/policy_load.h"
#include "store/policy_rows.h"

#define CHANNEL          "gateway_policy"
#define COMPARE_EVERY_MS 5000
#define QUERY_TIMEOUT_MS 10000
/* More changed rows than this at a time are read by a full load. */
#define PENDING_MAX 2000
/* Twenty digits and a comma for each id, the braces and the NUL. */
#define ID_LIST_MAX (PENDING_MAX * 21 + 3)

enum sync_state {
	SYNC_DOWN = 0, /* no connection */
	SYNC_IDLE,     /* nothing is under way */
	SYNC_COMPARE,  /* the generations are being compared */
	SYNC_LOAD,     /* a full load is under way */
	SYNC_CHANGE,   /* rows that notifications named are being read */
};

struct id_list {
	size_t count;
	uint64_t ids[PENDING_MAX];
};

struct policy_sync {
	struct pg *pg;
	struct policy_db *db;
	enum sync_state state;
	struct loop_timer compare;
	struct policy_load load;
	struct policy_sync_status status;
	char instance[POLICY_INSTANCE_MAX]; /* of the file's content */
	uint64_t load_started_ns;
	/* What was notified and is not yet asked for. */
	struct id_list pending[2];
	uint64_t pending_generation; /* of the newest of them; 0: none */
	bool resync;
	bool fresh;      /* no comparison since the connection came up */
	uint64_t behind; /* the database's generation at the last comparison */
	/* What is being read. */
	struct id_list reading[2];
	uint64_t reading_generation;
	char id_text[ID_LIST_MAX];
};

static const char *const table_names[] = { [POLICY_USERS] = "users", [POLICY_KEYS] = "api_keys" };

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
		memcpy(s->instance, info.instance, sizeof(s->instance));
	}
	policy_db_release(s->db);
}

static void forget_pending(struct policy_sync *s)
{
	s->pending[POLICY_USERS].count = 0;
	s->pending[POLICY_KEYS].count = 0;
	s->pending_generation = 0;
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
	if (s->state != SYNC_LOAD)
		return;
	s->state = SYNC_IDLE;
	/* After a failure the next comparison tries again. */
	if (err == ERR_OK)
		next_work(s);
}

static void start_load(struct policy_sync *s)
{
	s->state = SYNC_LOAD;
	s->resync = false;
	/* All that was notified so far is in the snapshot that the load takes from now on. */
	forget_pending(s);
	s->load_started_ns = clock_mono_ns();
	policy_load_start(&s->load);
}

/* ---- single changes ---- */

static const char *format_ids(struct policy_sync *s, const struct id_list *list)
{
	size_t n = 0;

	s->id_text[n++] = '{';
	for (size_t i = 0; i < list->count; i++)
		n += (size_t)snprintf(s->id_text + n, sizeof(s->id_text) - n, "%s%" PRIu64, i > 0 ? "," : "",
		                      list->ids[i]);
	s->id_text[n++] = '}';
	s->id_text[n] = '\0';
	return s->id_text;
}

/* Rows that were asked for and did not come exist no more. */
static enum err apply_rows(struct policy_sync *s, enum policy_table table, const struct pg_result *r)
{
	const struct id_list *list = &s->reading[table];
	enum err err = policy_db_begin(s->db);

	for (size_t i = 0; i < list->count && err == ERR_OK; i++)
		err = policy_db_delete(s->db, table, list->ids[i]);
	for (size_t i = 0; i < pg_result_rows(r) && err == ERR_OK; i++) {
		struct policy_user user;
		struct policy_key key;
		uint64_t id;
		if (table == POLICY_USERS) {
			err = policy_rows_user(r, i, &id, &user);
			if (err == ERR_OK)
				err = policy_db_put(s->db, table, id, &user, sizeof(user));
		} else {
			err = policy_rows_key(r, i, &id, &key);
			if (err == ERR_OK)
				err = policy_db_put(s->db, table, id, &key, sizeof(key));
		}
	}
	/* The generation is reached with the last table. */
	if (err == ERR_OK && (table == POLICY_KEYS || s->reading[POLICY_KEYS].count == 0))
		err = policy_db_set_generation(s->db, s->reading_generation, s->instance);
	if (err == ERR_OK)
		return policy_db_commit(s->db);
	policy_db_abort(s->db);
	return err;
}

static void read_table(struct policy_sync *s, enum policy_table table);

static void change_rows(struct policy_sync *s, enum policy_table table, enum err err, const struct pg_result *r)
{
	if (err == ERR_OK) {
		err = apply_rows(s, table, r);
		r = NULL;
	}
	if (s->state == SYNC_DOWN)
		return;
	if (err != ERR_OK) {
		/* Which rows are missing is not worth tracking: all are read, at the next comparison. */
		log_failure("cannot apply a change", err, r);
		s->resync = true;
		s->state = SYNC_IDLE;
		return;
	}
	s->status.changed_rows += s->reading[table].count;
	if (table == POLICY_USERS && s->reading[POLICY_KEYS].count > 0) {
		read_table(s, POLICY_KEYS);
		return;
	}
	refresh_status(s);
	s->status.synced_ns = clock_mono_ns();
	s->state = SYNC_IDLE;
	next_work(s);
}

static void change_users(void *arg, enum err err, const struct pg_result *r)
{
	change_rows(arg, POLICY_USERS, err, r);
}

static void change_keys(void *arg, enum err err, const struct pg_result *r)
{
	change_rows(arg, POLICY_KEYS, err, r);
}

static void read_table(struct policy_sync *s, enum policy_table table)
{
	const char *ids = format_ids(s, &s->reading[table]);

	if (table == POLICY_USERS)
		query(s, POLICY_ROWS_USERS " AND id = ANY ($1::bigint[])", ids, change_users);
	else
		query(s, POLICY_ROWS_KEYS " WHERE id = ANY ($1::bigint[])", ids, change_keys);
}

static void start_change(struct policy_sync *s)
{
	s->state = SYNC_CHANGE;
	for (int table = POLICY_USERS; table <= POLICY_KEYS; table++) {
		s->reading[table].count = s->pending[table].count;
		memcpy(s->reading[table].ids, s->pending[table].ids, s->pending[table].count * sizeof(uint64_t));
	}
	s->reading_generation = s->pending_generation;
	forget_pending(s);
	read_table(s, s->reading[POLICY_USERS].count > 0 ? POLICY_USERS : POLICY_KEYS);
}

/* "ID,ID,…" behind what waits already. ERR_SPACE when there are too many, ERR_INVALID when it is no such list. */
static enum err add_pending(struct id_list *list, struct sv text)
{
	struct sv item;

	while (sv_split(&text, ',', &item)) {
		if (list->count == PENDING_MAX)
			return ERR_SPACE;
		if (sv_to_u64(item, &list->ids[list->count]) != ERR_OK)
			return ERR_INVALID;
		list->count++;
	}
	return ERR_OK;
}

void policy_sync_notify(struct policy_sync *s, struct sv channel, struct sv payload)
{
	struct sv rest = payload;
	struct sv table;
	struct sv ids;
	uint64_t generation = 0;
	enum err err = ERR_INVALID;

	if (!sv_eq(channel, SV(CHANNEL)))
		return;
	if (sv_split(&rest, ':', &table) && sv_split(&rest, ':', &ids) && sv_to_u64(rest, &generation) == ERR_OK) {
		for (int i = POLICY_USERS; i <= POLICY_KEYS; i++)
			if (sv_eq(table, sv_str(table_names[i])))
				err = add_pending(&s->pending[i], ids);
	}
	/* "resync", or too much, or from a newer schema: then everything is read. */
	if (err != ERR_OK)
		s->resync = true;
	if (generation > s->pending_generation)
		s->pending_generation = generation;
	next_work(s);
}

/* ---- comparison ---- */

static void compared(void *arg, enum err err, const struct pg_result *r)
{
	struct policy_sync *s = arg;
	char instance[POLICY_INSTANCE_MAX];
	uint64_t generation = 0;

	if (err == ERR_OK)
		err = policy_generation_row(r, &generation, instance);
	if (s->state != SYNC_COMPARE)
		return;
	s->state = SYNC_IDLE;
	if (err != ERR_OK) {
		log_failure("cannot read the generation (is the schema migrated?)", err, r);
		return;
	}
	bool same_database = s->status.complete && strcmp(instance, s->instance) == 0;
	if (same_database && generation == s->status.generation)
		s->status.synced_ns = clock_mono_ns();
	else if (!same_database || s->fresh || s->status.generation < s->behind)
		s->resync = true;
	/* The notification may be on its way still: only what is missing at the next comparison as well was lost. */
	s->behind = generation;
	s->fresh = false;
	next_work(s);
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
	else
		s->pending_generation = 0;
}

void policy_sync_up(struct policy_sync *s)
{
	forget_pending(s);
	s->resync = false;
	s->fresh = true;
	s->behind = 0;
	/* First listen, then compare: what changes between the two is notified. */
	query(s, "LISTEN " CHANNEL, NULL, NULL);
	start_compare(s);
}

void policy_sync_down(struct policy_sync *s)
{
	policy_db_abort(s->db);
	s->state = SYNC_DOWN;
}

struct policy_sync *policy_sync_new(struct loop *loop, struct pg *pg, struct policy_db *db)
{
	struct policy_sync *s = check_calloc(1, sizeof(*s));

	s->pg = pg;
	s->db = db;
	policy_load_init(&s->load, pg, db, load_done, s);
	loop_timer_init(&s->compare, loop, on_compare, s);
	loop_timer_start(&s->compare, COMPARE_EVERY_MS, COMPARE_EVERY_MS);
	refresh_status(s);
	return s;
}

void policy_sync_free(struct policy_sync *s)
{
	if (s == NULL)
		return;
	loop_timer_stop(&s->compare);
	policy_db_abort(s->db);
	free(s);
}

void policy_sync_status(const struct policy_sync *s, struct policy_sync_status *out)
{
	*out = s->status;
}
