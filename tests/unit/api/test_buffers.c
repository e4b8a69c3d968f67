/* Buffers: what is given back is used again, up to a bound, and more than that at once is no trouble. */
#include "unit.h"

#include <string.h>

#include "api/buffers.h"

static void test_buffers(void **state)
{
	struct buffers *b = buffers_new();
	uint8_t *some[BUFFERS_KEPT + 4];
	(void)state;

	assert_non_null(b);
	for (size_t i = 0; i < BUFFERS_KEPT + 4; i++) {
		some[i] = buffers_take(b);
		assert_non_null(some[i]);
		memset(some[i], (int)i, BUFFER_SIZE);
	}
	for (size_t i = 0; i < BUFFERS_KEPT + 4; i++) {
		assert_int_equal(some[i][0], i);
		assert_int_equal(some[i][BUFFER_SIZE - 1], i);
		buffers_give(b, some[i]);
	}
	/* the last one that was kept */
	uint8_t *again = buffers_take(b);
	assert_ptr_equal(again, some[BUFFERS_KEPT - 1]);
	buffers_give(b, again);
	buffers_give(b, NULL);
	buffers_free(b);
	buffers_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_buffers) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
