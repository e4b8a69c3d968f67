#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool bad(const char *name, const char *why)
{
	fprintf(stderr, "imgproxy-standin: %s: %s\n", name, why);
	return false;
}

static bool load_long(const char *name, long def, long min, long max, long *out)
{
	const char *text = getenv(name);
	char *end;

	*out = def;
	if (text == NULL || text[0] == '\0')
		return true;
	errno = 0;
	*out = strtol(text, &end, 10);
	if (errno != 0 || *end != '\0' || *out < min || *out > max)
		return bad(name, "not a number, or out of bounds");
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool load_hex(const char *p, size_t n, struct secret *out)
{
	if (n % 2 != 0 || n / 2 > KEY_SIZE_MAX)
		return false;
	for (size_t i = 0; i < n; i += 2) {
		int high = hex_digit(p[i]);
		int low = hex_digit(p[i + 1]);
		if (high < 0 || low < 0)
			return false;
		out->bytes[i / 2] = (uint8_t)(high << 4 | low);
	}
	out->len = n / 2;
	return true;
}

/* A comma list of hex strings. */
static bool load_secrets(const char *name, struct secret *out, size_t *count)
{
	const char *p = getenv(name);

	*count = 0;
	if (p == NULL || p[0] == '\0')
		return true;
	for (;;) {
		size_t n = strcspn(p, ",");
		if (*count == KEYS_MAX)
			return bad(name, "too many");
		if (!load_hex(p, n, &out[*count]))
			return bad(name, "not hex");
		(*count)++;
		if (p[n] == '\0')
			return true;
		p += n + 1;
	}
}

static const char *text_or(const char *name, const char *def)
{
	const char *text = getenv(name);
	return text != NULL && text[0] != '\0' ? text : def;
}

/* As Go reads a boolean; anything else is a mistake. */
static bool load_bool(const char *name, bool def, bool *out)
{
	const char *text = text_or(name, def ? "1" : "0");

	if (strchr("1tT", text[0]) != NULL && text[1] == '\0')
		*out = true;
	else if (strchr("0fF", text[0]) != NULL && text[1] == '\0')
		*out = false;
	else if (strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0)
		*out = strcasecmp(text, "true") == 0;
	else
		return bad(name, "not a boolean");
	return true;
}

/* A comma list without the blanks around its parts; empty parts are left out. */
static bool load_words(const char *name, struct words *out)
{
	const char *p = text_or(name, "");
	char *w;

	*out = (struct words){ 0 };
	if (p[0] == '\0')
		return true;
	out->text = w = malloc(strlen(p) + 2);
	if (w == NULL)
		return bad(name, "no memory");
	while (*p != '\0') {
		size_t n = strcspn(p, ",");
		const char *end = p + n;
		while (p < end && *p == ' ')
			p++;
		size_t len = (size_t)(end - p);
		while (len > 0 && p[len - 1] == ' ')
			len--;
		if (len > 0) {
			memcpy(w, p, len);
			w[len] = '\0';
			w += len + 1;
			out->count++;
		}
		p = *end == ',' ? end + 1 : end;
	}
	return true;
}

const char *words_next(const struct words *w, const char *word)
{
	const char *p = w->text;

	if (word == NULL)
		return w->count > 0 ? p : NULL;
	for (size_t i = 0; i < w->count; i++) {
		bool found = p == word;
		p += strlen(p) + 1;
		if (found)
			return i + 1 < w->count ? p : NULL;
	}
	return NULL;
}

bool words_have(const struct words *w, const char *text, size_t n)
{
	for (const char *p = words_next(w, NULL); p != NULL; p = words_next(w, p)) {
		if (strlen(p) == n && memcmp(p, text, n) == 0)
			return true;
	}
	return false;
}

static bool load_bind(struct config *c)
{
	const char *bind = text_or("IMGPROXY_BIND", NULL);
	const char *network = text_or("IMGPROXY_NETWORK", "tcp");

	c->unix_socket = strcmp(network, "unix") == 0;
	if (!c->unix_socket && strcmp(network, "tcp") != 0)
		return bad("IMGPROXY_NETWORK", "neither tcp nor unix");
	if (bind != NULL)
		snprintf(c->bind, sizeof(c->bind), "%s", bind);
	else
		snprintf(c->bind, sizeof(c->bind), ":%.15s", text_or("PORT", "8080"));
	return c->unix_socket || strchr(c->bind, ':') != NULL || bad("IMGPROXY_BIND", "not host:port");
}

static bool load_resolution(struct config *c)
{
	const char *text = getenv("IMGPROXY_MAX_SRC_RESOLUTION");
	char *end;

	c->max_src_pixels = 50e6;
	if (text == NULL || text[0] == '\0')
		return true;
	c->max_src_pixels = strtod(text, &end) * 1e6;
	return (*end == '\0' && c->max_src_pixels > 0) || bad("IMGPROXY_MAX_SRC_RESOLUTION", "not a positive number");
}

bool config_load(struct config *c)
{
	size_t salts;
	long size;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	const char *query = getenv("IMGPROXY_SOURCE_URL_QUERY_SEPARATOR");

	memset(c, 0, sizeof(*c));
	c->root = getenv("IMGPROXY_LOCAL_FILESYSTEM_ROOT");
	c->name = getenv("STANDIN_NAME");
	c->secret = text_or("IMGPROXY_SECRET", NULL);
	c->base_url = text_or("IMGPROXY_BASE_URL", "");
	c->query = query != NULL ? query : "?";
	if (!load_bind(c) || !load_resolution(c) || !load_secrets("IMGPROXY_KEY", c->key, &c->keys) ||
	    !load_secrets("IMGPROXY_SALT", c->salt, &salts) ||
	    !load_words("IMGPROXY_TRUSTED_SIGNATURES", &c->trusted) ||
	    !load_words("IMGPROXY_ALLOWED_SOURCES", &c->allowed) || !load_words("IMGPROXY_PRESETS", &c->presets) ||
	    !load_words("IMGPROXY_ALLOWED_PROCESSING_OPTIONS", &c->options) ||
	    !load_bool("IMGPROXY_ONLY_PRESETS", false, &c->only_presets) ||
	    !load_bool("IMGPROXY_ALLOW_SECURITY_OPTIONS", false, &c->security_options) ||
	    !load_bool("IMGPROXY_BASE64_URL_INCLUDES_FILENAME", false, &c->filename_in_url) ||
	    !load_bool("IMGPROXY_ALLOW_LOOPBACK_SOURCE_ADDRESSES", false, &c->allow_loopback) ||
	    !load_bool("IMGPROXY_ALLOW_LINK_LOCAL_SOURCE_ADDRESSES", false, &c->allow_link_local) ||
	    !load_bool("IMGPROXY_ALLOW_PRIVATE_SOURCE_ADDRESSES", true, &c->allow_private) ||
	    !load_long("IMGPROXY_MAX_REDIRECTS", 10, 0, 1000, &c->max_redirects) ||
	    !load_long("IMGPROXY_DOWNLOAD_TIMEOUT", 5, 1, 3600, &c->download_timeout) ||
	    !load_long("IMGPROXY_MAX_SRC_FILE_SIZE", 0, 0, LONG_MAX, &c->max_src_size) ||
	    !load_long("IMGPROXY_MAX_RESULT_DIMENSION", 0, 0, INT_MAX, &c->max_result_dimension) ||
	    !load_long("IMGPROXY_SIGNATURE_SIZE", 32, 1, 32, &size) ||
	    !load_long("IMGPROXY_TTL", 31536000, 0, 3153600000L, &c->ttl) ||
	    !load_long("IMGPROXY_QUALITY", 80, 1, 100, &c->quality) ||
	    !load_long("IMGPROXY_WORKERS", 2 * (cores > 0 ? cores : 1), 1, 1024, &c->workers) ||
	    !load_long("IMGPROXY_GRACEFUL_STOP_TIMEOUT", 20, 0, 3600, &c->stop_timeout) ||
	    !load_long("STANDIN_DELAY_MS", 0, 0, 600000, &c->delay_ms))
		return false;
	c->signature_size = (size_t)size;
	/* As imgproxy: one empty list switches the check off, different lengths are a mistake. */
	if (c->keys == 0 || salts == 0)
		c->keys = 0;
	else if (c->keys != salts)
		return bad("IMGPROXY_KEY", "as many keys as salts are needed");
	return true;
}
