#include "policy/key.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/random.h>
#include <zlib.h>

#include "base/cursor.h"
#include "base/hex.h"
#include "base/hmac.h"

_Static_assert(KEY_HASH_SIZE == HMAC_SHA256_SIZE, "a hash is one HMAC");

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

struct key_hasher {
	struct hmac_sha256 hmac;
};

static bool is_base62(struct sv v)
{
	for (size_t i = 0; i < v.n; i++)
		if (!sv_alnum(v.p[i]))
			return false;
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
	struct key_hasher *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	if (hmac_sha256_init(&h->hmac, pepper, strlen(pepper)) != ERR_OK) {
		key_hasher_free(h);
		return NULL;
	}
	return h;
}

void key_hasher_free(struct key_hasher *h)
{
	if (h == NULL)
		return;
	OPENSSL_cleanse(h, sizeof(*h));
	free(h);
}

enum err key_hash(struct key_hasher *h, struct sv body, uint8_t out[KEY_HASH_SIZE])
{
	return hmac_sha256(&h->hmac, body.p, body.n, out);
}

enum err key_hash_hex(struct key_hasher *h, struct sv text, char hex[KEY_HASH_HEX])
{
	uint8_t hash[KEY_HASH_SIZE];
	struct key_parts parts;

	enum err err = key_parse(text, &parts);
	if (err == ERR_OK)
		err = key_hash(h, parts.body, hash);
	if (err != ERR_OK)
		return err;
	hex_encode(hash, sizeof(hash), hex);
	return ERR_OK;
}

enum err key_hash_from_hex(struct sv hex, uint8_t out[KEY_HASH_SIZE])
{
	return hex_decode(hex, out, KEY_HASH_SIZE);
}
