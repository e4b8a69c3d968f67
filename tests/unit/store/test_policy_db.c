/* policy.mdb: what is committed is seen, in order and whole; a merge equals writing everything anew. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/policy_db.h"

#define IDS 400

struct fixture {
	char dir[64];
	struct policy_db *w;
	struct policy_db *r;
};

static char error[256];

static void open_reader(struct fixture *f)
{
	assert_int_equal(policy_db_open(f->dir, false, &f->r, error), ERR_OK);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->dir, "/tmp/test-policy-db-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(policy_db_open(f->dir, false, &f->r, error), ERR_NOT_FOUND);
	assert_int_equal(policy_db_open(f->dir, true, &f->w, error), ERR_OK);
	open_reader(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[128];

	policy_db_close(f->r);
	policy_db_close(f->w);
	snprintf(path, sizeof(path), "%s/policy.mdb", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/policy.mdb-lock", f->dir);
	unlink(path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static struct policy_key make_key(uint64_t user, uint8_t mark)
{
	struct policy_key k = { .version = POLICY_LAYOUT, .flags = KEY_ACTIVE | KEY_USABLE, .user_id = user };
	memset(k.hash, mark, sizeof(k.hash));
	return k;
}

static void put_key(struct policy_db *db, uint64_t id, uint8_t mark)
{
	struct policy_key k = make_key(id * 10, mark);
	assert_int_equal(policy_db_put(db, POLICY_KEYS, id, &k, sizeof(k)), ERR_OK);
}

static void test_unavailable_until_complete(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(policy_db_renew(f->r), ERR_UNAVAILABLE);
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_key(f->w, 1, 7);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_UNAVAILABLE);
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	assert_int_equal(policy_db_set_generation(f->w, 5, "0a1b"), ERR_OK);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
}

static void test_reader_sees_commits_only(void **state)
{
	struct fixture *f = *state;
	struct policy_db_info info;

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_key(f->w, UINT64_C(1) << 40, 1);
	put_key(f->w, 2, 2);
	assert_int_equal(policy_db_set_generation(f->w, 9, "0a1b"), ERR_OK);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	const struct policy_key *k = policy_db_key(f->r, UINT64_C(1) << 40);
	assert_non_null(k);
	assert_int_equal(k->hash[0], 1);
	assert_null(policy_db_key(f->r, 3));
	assert_null(policy_db_user(f->r, 2));

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	assert_int_equal(policy_db_delete(f->w, POLICY_KEYS, 2), ERR_OK);
	assert_int_equal(policy_db_delete(f->w, POLICY_KEYS, 12345), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	assert_non_null(policy_db_key(f->r, 2));
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_non_null(policy_db_key(f->r, 2)); /* the old view */
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	assert_null(policy_db_key(f->r, 2));

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_key(f->w, 77, 1);
	policy_db_abort(f->w);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	assert_null(policy_db_key(f->r, 77));
	assert_int_equal(policy_db_info(f->r, &info), ERR_OK);
	assert_int_equal(info.generation, 9);
	assert_int_equal(info.keys, 1);
	assert_int_equal(info.users, 0);
	assert_string_equal(info.stamp, "0a1b");
}

static void test_record_of_other_layout_is_not_seen(void **state)
{
	struct fixture *f = *state;
	struct policy_key k = make_key(1, 1);

	k.version = POLICY_LAYOUT + 1;
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 1, &k, sizeof(k)), ERR_OK);
	k.version = POLICY_LAYOUT;
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 2, &k, sizeof(k) - 1), ERR_OK);
	assert_int_equal(policy_db_set_generation(f->w, 1, "0a1b"), ERR_OK);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	assert_null(policy_db_key(f->r, 1));
	assert_null(policy_db_key(f->r, 2));
}

/* Random tables before and after: the merge must give exactly the table after. */
static void test_merge_equals_rewrite(void **state)
{
	struct fixture *f = *state;
	uint8_t model[IDS + 1];

	srandom(4711);
	for (int round = 0; round < 60; round++) {
		int keep = (int)(random() % 100);
		assert_int_equal(policy_db_begin(f->w), ERR_OK);
		assert_int_equal(policy_db_merge_start(f->w, POLICY_KEYS), ERR_OK);
		for (uint64_t id = 1; id <= IDS; id++) {
			model[id] = random() % 100 < keep ? (uint8_t)(1 + random() % 3) : 0;
			if (model[id] == 0)
				continue;
			struct policy_key k = make_key(id, model[id]);
			assert_int_equal(policy_db_merge(f->w, id, &k, sizeof(k)), ERR_OK);
		}
		assert_int_equal(policy_db_merge_finish(f->w), ERR_OK);
		assert_int_equal(policy_db_set_generation(f->w, (uint64_t)round, "0a1b"), ERR_OK);
		assert_int_equal(policy_db_commit(f->w), ERR_OK);
		assert_int_equal(policy_db_renew(f->r), ERR_OK);
		for (uint64_t id = 1; id <= IDS; id++) {
			const struct policy_key *k = policy_db_key(f->r, id);
			if (model[id] == 0) {
				assert_null(k);
			} else {
				assert_non_null(k);
				assert_int_equal(k->hash[5], model[id]);
			}
		}
	}
}

static void test_survives_killed_writer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_key(f->w, 1, 1);
	assert_int_equal(policy_db_set_generation(f->w, 1, "0a1b"), ERR_OK);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	policy_db_close(f->w);
	policy_db_close(f->r);
	f->w = NULL;
	f->r = NULL;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct policy_db *w;
		if (policy_db_open(f->dir, true, &w, error) != ERR_OK || policy_db_begin(w) != ERR_OK)
			_exit(1);
		struct policy_key k = make_key(9, 9);
		if (policy_db_put(w, POLICY_KEYS, 2, &k, sizeof(k)) != ERR_OK)
			_exit(1);
		kill(getpid(), SIGKILL);
		_exit(1);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(policy_db_open(f->dir, true, &f->w, error), ERR_OK);
	open_reader(f);
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_key(f->w, 3, 3);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	assert_non_null(policy_db_key(f->r, 1));
	assert_null(policy_db_key(f->r, 2));
	assert_non_null(policy_db_key(f->r, 3));
}

static void test_damaged_file_is_made_anew(void **state)
{
	struct fixture *f = *state;
	char path[128];

	policy_db_close(f->r);
	policy_db_close(f->w);
	f->r = NULL;
	f->w = NULL;
	snprintf(path, sizeof(path), "%s/policy.mdb", f->dir);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < 20000; i++)
		fputs("no database ", file);
	fclose(file);
	assert_int_not_equal(policy_db_open(f->dir, false, &f->r, error), ERR_OK);
	assert_non_null(strstr(error, "policy.mdb"));
	assert_int_equal(policy_db_open(f->dir, true, &f->w, error), ERR_OK);
	open_reader(f);
	assert_int_equal(policy_db_renew(f->r), ERR_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unavailable_until_complete, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reader_sees_commits_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_record_of_other_layout_is_not_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_equals_rewrite, setup, teardown),
		cmocka_unit_test_setup_teardown(test_survives_killed_writer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_file_is_made_anew, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
