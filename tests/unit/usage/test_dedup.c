/* The last request ids: exactly the last `capacity` ones are known. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "usage/dedup.h"

static struct sv id_of(unsigned n, char buf[64])
{
	return sv_from(buf, (size_t)snprintf(buf, 64, "%08x-aaaa-bbbb-cccc-%u", n * 2654435761U, n));
}

static void test_last_ones(void **state)
{
	(void)state;
	struct usage_dedup *d = usage_dedup_new(8);
	char buf[64];

	assert_non_null(d);
	assert_false(usage_dedup_seen(d, id_of(0, buf)));
	for (unsigned n = 0; n < 1000; n++) {
		assert_true(usage_dedup_add(d, id_of(n, buf)));
		assert_false(usage_dedup_add(d, id_of(n, buf)));
		for (unsigned i = 0; i <= n + 1; i++)
			assert_int_equal(usage_dedup_seen(d, id_of(i, buf)), i <= n && n - i < 8);
	}
	usage_dedup_free(d);
}

static void test_one_and_odd_ids(void **state)
{
	(void)state;
	struct usage_dedup *d = usage_dedup_new(1);

	assert_non_null(d);
	assert_true(usage_dedup_add(d, SV("")));
	assert_true(usage_dedup_seen(d, SV("")));
	assert_true(usage_dedup_add(d, SV("a")));
	assert_false(usage_dedup_seen(d, SV("")));
	assert_false(usage_dedup_seen(d, SV("ab")));
	assert_true(usage_dedup_seen(d, SV("a")));
	usage_dedup_free(d);
}

/* Random ids of a small set, against a list. */
static void test_model(void **state)
{
	(void)state;
	enum { CAPACITY = 64, IDS = 150 };
	uint64_t seed = 7;

	for (int round = 0; round < 20; round++) {
		struct usage_dedup *d = usage_dedup_new(CAPACITY);
		unsigned list[CAPACITY];
		size_t n = 0;
		char buf[64];

		assert_non_null(d);
		for (int step = 0; step < 3000; step++) {
			seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			unsigned id = (unsigned)(seed >> 33) % IDS;
			size_t at = 0;

			while (at < n && list[at] != id)
				at++;
			assert_int_equal(usage_dedup_seen(d, id_of(id, buf)), at < n);
			assert_int_equal(usage_dedup_add(d, id_of(id, buf)), at == n);
			if (at < n)
				continue;
			if (n == CAPACITY)
				memmove(list, list + 1, --n * sizeof(list[0]));
			list[n++] = id;
		}
		usage_dedup_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_ones),
		cmocka_unit_test(test_one_and_odd_ids),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
