#include "imgurl/sign.h"

#include <openssl/crypto.h>

#include "base/cursor.h"
#include "imgurl/text.h"

#define KEY_MAX_BYTES 256

enum err imgurl_key_init(struct imgurl_key *k, const void *key, size_t key_n, const void *salt, size_t salt_n)
{
	if (key_n == 0 || salt_n == 0)
		return ERR_INVALID;
	enum err err = hmac_sha256_init(&k->hmac, key, key_n);
	return err == ERR_OK ? hmac_sha256_prefix(&k->hmac, salt, salt_n) : err;
}

static enum err hex_decode(const char *hex, uint8_t out[KEY_MAX_BYTES], size_t *n)
{
	size_t chars = strlen(hex);

	if (chars % 2 != 0 || chars / 2 > KEY_MAX_BYTES)
		return ERR_INVALID;
	*n = chars / 2;
	for (size_t i = 0; i < *n; i++) {
		int high = imgurl_hex_value(hex[2 * i]);
		int low = imgurl_hex_value(hex[2 * i + 1]);
		if (high < 0 || low < 0)
			return ERR_INVALID;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return ERR_OK;
}

enum err imgurl_key_hex(struct imgurl_key *k, const char *key_hex, const char *salt_hex)
{
	uint8_t key[KEY_MAX_BYTES];
	uint8_t salt[KEY_MAX_BYTES];
	size_t key_n = 0;
	size_t salt_n = 0;

	enum err err = hex_decode(key_hex, key, &key_n);
	if (err == ERR_OK)
		err = hex_decode(salt_hex, salt, &salt_n);
	if (err == ERR_OK)
		err = imgurl_key_init(k, key, key_n, salt, salt_n);
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(salt, sizeof(salt));
	return err;
}

void imgurl_key_clear(struct imgurl_key *k)
{
	OPENSSL_cleanse(k, sizeof(*k));
}

enum err imgurl_verify(const struct imgurl_key *k, struct sv signature, struct sv path)
{
	/* The last character has two bits more than 32 bytes. */
	uint8_t given[HMAC_SHA256_SIZE];
	uint8_t right[HMAC_SHA256_SIZE];
	struct wcur w;

	wcur_init(&w, given, sizeof(given));
	if (signature.n != IMGURL_SIGNATURE_CHARS || memchr(signature.p, '/', signature.n) != NULL ||
	    !imgurl_base64_decode(&w, signature) ||
	    (imgurl_base64_value((uint8_t)signature.p[IMGURL_SIGNATURE_CHARS - 1]) & 0x03) != 0)
		return ERR_REFUSED;
	enum err err = hmac_sha256(&k->hmac, path.p, path.n, right);
	if (err != ERR_OK)
		return err;
	return CRYPTO_memcmp(given, right, sizeof(right)) == 0 ? ERR_OK : ERR_REFUSED;
}

enum err imgurl_sign(const struct imgurl_key *k, struct sv path, char out[IMGURL_SIGNATURE_CHARS])
{
	uint8_t mac[HMAC_SHA256_SIZE];
	struct wcur w;

	enum err err = hmac_sha256(&k->hmac, path.p, path.n, mac);
	if (err != ERR_OK)
		return err;
	wcur_init(&w, out, IMGURL_SIGNATURE_CHARS);
	wcur_base64url(&w, mac, sizeof(mac));
	return w.err;
}
