/*
 * The month's counters against a small model of PostgreSQL: answers that are lost before and after the commit,
 * connections that come and go, keepers that are killed and agents that start anew.
 *
 * What must always hold: nobody passes a quota; and when it is calm again, PostgreSQL, the memory and policy.mdb have
 * what was admitted, each request once.
 */
/* LDFLAGS: -Wl,--wrap=pg_query,--wrap=pg_result_rows,--wrap=pg_result_u64,--wrap=pg_result_error */
/* LDFLAGS: -Wl,--wrap=loop_timer_init,--wrap=loop_timer_start,--wrap=loop_timer_stop,--wrap=clock_gettime */
#include "store/quota_world.h"

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
	/* More than a second, so that rows that others have changed are read, and what PostgreSQL is given to rest. */
	turn(12 + USERS / 50);
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

/* Thousands of users at once take PostgreSQL no more than some hundred rows a second; a few are told at once. */
static void test_many_rows_are_paced(void **state)
{
	enum { SECONDS = 20 };

	(void)state;
	catch_up();
	ask_times(1, 1);
	turn(1);
	assert_int_equal(w.rows[1].requests, 1);
	w.rows_added = 0;
	for (unsigned i = 0; i < SECONDS * 5; i++) {
		for (uint64_t id = 1; id <= USERS && i % 10 == 0; id++)
			ask_times(id, 1);
		turn(1);
	}
	assert_in_range(w.rows_added, SECONDS * 250, SECONDS * 500 + 2 * QUOTA_BATCH_MAX);
	catch_up();
	check();
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
	quota_slots_init(s, w.memory, w.db, NULL);
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
		quota_slots_init(s, w.memory, w.db, NULL);
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
		T(test_many_rows_are_paced),
		T(test_more_rows_than_a_piece),
		T(test_the_month_turns_over),
		T(test_the_reset_day_moves),
		T(test_warnings_come_once),
		T(test_learning),
		T(test_half_done),
	};
	log_init("test", (enum log_level)(LOG_ERROR + 1), LOG_TEXT); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
