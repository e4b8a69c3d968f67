#include "api/image_id.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/hex.h"

static const char label[] = "igw-image-id-v1";

enum err image_id_key(struct hmac_sha256 *k, struct sv pepper)
{
	struct hmac_sha256 outer;
	uint8_t key[HMAC_SHA256_SIZE];

	enum err err = hmac_sha256_init(&outer, pepper.p, pepper.n);
	if (err == ERR_OK)
		err = hmac_sha256(&outer, label, sizeof(label) - 1, key);
	return err == ERR_OK ? hmac_sha256_init(k, key, sizeof(key)) : err;
}

enum err image_id_make(const struct hmac_sha256 *k, uint64_t user, const uint8_t sha256[HMAC_SHA256_SIZE],
                       char id[IMAGE_ID_SIZE])
{
	uint8_t text[24 + HMAC_SHA256_SIZE];
	uint8_t mac[HMAC_SHA256_SIZE];

	int n = snprintf((char *)text, 24, "%" PRIu64 ":", user);
	CHECK(n > 0 && n < 24);
	memcpy(text + n, sha256, HMAC_SHA256_SIZE);
	enum err err = hmac_sha256(k, text, (size_t)n + HMAC_SHA256_SIZE, mac);
	if (err == ERR_OK)
		hex_encode(mac, IMAGE_ID_CHARS / 2, id);
	return err;
}

bool image_id_ok(struct sv text)
{
	if (text.n != IMAGE_ID_CHARS)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
	}
	return true;
}

void image_name(const char *id, enum image_type type, char name[IMAGE_NAME_SIZE])
{
	int n = snprintf(name, IMAGE_NAME_SIZE, "%.*s.%s", IMAGE_ID_CHARS, id, image_extension(type));
	CHECK(n > IMAGE_ID_CHARS && n < IMAGE_NAME_SIZE);
}

bool image_name_ok(struct sv name, enum image_type *type)
{
	if (name.n <= IMAGE_ID_CHARS || name.p[IMAGE_ID_CHARS] != '.' || !image_id_ok(sv_from(name.p, IMAGE_ID_CHARS)))
		return false;
	struct sv extension = sv_skip(name, IMAGE_ID_CHARS + 1);
	for (unsigned i = 0; i < IMAGE_TYPE_COUNT; i++) {
		if (sv_eq(extension, sv_str(image_extension((enum image_type)i)))) {
			*type = (enum image_type)i;
			return true;
		}
	}
	return false;
}
