/*
 * The bandwidth of a month: what arrives is charged at once, what PostgreSQL says comes to it, and neither is counted
 * twice, whatever keeper dies in between.
 */
/* LDFLAGS: -Wl,--wrap=clock_gettime */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "policy/quota.h"
#include "store/quota_slots.h"
#include "store/usage_charges.h"

#define USERS 4
/* 2026-11-24 12:00 UTC, and the months around it. */
#define NOW      INT64_C(1795521600)
#define DECEMBER INT64_C(1796083200)
#define OCTOBER  INT64_C(1790812800)

static struct {
	char dir[64];
	struct policy_db *db;
	struct limits_memory *memory;
	struct usage_charges *charges;
	struct quota_slots *slots;
	int64_t now;
} w;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	*ts = (struct timespec){ .tv_sec = w.now };
	return 0;
}

static void put_user(uint64_t id, uint8_t reset_day)
{
	const struct policy_user user = { .version = POLICY_LAYOUT, .flags = USER_ACTIVE, .reset_day = reset_day };

	assert_int_equal(policy_db_begin(w.db), ERR_OK);
	assert_int_equal(policy_db_put(w.db, POLICY_USERS, id, &user, sizeof(user)), ERR_OK);
	assert_int_equal(policy_db_set_generation(w.db, 1, "stamp"), ERR_OK);
	assert_int_equal(policy_db_commit(w.db), ERR_OK);
}

static void start_keeper(void)
{
	w.charges = usage_charges_new(w.memory, w.db);
	w.slots = calloc(1, sizeof(*w.slots));
	quota_slots_init(w.slots, w.memory, w.db, w.charges);
}

static void end_keeper(void)
{
	usage_charges_free(w.charges);
	free(w.slots);
}

static int setup(void **state)
{
	char error[256];

	(void)state;
	memset(&w, 0, sizeof(w));
	w.now = NOW;
	strcpy(w.dir, "/tmp/test-usage-charges-XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	w.memory = mmap(NULL, sizeof(*w.memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(w.memory, MAP_FAILED);
	assert_int_equal(policy_db_open(w.dir, true, &w.db, error), ERR_OK);
	for (uint64_t id = 1; id <= USERS; id++)
		put_user(id, 0);
	start_keeper();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	end_keeper();
	policy_db_close(w.db);
	policy_db_discard(w.dir);
	rmdir(w.dir);
	munmap(w.memory, sizeof(*w.memory));
	return 0;
}

static struct usage_charge charge_of(uint64_t user, int64_t at, uint64_t bytes)
{
	return (struct usage_charge){ .user = user, .start_ms = at * 1000, .bytes = bytes };
}

static void arrive(uint64_t user, int64_t at, uint64_t bytes)
{
	const struct usage_charge charge = charge_of(user, at, bytes);
	usage_charges_add(w.charges, &charge, 1);
}

static uint32_t month_of(int64_t at, unsigned reset_day)
{
	struct period p;

	period_at(at, reset_day, &p);
	return p.id;
}

static uint64_t counted(uint64_t user, int64_t at)
{
	const struct limit_slot *slot = limits_find(w.memory, user);
	return slot != NULL ? quota_used(slot->bytes, month_of(at, 0)) : 0;
}

/* A row of PostgreSQL is learnt, of the month that runs at NOW. */
static void learn(uint64_t user, uint64_t bytes)
{
	const struct quota_stored stored = { .bytes = bytes };
	struct limit_slot *slot = limits_slot(w.memory, user, NULL);

	quota_slots_learn(w.slots, slot, &stored, month_of(NOW, 0));
}

static void test_the_month_of_the_start(void **state)
{
	(void)state;
	arrive(1, NOW, 1000);
	arrive(1, NOW - 60, 24);
	assert_int_equal(counted(1, NOW), 1024);
	/* A request that began before the month, and one of the next: that month counts from there. */
	arrive(1, OCTOBER + 86400, 5000);
	assert_int_equal(counted(1, NOW), 1024);
	w.now = DECEMBER + 1;
	arrive(1, DECEMBER - 1, 5000);
	assert_int_equal(counted(1, DECEMBER), 0);
	arrive(1, DECEMBER, 7);
	assert_int_equal(counted(1, DECEMBER), 7);
	arrive(1, DECEMBER - 1, 5000);
	assert_int_equal(counted(1, DECEMBER), 7);
}

static void test_who_is_not_there(void **state)
{
	(void)state;
	arrive(99, NOW, 1000);
	assert_null(limits_find(w.memory, 99));
	arrive(2, NOW, 0);
	assert_null(limits_find(w.memory, 2));
}

/* PostgreSQL has other hosts', too: what waits here comes on top, but for what may be in its number already. */
static void test_what_waits_is_added(void **state)
{
	const struct usage_charge first = charge_of(1, NOW, 100);

	(void)state;
	arrive(1, NOW, 100);
	arrive(1, NOW, 11);
	learn(1, 5000);
	assert_int_equal(counted(1, NOW), 5111);
	usage_charges_taken(w.charges, &first, 1);
	learn(1, 5100);
	assert_int_equal(counted(1, NOW), 5111);
	usage_charges_done(w.charges, &first, 1);
	learn(1, 5100);
	assert_int_equal(counted(1, NOW), 5111);
	learn(1, 6100);
	assert_int_equal(counted(1, NOW), 6111);
}

static void test_a_batch_that_comes_back(void **state)
{
	const struct usage_charge first = charge_of(1, NOW, 100);

	(void)state;
	arrive(1, NOW, 100);
	usage_charges_taken(w.charges, &first, 1);
	learn(1, 1000);
	assert_int_equal(counted(1, NOW), 1000);
	usage_charges_back(w.charges, &first, 1);
	learn(1, 1000);
	assert_int_equal(counted(1, NOW), 1100);
}

/* Somebody sets the row to less, as an operator does who forgives a user. */
static void test_a_row_that_goes_down(void **state)
{
	(void)state;
	learn(1, 5000);
	arrive(1, NOW, 100);
	learn(1, 200);
	assert_int_equal(counted(1, NOW), 300);
}

/* The keeper is killed after the record was kept, and before it was charged, or after both. */
static void test_the_next_keeper(void **state)
{
	const struct usage_charge charges[] = { charge_of(1, NOW, 100), charge_of(1, NOW, 20), charge_of(2, NOW, 3) };

	(void)state;
	learn(1, 1000);
	arrive(1, NOW, 100);
	end_keeper();
	start_keeper();
	usage_charges_forget(w.charges);
	usage_charges_recover(w.charges, charges, 3);
	assert_int_equal(counted(1, NOW), 1100);
	learn(1, 1000);
	learn(2, 0);
	assert_int_equal(counted(1, NOW), 1120);
	assert_int_equal(counted(2, NOW), 3);
	usage_charges_forget(w.charges);
	usage_charges_recover(w.charges, charges, 3);
	learn(1, 1000);
	assert_int_equal(counted(1, NOW), 1120);
}

/* The agent ended; what policy.mdb has holds what waits, and the row that is learnt does not. */
static void test_the_next_agent(void **state)
{
	const uint32_t month = month_of(NOW, 0);
	const struct policy_usage kept = { .version = POLICY_LAYOUT, .bytes = quota_word(month, 1120) };
	const struct usage_charge charge = charge_of(1, NOW, 120);

	(void)state;
	assert_int_equal(policy_db_begin(w.db), ERR_OK);
	assert_int_equal(policy_db_put(w.db, POLICY_USAGE, 1, &kept, sizeof(kept)), ERR_OK);
	assert_int_equal(policy_db_commit(w.db), ERR_OK);
	usage_charges_recover(w.charges, &charge, 1);
	assert_int_equal(counted(1, NOW), 1120);
	learn(1, 1000);
	assert_int_equal(counted(1, NOW), 1120);
	/* And an operator has forgiven a part of it meanwhile. */
	learn(1, 900);
	assert_int_equal(counted(1, NOW), 1020);
}

static void test_a_reset_day(void **state)
{
	const struct quota_stored none = { 0 };

	(void)state;
	put_user(3, 25);
	arrive(3, NOW, 10); /* of the month from October 25 */
	struct limit_slot *slot = limits_find(w.memory, 3);
	assert_int_equal(quota_used(slot->bytes, month_of(NOW, 25)), 10);
	w.now = NOW + 86400; /* November 25: another month */
	arrive(3, NOW, 999);
	arrive(3, NOW + 86400, 4);
	assert_int_equal(quota_used(slot->bytes, month_of(NOW + 86400, 25)), 4);
	/* The day is moved: known with the next row that is learnt. */
	put_user(3, 20);
	quota_slots_learn(w.slots, slot, &none, month_of(NOW + 86400, 20));
	arrive(3, NOW + 86400, 5);
	assert_int_equal(quota_used(slot->bytes, month_of(NOW + 86400, 20)), 9);
	assert_int_equal(usage_charges_waiting(w.charges, slot, month_of(NOW + 86400, 20)), 5);
}

/* ---- whatever happens, in any order ---- */

#define RECORDS 400

/* A spool, what PostgreSQL has of it, and rows that were read and are learnt later. */
static struct model {
	struct usage_charge records[RECORDS];
	size_t arrived; /* in the spool */
	size_t shipped; /* PostgreSQL's position */
	size_t told;    /* the shipper's */
	size_t batch;   /* on their way, up to here; 0: none */
	bool committed; /* and PostgreSQL has them */
	uint64_t others;
	uint64_t uncharged[USERS + 1]; /* by keepers that were killed before */
	uint64_t read[USERS + 1];      /* rows as they were read some time ago; UINT64_MAX: not */
} m;

static uint64_t bytes_of(uint64_t user, size_t from, size_t to)
{
	uint64_t sum = 0;

	for (size_t i = from; i < to; i++)
		if (m.records[i].user == user)
			sum += m.records[i].bytes;
	return sum;
}

static uint64_t row_of(uint64_t user)
{
	return bytes_of(user, 0, m.shipped) + (user == 1 ? m.others : 0);
}

static void change_keeper(bool charged)
{
	/* One record may be in the spool and not yet charged. */
	if (!charged && m.arrived < RECORDS) {
		m.uncharged[m.records[m.arrived].user] += m.records[m.arrived].bytes;
		m.arrived++;
	}
	end_keeper();
	start_keeper();
	m.batch = 0;
	m.told = m.shipped;
	usage_charges_forget(w.charges);
	usage_charges_recover(w.charges, m.records + m.shipped, m.arrived - m.shipped);
}

static void step(void)
{
	const uint64_t user = 1 + (uint64_t)random() % USERS;

	switch (random() % 12) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (m.arrived < RECORDS) {
			usage_charges_add(w.charges, &m.records[m.arrived], 1);
			m.arrived++;
		}
		break;
	case 4:
	case 5:
		if (m.batch != 0 || m.told == m.arrived)
			break;
		m.batch = m.told + 1 + (size_t)random() % (m.arrived - m.told);
		m.committed = false;
		usage_charges_taken(w.charges, m.records + m.told, m.batch - m.told);
		break;
	case 6:
		if (m.batch != 0 && !m.committed) {
			m.shipped = m.batch;
			m.committed = true;
		}
		break;
	case 7:
	case 8:
		if (m.batch == 0)
			break;
		if (m.committed)
			usage_charges_done(w.charges, m.records + m.told, m.batch - m.told);
		else
			usage_charges_back(w.charges, m.records + m.told, m.batch - m.told);
		m.told = m.committed ? m.batch : m.told;
		m.batch = 0;
		break;
	case 9:
		m.read[user] = row_of(user);
		break;
	case 10:
		if (m.read[user] != UINT64_MAX)
			learn(user, m.read[user]);
		m.read[user] = UINT64_MAX;
		break;
	default:
		if (random() % 8 == 0)
			change_keeper(random() % 2 == 0);
		else
			m.others += (uint64_t)random() % 50;
		break;
	}
}

static void test_any_order(void **state)
{
	for (unsigned seed = 1; seed <= 60; seed++) {
		memset(&m, 0, sizeof(m));
		memset(m.read, 0xff, sizeof(m.read));
		srandom(seed);
		for (size_t i = 0; i < RECORDS; i++)
			m.records[i] = charge_of(1 + (uint64_t)random() % USERS, NOW, (uint64_t)random() % 1000);
		for (int i = 0; i < 3000; i++) {
			step();
			for (uint64_t user = 1; user <= USERS; user++) {
				uint64_t most = bytes_of(user, 0, m.arrived) + (user == 1 ? m.others : 0);
				if (counted(user, NOW) > most)
					fail_msg("seed %u: user %d is charged %d of %d", seed, (int)user,
					         (int)counted(user, NOW), (int)most);
				/* What has arrived here counts at once, but for a record before a keeper's death. */
				assert_true(counted(user, NOW) + m.uncharged[user] >= bytes_of(user, 0, m.arrived));
			}
		}
		if (m.batch != 0 && m.committed)
			usage_charges_done(w.charges, m.records + m.told, m.batch - m.told);
		else if (m.batch != 0)
			usage_charges_back(w.charges, m.records + m.told, m.batch - m.told);
		for (uint64_t user = 1; user <= USERS; user++) {
			learn(user, row_of(user));
			assert_int_equal(counted(user, NOW), bytes_of(user, 0, m.arrived) + (user == 1 ? m.others : 0));
		}
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_month_of_the_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_is_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_waits_is_added, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_batch_that_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_row_that_goes_down, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_next_keeper, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_next_agent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_reset_day, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_order, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
