/* Signing keys of API keys: opened once, and never another's. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "agent/signers.h"
#include "policy/sealed.h"

#define MASTER "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define OTHER  "100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

struct world {
	struct sealer *sealer;
	struct signers *signers;
	struct policy_key *key;
	struct signing_key plain;
};

static void seal(struct world *w, uint64_t id)
{
	assert_int_equal(signing_key_make(&w->plain), ERR_OK);
	assert_int_equal(sealer_seal(w->sealer, id, &w->plain, w->key->signing), ERR_OK);
}

static int setup(void **state)
{
	static struct world w;
	assert_int_equal(sealer_new(MASTER, &w.sealer), ERR_OK);
	assert_int_equal(signers_new(MASTER, &w.signers), ERR_OK);
	w.key = calloc(1, sizeof(*w.key) + SEALED_SIZE);
	assert_non_null(w.key);
	w.key->version = POLICY_LAYOUT;
	w.key->signing_bytes = SEALED_SIZE;
	seal(&w, 7);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	sealer_free(w->sealer);
	signers_free(w->signers);
	free(w->key);
	return 0;
}

/* Whether what was given signs as the plain key does. */
static bool is_right(const struct world *w, const struct imgurl_key *got)
{
	const struct sv path = SV("/rs:fit:1:1/plain/local:///a");
	struct imgurl_key wanted;
	char a[IMGURL_SIGNATURE_CHARS], b[IMGURL_SIGNATURE_CHARS];

	assert_int_equal(imgurl_key_init(&wanted, w->plain.key, SIGNING_SIZE, w->plain.salt, SIGNING_SIZE), ERR_OK);
	assert_int_equal(imgurl_sign(&wanted, path, a), ERR_OK);
	assert_int_equal(imgurl_sign(got, path, b), ERR_OK);
	return memcmp(a, b, sizeof(a)) == 0;
}

static void test_it_is_the_key_that_was_sealed(void **state)
{
	struct world *w = *state;
	const struct imgurl_key *first = signers_get(w->signers, 7, w->key);
	assert_non_null(first);
	assert_true(is_right(w, first));
	/* Made once. */
	assert_ptr_equal(signers_get(w->signers, 7, w->key), first);
}

static void test_a_row_that_was_sealed_anew(void **state)
{
	struct world *w = *state;
	assert_non_null(signers_get(w->signers, 7, w->key));
	seal(w, 7);
	const struct imgurl_key *got = signers_get(w->signers, 7, w->key);
	assert_non_null(got);
	assert_true(is_right(w, got));
}

static void test_what_has_none(void **state)
{
	struct world *w = *state;
	struct signers *without;

	/* Sealed for another row, tampered with, not there at all. */
	assert_null(signers_get(w->signers, 8, w->key));
	w->key->signing[20] ^= 1;
	assert_null(signers_get(w->signers, 7, w->key));
	w->key->signing[20] ^= 1;
	w->key->signing_bytes = 0;
	assert_null(signers_get(w->signers, 7, w->key));
	w->key->signing_bytes = SEALED_SIZE;
	assert_non_null(signers_get(w->signers, 7, w->key));
	/* Under another master key, or without one. */
	assert_int_equal(signers_new(OTHER, &without), ERR_OK);
	assert_null(signers_get(without, 7, w->key));
	signers_free(without);
	assert_int_equal(signers_new("", &without), ERR_OK);
	assert_null(signers_get(without, 7, w->key));
	signers_free(without);
	assert_int_equal(signers_new("00", &without), ERR_INVALID);
}

/* More keys than there is room for, in turn: each is its own. */
static void test_many(void **state)
{
	struct world *w = *state;
	enum { KEYS = 9000 };
	static uint8_t sealed[KEYS][SEALED_SIZE];
	static struct signing_key plain[KEYS];

	for (uint64_t id = 1; id <= KEYS; id++) {
		seal(w, id);
		memcpy(sealed[id - 1], w->key->signing, SEALED_SIZE);
		plain[id - 1] = w->plain;
	}
	for (unsigned turn = 0; turn < 3; turn++) {
		for (uint64_t n = 0; n < KEYS; n++) {
			const uint64_t id = (n * 7919 + turn) % KEYS + 1;
			memcpy(w->key->signing, sealed[id - 1], SEALED_SIZE);
			w->plain = plain[id - 1];
			const struct imgurl_key *got = signers_get(w->signers, id, w->key);
			assert_non_null(got);
			assert_true(is_right(w, got));
		}
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_it_is_the_key_that_was_sealed),
		T(test_a_row_that_was_sealed_anew),
		T(test_what_has_none),
		T(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
