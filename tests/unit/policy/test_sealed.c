/*
 * Sealed signing keys: against bytes that a program of another origin made (AES and GHASH written out in Python after
 * FIPS 197 and SP 800-38D), and that nothing but the right master key, row and bytes opens them.
 */
#include "unit.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "policy/sealed.h"

#define MASTER "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define HEAD                                                                                                          \
	"a0a1a2a3a4a5a6a7a8a9aaaba6593e6e018e44f82a2ccd984b378e9120fd0b43c6e2143bc4577cdd23f62b5eb217259ccb47355a37f" \
	"56ea36517ed96376a343b16a56c0939277125d80dfbcf"

/* Key and salt are the bytes 0x40 to 0x7f. */
static const struct {
	uint64_t id;
	const char *sealed;
} vectors[] = {
	{ 7, HEAD "9de5c61e86a27c121b66a49c44ff02f9" },
	{ UINT64_MAX, HEAD "fea10c71be9a2492db3df3a028635712" },
};

/* Of the crypto library, in all of this program. */
static size_t allocations;

static void *count_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return malloc(n);
}

static void *count_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return realloc(p, n);
}

static void count_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static struct sealer *sealer(const char *master)
{
	struct sealer *s = NULL;
	assert_int_equal(sealer_new(master, &s), ERR_OK);
	assert_non_null(s);
	return s;
}

static void load(size_t i, uint8_t sealed[SEALED_SIZE])
{
	assert_int_equal(hex_decode(sv_str(vectors[i].sealed), sealed, SEALED_SIZE), ERR_OK);
}

static void check_plain(const struct signing_key *k)
{
	for (uint8_t i = 0; i < SIGNING_SIZE; i++) {
		assert_int_equal(k->key[i], 0x40 + i);
		assert_int_equal(k->salt[i], 0x60 + i);
	}
}

static void test_vectors(void **state)
{
	struct sealer *s = sealer(MASTER);
	uint8_t sealed[SEALED_SIZE];
	struct signing_key plain;

	(void)state;
	for (size_t round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
			load(i, sealed);
			memset(&plain, 0, sizeof(plain));
			assert_int_equal(sealer_open(s, vectors[i].id, sealed, &plain), ERR_OK);
			check_plain(&plain);
		}
	sealer_free(s);
}

static void test_there_and_back(void **state)
{
	struct sealer *s = sealer(MASTER), *same = sealer(MASTER);
	uint8_t sealed[SEALED_SIZE], before[SEALED_SIZE] = { 0 };
	struct signing_key made, opened, last = { { 0 }, { 0 } };

	(void)state;
	for (uint64_t id = 1; id < 200; id++) {
		assert_int_equal(signing_key_make(&made), ERR_OK);
		assert_memory_not_equal(&made, &last, sizeof(made));
		assert_memory_not_equal(made.key, made.salt, SIGNING_SIZE);
		assert_int_equal(sealer_seal(s, id, &made, sealed), ERR_OK);
		/* A nonce of its own each time, and nothing of what is sealed shows. */
		assert_memory_not_equal(sealed, before, SEALED_NONCE);
		assert_memory_not_equal(sealed + SEALED_NONCE, &made, sizeof(made));
		assert_int_equal(sealer_open(same, id, sealed, &opened), ERR_OK);
		assert_memory_equal(&opened, &made, sizeof(made));
		assert_int_equal(sealer_open(s, id, sealed, &opened), ERR_OK);
		assert_memory_equal(&opened, &made, sizeof(made));
		memcpy(before, sealed, sizeof(before));
		last = made;
	}
	sealer_free(s);
	sealer_free(same);
}

static void refused(struct sealer *s, uint64_t id, const uint8_t sealed[SEALED_SIZE])
{
	static const struct signing_key zeros;
	struct signing_key plain;

	memset(&plain, 0xee, sizeof(plain));
	assert_int_equal(sealer_open(s, id, sealed, &plain), ERR_CORRUPT);
	/* Nothing of what was not proved is handed out. */
	assert_memory_equal(&plain, &zeros, sizeof(plain));
}

static void test_every_bit_counts(void **state)
{
	struct sealer *s = sealer(MASTER);
	uint8_t sealed[SEALED_SIZE];
	struct signing_key plain;

	(void)state;
	load(0, sealed);
	for (size_t i = 0; i < SEALED_SIZE; i++)
		for (int bit = 0; bit < 8; bit++) {
			sealed[i] ^= (uint8_t)(1 << bit);
			refused(s, vectors[0].id, sealed);
			sealed[i] ^= (uint8_t)(1 << bit);
		}
	assert_int_equal(sealer_open(s, vectors[0].id, sealed, &plain), ERR_OK);
	check_plain(&plain);
	memset(sealed, 0, sizeof(sealed));
	refused(s, vectors[0].id, sealed);
	sealer_free(s);
}

static void test_other_rows_and_masters(void **state)
{
	static const uint64_t ids[] = { 0, 1, 6, 8, 70, 77, 7 + (UINT64_C(1) << 32), UINT64_MAX };
	char other[] = MASTER;
	uint8_t sealed[SEALED_SIZE];

	(void)state;
	load(0, sealed);
	struct sealer *s = sealer(MASTER);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		refused(s, ids[i], sealed);
	sealer_free(s);
	other[63] = 'e';
	s = sealer(other);
	refused(s, vectors[0].id, sealed);
	sealer_free(s);
}

static void test_master_keys(void **state)
{
	static const char *const wrong[] = {
		"",
		"0",
		"00",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00",
		"00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:10:11:12:13:14:1",
	};
	uint8_t sealed[SEALED_SIZE];
	struct signing_key plain;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct sealer *s = (void *)&plain;
		assert_int_equal(sealer_new(wrong[i], &s), ERR_INVALID);
		assert_null(s);
	}
	sealer_free(NULL);
	load(0, sealed);
	struct sealer *s = sealer("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
	assert_int_equal(sealer_open(s, vectors[0].id, sealed, &plain), ERR_OK);
	check_plain(&plain);
	sealer_free(s);
}

/* The verdict opens. */
static void test_nothing_is_allocated(void **state)
{
	struct sealer *s = sealer(MASTER);
	uint8_t sealed[SEALED_SIZE];
	struct signing_key plain;

	(void)state;
	assert_true(allocations > 0);
	load(0, sealed);
	size_t before = allocations;
	for (int i = 0; i < 100; i++)
		assert_int_equal(sealer_open(s, vectors[0].id, sealed, &plain), ERR_OK);
	assert_int_equal(allocations, before);
	sealer_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),          cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_every_bit_counts), cmocka_unit_test(test_other_rows_and_masters),
		cmocka_unit_test(test_master_keys),      cmocka_unit_test(test_nothing_is_allocated),
	};
	/* Before the library allocates anything. */
	if (CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free) != 1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
