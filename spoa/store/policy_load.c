#include "store/policy_load.h"

#include "base/log.h"
#include "base/sv.h"

#define STEP_TIMEOUT_MS 30000
/* A user's row may hold an allow list of thousands of blocks: fewer at a time, so that a result stays small. */
#define FETCH_USERS "FETCH 1000 FROM policy_users"
#define FETCH_KEYS  "FETCH 10000 FROM policy_keys"

static void query(struct policy_load *l, const char *sql, pg_query_cb *cb)
{
	pg_query(l->pg, sql, 0, NULL, STEP_TIMEOUT_MS, cb, l);
}

enum err policy_generation_row(const struct pg_result *r, uint64_t *generation, char stamp[POLICY_STAMP_MAX])
{
	if (pg_result_rows(r) != 1 || pg_result_u64(r, 0, 0, generation) != ERR_OK ||
	    sv_copy(pg_result_value(r, 0, 1), stamp, POLICY_STAMP_MAX) != ERR_OK)
		return ERR_INVALID;
	return ERR_OK;
}

/* The read-only transaction is over, however it ended: only now may the next statement be sent. */
static void ended(void *arg, enum err err, const struct pg_result *r)
{
	struct policy_load *l = arg;

	(void)r;
	/* Without the connection the owner must not go on, also when all is written. */
	l->done(l->arg, err == ERR_CLOSED || err == ERR_UNAVAILABLE ? err : l->result);
}

static void fail(struct policy_load *l, const char *what, enum err err, const struct pg_result *r)
{
	/* A lost connection has its own line. */
	if (err != ERR_CLOSED && err != ERR_UNAVAILABLE)
		log_error("policy: %s: %s%s%s", what, err_str(err), r != NULL ? ": " : "",
		          r != NULL ? pg_result_error(r) : "");
	policy_db_abort(l->db);
	l->result = err;
	if (err == ERR_CLOSED || err == ERR_UNAVAILABLE)
		l->done(l->arg, err); /* the transaction ended with its connection */
	else
		query(l, "ROLLBACK", ended);
}

static void commit(struct policy_load *l)
{
	enum err err = policy_db_set_generation(l->db, l->generation, l->stamp);
	if (err == ERR_OK)
		err = policy_db_commit(l->db);
	if (err != ERR_OK) {
		fail(l, "cannot write policy.mdb", err, NULL);
		return;
	}
	l->result = ERR_OK;
	query(l, "COMMIT", ended);
}

/* A row that no record can hold is left out, and so refused: it must not keep all the others from being read. */
static enum err merge_row(struct policy_load *l, const struct pg_result *r, size_t row)
{
	union policy_key_row key;
	size_t size;
	uint64_t id;

	if (l->table == POLICY_USERS) {
		if (policy_rows_user(r, row, &id, &l->user) == ERR_OK)
			return policy_db_merge(l->db, id, l->user.user, l->user.size);
	} else if (policy_rows_key(r, row, &id, &key, &size) == ERR_OK) {
		l->unusable_keys += (key.key.flags & KEY_USABLE) == 0;
		return policy_db_merge(l->db, id, &key, size);
	}
	policy_rows_log_bad(l->table, r, row);
	return ERR_OK;
}

static void rows(void *arg, enum err err, const struct pg_result *r);

static void fetch(struct policy_load *l)
{
	query(l, l->table == POLICY_USERS ? FETCH_USERS : FETCH_KEYS, rows);
}

static void rows(void *arg, enum err err, const struct pg_result *r)
{
	struct policy_load *l = arg;

	if (err != ERR_OK) {
		fail(l, "cannot read the policy", err, r);
		return;
	}
	size_t count = pg_result_rows(r);
	for (size_t i = 0; i < count && err == ERR_OK; i++)
		err = merge_row(l, r, i);
	if (err == ERR_OK && count == 0) {
		err = policy_db_merge_finish(l->db);
		if (err == ERR_OK && l->table == POLICY_KEYS) {
			commit(l);
			return;
		}
		l->table = POLICY_KEYS;
		if (err == ERR_OK)
			err = policy_db_merge_start(l->db, POLICY_KEYS);
	}
	if (err != ERR_OK)
		fail(l, "cannot write policy.mdb", err, NULL);
	else
		fetch(l);
}

/* The first statement that fails names the cause; those after it only say that the transaction is aborted. */
static void declared(void *arg, enum err err, const struct pg_result *r)
{
	(void)arg;
	if (err == ERR_REFUSED)
		log_error("policy: cannot read the policy: %s", pg_result_error(r));
}

static void generation(void *arg, enum err err, const struct pg_result *r)
{
	struct policy_load *l = arg;

	if (err == ERR_OK)
		err = policy_generation_row(r, &l->generation, l->stamp);
	if (err == ERR_OK)
		err = policy_db_begin(l->db);
	if (err == ERR_OK)
		err = policy_db_merge_start(l->db, POLICY_USERS);
	if (err != ERR_OK)
		fail(l, "cannot start a full load", err, r);
	else
		fetch(l);
}

void policy_load_init(struct policy_load *l, struct pg *pg, struct policy_db *db, void (*done)(void *arg, enum err err),
                      void *arg)
{
	*l = (struct policy_load){ .pg = pg, .db = db, .done = done, .arg = arg };
}

void policy_load_fini(struct policy_load *l)
{
	policy_rows_free(&l->user);
}

void policy_load_start(struct policy_load *l)
{
	l->table = POLICY_USERS;
	l->unusable_keys = 0;
	query(l, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", declared);
	query(l, "DECLARE policy_users NO SCROLL CURSOR FOR " POLICY_ROWS_USERS_ALL, declared);
	query(l, "DECLARE policy_keys NO SCROLL CURSOR FOR " POLICY_ROWS_KEYS_ALL, declared);
	query(l, POLICY_GENERATION, generation);
}
