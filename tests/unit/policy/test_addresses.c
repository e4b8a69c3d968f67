/* The table of addresses: limits, prefixes, and what stays under a flood. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "policy/addresses.h"

#define SEC UINT64_C(1000000000)

static void v4(uint8_t addr[16], uint32_t number)
{
	memset(addr, 0, 10);
	addr[10] = addr[11] = 0xff;
	for (int i = 0; i < 4; i++)
		addr[12 + i] = (uint8_t)(number >> (24 - 8 * i));
}

static struct address_table *make(uint64_t seed)
{
	struct address_table *t = aligned_alloc(64, sizeof(*t));
	assert_non_null(t);
	memset(t, 0, sizeof(*t));
	t->seed = seed;
	return t;
}

static void test_limit(void **state)
{
	(void)state;
	struct address_table *t = make(1);
	struct gcra g = gcra_make(60, 60, 5);
	uint8_t one[16], other[16];
	uint64_t wait = 0, now = gcra_now(100 * SEC);

	v4(one, 0x7f000001);
	v4(other, 0x7f000002);
	for (int i = 0; i < 5; i++)
		assert_true(addresses_take(t, one, now, g, &wait));
	assert_false(addresses_take(t, one, now, g, &wait));
	assert_int_equal(wait, SEC);
	assert_true(addresses_take(t, other, now, g, &wait));
	assert_true(addresses_take(t, one, now + gcra_now(SEC), g, &wait));
	free(t);
}

/* A customer's /64 is one; v4 addresses differ in their last bytes. */
static void test_prefixes(void **state)
{
	(void)state;
	struct address_table *t = make(2);
	struct gcra g = gcra_make(60, 60, 1);
	uint8_t a[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 1 };
	uint8_t same[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 2 };
	uint8_t next[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 2, 1 };
	uint64_t wait, now = gcra_now(100 * SEC);

	assert_true(addresses_take(t, a, now, g, &wait));
	assert_false(addresses_take(t, same, now, g, &wait));
	assert_true(addresses_take(t, next, now, g, &wait));
	free(t);
}

/* A million addresses that come once do not throw out those that are at their limit. */
static void test_flood(void **state)
{
	(void)state;
	enum { BUSY = 64 };
	struct address_table *t = make(3);
	struct gcra g = gcra_make(60, 60, 100);
	uint8_t addr[16];
	uint64_t wait, now = 100 * SEC;
	unsigned again = 0;

	for (uint32_t b = 0; b < BUSY; b++)
		for (int i = 0; i < 100; i++) {
			v4(addr, 0x0a000000 + b);
			assert_true(addresses_take(t, addr, gcra_now(now), g, &wait));
		}
	for (uint32_t i = 0; i < 1000000; i++) {
		now += 1000;
		v4(addr, 0xc0000000 + i);
		(void)addresses_take(t, addr, gcra_now(now), g, &wait);
	}
	/* One second has passed: one token is there, and no more. */
	for (uint32_t b = 0; b < BUSY; b++) {
		v4(addr, 0x0a000000 + b);
		assert_true(addresses_take(t, addr, gcra_now(now), g, &wait));
		again += addresses_take(t, addr, gcra_now(now), g, &wait);
	}
	assert_int_equal(again, 0);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_flood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
