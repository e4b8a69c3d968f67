#include "policy/sealed.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cursor.h"
#include "base/hex.h"

#define MASTER_SIZE 32
#define AAD_MAX     48

struct sealer {
	/* The key schedule is made once; each call sets a nonce. */
	EVP_CIPHER_CTX *seal;
	EVP_CIPHER_CTX *open;
};

_Static_assert(sizeof(struct signing_key) == SEALED_SIZE - SEALED_NONCE - SEALED_TAG, "nothing between key and salt");
_Static_assert(MASTER_KEY_HEX == 2 * MASTER_SIZE, "two digits a byte");

static enum err random_bytes(void *out, size_t n)
{
	return getrandom(out, n, 0) == (ssize_t)n ? ERR_OK : ERR_IO;
}

enum err signing_key_make(struct signing_key *out)
{
	return random_bytes(out, sizeof(*out));
}

enum err sealer_new(const char *master_hex, struct sealer **out)
{
	uint8_t master[MASTER_SIZE];

	*out = NULL;
	if (hex_decode(sv_str(master_hex), master, sizeof(master)) != ERR_OK)
		return ERR_INVALID;
	struct sealer *s = calloc(1, sizeof(*s));
	bool ok = s != NULL;
	if (ok) {
		s->seal = EVP_CIPHER_CTX_new();
		s->open = EVP_CIPHER_CTX_new();
		ok = s->seal != NULL && s->open != NULL &&
		     EVP_EncryptInit_ex(s->seal, EVP_aes_256_gcm(), NULL, master, NULL) == 1 &&
		     EVP_DecryptInit_ex(s->open, EVP_aes_256_gcm(), NULL, master, NULL) == 1;
	}
	OPENSSL_cleanse(master, sizeof(master));
	if (!ok) {
		sealer_free(s);
		return ERR_CRYPTO;
	}
	*out = s;
	return ERR_OK;
}

void sealer_free(struct sealer *s)
{
	if (s == NULL)
		return;
	EVP_CIPHER_CTX_free(s->seal);
	EVP_CIPHER_CTX_free(s->open);
	free(s);
}

/* Returns its length. */
static int make_aad(uint64_t key_id, uint8_t aad[AAD_MAX])
{
	struct wcur w;

	wcur_init(&w, aad, AAD_MAX);
	wcur_sv(&w, SV("igw-signing-v1:"));
	wcur_u64(&w, key_id);
	return (int)wcur_len(&w);
}

enum err sealer_seal(struct sealer *s, uint64_t key_id, const struct signing_key *in, uint8_t out[SEALED_SIZE])
{
	uint8_t aad[AAD_MAX];
	int aad_n = make_aad(key_id, aad), n = 0, end = 0;
	uint8_t *text = out + SEALED_NONCE;
	uint8_t *tag = text + sizeof(*in);

	enum err err = random_bytes(out, SEALED_NONCE);
	if (err != ERR_OK)
		return err;
	bool ok = EVP_EncryptInit_ex(s->seal, NULL, NULL, NULL, out) == 1 &&
	          EVP_EncryptUpdate(s->seal, NULL, &n, aad, aad_n) == 1 &&
	          EVP_EncryptUpdate(s->seal, text, &n, (const uint8_t *)in, (int)sizeof(*in)) == 1 &&
	          n == (int)sizeof(*in) && EVP_EncryptFinal_ex(s->seal, tag, &end) == 1 && end == 0 &&
	          EVP_CIPHER_CTX_ctrl(s->seal, EVP_CTRL_AEAD_GET_TAG, SEALED_TAG, tag) == 1;
	return ok ? ERR_OK : ERR_CRYPTO;
}

enum err sealer_open(struct sealer *s, uint64_t key_id, const uint8_t sealed[SEALED_SIZE], struct signing_key *out)
{
	uint8_t aad[AAD_MAX], tag[SEALED_TAG];
	int aad_n = make_aad(key_id, aad), n = 0, end = 0;
	const uint8_t *text = sealed + SEALED_NONCE;
	enum err err = ERR_CRYPTO;

	/* The call that sets it takes no const. */
	memcpy(tag, text + sizeof(*out), sizeof(tag));
	if (EVP_DecryptInit_ex(s->open, NULL, NULL, NULL, sealed) == 1 &&
	    EVP_DecryptUpdate(s->open, NULL, &n, aad, aad_n) == 1 &&
	    EVP_DecryptUpdate(s->open, (uint8_t *)out, &n, text, (int)sizeof(*out)) == 1 && n == (int)sizeof(*out) &&
	    EVP_CIPHER_CTX_ctrl(s->open, EVP_CTRL_AEAD_SET_TAG, SEALED_TAG, tag) == 1)
		err = EVP_DecryptFinal_ex(s->open, (uint8_t *)out + n, &end) == 1 && end == 0 ? ERR_OK : ERR_CORRUPT;
	if (err != ERR_OK)
		OPENSSL_cleanse(out, sizeof(*out));
	return err;
}
