/* Ids of images and names of their files. */
#include "unit.h"

#include <string.h>

#include "api/image_id.h"

static void test_make(void **state)
{
	struct hmac_sha256 k, other;
	uint8_t sha[HMAC_SHA256_SIZE];
	char id[IMAGE_ID_SIZE], again[IMAGE_ID_SIZE];
	(void)state;

	memset(sha, 0x11, sizeof(sha));
	assert_int_equal(image_id_key(&k, SV("pepper")), ERR_OK);
	assert_int_equal(image_id_make(&k, 1, sha, id), ERR_OK);
	assert_int_equal(strlen(id), IMAGE_ID_CHARS);
	assert_true(image_id_ok(sv_str(id)));
	assert_int_equal(image_id_make(&k, 1, sha, again), ERR_OK);
	assert_string_equal(id, again);
	assert_int_equal(image_id_make(&k, UINT64_MAX, sha, again), ERR_OK);
	assert_string_not_equal(id, again);
	sha[31] ^= 1;
	assert_int_equal(image_id_make(&k, 1, sha, again), ERR_OK);
	assert_string_not_equal(id, again);
	sha[31] ^= 1;
	assert_int_equal(image_id_key(&other, SV("peppe")), ERR_OK);
	assert_int_equal(image_id_make(&other, 1, sha, again), ERR_OK);
	assert_string_not_equal(id, again);
}

static void test_names(void **state)
{
	static const char id[] = "00112233445566778899aabbccddeeff";
	static const char *const bad[] = {
		"00112233445566778899aabbccddeeff",
		"00112233445566778899aabbccddeeff.",
		"00112233445566778899aabbccddeeff.JPG",
		"00112233445566778899aabbccddeeff.jpg.",
		"00112233445566778899aabbccddeeff.jpg ",
		"00112233445566778899AABBCCDDEEFF.jpg",
		"0112233445566778899aabbccddeeff.jpg",
		"x00112233445566778899aabbccddeeff.jpg",
		"00112233445566778899aabbccddeefg.jpg",
		".part-00112233445566778899aabbccdd.jpg",
		"",
		"00112233445566778899aabbccddeeff/jpg",
	};
	char name[IMAGE_NAME_SIZE];
	enum image_type type;
	(void)state;

	for (unsigned i = 0; i < IMAGE_TYPE_COUNT; i++) {
		image_name(id, (enum image_type)i, name);
		assert_true(image_name_ok(sv_str(name), &type));
		assert_int_equal(type, i);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(image_name_ok(sv_str(bad[i]), &type));
	assert_false(image_id_ok(sv_from("00112233445566778899aabbccddee\0f", 32)));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_make), cmocka_unit_test(test_names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
