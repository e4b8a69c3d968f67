/*
 * The synchronisation against a small model of PostgreSQL: queries that fail, connections that are lost at any moment,
 * and databases that come back older than they were.
 *
 * What must always hold: when the file says that it has the database's generation and stamp, it has its rows; and what
 * the keeper writes beside them (usage) stays as it is.
 */
/* LDFLAGS: -Wl,--wrap=pg_query,--wrap=pg_result_rows,--wrap=pg_result_value,--wrap=pg_result_null */
/* LDFLAGS: -Wl,--wrap=pg_result_u64,--wrap=pg_result_i64,--wrap=pg_result_bool,--wrap=pg_result_error */
#include "store/policy_world.h"

#define STEPS  4000
#define ROUNDS 30

/* What a statement does to a row, by the table that it is of. */
static void change_row(const char *table, struct row *row)
{
	if (strcmp(table, "rate_limits") == 0) {
		row->minute = (unsigned)(random() % 4 * 100);
	} else if (strcmp(table, "quotas") == 0) {
		row->requests = (unsigned)(random() % 4 * 1000);
		row->storage = (unsigned)(random() % 4);
	} else if (strcmp(table, "ip_whitelist") == 0) {
		row->allow = (int)(random() % 5) - 1;
	} else if (strcmp(table, "allowed_sources") == 0) {
		row->sources = (int)(random() % 5) - 1;
	} else if (strcmp(table, "image_policies") == 0) {
		row->dimension = (unsigned)(random() % 4 * 1000);
	} else {
		row->exists = random() % 4 != 0;
		row->active = random() % 2 != 0;
		row->odd = random() % 20 == 0;
		row->signing = random() % 2 != 0;
	}
}

/* The next generation, with a notification of it when somebody listens. */
static void commit_change(const char *table, int first, int second)
{
	w.live.generation++;
	w.live.stamp = ++w.stamps;
	if (!w.listening || w.note_count == NOTES)
		return;
	char *note = w.notes[w.note_count++];
	if (!w.calm && random() % 15 == 0)
		snprintf(note, 256, "resync::%" PRIu64 ":%036" PRIu64, w.live.generation, w.live.stamp);
	else
		snprintf(note, 256, "%s:%d,%d:%" PRIu64 ":%036" PRIu64, table, first, second, w.live.generation,
		         w.live.stamp);
}

/* One statement that changes some rows of a table, as the triggers of migrations/002, 003 and 007 see it. */
static void change(void)
{
	/* The last is one of a later schema: what its ids name is not known. */
	static const char *const tables[] = { "api_keys",        "api_keys",       "api_keys",        "users",
		                              "rate_limits",     "quotas",         "quotas",          "ip_whitelist",
		                              "allowed_sources", "image_policies", "allowed_sources", "grants" };
	const char *table = tables[random() % (long)(sizeof(tables) / sizeof(tables[0]))];
	bool keys = strcmp(table, "api_keys") == 0;
	int first = 1 + (int)(random() % (keys ? KEYS : USERS));
	int second = 1 + (int)(random() % (keys ? KEYS : USERS));
	struct row *rows = keys ? w.live.keys : w.live.users;

	change_row(table, &rows[first]);
	change_row(table, &rows[second]);
	commit_change(table, first, second);
}

static void write_usage(void)
{
	uint64_t id = 1 + (uint64_t)random() % USERS;
	struct policy_usage usage = { .version = POLICY_LAYOUT, .requests = 1 + (uint64_t)random() };
	enum err err = policy_db_begin(w.db);

	/* Not while rows are being read. */
	if (err == ERR_BAD_STATE)
		return;
	assert_int_equal(err, ERR_OK);
	assert_int_equal(policy_db_put(w.db, POLICY_USAGE, id, &usage, sizeof(usage)), ERR_OK);
	assert_int_equal(policy_db_commit(w.db), ERR_OK);
	w.usage[id] = usage.requests;
}

static void step(void)
{
	long what = random() % 100;

	if (what < 55) {
		serve_one();
	} else if (what < 75) {
		deliver_one();
	} else if (what < 79) {
		change();
	} else if (what < 80) {
		write_usage();
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
		unsigned equal = 0;

		srandom(round);
		world_new();
		for (int i = 0; i < STEPS; i++) {
			step();
			equal += check();
		}
		total += equal;
		catch_up();
		world_free();
	}
	/* A test in which the file never follows would prove nothing. */
	assert_true(total > ROUNDS * STEPS / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_model) };
	log_init("test", (enum log_level)(LOG_ERROR + 1), LOG_TEXT); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
