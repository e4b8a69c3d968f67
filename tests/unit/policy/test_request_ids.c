/* The ids of requests that have spent. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/request_ids.h"

#define MS UINT64_C(1000000)

static struct request_ids *make(void)
{
	struct request_ids *t = aligned_alloc(64, sizeof(*t));
	assert_non_null(t);
	memset(t, 0, sizeof(*t));
	return t;
}

static void test_marks(void **state)
{
	(void)state;
	struct request_ids *t = make();
	struct request_id a, b;

	request_id_find(t, SV("0b8f1d3e-1"), 5000 * MS, &a);
	assert_int_equal(a.spent, 0);
	assert_true(request_id_mark(&a, REQUEST_SPENT_ADDRESS, 5000 * MS));
	assert_true(request_id_mark(&a, REQUEST_SPENT_USER, 5000 * MS));
	assert_false(request_id_mark(&a, REQUEST_SPENT_USER, 5000 * MS));
	request_id_find(t, SV("0b8f1d3e-1"), 5400 * MS, &b);
	assert_int_equal(b.spent, REQUEST_SPENT_ADDRESS | REQUEST_SPENT_USER);
	request_id_unmark(&b, REQUEST_SPENT_USER);
	request_id_find(t, SV("0b8f1d3e-1"), 5400 * MS, &a);
	assert_int_equal(a.spent, REQUEST_SPENT_ADDRESS);
	request_id_find(t, SV("0b8f1d3e-2"), 5400 * MS, &a);
	assert_int_equal(a.spent, 0);
	free(t);
}

/* Both workers have looked before one of them marks: the other must see it. */
static void test_two_workers(void **state)
{
	(void)state;
	struct request_ids *t = make();
	struct request_id a, b;

	request_id_find(t, SV("x"), 5000 * MS, &a);
	request_id_find(t, SV("x"), 5000 * MS, &b);
	assert_true(request_id_mark(&a, REQUEST_SPENT_USER, 5000 * MS));
	assert_false(request_id_mark(&b, REQUEST_SPENT_USER, 5000 * MS));
	free(t);
}

static void test_without_id(void **state)
{
	(void)state;
	struct request_ids *t = make();
	struct request_id a;

	request_id_find(t, sv_from(NULL, 0), 5000 * MS, &a);
	assert_true(request_id_mark(&a, REQUEST_SPENT_USER, 5000 * MS));
	request_id_unmark(&a, REQUEST_SPENT_USER);
	request_id_find(t, sv_from(NULL, 0), 5000 * MS, &a);
	assert_true(request_id_mark(&a, REQUEST_SPENT_USER, 5000 * MS));
	free(t);
}

/* At 50,000 a second each id is known for a second at least, and forgotten after a minute. */
static void test_kept_and_forgotten(void **state)
{
	(void)state;
	enum { RATE = 50000 };
	struct request_ids *t = make();
	struct request_id id;
	char text[48];
	unsigned lost = 0;

	for (uint64_t i = 0; i < 3 * RATE; i++) {
		uint64_t now = 7000 * MS + i * 1000 * MS / RATE;
		struct sv v = sv_from(text, (size_t)snprintf(text, sizeof(text), "6f9619ff-8b86-d011-%016llx",
		                                             (unsigned long long)i));
		request_id_find(t, v, now, &id);
		assert_int_equal(id.spent, 0);
		assert_true(request_id_mark(&id, REQUEST_SPENT_USER, now));
		if (i < RATE)
			continue;
		v = sv_from(text, (size_t)snprintf(text, sizeof(text), "6f9619ff-8b86-d011-%016llx",
		                                   (unsigned long long)(i - RATE)));
		request_id_find(t, v, now, &id);
		lost += id.spent == 0;
	}
	/* Lines that by chance get eight times their share are rare. */
	assert_in_range(lost, 0, 2 * RATE / 1000);
	request_id_find(t, sv_str(text), 7000 * MS + 70 * 1000 * MS, &id);
	assert_int_equal(id.spent, 0);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_two_workers),
		cmocka_unit_test(test_without_id),
		cmocka_unit_test(test_kept_and_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
