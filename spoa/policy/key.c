#include "policy/key.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <sys/random.h>
#include <zlib.h>

#include "base/cursor.h"

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

struct key_hasher {
	EVP_MAC *mac;
	EVP_MAC_CTX *ctx;
};

static bool is_base62(struct sv v)
{
	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
			return false;
	}
	return true;
}

static void check_digits(struct sv body, char out[KEY_CHECK_CHARS])
{
	unsigned long crc = crc32(0, (const unsigned char *)body.p, (unsigned)body.n);

	for (int i = KEY_CHECK_CHARS - 1; i >= 0; i--) {
		out[i] = base62[crc % 62];
		crc /= 62;
	}
}

enum err key_parse(struct sv text, struct key_parts *out)
{
	struct sv rest = text;
	struct sv prefix;
	struct sv id_text;
	struct sv secret;
	struct sv check;
	char digits[KEY_CHECK_CHARS];
	uint64_t id;

	if (text.n >= KEY_TEXT_MAX || text.p == NULL)
		return ERR_INVALID;
	if (!sv_split(&rest, '_', &prefix) || !sv_eq(prefix, SV("igw")) || !sv_split(&rest, '_', &id_text) ||
	    !sv_split(&rest, '_', &secret) || !sv_split(&rest, '_', &check) || rest.p != NULL)
		return ERR_INVALID;
	if (secret.n != KEY_SECRET_CHARS || !is_base62(secret) || check.n != KEY_CHECK_CHARS ||
	    sv_to_u64(id_text, &id) != ERR_OK || id == 0)
		return ERR_INVALID;
	struct sv body = sv_from(text.p, text.n - KEY_CHECK_CHARS - 1);
	check_digits(body, digits);
	if (memcmp(digits, check.p, KEY_CHECK_CHARS) != 0)
		return ERR_INVALID;
	*out = (struct key_parts){ .id = id, .body = body };
	return ERR_OK;
}

/* Bytes of 248 and above are thrown away: 62 divides 248, so that every digit is equally likely. */
static enum err random_base62(char *out, size_t n)
{
	while (n > 0) {
		uint8_t bytes[64];
		if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
			return ERR_IO;
		for (size_t i = 0; i < sizeof(bytes) && n > 0; i++) {
			if (bytes[i] >= 248)
				continue;
			*out++ = base62[bytes[i] % 62];
			n--;
		}
	}
	return ERR_OK;
}

enum err key_generate(uint64_t id, char text[KEY_TEXT_MAX])
{
	char secret[KEY_SECRET_CHARS];
	char digits[KEY_CHECK_CHARS];
	struct wcur w;

	enum err err = random_base62(secret, sizeof(secret));
	if (err != ERR_OK)
		return err;
	wcur_init(&w, text, KEY_TEXT_MAX - 1);
	wcur_sv(&w, SV("igw_"));
	wcur_u64(&w, id);
	wcur_u8(&w, '_');
	wcur_bytes(&w, secret, sizeof(secret));
	check_digits(sv_from(text, wcur_len(&w)), digits);
	wcur_u8(&w, '_');
	wcur_bytes(&w, digits, sizeof(digits));
	if (w.err != ERR_OK)
		return w.err;
	*w.p = '\0';
	return ERR_OK;
}

struct key_hasher *key_hasher_new(const char *pepper)
{
	static char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	struct key_hasher *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	h->ctx = h->mac != NULL ? EVP_MAC_CTX_new(h->mac) : NULL;
	if (h->ctx == NULL || EVP_MAC_init(h->ctx, (const unsigned char *)pepper, strlen(pepper), params) != 1) {
		key_hasher_free(h);
		return NULL;
	}
	return h;
}

void key_hasher_free(struct key_hasher *h)
{
	if (h == NULL)
		return;
	EVP_MAC_CTX_free(h->ctx);
	EVP_MAC_free(h->mac);
	free(h);
}

enum err key_hash(struct key_hasher *h, struct sv body, uint8_t out[KEY_HASH_SIZE])
{
	size_t len = 0;

	/* Without a key the context starts again with the one that it has. */
	if (EVP_MAC_init(h->ctx, NULL, 0, NULL) != 1 ||
	    EVP_MAC_update(h->ctx, (const unsigned char *)body.p, body.n) != 1 ||
	    EVP_MAC_final(h->ctx, out, &len, KEY_HASH_SIZE) != 1 || len != KEY_HASH_SIZE)
		return ERR_CRYPTO;
	return ERR_OK;
}

enum err key_hash_hex(struct key_hasher *h, struct sv text, char hex[KEY_HASH_HEX])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t hash[KEY_HASH_SIZE];
	struct key_parts parts;

	enum err err = key_parse(text, &parts);
	if (err == ERR_OK)
		err = key_hash(h, parts.body, hash);
	if (err != ERR_OK)
		return err;
	for (size_t i = 0; i < KEY_HASH_SIZE; i++) {
		hex[2 * i] = digits[hash[i] >> 4];
		hex[2 * i + 1] = digits[hash[i] & 15];
	}
	hex[2 * KEY_HASH_SIZE] = '\0';
	return ERR_OK;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

enum err key_hash_from_hex(struct sv hex, uint8_t out[KEY_HASH_SIZE])
{
	uint8_t hash[KEY_HASH_SIZE];

	if (hex.n != sizeof(hash) * 2)
		return ERR_INVALID;
	for (size_t i = 0; i < sizeof(hash); i++) {
		int high = hex_digit(hex.p[2 * i]);
		int low = hex_digit(hex.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return ERR_INVALID;
		hash[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(out, hash, sizeof(hash));
	return ERR_OK;
}
