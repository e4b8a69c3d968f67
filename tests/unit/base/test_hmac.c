/* HMAC-SHA-256 against the vectors of RFC 4231, whole and with a prefix, and over all lengths around a block. */
#include "unit.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <string.h>

#include "base/hmac.h"

struct vector {
	const char *key; /* hex, as the RFC has it; of a repeated byte: one, and how often */
	size_t key_times;
	const char *data;
	size_t data_times;
	const char *mac;
	size_t mac_size;
};

static const struct vector vectors[] = {
	{ "0b", 20, "4869205468657265", 1, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", 32 },
	{ "4a656665", 1, "7768617420646f2079612077616e7420666f72206e6f7468696e673f", 1,
	  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", 32 },
	{ "aa", 20, "dd", 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe", 32 },
	{ "0102030405060708090a0b0c0d0e0f10111213141516171819", 1, "cd", 50,
	  "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b", 32 },
	{ "0c", 20, "546573742057697468205472756e636174696f6e", 1, "a3b6167473100ee06e0c796c2955552b", 16 },
	{ "aa", 131,
	  "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b657920466972"
	  "7374",
	  1, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", 32 },
	{ "aa", 131,
	  "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b657920616e64"
	  "2061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565647320746f20626520"
	  "686173686564206265666f7265206265696e6720757365642062792074686520484d414320616c676f726974686d2e",
	  1, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2", 32 },
};

static size_t unhex(const char *hex, size_t times, uint8_t *out)
{
	long n = 0;
	unsigned char *bytes = OPENSSL_hexstr2buf(hex, &n);

	assert_non_null(bytes);
	for (size_t i = 0; i < times; i++)
		memcpy(out + i * (size_t)n, bytes, (size_t)n);
	OPENSSL_free(bytes);
	return (size_t)n * times;
}

static void test_rfc4231(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const struct vector *v = &vectors[i];
		uint8_t key[256], data[256], want[32], got[HMAC_SHA256_SIZE];
		struct hmac_sha256 h;
		size_t key_n = unhex(v->key, v->key_times, key);
		size_t data_n = unhex(v->data, v->data_times, data);
		assert_int_equal(unhex(v->mac, 1, want), v->mac_size);
		assert_int_equal(hmac_sha256_init(&h, key, key_n), ERR_OK);
		/* Twice: a message leaves nothing behind. */
		for (int round = 0; round < 2; round++) {
			assert_int_equal(hmac_sha256(&h, data, data_n, got), ERR_OK);
			assert_memory_equal(got, want, v->mac_size);
		}
		for (size_t cut = 0; cut <= data_n; cut++) {
			struct hmac_sha256 with = h;
			assert_int_equal(hmac_sha256_prefix(&with, data, cut / 2), ERR_OK);
			assert_int_equal(hmac_sha256_prefix(&with, data + cut / 2, cut - cut / 2), ERR_OK);
			assert_int_equal(hmac_sha256(&with, data + cut, data_n - cut, got), ERR_OK);
			assert_memory_equal(got, want, v->mac_size);
		}
	}
}

/* Keys and messages of every length around the sizes of blocks, held against OpenSSL's own. */
static void test_lengths(void **state)
{
	(void)state;
	uint8_t bytes[200];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	for (size_t key_n = 0; key_n < 140; key_n++) {
		struct hmac_sha256 h;
		assert_int_equal(hmac_sha256_init(&h, bytes, key_n), ERR_OK);
		for (size_t n = 0; n < sizeof(bytes); n += key_n % 8 + 1) {
			uint8_t got[HMAC_SHA256_SIZE];
			uint8_t want[EVP_MAX_MD_SIZE];
			assert_int_equal(hmac_sha256(&h, bytes, n, got), ERR_OK);
			assert_non_null(HMAC(EVP_sha256(), bytes, (int)key_n, bytes, n, want, NULL));
			assert_memory_equal(got, want, sizeof(got));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc4231),
		cmocka_unit_test(test_lengths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
