/* Hex digits: there and back, and what is none. */
#include "unit.h"

#include <string.h>

#include "base/hex.h"

static void test_there_and_back(void **state)
{
	uint8_t bytes[256], back[256];
	char text[HEX_SIZE(256)];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_ptr_equal(hex_encode(bytes, sizeof(bytes), text), text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text + 18, "090a0b", 6);
	assert_int_equal(hex_decode(sv_str(text), back, sizeof(back)), ERR_OK);
	assert_memory_equal(back, bytes, sizeof(bytes));
	assert_int_equal(hex_decode(SV("aBcDeF"), back, 3), ERR_OK);
	assert_memory_equal(back, "\xab\xcd\xef", 3);
	assert_string_equal(hex_encode(bytes, 0, text), "");
	assert_int_equal(hex_decode(SV(""), back, 0), ERR_OK);
}

static void test_refused(void **state)
{
	static const char *const wrong[] = { "",   "0",  "000", "0000", "0g", "g0", "0 ", " 0", "0x",
		                             "-1", "+1", "0:",  "/0",   ":0", "@0", "G0", "`0" };
	uint8_t out = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(hex_decode(sv_str(wrong[i]), &out, 1), ERR_INVALID);
	assert_int_equal(hex_decode(sv_from("0\0", 2), &out, 1), ERR_INVALID);
	assert_int_equal(hex_decode(sv_from(NULL, 0), &out, 1), ERR_INVALID);
	assert_int_equal(out, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
