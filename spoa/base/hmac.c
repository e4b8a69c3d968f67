/* The functions on a SHA256_CTX are deprecated, but EVP has nothing that copies a state without allocating. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/hmac.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <string.h>

#define IPAD 0x36
#define OPAD 0x5c

static bool start(SHA256_CTX *ctx, const uint8_t key[SHA256_CBLOCK], uint8_t pad)
{
	uint8_t block[SHA256_CBLOCK];

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = key[i] ^ pad;
	bool ok = SHA256_Init(ctx) == 1 && SHA256_Update(ctx, block, sizeof(block)) == 1;
	OPENSSL_cleanse(block, sizeof(block));
	return ok;
}

enum err hmac_sha256_init(struct hmac_sha256 *h, const void *key, size_t n)
{
	uint8_t block[SHA256_CBLOCK] = { 0 };

	if (n > sizeof(block))
		SHA256(key, n, block);
	else if (n > 0)
		memcpy(block, key, n);
	bool ok = start(&h->inner, block, IPAD) && start(&h->outer, block, OPAD);
	OPENSSL_cleanse(block, sizeof(block));
	return ok ? ERR_OK : ERR_CRYPTO;
}

enum err hmac_sha256_prefix(struct hmac_sha256 *h, const void *p, size_t n)
{
	return SHA256_Update(&h->inner, p, n) == 1 ? ERR_OK : ERR_CRYPTO;
}

enum err hmac_sha256(const struct hmac_sha256 *h, const void *p, size_t n, uint8_t out[HMAC_SHA256_SIZE])
{
	SHA256_CTX ctx = h->inner;
	uint8_t inner[HMAC_SHA256_SIZE];

	if (SHA256_Update(&ctx, p, n) != 1 || SHA256_Final(inner, &ctx) != 1)
		return ERR_CRYPTO;
	ctx = h->outer;
	if (SHA256_Update(&ctx, inner, sizeof(inner)) != 1 || SHA256_Final(out, &ctx) != 1)
		return ERR_CRYPTO;
	return ERR_OK;
}
