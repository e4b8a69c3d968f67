/* policy.mdb: what is committed is seen, in order and whole; a merge equals writing everything anew. */
#include "unit.h"

#include <lmdb.h>
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

/* A reader remembers where records lie: over renewals until a commit changes users or keys. */
static void test_found_again(void **state)
{
	struct fixture *f = *state;
	const uint64_t far = 5 + (UINT64_C(1) << 40); /* remembered in the same place as 5 */
	const struct policy_key *before = NULL;

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_key(f->w, 5, 1);
	put_key(f->w, far, 2);
	assert_int_equal(policy_db_set_generation(f->w, 1, "0a1b"), ERR_OK);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(policy_db_renew(f->r), ERR_OK);
		for (int again = 0; again < 2; again++) {
			const struct policy_key *k = policy_db_key(f->r, 5);
			assert_non_null(k);
			assert_int_equal(k->hash[0], 1);
			assert_true(before == NULL || before == k);
			before = k;
		}
		assert_int_equal(policy_db_key(f->r, far)->hash[0], 2);
		assert_int_equal(policy_db_key(f->r, far)->hash[0], 2);
		assert_null(policy_db_user(f->r, 5));
		assert_null(policy_db_key(f->r, 5 + (UINT64_C(1) << 41)));
		policy_db_release(f->r);
	}
	/* A change of the very record, while no view is held; before its commit, the old one holds. */
	for (int round = 3; round < 20; round++) {
		assert_int_equal(policy_db_begin(f->w), ERR_OK);
		put_key(f->w, 5, (uint8_t)round);
		for (uint64_t id = 10; id < 200; id++)
			put_key(f->w, id, (uint8_t)round);
		assert_int_equal(policy_db_renew(f->r), ERR_OK);
		assert_int_equal(policy_db_key(f->r, 5)->hash[0], round == 3 ? 1 : round - 1);
		policy_db_release(f->r);
		assert_int_equal(policy_db_commit(f->w), ERR_OK);
		assert_int_equal(policy_db_renew(f->r), ERR_OK);
		assert_int_equal(policy_db_key(f->r, 5)->hash[0], round);
		assert_int_equal(policy_db_key(f->r, far)->hash[0], 2);
		policy_db_release(f->r);
	}
}

/* The months' counters change much more often than the policy, and pages are used again all the time. */
static void test_found_again_beside_other_tables(void **state)
{
	enum { KEYS = 400 };
	struct fixture *f = *state;
	uint8_t wanted[KEYS] = { 0 }, before[KEYS];
	uint64_t random = 1;

	for (int round = 0; round < 400; round++) {
		memcpy(before, wanted, sizeof(before));
		assert_int_equal(policy_db_begin(f->w), ERR_OK);
		for (uint64_t id = 1; id < KEYS; id++) {
			struct policy_usage usage = { .version = POLICY_LAYOUT, .requests = random };
			random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			if (random >> 62 == 0)
				assert_int_equal(
				        policy_db_put(f->w, POLICY_USAGE, id * (random >> 60), &usage, sizeof(usage)),
				        ERR_OK);
			if (round == 0 || (round % 8 == 0 && random >> 59 == 7)) {
				wanted[id] = (uint8_t)(random >> 40);
				put_key(f->w, id, wanted[id]);
			}
		}
		if (round == 0)
			assert_int_equal(policy_db_set_generation(f->w, 1, "0a1b"), ERR_OK);
		if (round % 16 == 8) {
			policy_db_abort(f->w);
			memcpy(wanted, before, sizeof(wanted));
		} else {
			assert_int_equal(policy_db_commit(f->w), ERR_OK);
		}
		assert_int_equal(policy_db_renew(f->r), ERR_OK);
		for (uint64_t id = 1; id < KEYS; id++) {
			const struct policy_key *k = policy_db_key(f->r, id);
			assert_non_null(k);
			assert_int_equal(k->hash[0], wanted[id]);
			assert_int_equal(k->user_id, id * 10);
		}
		policy_db_release(f->r);
	}
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

/* ---- users: records of any length ---- */

/* A user with `n` bytes of allow list, all of them `mark`; free() it. */
static struct policy_user *make_user(size_t n, uint8_t mark)
{
	struct policy_user *u = calloc(1, sizeof(*u) + n);
	assert_non_null(u);
	u->version = POLICY_LAYOUT;
	u->flags = USER_ACTIVE;
	u->allow_bytes = (uint32_t)n;
	u->per_minute = mark;
	memset(u->lists, mark, n);
	return u;
}

static void put_user(struct policy_db *db, uint64_t id, size_t n, size_t stored, uint8_t mark)
{
	struct policy_user *u = make_user(n, mark);
	assert_int_equal(policy_db_put(db, POLICY_USERS, id, u, stored), ERR_OK);
	free(u);
}

static void commit_generation(struct policy_db *db, uint64_t generation)
{
	assert_int_equal(policy_db_set_generation(db, generation, "0a1b"), ERR_OK);
	assert_int_equal(policy_db_commit(db), ERR_OK);
}

static void check_user(const struct policy_user *u, size_t n, uint8_t mark)
{
	assert_non_null(u);
	assert_int_equal(u->allow_bytes, n);
	assert_int_equal(u->per_minute, mark);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(u->lists[i], mark);
}

static void test_user_with_its_allow_list(void **state)
{
	struct fixture *f = *state;
	const size_t head = sizeof(struct policy_user);

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_user(f->w, 1, 0, head, 1);
	put_user(f->w, 2, 5, head + 5, 2);
	put_user(f->w, 3, 300000, head + 300000, 3);
	/* Cut off, in the list and before it; and one that is longer than its list. */
	put_user(f->w, 4, 5, head + 4, 4);
	put_user(f->w, 5, 300000, head, 5);
	put_user(f->w, 6, 0, head - 1, 6);
	struct policy_user *longer = make_user(8, 7);
	longer->allow_bytes = 3;
	assert_int_equal(policy_db_put(f->w, POLICY_USERS, 7, longer, head + 8), ERR_OK);
	longer->allow_bytes = UINT32_MAX;
	assert_int_equal(policy_db_put(f->w, POLICY_USERS, 8, longer, head + 8), ERR_OK);
	free(longer);
	commit_generation(f->w, 1);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	check_user(policy_db_user(f->r, 1), 0, 1);
	check_user(policy_db_user(f->r, 2), 5, 2);
	check_user(policy_db_user(f->r, 3), 300000, 3);
	assert_null(policy_db_user(f->r, 4));
	assert_null(policy_db_user(f->r, 5));
	assert_null(policy_db_user(f->r, 6));
	assert_null(policy_db_user(f->r, 7));
	assert_null(policy_db_user(f->r, 8));
}

/* Three lists behind the record, one after the other; each must be there to its end, whatever the sum is. */
static void test_user_with_all_lists(void **state)
{
	struct fixture *f = *state;
	struct policy_user *u = make_user(30, 1);

	u->allow_bytes = 5;
	u->sources_bytes = 10;
	u->presets_bytes = 15;
	for (uint8_t i = 0; i < 30; i++)
		u->lists[i] = i;
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	for (size_t n = 0; n <= 30; n++)
		assert_int_equal(policy_db_put(f->w, POLICY_USERS, 1 + n, u, sizeof(*u) + n), ERR_OK);
	u->sources_bytes = UINT32_MAX - 4; /* with the other two it is 15 again, in 32 bits */
	assert_int_equal(policy_db_put(f->w, POLICY_USERS, 100, u, sizeof(*u) + 15), ERR_OK);
	free(u);
	commit_generation(f->w, 1);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	for (size_t n = 0; n < 30; n++)
		assert_null(policy_db_user(f->r, 1 + n));
	assert_null(policy_db_user(f->r, 100));
	for (int again = 0; again < 2; again++) {
		const struct policy_user *found = policy_db_user(f->r, 31);
		assert_non_null(found);
		struct sv allow = policy_user_allow(found), sources = policy_user_sources(found);
		struct sv presets = policy_user_presets(found);
		assert_int_equal(allow.n, 5);
		assert_int_equal(sources.n, 10);
		assert_int_equal(presets.n, 15);
		assert_int_equal(allow.p[0], 0);
		assert_int_equal(sources.p[0], 5);
		assert_int_equal(presets.p[0], 15);
		assert_int_equal(presets.p[14], 29);
	}
}

/* Lengths around the copy that a reader keeps, and what LMDB takes for one value. */
static void test_users_of_any_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 8, 135, 136, 137, 138, 2000, 4096, 520 * 1024, 3 * 1024 * 1024 };
	enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
	struct fixture *f = *state;

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	for (size_t i = 0; i < SIZES; i++)
		put_user(f->w, 1 + i, sizes[i], sizeof(struct policy_user) + sizes[i], (uint8_t)(i + 1));
	commit_generation(f->w, 1);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	for (int again = 0; again < 2; again++)
		for (size_t i = 0; i < SIZES; i++)
			check_user(policy_db_user(f->r, 1 + i), sizes[i], (uint8_t)(i + 1));
}

/* With the signing key behind it, or without; nothing between, and nothing more. */
static void test_key_with_its_signing_key(void **state)
{
	struct fixture *f = *state;
	union {
		struct policy_key key;
		uint8_t bytes[sizeof(struct policy_key) + SEALED_SIZE + 1];
	} r = { .key = make_key(7, 7) };
	const size_t whole = sizeof(r.key) + SEALED_SIZE;

	for (uint8_t i = 0; i < SEALED_SIZE; i++)
		r.key.signing[i] = i;
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 1, &r, sizeof(r.key)), ERR_OK);
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 2, &r, whole), ERR_OK);
	r.key.signing_bytes = SEALED_SIZE;
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 3, &r, whole), ERR_OK);
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 4, &r, whole - 1), ERR_OK);
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 5, &r, whole + 1), ERR_OK);
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 6, &r, sizeof(r.key)), ERR_OK);
	r.key.signing_bytes = SEALED_SIZE - 1;
	assert_int_equal(policy_db_put(f->w, POLICY_KEYS, 7, &r, whole - 1), ERR_OK);
	commit_generation(f->w, 1);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	for (int again = 0; again < 2; again++) {
		const struct policy_key *k = policy_db_key(f->r, 1);
		assert_non_null(k);
		assert_null(policy_key_signing(k).p);
		k = policy_db_key(f->r, 3);
		assert_non_null(k);
		assert_int_equal(k->user_id, 7);
		struct sv signing = policy_key_signing(k);
		assert_int_equal(signing.n, SEALED_SIZE);
		for (uint8_t i = 0; i < SEALED_SIZE; i++)
			assert_int_equal(signing.p[i], i);
		for (uint64_t id = 2; id <= 7; id++)
			assert_true(id == 3 || policy_db_key(f->r, id) == NULL);
	}
}

/* Lengths before and after that have nothing to do with each other, up to those that LMDB puts on pages of their own.
 */
static void test_merge_of_users(void **state)
{
	static const size_t lengths[] = { 0, 0, 0, 13, 25, 200, 1800, 2100, 9000 };
	struct fixture *f = *state;
	size_t length[IDS + 1];
	uint8_t mark[IDS + 1];

	srandom(1147);
	memset(mark, 0, sizeof(mark));
	for (int round = 0; round < 40; round++) {
		assert_int_equal(policy_db_begin(f->w), ERR_OK);
		assert_int_equal(policy_db_merge_start(f->w, POLICY_USERS), ERR_OK);
		for (uint64_t id = 1; id <= IDS; id++) {
			/* Many stay as they are, between those that grow, shrink, go and come. */
			if (mark[id] == 0 || random() % 3 == 0) {
				mark[id] = (uint8_t)(random() % 4);
				length[id] = lengths[random() % (long)(sizeof(lengths) / sizeof(lengths[0]))];
			}
			if (mark[id] == 0)
				continue;
			struct policy_user *u = make_user(length[id], mark[id]);
			assert_int_equal(policy_db_merge(f->w, id, u, sizeof(*u) + length[id]), ERR_OK);
			free(u);
		}
		assert_int_equal(policy_db_merge_finish(f->w), ERR_OK);
		commit_generation(f->w, (uint64_t)round);
		assert_int_equal(policy_db_renew(f->r), ERR_OK);
		for (uint64_t id = 1; id <= IDS; id++) {
			if (mark[id] == 0)
				assert_null(policy_db_user(f->r, id));
			else
				check_user(policy_db_user(f->r, id), length[id], mark[id]);
		}
	}
}

/* ---- usage ---- */

static void put_usage(struct policy_db *db, uint64_t id, uint64_t requests)
{
	struct policy_usage usage = { .version = POLICY_LAYOUT, .requests = requests, .bytes = requests * 100 };
	assert_int_equal(policy_db_put(db, POLICY_USAGE, id, &usage, sizeof(usage)), ERR_OK);
}

static void check_usage(struct policy_db *db, uint64_t id, uint64_t requests)
{
	const struct policy_usage *usage = policy_db_usage(db, id);
	assert_non_null(usage);
	assert_int_equal(usage->requests, requests);
	assert_int_equal(usage->bytes, requests * 100);
}

/* It changes nothing of what the file says of itself, and nothing that is loaded changes it. */
static void test_usage_stands_beside_the_policy(void **state)
{
	struct fixture *f = *state;
	struct policy_db_info info;

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_usage(f->w, 1, 10);
	put_usage(f->w, 7, 70);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_UNAVAILABLE);

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	assert_int_equal(policy_db_merge_start(f->w, POLICY_USERS), ERR_OK);
	struct policy_user *u = make_user(0, 1);
	assert_int_equal(policy_db_merge(f->w, 2, u, sizeof(*u)), ERR_OK);
	free(u);
	assert_int_equal(policy_db_merge_finish(f->w), ERR_OK);
	assert_int_equal(policy_db_merge_start(f->w, POLICY_KEYS), ERR_OK);
	assert_int_equal(policy_db_merge_finish(f->w), ERR_OK);
	commit_generation(f->w, 33);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	check_usage(f->r, 1, 10);
	check_usage(f->r, 7, 70);
	assert_null(policy_db_usage(f->r, 2));

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_usage(f->w, 1, 11);
	assert_int_equal(policy_db_delete(f->w, POLICY_USAGE, 7), ERR_OK);
	assert_int_equal(policy_db_commit(f->w), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	check_usage(f->r, 1, 11);
	assert_null(policy_db_usage(f->r, 7));
	assert_int_equal(policy_db_info(f->r, &info), ERR_OK);
	assert_int_equal(info.generation, 33);
	assert_string_equal(info.stamp, "0a1b");
	assert_int_equal(info.users, 1);
	assert_int_equal(info.keys, 0);

	policy_db_close(f->w);
	assert_int_equal(policy_db_open(f->dir, true, &f->w, error), ERR_OK);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	check_usage(f->r, 1, 11);
}

static void test_usage_of_other_layout_is_not_seen(void **state)
{
	struct fixture *f = *state;
	struct policy_usage usage = { .version = POLICY_LAYOUT - 1 };

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	assert_int_equal(policy_db_put(f->w, POLICY_USAGE, 1, &usage, sizeof(usage)), ERR_OK);
	usage.version = POLICY_LAYOUT;
	assert_int_equal(policy_db_put(f->w, POLICY_USAGE, 2, &usage, sizeof(usage) - 1), ERR_OK);
	commit_generation(f->w, 1);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	assert_null(policy_db_usage(f->r, 1));
	assert_null(policy_db_usage(f->r, 2));
}

static void test_one_transaction_at_a_time(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	put_key(f->w, 1, 1);
	assert_int_equal(policy_db_begin(f->w), ERR_BAD_STATE);
	put_key(f->w, 2, 2);
	commit_generation(f->w, 1);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	assert_non_null(policy_db_key(f->r, 1));
	assert_non_null(policy_db_key(f->r, 2));
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	policy_db_abort(f->w);
}

/* A file of the version before: its tables are others, and it has no usage. */
static void test_other_layout_is_emptied(void **state)
{
	struct fixture *f = *state;
	struct {
		uint32_t layout;
		uint32_t complete;
		uint64_t generation;
		char stamp[POLICY_STAMP_MAX];
	} meta = { .layout = POLICY_LAYOUT - 1, .complete = 1, .generation = 9 };
	const uint64_t one = 1;
	char path[128];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	policy_db_close(f->w);
	policy_db_close(f->r);
	f->w = f->r = NULL;
	policy_db_discard(f->dir);
	snprintf(path, sizeof(path), "%s/policy.mdb", f->dir);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 3), 0);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	MDB_val key = { sizeof(one), (void *)(uintptr_t)&one };
	MDB_val data = { sizeof(meta), &meta };
	static const char *const tables[] = { "meta", "users", "keys" };
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mdb_dbi_open(txn, tables[i], MDB_CREATE | MDB_INTEGERKEY, &dbi), 0);
		assert_int_equal(mdb_put(txn, dbi, &key, &data, 0), 0);
	}
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);

	assert_int_equal(policy_db_open(f->dir, false, &f->r, error), ERR_NOT_FOUND);
	assert_int_equal(policy_db_open(f->dir, true, &f->w, error), ERR_OK);
	open_reader(f);
	assert_int_equal(policy_db_renew(f->r), ERR_UNAVAILABLE);
	assert_int_equal(policy_db_begin(f->w), ERR_OK);
	commit_generation(f->w, 1);
	assert_int_equal(policy_db_renew(f->r), ERR_OK);
	struct policy_db_info info;
	assert_int_equal(policy_db_info(f->r, &info), ERR_OK);
	assert_int_equal(info.users, 0);
	assert_int_equal(info.keys, 0);
}

/* ---- whole tables ---- */

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
		cmocka_unit_test_setup_teardown(test_found_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_found_again_beside_other_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_record_of_other_layout_is_not_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_user_with_its_allow_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_user_with_all_lists, setup, teardown),
		cmocka_unit_test_setup_teardown(test_users_of_any_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_key_with_its_signing_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_of_users, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usage_stands_beside_the_policy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_usage_of_other_layout_is_not_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_transaction_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_layout_is_emptied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merge_equals_rewrite, setup, teardown),
		cmocka_unit_test_setup_teardown(test_survives_killed_writer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_file_is_made_anew, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
