#include "url.h"

#include <stdlib.h>
#include <string.h>

#include "signature.h"

static int hex_value(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c) : NULL;
	return at != NULL ? (int)(at - digits) : -1;
}

bool url_is_malformed(const char *target)
{
	bool query = false;

	for (const char *p = target; *p != '\0'; p++) {
		if ((unsigned char)*p <= 0x20 || *p == 0x7f)
			return true;
		query = query || *p == '?';
		if (!query && *p == '%' && (hex_value(p[1]) < 0 || hex_value(p[2]) < 0))
			return true;
	}
	return false;
}

/* Decodes %XX once, in place; NULs stay in it. Returns the length, or -1 for a bad escape. */
static long unescape(char *s)
{
	char *w = s;

	for (char *p = s; *p != '\0'; p++) {
		if (*p == '%') {
			int high = hex_value(p[1]);
			int low = high >= 0 ? hex_value(p[2]) : -1;
			if (low < 0)
				return -1;
			*w++ = (char)(high << 4 | low);
			p += 2;
		} else {
			*w++ = *p;
		}
	}
	*w = '\0';
	return w - s;
}

char *url_decoded_path(const char *target)
{
	char *path = strndup(target, strcspn(target, "?"));

	if (path != NULL && unescape(path) < 0)
		path[0] = '\0';
	return path;
}

/* Cuts "@ext" or ".ext" off; *extension is "" without one. More than one is an error, and an empty source. */
static bool cut_extension(char *source, char separator, char **extension)
{
	char *at = strchr(source, separator);

	*extension = source + strlen(source);
	if (at != NULL) {
		*at = '\0';
		*extension = at + 1;
	}
	return source[0] != '\0' && strchr(*extension, separator) == NULL;
}

/* The segments without their slashes, in place: base64 source to the URL in it. Its length, or -1. */
static long decode_base64(const struct config *c, char *source, char **extension)
{
	char *w = source;
	char *last = strrchr(source, '/');

	if (c->filename_in_url && last != NULL)
		*last = '\0';
	for (char *p = source; *p != '\0'; p++) {
		if (*p != '/')
			*w++ = *p;
	}
	*w = '\0';
	if (!cut_extension(source, '.', extension))
		return -1;
	size_t len = strlen(source);
	while (len > 0 && source[len - 1] == '=')
		len--;
	/* The decoded text is shorter than the encoded one, and the decoder never writes ahead of what it reads. */
	return base64url_decode(source, len, (uint8_t *)source);
}

/* Whether a source URL begins as the pattern says, in which "*" stands for any bytes but "/". */
static bool has_prefix(const char *url, const char *pattern)
{
	for (; *pattern != '\0'; pattern++, url++) {
		if (*pattern == '*') {
			do {
				if (has_prefix(url, pattern + 1))
					return true;
			} while (*url != '\0' && *url++ != '/');
			return false;
		}
		if (*url != *pattern)
			return false;
	}
	return true;
}

static bool is_allowed(const struct config *c, const char *url)
{
	for (const char *p = words_next(&c->allowed, NULL); p != NULL; p = words_next(&c->allowed, p)) {
		if (has_prefix(url, p))
			return true;
	}
	return c->allowed.count == 0;
}

/* The source's URL as a new string, from what follows the options, which is changed. */
static char *read_source(const struct config *c, char *rest, char **extension, struct url_error *error)
{
	bool plain = strncmp(rest, "plain/", 6) == 0;
	long n = -1;

	*error = (struct url_error){ 404, "Invalid URL" };
	if (!plain) {
		n = decode_base64(c, rest, extension);
	} else {
		rest += 6;
		if (cut_extension(rest, '@', extension))
			n = unescape(rest);
	}
	if (n < 0)
		return NULL;
	rest[n] = '\0';
	/* Go's URLs hold no control bytes. Where C sees an end, imgproxy sees one of those. */
	if (strlen(rest) != (size_t)n) {
		error->body = "Source is unreachable";
		return NULL;
	}
	const char *base = strncmp(rest, c->base_url, strlen(c->base_url)) == 0 ? "" : c->base_url;
	size_t base_len = strlen(base);
	char *url = malloc(base_len + (size_t)n + 1);
	if (url == NULL)
		return NULL;
	memcpy(url, base, base_len);
	memcpy(url + base_len, rest, (size_t)n + 1);
	if (is_allowed(c, url))
		return url;
	free(url);
	error->body = "Invalid source URL";
	return NULL;
}

/* The options from the left, up to the first segment without a colon. Returns what follows, or NULL. */
static char *read_options(const struct config *c, char *rest, struct job *job, struct url_error *error)
{
	static const char *const basic[] = { "fit/", "fill/", "fill-down/", "force/", "auto/" };

	*error = (struct url_error){ 404, "Invalid URL" };
	if (c->only_presets) {
		char *names = strsep(&rest, "/");
		return rest != NULL && options_presets(c, job, names, error) ? rest : NULL;
	}
	for (size_t i = 0; i < sizeof(basic) / sizeof(basic[0]); i++) {
		if (strncmp(rest, basic[i], strlen(basic[i])) == 0)
			return NULL;
	}
	for (;;) {
		size_t n = strcspn(rest, "/");
		if (memchr(rest, ':', n) == NULL)
			return rest;
		bool last = rest[n] == '\0';
		rest[n] = '\0';
		if (!options_apply(c, job, rest, error))
			return NULL;
		*error = (struct url_error){ 404, "Invalid URL" };
		if (last)
			return NULL;
		rest += n + 1;
	}
}

/* `path` is what follows the signature, normalised, without its leading slash; it is changed. */
static bool parse_path(const struct config *c, char *path, struct job *job, struct url_error *error)
{
	char *extension = NULL;

	options_init(c, job);
	if (!options_default_preset(c, job, error))
		return false;
	char *rest = read_options(c, path, job, error);
	if (rest == NULL)
		return false;
	job->source = read_source(c, rest, &extension, error);
	if (job->source == NULL)
		return false;
	if (job->raw || extension[0] == '\0')
		return true;
	job->format = format_by_name(extension);
	if (job->format != FORMAT_NONE)
		return true;
	*error = (struct url_error){ 404, "Invalid URL" };
	free(job->source);
	job->source = NULL;
	return false;
}

bool url_parse(const struct config *c, const char *target, struct job *job, struct url_error *error)
{
	job->source = NULL;
	*error = (struct url_error){ 404, "Invalid URL" };
	char *text = strndup(target, strcspn(target, "?"));
	if (text == NULL)
		return false;
	char *signature = text;
	/* One slash before the signature, or two. */
	for (int i = 0; i < 2 && *signature == '/'; i++)
		signature++;
	size_t len = strcspn(signature, "/");
	bool ok = false;
	if (len > 0 && signature[len] == '/' && signature[len + 1] != '\0') {
		char *signed_path = signature_normalise(signature + len + 1);
		if (signed_path == NULL)
			*error = (struct url_error){ 500, "Internal error" };
		else if (!signature_verify(c, signature, len, signed_path))
			*error = (struct url_error){ 403, "Forbidden" };
		else
			ok = parse_path(c, signed_path + 1, job, error);
		free(signed_path);
	}
	free(text);
	return ok;
}
