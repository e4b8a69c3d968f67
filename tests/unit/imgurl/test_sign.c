/* Signatures: imgproxy's own values, one spelling each, and no bit that may be another. */
#include "world.h"

#define DOC_PATH "/rs:fill:300:400:0/g:sm/aHR0cDovL2V4YW1w/bGUuY29tL2ltYWdl/cy9jdXJpb3NpdHku/anBn.png"
#define DOC_SIGN "oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH8"

/* Measured on imgproxy 4.0.12, and by its documentation. */
static const struct {
	const char *key;
	const char *salt;
	const char *path;
	const char *signature;
} vectors[] = {
	{ KEY_HEX, SALT_HEX, DOC_PATH, DOC_SIGN },
	{ "746573742d6b6579", "746573742d73616c74", "/asd", "oWaL7QoW5TsgbuiS9-5-DI8S3Ibbo1gdB2SteJh3a20" },
	{ "746573742d6b657932", "746573742d73616c7432", "/asd", "jYz1UZ7j1BCdSzH3pZhaYf0iuz0vusoOTdqJsUT6WXI" },
	{ "943b421c9eb07c830af81030552c86009268de4e532ba2ee2eab8247c6da0881",
	  "520f986b998545b4785e0defbc4f3c1203f22de2374a3d53cb7a7fe9fea309c5",
	  "/rs:fit:300:300/plain/local:///tenants/a/cat.jpg@png", "ssMKk0JSJSKaefXMoMZvC3ZQIwBq0wSDO7NZGi4Lk5E" },
};

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct imgurl_key key;
		char out[IMGURL_SIGNATURE_CHARS + 1] = "";
		struct sv path = sv_str(vectors[i].path);
		assert_int_equal(imgurl_key_hex(&key, vectors[i].key, vectors[i].salt), ERR_OK);
		assert_int_equal(imgurl_sign(&key, path, out), ERR_OK);
		assert_string_equal(out, vectors[i].signature);
		assert_int_equal(imgurl_verify(&key, sv_str(out), path), ERR_OK);
		for (size_t k = 0; k < sizeof(vectors) / sizeof(vectors[0]); k++)
			if (k != i)
				assert_int_equal(imgurl_verify(&key, sv_str(vectors[k].signature), path), ERR_REFUSED);
	}
}

static void test_key_and_salt_belong_together(void **state)
{
	(void)state;
	struct imgurl_key mixed;
	assert_int_equal(imgurl_key_hex(&mixed, vectors[1].key, vectors[2].salt), ERR_OK);
	for (size_t i = 1; i < 3; i++)
		assert_int_equal(imgurl_verify(&mixed, sv_str(vectors[i].signature), SV("/asd")), ERR_REFUSED);
}

/* imgproxy itself takes other bits in the last character, and shorter ones when it is told so. */
static void test_one_spelling(void **state)
{
	(void)state;
	static const char *const others[] = {
		"",
		DOC_SIGN "=",
		DOC_SIGN "A",
		DOC_SIGN "%0A",
		DOC_SIGN "/",
		"oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH9",
		"oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH-",
		"oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH_",
		"oKfUtW34Dvo2BGQehJFR4Nr0/rIjOtdtzJ3QFsUcXH8",
		"oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXA",
		"oKfUtW34Dvo2BGQehJFR4A",
		"oKfUtW34Dvo",
		"oA",
		"oKfUtW34Dv",
		"insecure",
		"unsafe",
		"oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH ",
		"oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcX",
		"letmein",
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(imgurl_verify(documented_key(), sv_str(others[i]), SV(DOC_PATH)), ERR_REFUSED);
	assert_int_equal(imgurl_verify(documented_key(), SV(DOC_SIGN), SV(DOC_PATH)), ERR_OK);
	/* A standard alphabet's "+" and "/" are none of its own. */
	assert_int_equal(imgurl_verify(documented_key(), sv_from(NULL, 0), SV(DOC_PATH)), ERR_REFUSED);
}

static void test_every_bit_counts(void **state)
{
	(void)state;
	char path[] = DOC_PATH;
	char signature[] = DOC_SIGN;
	for (size_t bit = 0; bit < 8 * (sizeof(path) - 1); bit++) {
		path[bit / 8] = (char)(path[bit / 8] ^ 1 << bit % 8);
		assert_int_equal(imgurl_verify(documented_key(), SV(DOC_SIGN), sv_from(path, sizeof(path) - 1)),
		                 ERR_REFUSED);
		path[bit / 8] = (char)(path[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t bit = 0; bit < 8 * (sizeof(signature) - 1); bit++) {
		signature[bit / 8] = (char)(signature[bit / 8] ^ 1 << bit % 8);
		assert_int_equal(
		        imgurl_verify(documented_key(), sv_from(signature, sizeof(signature) - 1), SV(DOC_PATH)),
		        ERR_REFUSED);
		signature[bit / 8] = (char)(signature[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t n = 0; n < sizeof(path) - 1; n++)
		assert_int_equal(imgurl_verify(documented_key(), SV(DOC_SIGN), sv_from(path, n)), ERR_REFUSED);
}

static void test_bad_keys(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "6", "zz", "68:68", "0x68", "68 ", " 68" };
	struct imgurl_key key;
	char hex[1025];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(imgurl_key_hex(&key, bad[i], "68"), ERR_INVALID);
		assert_int_equal(imgurl_key_hex(&key, "68", bad[i]), ERR_INVALID);
	}
	memset(hex, 'a', sizeof(hex));
	hex[512] = '\0';
	assert_int_equal(imgurl_key_hex(&key, hex, hex), ERR_OK);
	hex[512] = 'a';
	hex[514] = '\0';
	assert_int_equal(imgurl_key_hex(&key, hex, "68"), ERR_INVALID);
	assert_int_equal(imgurl_key_init(&key, "k", 1, "", 0), ERR_INVALID);
	assert_int_equal(imgurl_key_init(&key, "", 0, "s", 1), ERR_INVALID);
}

static void test_a_cleared_key_signs_nothing_of_before(void **state)
{
	(void)state;
	struct imgurl_key key;
	static const struct imgurl_key zeros;
	assert_int_equal(imgurl_key_hex(&key, KEY_HEX, SALT_HEX), ERR_OK);
	imgurl_key_clear(&key);
	assert_memory_equal(&key, &zeros, sizeof(key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),      cmocka_unit_test(test_key_and_salt_belong_together),
		cmocka_unit_test(test_one_spelling), cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_bad_keys),     cmocka_unit_test(test_a_cleared_key_signs_nothing_of_before),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
