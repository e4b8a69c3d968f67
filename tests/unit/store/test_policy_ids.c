/* Lists of changed ids: what is added is there once, and a full list makes room or says that it has none. */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/policy_ids.h"

static struct policy_ids list;

static int setup(void **state)
{
	(void)state;
	memset(&list, 0, sizeof(list));
	return 0;
}

static enum err add(uint64_t id)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, id);
	return policy_ids_add(&list, sv_str(text));
}

static void test_add(void **state)
{
	static const char *const bad[] = { "", ",", "1,", ",1", "1,,2", "a", "-1", "1 2", "18446744073709551616" };

	(void)state;
	assert_int_equal(policy_ids_add(&list, SV("3,18446744073709551615")), ERR_OK);
	assert_int_equal(policy_ids_add(&list, SV("1")), ERR_OK);
	assert_int_equal(list.count, 3);
	assert_int_equal(list.ids[0], 3);
	assert_true(list.ids[1] == UINT64_MAX);
	assert_int_equal(list.ids[2], 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(policy_ids_add(&list, sv_str(bad[i])), ERR_INVALID);
}

static void test_compact(void **state)
{
	(void)state;
	policy_ids_compact(&list);
	assert_int_equal(list.count, 0);
	assert_int_equal(policy_ids_add(&list, SV("5,18446744073709551615,5,1,9223372036854775808,1,5")), ERR_OK);
	policy_ids_compact(&list);
	assert_int_equal(list.count, 4);
	assert_int_equal(list.ids[0], 1);
	assert_int_equal(list.ids[1], 5);
	assert_true(list.ids[2] == UINT64_C(9223372036854775808));
	assert_true(list.ids[3] == UINT64_MAX);
}

/* Three quarters of the room hold for whatever order and repetition. */
static void test_room(void **state)
{
	const uint64_t most = POLICY_IDS_MAX / 4 * 3;

	(void)state;
	srandom(3);
	for (int i = 0; i < 20 * POLICY_IDS_MAX; i++)
		assert_int_equal(add(1 + (uint64_t)random() % most), ERR_OK);
	policy_ids_compact(&list);
	assert_true(list.count > most / 10 * 9 && list.count <= most);
	for (uint64_t id = 1; id <= most; id++)
		assert_int_equal(add(id), ERR_OK);
	policy_ids_compact(&list);
	assert_int_equal(list.count, most);
	for (size_t i = 0; i < list.count; i++)
		assert_int_equal(list.ids[i], i + 1);
}

static void test_no_room(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= POLICY_IDS_MAX; id++)
		assert_int_equal(add(id), ERR_OK);
	assert_int_equal(add(1), ERR_SPACE);
	assert_int_equal(list.count, 0);
	assert_int_equal(add(1), ERR_OK);
	assert_int_equal(list.count, 1);
}

static void test_format(void **state)
{
	const uint64_t ids[] = { UINT64_MAX, 0, 7, UINT64_MAX };
	char buf[POLICY_IDS_TEXT(4)];

	(void)state;
	assert_string_equal(policy_ids_format(ids, 4, buf), "{18446744073709551615,0,7,18446744073709551615}");
	assert_string_equal(policy_ids_format(ids, 1, buf), "{18446744073709551615}");
	assert_string_equal(policy_ids_format(ids, 0, buf), "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_add, setup),    cmocka_unit_test_setup(test_compact, setup),
		cmocka_unit_test_setup(test_room, setup),   cmocka_unit_test_setup(test_no_room, setup),
		cmocka_unit_test_setup(test_format, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
