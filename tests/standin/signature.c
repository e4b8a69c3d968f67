#include "signature.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

static int base64url_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

long base64url_decode(const char *in, size_t len, uint8_t *out)
{
	uint32_t bits = 0;
	unsigned have = 0;
	long n = 0;

	if (len % 4 == 1)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int v = base64url_digit(in[i]);
		if (v < 0)
			return -1;
		bits = (bits << 6 | (uint32_t)v) & 0xffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (uint8_t)(bits >> have);
		}
	}
	return n;
}

/* Of ^(\S+):/([^/]), greedy: where its ":/" begins in text, or NULL. */
static const char *lone_slash(const char *text)
{
	const char *found = NULL;

	for (const char *p = text; *p != '\0' && strchr(" \t\n\v\f\r", *p) == NULL; p++) {
		if (p > text && p[0] == ':' && p[1] == '/' && p[2] != '/' && p[2] != '\0')
			found = p;
	}
	return found;
}

char *signature_normalise(const char *path)
{
	const char *plain = strncmp(path, "plain/", 6) == 0 ? path : strstr(path, "/plain/");
	size_t head = plain != NULL ? (size_t)(plain - path) : strlen(path);
	char *out = malloc(strlen(path) + 8);
	char *w = out;

	if (out == NULL)
		return NULL;
	*w++ = '/';
	const char *p = path;
	if (*p == '/' && head > 0) {
		p++;
	} else if (*p == '/') {
		/* "/plain/…": the slash that is dropped belongs to the plain part. */
		p++;
		plain = p;
		head = 1;
	}
	while (p < path + head) {
		if (strncmp(p, "%3A", 3) == 0) {
			*w++ = ':';
			p += 3;
		} else {
			*w++ = *p++;
		}
	}
	if (plain == NULL) {
		*w = '\0';
		return out;
	}
	size_t skip = *plain == '/' ? 7 : 6;
	memcpy(w, plain, skip);
	w += skip;
	const char *text = plain + skip;
	const char *colon = lone_slash(text);
	if (colon == NULL) {
		memcpy(w, text, strlen(text) + 1);
		return out;
	}
	size_t prefix = (size_t)(colon - text);
	memcpy(w, text, prefix);
	w += prefix;
	const char *slashes = prefix == 5 && strncmp(text, "local", 5) == 0 ? ":///" : "://";
	memcpy(w, slashes, strlen(slashes));
	w += strlen(slashes);
	memcpy(w, colon + 2, strlen(colon + 2) + 1);
	return out;
}

static bool matches(const struct secret *key, const struct secret *salt, const char *path, const uint8_t *given,
                    size_t size)
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned mac_len = 0;
	size_t path_len = strlen(path);
	bool same = false;

	uint8_t *text = malloc(salt->len + path_len);
	if (text == NULL)
		return false;
	memcpy(text, salt->bytes, salt->len);
	memcpy(text + salt->len, path, path_len);
	if (HMAC(EVP_sha256(), key->bytes, (int)key->len, text, salt->len + path_len, mac, &mac_len) != NULL)
		same = CRYPTO_memcmp(mac, given, size) == 0;
	free(text);
	return same;
}

bool signature_verify(const struct config *c, const char *signature, size_t len, const char *signed_path)
{
	uint8_t given[64];

	if (c->keys == 0)
		return len > 0 && memchr(signature, ':', len) == NULL;
	if (words_have(&c->trusted, signature, len))
		return true;
	if (len > sizeof(given) || base64url_decode(signature, len, given) != (long)c->signature_size)
		return false;
	for (size_t i = 0; i < c->keys; i++) {
		if (matches(&c->key[i], &c->salt[i], signed_path, given, c->signature_size))
			return true;
	}
	return false;
}
