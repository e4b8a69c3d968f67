/*
 * What imgproxy makes of a target, written apart from spoa/imgurl: from its grammar, with one-shot HMAC, and with more
 * than one reading of a path. oracle_judge() returns NULL when the target is signed, changes nothing when imgproxy
 * normalises it, has options that a client may use, and names exactly one file of the tenant's folder or one URL below
 * an allowed prefix; else what is wrong with it.
 */
#pragma once

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ORACLE_MAX 16384

struct oracle {
	const char *key; /* imgproxy's, as text */
	const char *salt;
	unsigned long long user_id;
	const char *const *prefixes; /* ends with NULL */
	/* Of the last target that was right: its decoded source, and the path that imgproxy would open. */
	char source[ORACLE_MAX];
	size_t source_n;
};

static inline int oracle_sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Bit by bit; false when a character is none. */
static inline bool oracle_base64(const char *text, size_t n, char *out, size_t *out_n)
{
	size_t bits = 0;

	memset(out, 0, n + 1);
	for (size_t i = 0; i < n; i++) {
		int v = oracle_sextet(text[i]);
		if (v < 0)
			return false;
		for (int b = 5; b >= 0; b--, bits++)
			if ((v >> b & 1) != 0)
				out[bits / 8] = (char)(out[bits / 8] | 0x80 >> bits % 8);
	}
	*out_n = bits / 8;
	return n % 4 != 1;
}

static inline const char *oracle_signature(const struct oracle *o, const char *target, size_t n)
{
	unsigned char mac[32];
	char given[64];
	char salted[ORACLE_MAX];
	unsigned mac_n = 0;
	size_t given_n;
	size_t salt_n = strlen(o->salt);

	if (n < 46 || target[0] != '/' || target[44] != '/')
		return "there is no signature of 43 characters";
	if (!oracle_base64(target + 1, 43, given, &given_n) || given_n != 32)
		return "the signature is no base64url";
	memcpy(salted, o->salt, salt_n);
	memcpy(salted + salt_n, target + 44, n - 44);
	HMAC(EVP_sha256(), o->key, (int)strlen(o->key), (unsigned char *)salted, salt_n + n - 44, mac, &mac_n);
	return mac_n == 32 && memcmp(mac, given, 32) == 0 ? NULL : "the signature is another";
}

/* Go's path.Clean of "/" + path, into out. */
static inline void oracle_clean(const char *path, size_t n, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < n;) {
		size_t end = i;
		while (end < n && path[end] != '/')
			end++;
		size_t part = end - i;
		if (part == 2 && path[i] == '.' && path[i + 1] == '.') {
			while (len > 0 && out[--len] != '/')
				;
		} else if (part > 0 && !(part == 1 && path[i] == '.')) {
			out[len++] = '/';
			memcpy(out + len, path + i, part);
			len += part;
		}
		i = end + 1;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
}

/* "local:" with whatever imgproxy ignores, to the file below its root; it must be ours without any cleaning. */
static inline const char *oracle_local(const struct oracle *o)
{
	char clean[ORACLE_MAX];
	char folder[64];
	const char *p = o->source + strlen("local:");
	const char *end = o->source + o->source_n;

	if (memchr(o->source, '\0', o->source_n) != NULL)
		return "a NUL in a file's name";
	if (end - p >= 2 && p[0] == '/' && p[1] == '/')
		for (p += 2; p < end && *p != '/' && *p != '?'; p++)
			;
	while (p < end && *p == '/')
		p++;
	size_t n = (size_t)(end - p);
	const char *query = memchr(p, '?', n);
	if (query != NULL)
		n = (size_t)(query - p);
	oracle_clean(p, n, clean);
	snprintf(folder, sizeof(folder), "/%llu/", o->user_id);
	if (strncmp(clean, folder, strlen(folder)) != 0 || clean[strlen(folder)] == '\0')
		return "a file of somebody else";
	if (strlen(clean) != n + 1 || memcmp(clean + 1, p, n) != 0)
		return "a file by a path that is not clean";
	if (strncmp(o->source, "local:///", 9) != 0 || n != o->source_n - 9)
		return "a file's URL in another spelling";
	/* Neither by a second decoding nor to a system that knows backslashes. */
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f || p[i] == '%' || p[i] == '\\' || p[i] == '#' ||
		    (p[i] == '.' && p[i - 1] == '/'))
			return "a byte that has no place in a file's name";
	return NULL;
}

/* %XX to bytes as often as there is one, backslashes to slashes: the most that a server could make of a path. */
static inline size_t oracle_unescape(char *text, size_t n)
{
	for (int round = 0; round < 4; round++) {
		size_t to = 0;
		for (size_t i = 0; i < n; i++) {
			if (text[i] == '%' && i + 2 < n + 0 && isxdigit((unsigned char)text[i + 1]) &&
			    isxdigit((unsigned char)text[i + 2])) {
				char hex[3] = { text[i + 1], text[i + 2], '\0' };
				unsigned value = 0;
				sscanf(hex, "%x", &value);
				text[to++] = (char)value;
				i += 2;
			} else {
				text[to++] = text[i] == '\\' ? '/' : text[i];
			}
		}
		n = to;
	}
	return n;
}

/* Whether the URL is below the prefix, byte by byte and also when its path is read in the most generous way. */
static inline bool oracle_below(const char *url, size_t n, const char *prefix)
{
	char path[ORACLE_MAX];
	char clean[ORACLE_MAX];
	size_t prefix_n = strlen(prefix);
	const char *host_end = strchr(strstr(prefix, "://") + 3, '/');
	size_t host_n = (size_t)(host_end - prefix);

	if (n < prefix_n || memcmp(url, prefix, prefix_n) != 0)
		return false;
	if (prefix[prefix_n - 1] != '/' && n > prefix_n && url[prefix_n] != '?' && url[prefix_n] != '/')
		return false;
	const char *query = memchr(url, '?', n);
	size_t path_n = (query != NULL ? (size_t)(query - url) : n) - host_n;
	memcpy(path, url + host_n, path_n);
	path_n = oracle_unescape(path, path_n);
	/* "..;x" is ".." to some. */
	size_t to = 0;
	bool parameter = false;
	for (size_t i = 0; i < path_n; i++) {
		parameter = path[i] == '/' ? false : parameter || path[i] == ';';
		if (!parameter)
			path[to++] = path[i];
	}
	oracle_clean(path, to, clean);
	size_t length = strlen(clean);
	size_t wanted = prefix_n - host_n;
	/* Clean takes the last slash away. */
	if (prefix[prefix_n - 1] == '/' && length == wanted - 1)
		return memcmp(clean, prefix + host_n, length) == 0;
	return length >= wanted && memcmp(clean, prefix + host_n, wanted) == 0 &&
	       (prefix[prefix_n - 1] == '/' || clean[wanted] == '\0' || clean[wanted] == '/');
}

static inline const char *oracle_remote(const struct oracle *o)
{
	for (size_t i = 0; i < o->source_n; i++)
		if ((unsigned char)o->source[i] < 0x20 || o->source[i] == 0x7f || o->source[i] == '#' ||
		    o->source[i] == '\\')
			return "a byte that has no place in a URL";
	for (const char *const *prefix = o->prefixes; *prefix != NULL; prefix++)
		if (oracle_below(o->source, o->source_n, *prefix))
			return NULL;
	return "a URL below no prefix";
}

static inline bool oracle_is_option(const char *name, size_t n)
{
	static const char names[] =
	        " rs s rt w h mw mh z dpr el ex exar g c t pd ar rot fl bg bl sh pix wm sm kcr scp ph "
	        "eth q fq mb f skp cb exp fn att pr ";
	char wanted[16];

	if (n == 0 || n > 8)
		return false;
	snprintf(wanted, sizeof(wanted), " %.*s ", (int)n, name);
	return strstr(names, wanted) != NULL;
}

static inline const char *oracle_judge(struct oracle *o, const char *target, size_t n)
{
	static const char formats[] = " jpg jpeg png webp avif gif jxl ico svg bmp tiff heic best ";
	char joined[ORACLE_MAX];
	size_t joined_n = 0;

	for (size_t i = 0; i < n; i++)
		if (target[i] < 0x21 || target[i] > 0x7e || strchr("%?#\\@\"<>", target[i]) != NULL)
			return "a byte that has no place in a target";
	const char *wrong = oracle_signature(o, target, n);
	if (wrong != NULL)
		return wrong;
	const char *p = target + 45;
	const char *end = target + n;
	/* Without "/plain/" and "%3A" there is nothing to normalise but a second slash. */
	if (*p == '/' || (n > 50 && memmem(target, n, "/plain/", 7) != NULL))
		return "imgproxy would normalise it";
	for (;;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		const char *stop = slash != NULL ? slash : end;
		const char *colon = memchr(p, ':', (size_t)(stop - p));
		if (colon == NULL)
			break;
		if (slash == NULL || !oracle_is_option(p, (size_t)(colon - p)))
			return "an option that is none";
		if (strncmp(p, "skp:", 4) == 0 && memmem(p, (size_t)(stop - p), "svg", 3) != NULL)
			return "skp of svg";
		p = slash + 1;
	}
	for (; p < end; p++)
		if (*p != '/')
			joined[joined_n++] = *p;
	char *dot = memchr(joined, '.', joined_n);
	size_t encoded_n = dot != NULL ? (size_t)(dot - joined) : joined_n;
	if (dot != NULL) {
		char wanted[16];
		if (joined_n - encoded_n - 1 > 8 || joined_n - encoded_n - 1 == 0)
			return "a format that is none";
		snprintf(wanted, sizeof(wanted), " %.*s ", (int)(joined_n - encoded_n - 1), dot + 1);
		if (strstr(formats, wanted) == NULL)
			return "a format that is none";
	}
	if (!oracle_base64(joined, encoded_n, o->source, &o->source_n))
		return "a source that is no base64url";
	if (o->source_n >= 6 && strncasecmp(o->source, "local:", 6) == 0)
		return oracle_local(o);
	return oracle_remote(o);
}
