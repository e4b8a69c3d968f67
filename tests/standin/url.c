#include "url.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "options.h"
#include "signature.h"

static const struct {
	const char *name;
	enum format format;
} formats[] = {
	{ "avif", FORMAT_AVIF }, { "bmp", FORMAT_OTHER }, { "gif", FORMAT_GIF },    { "heic", FORMAT_OTHER },
	{ "ico", FORMAT_OTHER }, { "jpeg", FORMAT_JPEG }, { "jpg", FORMAT_JPEG },   { "jxl", FORMAT_OTHER },
	{ "png", FORMAT_PNG },   { "svg", FORMAT_OTHER }, { "tiff", FORMAT_OTHER }, { "webp", FORMAT_WEBP },
};

enum format format_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(name, formats[i].name) == 0)
			return formats[i].format;
	}
	return FORMAT_NONE;
}

static int hex_value(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c) : NULL;
	return at != NULL ? (int)(at - digits) : -1;
}

bool url_is_malformed(const char *target)
{
	for (const char *p = target; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return true;
		if (*p == '?')
			break;
		if (*p == '%' && (hex_value(p[1]) < 0 || hex_value(p[2]) < 0))
			return true;
	}
	return false;
}

/* Decodes %XX once, in place. False: a bad escape, or a byte that no name holds. */
static bool unescape(char *s)
{
	char *w = s;

	for (char *p = s; *p != '\0'; p++) {
		if (*p == '%') {
			int high = hex_value(p[1]);
			int low = high >= 0 ? hex_value(p[2]) : -1;
			if (low < 0 || (high == 0 && low == 0))
				return false;
			*w++ = (char)(high << 4 | low);
			p += 2;
		} else {
			*w++ = *p;
		}
	}
	*w = '\0';
	return true;
}

char *url_decoded_path(const char *target)
{
	char *path = strndup(target, strcspn(target, "?"));

	if (path != NULL && !unescape(path))
		path[0] = '\0';
	return path;
}

/* Cuts the last "@ext" or ".ext" off and takes it as the format. "" is no format; more than one is an error. */
static bool take_extension(char *source, char separator, struct job *job)
{
	char *at = strchr(source, separator);

	if (at == NULL)
		return true;
	*at = '\0';
	if (strchr(at + 1, separator) != NULL)
		return false;
	if (at[1] == '\0')
		return true;
	job->format = format_by_name(at + 1);
	return job->format != FORMAT_NONE;
}

/* The segments without their slashes, in place: base64 source to the URL in it. */
static bool decode_base64(char *source, struct job *job)
{
	char *w = source;

	for (char *p = source; *p != '\0'; p++) {
		if (*p != '/')
			*w++ = *p;
	}
	*w = '\0';
	if (!take_extension(source, '.', job))
		return false;
	size_t len = strlen(source);
	while (len > 0 && source[len - 1] == '=')
		len--;
	/* The decoded text is shorter than the encoded one, and the decoder never writes ahead of what it reads. */
	long n = base64url_decode(source, len, (uint8_t *)source);
	if (n <= 0)
		return false;
	source[n] = '\0';
	return strlen(source) == (size_t)n;
}

/* path.Clean("/" + key) without the leading slash, in place. */
static void clean(char *path)
{
	char *w = path;
	char *p = path;

	while (*p != '\0') {
		size_t n = strcspn(p, "/");
		char *next = p + n + (p[n] == '/');
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (w > path && *--w != '/') {
			}
		} else if (n > 0 && !(n == 1 && p[0] == '.')) {
			if (w > path)
				*w++ = '/';
			memmove(w, p, n);
			w += n;
		}
		p = next;
	}
	*w = '\0';
}

/* The file's path below the root, for a URL of the scheme local; a new string. */
static char *source_path(const char *url, struct url_error *error)
{
	*error = (struct url_error){ 404, "Invalid source URL" };
	for (const char *p = url; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return NULL;
	}
	if (strncasecmp(url, "local:/", 7) != 0) {
		if (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0)
			error->body = "Source is unreachable";
		return NULL;
	}
	const char *p = url + 6;
	if (strncmp(p, "//", 2) == 0) {
		/* Host, user and port are read and then ignored. */
		p += 2;
		p += strcspn(p, "/?");
	}
	char *path = strndup(p, strcspn(p, "?"));
	if (path != NULL)
		clean(path);
	return path;
}

/* `path` is what follows the signature, normalised, without its leading slash; it is changed. */
static bool parse_path(char *path, struct job *job, struct url_error *error)
{
	char *rest = path;
	const struct url_error invalid = { 404, "Invalid URL" };

	options_init(job);
	for (;;) {
		size_t n = strcspn(rest, "/");
		if (memchr(rest, ':', n) == NULL)
			break;
		if (rest[n] == '\0') {
			*error = invalid;
			return false;
		}
		rest[n] = '\0';
		if (!options_apply(job, rest, error))
			return false;
		rest += n + 1;
	}
	*error = invalid;
	if (job->expires > 0 && job->expires < (long)time(NULL))
		return false;
	if (strncmp(rest, "plain/", 6) == 0) {
		rest += 6;
		if (rest[0] == '\0' || !take_extension(rest, '@', job) || !unescape(rest))
			return false;
	} else if (!decode_base64(rest, job)) {
		return false;
	}
	job->path = source_path(rest, error);
	return job->path != NULL;
}

bool url_parse(const struct config *c, const char *target, struct job *job, struct url_error *error)
{
	job->path = NULL;
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
			ok = parse_path(signed_path + 1, job, error);
		free(signed_path);
	}
	free(text);
	return ok;
}
