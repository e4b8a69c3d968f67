#include "imgurl/target.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cursor.h"
#include "base/hmac.h"

#define SIGNATURE_SIZE   HMAC_SHA256_SIZE
#define SIGNATURE_CHARS  43
#define NAME_MAX_CHARS   255
#define FORMAT_MAX_CHARS 8
#define KEY_MAX_BYTES    256

struct imgurl_signer {
	struct hmac_sha256 hmac; /* its messages begin with the salt */
};

static enum err hex_decode(const char *hex, uint8_t *out, size_t size, size_t *len)
{
	long n = 0;
	size_t chars = strlen(hex);

	if (chars == 0 || chars % 2 != 0 || chars / 2 > size)
		return ERR_INVALID;
	/* OPENSSL_hexstr2buf_ex() would also take "aa:bb". */
	if (strspn(hex, "0123456789abcdefABCDEF") != chars)
		return ERR_INVALID;
	unsigned char *bytes = OPENSSL_hexstr2buf(hex, &n);
	if (bytes == NULL)
		return ERR_INVALID;
	memcpy(out, bytes, (size_t)n);
	OPENSSL_clear_free(bytes, (size_t)n);
	*len = (size_t)n;
	return ERR_OK;
}

enum err imgurl_signer_new(const char *key_hex, const char *salt_hex, struct imgurl_signer **out)
{
	uint8_t key[KEY_MAX_BYTES];
	uint8_t salt[KEY_MAX_BYTES];
	size_t key_len;
	size_t salt_len;
	struct imgurl_signer *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return ERR_NOMEM;
	enum err err = hex_decode(key_hex, key, sizeof(key), &key_len);
	if (err == ERR_OK)
		err = hex_decode(salt_hex, salt, sizeof(salt), &salt_len);
	if (err == ERR_OK)
		err = hmac_sha256_init(&s->hmac, key, key_len);
	if (err == ERR_OK)
		err = hmac_sha256_prefix(&s->hmac, salt, salt_len);
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(salt, sizeof(salt));
	if (err != ERR_OK) {
		imgurl_signer_free(s);
		return err;
	}
	*out = s;
	return ERR_OK;
}

void imgurl_signer_free(struct imgurl_signer *s)
{
	if (s == NULL)
		return;
	OPENSSL_cleanse(s, sizeof(*s));
	free(s);
}

static bool is_word(struct sv v, const char *more)
{
	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];
		if (!sv_alnum(c) && (c == '\0' || strchr(more, c) == NULL))
			return false;
	}
	return true;
}

static bool is_option_name(struct sv name)
{
	static const char *const names[] = {
		"rs", "resize",        "s", "size",    "w", "width",  "h",   "height",
		"rt", "resizing_type", "q", "quality", "f", "format", "ext",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (sv_eq(name, sv_str(names[i])))
			return true;
	return false;
}

static bool is_option(struct sv option)
{
	struct sv name;

	if (!sv_split(&option, ':', &name) || option.p == NULL || !is_option_name(name))
		return false;
	return is_word(option, ":.-");
}

static bool is_format(struct sv format)
{
	for (size_t i = 0; i < format.n; i++)
		if (!((format.p[i] >= 'a' && format.p[i] <= 'z') || (format.p[i] >= '0' && format.p[i] <= '9')))
			return false;
	return format.n > 0 && format.n <= FORMAT_MAX_CHARS;
}

/* `source` is all that follows "plain/". Splits it into the name in the tenant's folder and the format (or none). */
static enum err split_source(struct sv source, struct sv *name, struct sv *format)
{
	struct sv scheme = SV("local:///");
	struct sv rest = source;

	if (!sv_starts(source, scheme))
		return ERR_REFUSED;
	rest = sv_skip(source, scheme.n);
	if (!sv_split(&rest, '@', name))
		return ERR_INVALID;
	*format = rest;
	if (rest.p != NULL && !is_format(rest))
		return ERR_INVALID;
	/* A leading dot would name "..", and uploads that are not finished. */
	if (name->n == 0 || name->n > NAME_MAX_CHARS || name->p[0] == '.' || !is_word(*name, "._-"))
		return ERR_REFUSED;
	return ERR_OK;
}

/* Writes "/<options>/<base64 source>[.format]". */
static enum err write_path(struct wcur *w, struct sv options, uint64_t user_id, struct sv name, struct sv format)
{
	char source[sizeof("local:////18446744073709551615") + NAME_MAX_CHARS];
	struct wcur s;

	wcur_u8(w, '/');
	wcur_sv(w, options);
	wcur_init(&s, source, sizeof(source));
	wcur_sv(&s, SV("local:///"));
	wcur_u64(&s, user_id);
	wcur_u8(&s, '/');
	wcur_sv(&s, name);
	if (s.err != ERR_OK)
		return s.err;
	wcur_base64url(w, source, wcur_len(&s));
	if (format.n > 0) {
		wcur_u8(w, '.');
		wcur_sv(w, format);
	}
	return w->err;
}

enum err imgurl_target(struct imgurl_signer *s, struct sv path, uint64_t user_id, char *buf, size_t size,
                       struct sv *target)
{
	struct sv prefix = SV("/img/unsafe/");
	struct sv plain = SV("plain/");
	uint8_t signature[SIGNATURE_SIZE];
	struct sv name;
	struct sv format;
	struct wcur w;

	if (!sv_starts(path, prefix))
		return ERR_INVALID;
	struct sv rest = sv_skip(path, prefix.n);
	const char *options = rest.p;
	/* As imgproxy does: the first segment that is no option starts the source. */
	while (!sv_starts(rest, plain)) {
		struct sv option;
		if (!sv_split(&rest, '/', &option) || rest.p == NULL || !is_option(option))
			return ERR_INVALID;
	}
	struct sv options_text = sv_from(options, (size_t)(rest.p - options));
	enum err err = split_source(sv_skip(rest, plain.n), &name, &format);
	if (err != ERR_OK)
		return err;

	/* The path first, behind the room for its signature. */
	if (size < SIGNATURE_CHARS + 1)
		return ERR_SPACE;
	wcur_init(&w, buf + SIGNATURE_CHARS + 1, size - SIGNATURE_CHARS - 1);
	err = write_path(&w, options_text, user_id, name, format);
	if (err != ERR_OK)
		return err;
	size_t len = wcur_len(&w);
	err = hmac_sha256(&s->hmac, buf + SIGNATURE_CHARS + 1, len, signature);
	if (err != ERR_OK)
		return err;
	wcur_init(&w, buf, SIGNATURE_CHARS + 1);
	wcur_u8(&w, '/');
	wcur_base64url(&w, signature, sizeof(signature));
	if (w.err != ERR_OK)
		return w.err;
	*target = sv_from(buf, SIGNATURE_CHARS + 1 + len);
	return ERR_OK;
}
