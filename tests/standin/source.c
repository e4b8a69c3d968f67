#include "source.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fetch.h"

#define HTTP_DATE "%a, %d %b %Y %H:%M:%S GMT"

static bool fail(struct url_error *error, unsigned status)
{
	*error = (struct url_error){ status, status == 422 ? "Invalid source image" : "Source is unreachable" };
	return false;
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

/* Go opens no file whose name is not UTF-8. */
static bool is_utf8(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p != '\0') {
		int more = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2 : 3;
		if (*p >= 0x80 && (*p < 0xc2 || *p > 0xf4))
			return false;
		if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
		    (*p == 0xf4 && p[1] > 0x8f))
			return false;
		for (p++; more > 0; more--, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
		}
	}
	return true;
}

/* Whether Go's net/url takes this for user, host and port of a URL whose "%", "?" and "#" were escaped before. */
static bool authority_is_good(const char *text, size_t len)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	char host[512];

	const char *at = memrchr(text, '@', len);
	for (const char *p = text; at != NULL && p < at; p++) {
		if (strchr(unreserved, *p) == NULL && strchr("?#:!$&'()*+,;=%@", *p) == NULL)
			return false;
	}
	const char *from = at != NULL ? at + 1 : text;
	len -= (size_t)(from - text);
	if (len >= sizeof(host))
		return false;
	memcpy(host, from, len);
	host[len] = '\0';
	char *end = host;
	if (host[0] == '[') {
		struct in6_addr ignored;
		end = strchr(host, ']');
		if (end == NULL)
			return false;
		*end++ = '\0';
		if (inet_pton(AF_INET6, host + 1, &ignored) != 1)
			return false;
	} else {
		end += strcspn(host, ":");
		for (const char *p = host; p < end; p++) {
			if ((unsigned char)*p < 0x80 && strchr(unreserved, *p) == NULL &&
			    strchr("!$&'()*+,;=<>\"%", *p) == NULL)
				return false;
		}
	}
	return *end == '\0' || (*end == ':' && strspn(end + 1, "0123456789") == strlen(end + 1));
}

/* The key of a "local:" URL, what follows its slashes: "" for none. NULL: Go reads no URL in it. A new string. */
static char *local_key(const struct config *c, const char *url)
{
	const char *p = url + strlen("local:");

	for (const char *q = url; *q != '\0'; q++) {
		if ((unsigned char)*q < 0x20 || *q == 0x7f)
			return NULL;
	}
	if (*p != '/')
		return strdup("");
	if (p[1] == '/') {
		/* Read and then ignored. */
		size_t n = strcspn(p + 2, "/");
		if (!authority_is_good(p + 2, n))
			return NULL;
		p += 2 + n;
	}
	p += strspn(p, "/");
	const char *query = c->query[0] != '\0' ? strstr(p, c->query) : NULL;
	return query != NULL ? strndup(p, (size_t)(query - p)) : strdup(p);
}

static void make_validators(const struct stat *st, struct source *out)
{
	struct tm tm;

	snprintf(out->etag, sizeof(out->etag), "\"%llx%09lx-%llx\"", (unsigned long long)st->st_mtim.tv_sec,
	         (unsigned long)st->st_mtim.tv_nsec, (unsigned long long)st->st_size);
	gmtime_r(&st->st_mtime, &tm);
	strftime(out->modified, sizeof(out->modified), HTTP_DATE, &tm);
}

/* If-None-Match wins over If-Modified-Since (RFC 9110 section 13.2.2). */
static bool is_not_modified(const struct conditions *conditions, const struct source *s, time_t mtime)
{
	struct tm tm = { 0 };

	if (conditions->match != NULL)
		return strcmp(conditions->match, "*") == 0 || strstr(conditions->match, s->etag) != NULL;
	if (conditions->since == NULL || strptime(conditions->since, HTTP_DATE, &tm) == NULL)
		return false;
	return mtime <= timegm(&tm);
}

/* Where a raw source is no file, imgproxy sends on what its own transport says. */
static bool answer_text(struct source *out, unsigned status, const char *key, const char *what)
{
	size_t room = strlen(key) + strlen(what) + 3;
	char *text = malloc(room);

	if (text == NULL)
		return false;
	out->status = status;
	out->data = text;
	out->len = (size_t)snprintf(text, room, "/%s %s", key, what);
	snprintf(out->type, sizeof(out->type), "text/plain");
	return true;
}

/* "bytes=from-[to]" of one range; other forms are passed over. */
static void take_range(const char *range, struct source *out, const char **from, size_t *len)
{
	char *end;

	if (strncmp(range, "bytes=", 6) != 0)
		return;
	unsigned long long first = strtoull(range + 6, &end, 10);
	if (end == range + 6 || *end != '-')
		return;
	unsigned long long last = end[1] != '\0' ? strtoull(end + 1, &end, 10) : out->len - 1;
	if (first > last || last >= out->len)
		return;
	out->status = 206;
	snprintf(out->range, sizeof(out->range), "bytes %llu-%llu/%zu", first, last, out->len);
	*from += first;
	*len = (size_t)(last - first + 1);
}

static bool map_file(int fd, const struct stat *st, const struct job *job, const struct conditions *conditions,
                     struct source *out, struct url_error *error)
{
	make_validators(st, out);
	out->status = 200;
	if (is_not_modified(conditions, out, st->st_mtime)) {
		out->status = 304;
		return true;
	}
	if (!job->raw && job->max_src_size > 0 && st->st_size > job->max_src_size)
		return fail(error, 422);
	if (st->st_size == 0)
		return true;
	out->len = (size_t)st->st_size;
	out->data = mmap(NULL, out->len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (out->data == MAP_FAILED) {
		out->data = NULL;
		return fail(error, 500);
	}
	out->mapped = true;
	if (!job->raw || conditions->range == NULL)
		return true;
	const char *from = out->data;
	size_t len = out->len;
	take_range(conditions->range, out, &from, &len);
	if (out->status != 206)
		return true;
	char *part = malloc(len);
	if (part == NULL)
		return fail(error, 500);
	memcpy(part, from, len);
	munmap(out->data, out->len);
	out->data = part;
	out->len = len;
	out->mapped = false;
	return true;
}

/* As http.Dir of Go: ".." is resolved within the root, links are followed wherever they lead. */
static bool get_file(const struct config *c, int root_fd, const struct job *job, const struct conditions *conditions,
                     const char *url, struct source *out, struct url_error *error)
{
	struct stat st;
	char *key = root_fd >= 0 ? local_key(c, url) : NULL;
	char *path = key != NULL ? strdup(key) : NULL;
	bool ok = false;

	if (path != NULL)
		clean(path);
	if (path == NULL || !is_utf8(path)) {
		free(key);
		free(path);
		return fail(error, 404);
	}
	/* Without O_NONBLOCK a named pipe would hold the thread. */
	int fd = openat(root_fd, path[0] != '\0' ? path : ".", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is_there = fd >= 0 && fstat(fd, &st) == 0;
	if (is_there && S_ISREG(st.st_mode))
		ok = map_file(fd, &st, job, conditions, out, error);
	else if (job->raw)
		ok = answer_text(out, 404, key, is_there ? "is directory" : "doesn't exist");
	else
		fail(error, 404);
	if (fd >= 0)
		close(fd);
	free(key);
	free(path);
	if (!ok)
		source_free(out);
	return ok;
}

static long ms_since(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - begin->tv_sec) * 1000 + (now.tv_nsec - begin->tv_nsec) / 1000000;
}

static bool is_web(const char *url)
{
	return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

/* As Go sends a URL: what may not stand in a request line is escaped. NULL for control bytes. A new string. */
static char *escaped(const char *url)
{
	char *out = malloc(3 * strlen(url) + 1);
	char *w = out;

	for (const char *p = url; out != NULL && *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;
		if (c < 0x20 || c == 0x7f) {
			free(out);
			return NULL;
		}
		w += sprintf(w, c > 0x20 && c < 0x7f && strchr("\"<>\\^`{|}", c) == NULL ? "%c" : "%%%02X", c);
	}
	if (out != NULL)
		*w = '\0';
	return out;
}

static bool fetch(const struct config *c, const char *url, const struct job *job, long timeout_ms,
                  const struct conditions *conditions, struct source *out, char **location, struct url_error *error)
{
	char *text = timeout_ms > 0 ? escaped(url) : NULL;

	if (text == NULL)
		return fail(error, timeout_ms > 0 ? 404 : 504);
	bool ok = fetch_once(c, text, job->raw ? 0 : job->max_src_size, timeout_ms, conditions, out, location, error);
	free(text);
	return ok;
}

/*
 * Follows redirects, the settings' number of them, wherever they lead: Go's client takes a Location of any scheme that
 * was registered with it, so a web server can send imgproxy to a file below the root.
 */
static bool get_anywhere(const struct config *c, int root_fd, const struct job *job,
                         const struct conditions *conditions, struct source *out, struct url_error *error)
{
	struct timespec begin;
	char *url = strdup(job->source);
	bool ok = false;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long hops = 0; url != NULL && hops <= c->max_redirects; hops++) {
		char *location = NULL;
		long left = c->download_timeout * 1000 - ms_since(&begin);
		*out = (struct source){ 0 };
		if (!is_web(url)) {
			ok = strncasecmp(url, "local:", 6) == 0 ? get_file(c, root_fd, job, conditions, url, out, error)
			                                        : fail(error, 404);
			break;
		}
		if (fetch(c, url, job, left, conditions, out, &location, error))
			ok = location == NULL;
		free(url);
		url = location;
		if (location == NULL)
			break;
		source_free(out);
		fail(error, 404);
	}
	free(url);
	return ok;
}

bool source_get(const struct config *c, int root_fd, const struct job *job, const struct conditions *conditions,
                struct source *out, struct url_error *error)
{
	*out = (struct source){ 0 };
	if (!get_anywhere(c, root_fd, job, conditions, out, error))
		return false;
	if (job->raw || out->status == 200 || out->status == 304)
		return true;
	unsigned status = out->status >= 500 ? 502 : out->status >= 400 ? out->status : 404;
	source_free(out);
	return fail(error, status);
}

void source_free(struct source *s)
{
	if (s->mapped)
		munmap(s->data, s->len);
	else
		free(s->data);
	s->data = NULL;
	s->mapped = false;
}

void source_name(const char *url, char *out, size_t size)
{
	size_t len = strcspn(url, "?#");
	const char *base = memrchr(url, '/', len);
	base = base != NULL ? base + 1 : url;
	len -= (size_t)(base - url);
	const char *dot = memrchr(base, '.', len);
	if (dot != NULL && dot > base)
		len = (size_t)(dot - base);
	snprintf(out, size, "%.*s", (int)(len < size ? len : size - 1), base);
}
