/* Many changes at once are read together, once each, and from the right table; too many, with everything. */
/* LDFLAGS: -Wl,--wrap=pg_query,--wrap=pg_result_rows,--wrap=pg_result_value,--wrap=pg_result_null */
/* LDFLAGS: -Wl,--wrap=pg_result_u64,--wrap=pg_result_i64,--wrap=pg_result_bool,--wrap=pg_result_error */
#include "store/policy_world.h"

static void serve_all(void)
{
	for (int i = 0; i < 1000 && w.query_count > 0; i++)
		serve_one();
	assert_int_equal(w.query_count, 0);
}

/* A connection over which nothing fails, with everything loaded. */
static int setup_calm(void **state)
{
	(void)state;
	srandom(1);
	world_new();
	w.calm = true;
	for (int id = 1; id <= USERS; id++)
		w.live.users[id] = (struct row){ .exists = true, .active = true, .allow = id % 3 };
	for (int id = 1; id <= KEYS; id++)
		w.live.keys[id] = (struct row){ .exists = true, .active = true };
	connection_up();
	serve_all();
	assert_true(check());
	assert_int_equal(w.loads, 1);
	assert_int_equal(w.reads, 0);
	return 0;
}

static int teardown_calm(void **state)
{
	(void)state;
	world_free();
	return 0;
}

/* Tells at once of a statement that is committed already. */
static void notify(const char *table, uint64_t id, uint64_t generation, uint64_t stamp)
{
	char note[256];

	snprintf(note, sizeof(note), "%s:%" PRIu64 ":%" PRIu64 ":%036" PRIu64, table, id, generation, stamp);
	policy_sync_notify(w.sync, SV("gateway_policy"), sv_str(note));
}

/* `count` statements on `ids` different rows in turn, all committed before the first is told of. */
static void burst(const char *table, unsigned count, unsigned ids)
{
	uint64_t before = w.live.generation;

	w.live.generation += count;
	w.stamps += count;
	w.live.stamp = w.stamps;
	for (unsigned i = 1; i <= count; i++)
		notify(table, 1 + i % ids, before + i, w.stamps - count + i);
}

static void test_burst_is_read_together(void **state)
{
	(void)state;
	for (int id = 1; id <= KEYS; id += 2)
		w.live.keys[id].active = false;
	w.live.keys[2].exists = false;
	burst("api_keys", 10000, 10000);
	serve_all();
	assert_true(check());
	assert_int_equal(w.loads, 1);
	assert_in_range(w.reads, 2, 12); /* the first alone, then all that gathered, a thousand at a time */
}

static void test_burst_on_two_tables(void **state)
{
	(void)state;
	w.live.users[1].minute = 7;
	w.live.users[2].allow = 3;
	w.live.keys[5].active = false;
	burst("rate_limits", 1500, 1500);
	burst("api_keys", 1500, 1500);
	burst("ip_whitelist", 1500, 1500);
	serve_all();
	assert_true(check());
	assert_int_equal(w.loads, 1);
	assert_in_range(w.reads, 4, 6);
}

/* One row that changes again and again takes no room. */
static void test_repeated_rows_are_read_once(void **state)
{
	(void)state;
	w.live.users[2].requests = 9;
	w.live.users[3].requests = 8;
	burst("quotas", 100000, 3);
	serve_all();
	assert_true(check());
	assert_int_equal(w.loads, 1);
	assert_in_range(w.reads, 1, 2);
}

static void test_too_many_rows_are_read_with_all(void **state)
{
	(void)state;
	w.live.keys[3].active = false;
	burst("api_keys", 40000, 40000);
	serve_all();
	assert_true(check());
	assert_int_equal(w.loads, 2);
}

/* Which of the file's tables a notification is about. */
static void test_names_of_tables(void **state)
{
	static const struct {
		const char *table;
		bool known;
		bool keys;
	} names[] = {
		{ "users", true, false },           { "api_keys", true, true },
		{ "rate_limits", true, false },     { "quotas", true, false },
		{ "ip_whitelist", true, false },    { "backends", false, false },
		{ "allowed_sources", true, false }, { "image_policies", true, false },
		{ "ip_whitelists", false, false },  { "", false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		w.loads = w.reads = 0;
		burst(names[i].table, 1, 1);
		assert_int_equal(w.query_count, names[i].known ? 1 : 4);
		if (names[i].known && (strstr(w.queries[0].sql, "FROM api_keys") != NULL) != names[i].keys)
			fail_msg("ids of %s are asked for in the wrong table", names[i].table);
		serve_all();
		assert_true(check());
		assert_int_equal(w.loads, names[i].known ? 0 : 1);
		assert_int_equal(w.reads, names[i].known ? 1 : 0);
	}
}

/* An allow list that nobody understands shuts its user out, until it is understood. */
static void test_bad_allow_list_refuses(void **state)
{
	(void)state;
	w.live.users[2].allow = -1;
	burst("ip_whitelist", 1, 1);
	notify("ip_whitelist", 2, ++w.live.generation, ++w.stamps);
	w.live.stamp = w.stamps;
	serve_all();
	assert_true(check());
	assert_int_equal(policy_db_renew(w.db), ERR_OK);
	assert_null(policy_db_user(w.db, 2));
	assert_non_null(policy_db_user(w.db, 3));
	w.live.users[2].allow = 2;
	notify("ip_whitelist", 2, ++w.live.generation, ++w.stamps);
	w.live.stamp = w.stamps;
	serve_all();
	assert_true(check());
	assert_int_equal(policy_db_renew(w.db), ERR_OK);
	assert_non_null(policy_db_user(w.db, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_burst_is_read_together, setup_calm, teardown_calm),
		cmocka_unit_test_setup_teardown(test_burst_on_two_tables, setup_calm, teardown_calm),
		cmocka_unit_test_setup_teardown(test_repeated_rows_are_read_once, setup_calm, teardown_calm),
		cmocka_unit_test_setup_teardown(test_too_many_rows_are_read_with_all, setup_calm, teardown_calm),
		cmocka_unit_test_setup_teardown(test_names_of_tables, setup_calm, teardown_calm),
		cmocka_unit_test_setup_teardown(test_bad_allow_list_refuses, setup_calm, teardown_calm),
	};
	log_init("test", (enum log_level)(LOG_ERROR + 1), LOG_TEXT); /* the bad row is meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
