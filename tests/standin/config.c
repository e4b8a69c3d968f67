#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static bool load_bind(struct config *c)
{
	const char *bind = getenv("IMGPROXY_BIND");
	const char *port = getenv("PORT");

	if (bind != NULL && bind[0] != '\0')
		snprintf(c->bind, sizeof(c->bind), "%s", bind);
	else
		snprintf(c->bind, sizeof(c->bind), ":%.15s", port != NULL && port[0] != '\0' ? port : "8080");
	return strchr(c->bind, ':') != NULL || bad("IMGPROXY_BIND", "not host:port");
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

	memset(c, 0, sizeof(*c));
	c->root = getenv("IMGPROXY_LOCAL_FILESYSTEM_ROOT");
	c->name = getenv("STANDIN_NAME");
	if (!load_bind(c) || !load_resolution(c) || !load_secrets("IMGPROXY_KEY", c->key, &c->keys) ||
	    !load_secrets("IMGPROXY_SALT", c->salt, &salts) ||
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
