/* Token buckets: against the definition, for random times (backwards too), limits and costs. */
#include "unit.h"

#include "policy/gcra.h"

#define SEC UINT64_C(1000000000)

static uint64_t seed = 1;

static uint64_t rnd(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static void test_burst_then_rate(void **state)
{
	(void)state;
	struct gcra g = gcra_make(600, 60, 10); /* ten a second */
	_Atomic uint64_t tat = 0;
	uint64_t now = 5 * SEC;

	for (int i = 0; i < 10; i++) {
		assert_int_equal(gcra_left(tat, gcra_now(now), g), 10 - i);
		assert_true(gcra_take(&tat, gcra_now(now), g, 1));
	}
	assert_false(gcra_take(&tat, gcra_now(now), g, 1));
	assert_int_equal(gcra_wait_ns(tat, gcra_now(now), g, 1), SEC / 10);
	assert_false(gcra_take(&tat, gcra_now(now + SEC / 10 - 1), g, 1));
	assert_true(gcra_take(&tat, gcra_now(now + SEC / 10), g, 1));
	assert_int_equal(gcra_full_ns(tat, gcra_now(now + SEC / 10), g), SEC);
	assert_int_equal(gcra_wait_ns(tat, gcra_now(now), g, 11), UINT64_MAX);
	/* All of it, or nothing. */
	now += 60 * SEC;
	assert_false(gcra_take(&tat, gcra_now(now), g, 11));
	assert_int_equal(gcra_left(tat, gcra_now(now), g), 10);
	assert_true(gcra_take(&tat, gcra_now(now), g, 10));
	gcra_give_back(&tat, g, 3);
	assert_int_equal(gcra_left(tat, gcra_now(now), g), 3);
}

static void test_no_limit_and_extremes(void **state)
{
	(void)state;
	struct gcra none = gcra_make(0, 60, 5);
	assert_int_equal(none.interval, 0);
	struct gcra fast = gcra_make(1000000000, 60, 0);
	assert_int_equal(fast.interval, 60 * GCRA_PER_NS);
	assert_int_equal(gcra_left(0, gcra_now(SEC), fast), 1000000000);
	struct gcra slow = gcra_make(1, 3600, 1000000000);
	_Atomic uint64_t tat = 0;
	for (int i = 0; i < 1000; i++)
		assert_true(gcra_take(&tat, gcra_now(UINT64_C(1) << 54), slow, 1));
	/* The rounding is always against the user, and tiny. */
	struct gcra odd = gcra_make(7, 60, 0);
	assert_true(odd.interval * 7 >= 60 * SEC * GCRA_PER_NS);
	assert_true(odd.interval * 7 - 60 * SEC * GCRA_PER_NS < 7);
}

static void test_share(void **state)
{
	(void)state;
	struct gcra g = gcra_make(600, 60, 9);
	struct gcra third = gcra_share(g, 3);
	assert_int_equal(third.interval, 3 * g.interval);
	assert_int_equal(gcra_left(0, gcra_now(SEC), third), 3);
	/* A share holds a token at least. */
	assert_int_equal(gcra_left(0, gcra_now(SEC), gcra_share(gcra_make(10, 60, 1), 3)), 1);
	assert_int_equal(gcra_share(g, 1).interval, g.interval);
	assert_int_equal(gcra_share(gcra_make(0, 60, 0), 3).interval, 0);
}

/* A lowered limit, or a clock that went back, takes no longer than a full bucket to be forgotten. */
static void test_heals(void **state)
{
	(void)state;
	struct gcra g = gcra_make(60, 60, 5);
	_Atomic uint64_t tat = gcra_now(1000000 * SEC);
	assert_false(gcra_take(&tat, gcra_now(10 * SEC), g, 1));
	assert_int_equal(gcra_wait_ns(tat, gcra_now(10 * SEC), g, 1), SEC);
	tat = gcra_now(100 * SEC);
	for (int i = 0; i < 5; i++)
		assert_false(gcra_take(&tat, gcra_now(10 * SEC), g, 1));
	assert_true(gcra_take(&tat, gcra_now(11 * SEC), g, 1));
	assert_false(gcra_take(&tat, gcra_now(11 * SEC), g, 1));
}

/*
 * For every pair of moments of a run: what passed between them is at most burst + rate * t. And no token is lost:
 * whenever the run was idle long enough, all of the burst passes.
 */
static void test_property(void **state)
{
	(void)state;
	enum { STEPS = 300 };
	static uint64_t at[STEPS], taken[STEPS];

	for (int run = 0; run < 400; run++) {
		uint64_t rate = 1 + rnd(run % 2 ? 1000 : 10000000), burst = 1 + rnd(50), elapsed = 0;
		uint64_t now = (1 + rnd(1000)) * SEC;
		struct gcra g = gcra_make(rate, 60, burst);
		uint64_t interval_ns = g.interval / GCRA_PER_NS + 1;
		_Atomic uint64_t tat = 0;
		for (int i = 0; i < STEPS; i++) {
			uint64_t forward = rnd(3 * interval_ns);
			uint64_t n = 1 + rnd(rnd(4) == 0 ? burst + 2 : 3);
			now += forward;
			elapsed += forward;
			if (rnd(20) == 0) {
				uint64_t back = rnd(10 * interval_ns);
				now -= back < now ? back : 0;
			}
			at[i] = elapsed;
			uint64_t left = gcra_left(tat, gcra_now(now), g);
			bool passed = gcra_take(&tat, gcra_now(now), g, n);
			assert_int_equal(passed, n <= left);
			taken[i] = passed ? n : 0;
			if (passed && rnd(8) == 0) {
				uint64_t back = 1 + rnd(n);
				gcra_give_back(&tat, g, back);
				taken[i] -= back;
			}
		}
		for (int i = 0; i < STEPS; i++) {
			uint64_t sum = 0;
			for (int k = i; k < STEPS; k++) {
				sum += taken[k];
				/* sum <= burst + rate * t / 60 s, without fractions; times that went back do not count.
				 */
				__extension__ unsigned __int128 room = (unsigned __int128)(at[k] - at[i]) * rate;
				if (sum > burst)
					assert_true((unsigned __int128)(sum - burst) * 60 * SEC <= room);
			}
		}
		now += 2 * burst * interval_ns;
		assert_true(gcra_take(&tat, gcra_now(now), g, burst));
		assert_false(gcra_take(&tat, gcra_now(now), g, 1));
	}
}

/* Under constant pressure exactly burst + rate * t passes: nothing drifts. */
static void test_no_drift(void **state)
{
	(void)state;
	static const uint64_t rates[] = { 7, 1000, 59999, 600000 };
	for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
		struct gcra g = gcra_make(rates[r], 60, 3);
		_Atomic uint64_t tat = 0;
		uint64_t start = 77 * SEC, passed = 0, span = 600 * SEC;
		/* Time moves by the wait that the bucket itself names. */
		for (uint64_t now = start; now < start + span;) {
			uint64_t wait = gcra_wait_ns(tat, gcra_now(now), g, 1);
			if (wait == 0) {
				assert_true(gcra_take(&tat, gcra_now(now), g, 1));
				passed++;
			} else {
				now += wait;
			}
		}
		uint64_t exact = 3 + rates[r] * 10;
		assert_in_range(passed, exact - 2, exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_then_rate), cmocka_unit_test(test_no_limit_and_extremes),
		cmocka_unit_test(test_share),           cmocka_unit_test(test_heals),
		cmocka_unit_test(test_property),        cmocka_unit_test(test_no_drift),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
