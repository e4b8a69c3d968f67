/* Keys: what key_generate() makes is accepted, every change of it is refused, hashes are those of RFC 2104. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "policy/key.h"

static const char pepper[] = "0123456789abcdef0123456789abcdef";

static void test_generated_keys_parse(void **state)
{
	(void)state;
	const uint64_t ids[] = { 1, 9, 42, 1000000, UINT64_MAX };
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		char text[KEY_TEXT_MAX];
		struct key_parts parts;
		assert_int_equal(key_generate(ids[i], text), ERR_OK);
		assert_int_equal(key_parse(sv_str(text), &parts), ERR_OK);
		assert_true(parts.id == ids[i]);
		assert_int_equal(parts.body.n, strlen(text) - KEY_CHECK_CHARS - 1);
	}
}

static void test_two_keys_differ(void **state)
{
	(void)state;
	char a[KEY_TEXT_MAX];
	char b[KEY_TEXT_MAX];
	assert_int_equal(key_generate(7, a), ERR_OK);
	assert_int_equal(key_generate(7, b), ERR_OK);
	assert_string_not_equal(a, b);
}

/* The check digits find every single changed character, and every cut. */
static void test_every_change_is_refused(void **state)
{
	(void)state;
	char text[KEY_TEXT_MAX];
	struct key_parts parts;

	assert_int_equal(key_generate(1234, text), ERR_OK);
	size_t len = strlen(text);
	for (size_t i = 0; i < len; i++) {
		char old = text[i];
		text[i] = old == 'x' ? 'y' : 'x';
		assert_int_equal(key_parse(sv_str(text), &parts), ERR_INVALID);
		text[i] = old;
		assert_int_equal(key_parse(sv_from(text, i), &parts), ERR_INVALID);
	}
	assert_int_equal(key_parse(sv_str(text), &parts), ERR_OK);
	text[len] = '_';
	assert_int_equal(key_parse(sv_from(text, len + 1), &parts), ERR_INVALID);
	text[len] = '\0';
	assert_int_equal(key_parse(sv_from(text, len + 1), &parts), ERR_INVALID);
}

static void test_nonsense_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"_",
		"igw",
		"igw_",
		"igw___",
		"igw_0_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_000000",
		"igw_1_a_b",
		"igw_-1_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_000000",
		"IGW_1_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_000000",
		"igw_99999999999999999999999_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_000000",
	};
	struct key_parts parts;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(key_parse(sv_str(texts[i]), &parts), ERR_INVALID);
	assert_int_equal(key_parse(sv_from(NULL, 0), &parts), ERR_INVALID);
	char long_text[4096];
	memset(long_text, '_', sizeof(long_text));
	assert_int_equal(key_parse(sv_from(long_text, sizeof(long_text)), &parts), ERR_INVALID);
}

/* RFC 4231 test case 2 ("Jefe"); and a hasher gives the same for the same text each time. */
static void test_hash_is_hmac_sha256(void **state)
{
	(void)state;
	uint8_t hash[KEY_HASH_SIZE];
	uint8_t expected[KEY_HASH_SIZE];
	struct key_hasher *h = key_hasher_new("Jefe");
	assert_non_null(h);
	assert_int_equal(
	        key_hash_from_hex(SV("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"), expected),
	        ERR_OK);
	for (int i = 0; i < 3; i++) {
		memset(hash, 0, sizeof(hash));
		assert_int_equal(key_hash(h, SV("what do ya want for nothing?"), hash), ERR_OK);
		assert_memory_equal(hash, expected, sizeof(hash));
	}
	key_hasher_free(h);
}

static void test_hash_hex_round_trip(void **state)
{
	(void)state;
	char text[KEY_TEXT_MAX];
	char hex[KEY_HASH_HEX];
	uint8_t a[KEY_HASH_SIZE];
	uint8_t b[KEY_HASH_SIZE];
	struct key_parts parts;
	struct key_hasher *h = key_hasher_new(pepper);
	struct key_hasher *other = key_hasher_new("another pepper of the same length");
	assert_non_null(h);
	assert_non_null(other);
	assert_int_equal(key_generate(5, text), ERR_OK);
	assert_int_equal(key_hash_hex(h, sv_str(text), hex), ERR_OK);
	assert_int_equal(strlen(hex), 64);
	assert_int_equal(key_hash_from_hex(sv_str(hex), a), ERR_OK);
	assert_int_equal(key_parse(sv_str(text), &parts), ERR_OK);
	assert_int_equal(key_hash(h, parts.body, b), ERR_OK);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(key_hash(other, parts.body, b), ERR_OK);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(key_hash_hex(h, SV("igw_1_nonsense"), hex), ERR_INVALID);
	key_hasher_free(h);
	key_hasher_free(other);
}

static void test_hex_is_strict(void **state)
{
	(void)state;
	uint8_t out[KEY_HASH_SIZE];
	char hex[65];
	memset(hex, 'a', 64);
	hex[64] = '\0';
	assert_int_equal(key_hash_from_hex(sv_from(hex, 64), out), ERR_OK);
	assert_int_equal(key_hash_from_hex(sv_from(hex, 63), out), ERR_INVALID);
	assert_int_equal(key_hash_from_hex(sv_from(hex, 65), out), ERR_INVALID);
	hex[10] = 'g';
	assert_int_equal(key_hash_from_hex(sv_from(hex, 64), out), ERR_INVALID);
	assert_int_equal(key_hash_from_hex(sv_from(NULL, 0), out), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generated_keys_parse),    cmocka_unit_test(test_two_keys_differ),
		cmocka_unit_test(test_every_change_is_refused), cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_hash_is_hmac_sha256),     cmocka_unit_test(test_hash_hex_round_trip),
		cmocka_unit_test(test_hex_is_strict),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
