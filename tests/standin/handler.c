#include "handler.h"

#include <ctype.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "image.h"
#include "url.h"

#define SERVER_NAME     "imgproxy-standin"
#define REQUEST_ID_SIZE 64
#define CSP             "default-src 'none'; img-src 'none'; script-src 'none'; style-src 'none'; sandbox"
#define HTTP_DATE       "%a, %d %b %Y %H:%M:%S GMT"

static void add(struct MHD_Response *response, const char *name, const char *value)
{
	MHD_add_response_header(response, name, value);
}

/* The client's id when it is a plain word, else a new one. */
static void request_id(struct MHD_Connection *conn, char out[REQUEST_ID_SIZE])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
	const char *given = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "X-Request-ID");
	uint8_t random[21] = { 0 };

	if (given != NULL && given[0] != '\0' && strlen(given) < REQUEST_ID_SIZE &&
	    strspn(given, letters) == strlen(given)) {
		memcpy(out, given, strlen(given) + 1);
		return;
	}
	ssize_t n = getrandom(random, sizeof(random), 0);
	(void)n;
	for (size_t i = 0; i < sizeof(random); i++)
		out[i] = letters[random[i] & 63];
	out[sizeof(random)] = '\0';
}

/* Adds what every answer has and queues it; `response` is used up. */
static enum MHD_Result send_response(const struct standin *s, struct MHD_Connection *conn, unsigned status,
                                     struct MHD_Response *response)
{
	char id[REQUEST_ID_SIZE];

	if (response == NULL)
		return MHD_NO;
	request_id(conn, id);
	add(response, "Server", SERVER_NAME);
	add(response, "X-Request-Id", id);
	if (s->config->name != NULL)
		add(response, "X-Served-By", s->config->name);
	enum MHD_Result result = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result send_text(const struct standin *s, struct MHD_Connection *conn, unsigned status,
                                 const char *type, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return MHD_NO;
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(copy), copy, MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(copy);
		return MHD_NO;
	}
	add(response, "Content-Type", type);
	return send_response(s, conn, status, response);
}

static enum MHD_Result send_error(const struct standin *s, struct MHD_Connection *conn, const struct url_error *error)
{
	return send_text(s, conn, error->status, "text/plain", error->body);
}

/* Of the source file: the same for every image that is made from it, as imgproxy does. */
struct validators {
	char etag[64];
	char modified[64];
	time_t mtime;
};

static void make_validators(const struct stat *st, struct validators *v)
{
	struct tm tm;

	v->mtime = st->st_mtime;
	snprintf(v->etag, sizeof(v->etag), "\"%llx%09lx-%llx\"", (unsigned long long)st->st_mtim.tv_sec,
	         (unsigned long)st->st_mtim.tv_nsec, (unsigned long long)st->st_size);
	gmtime_r(&st->st_mtime, &tm);
	strftime(v->modified, sizeof(v->modified), HTTP_DATE, &tm);
}

/* If-None-Match wins over If-Modified-Since (RFC 9110 section 13.2.2). */
static bool is_not_modified(struct MHD_Connection *conn, const struct validators *v)
{
	const char *match = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "If-None-Match");
	const char *since = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "If-Modified-Since");
	struct tm tm = { 0 };

	if (match != NULL)
		return strcmp(match, "*") == 0 || strstr(match, v->etag) != NULL;
	if (since == NULL || strptime(since, HTTP_DATE, &tm) == NULL)
		return false;
	return v->mtime <= timegm(&tm);
}

/* inline; filename="cat.png" with what a quoted string cannot hold as %XX */
static void disposition(const struct job *job, const char *extension, char *out, size_t size)
{
	const char *base = strrchr(job->path, '/');
	base = base != NULL ? base + 1 : job->path;
	const char *dot = strrchr(base, '.');
	size_t len = dot != NULL && dot > base ? (size_t)(dot - base) : strlen(base);
	size_t n = (size_t)snprintf(out, size, "%s; filename=\"", job->attachment ? "attachment" : "inline");

	for (size_t i = 0; i < len && n + 16 < size; i++) {
		unsigned char c = (unsigned char)base[i];
		bool bare = c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '%';
		n += (size_t)snprintf(out + n, size - n, bare ? "%c" : "%%%02X", c);
	}
	snprintf(out + n, size - n, ".%s\"", extension);
}

static void add_cache_headers(const struct standin *s, struct MHD_Response *response, const struct job *job,
                              const struct validators *v)
{
	char text[64];
	long ttl = s->config->ttl;

	if (job->expires > 0 && job->expires - (long)time(NULL) < ttl)
		ttl = job->expires - (long)time(NULL);
	snprintf(text, sizeof(text), "max-age=%ld, public", ttl > 0 ? ttl : 0);
	add(response, "Cache-Control", text);
	add(response, "ETag", v->etag);
	add(response, "Last-Modified", v->modified);
}

static enum MHD_Result send_image(const struct standin *s, struct MHD_Connection *conn, const struct job *job,
                                  const struct validators *v, struct image_result *image)
{
	char text[512];

	struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(image->len, image->data,
	                                                                                   g_free);
	if (response == NULL) {
		g_free(image->data);
		return MHD_NO;
	}
	disposition(job, image->extension, text, sizeof(text));
	add(response, "Content-Type", image->content_type);
	add(response, "Content-Disposition", text);
	add(response, "Content-Security-Policy", CSP);
	add_cache_headers(s, response, job, v);
	return send_response(s, conn, MHD_HTTP_OK, response);
}

static void delay(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (ms > 0 && nanosleep(&ts, &ts) != 0) {
	}
}

/* The source as an open regular file, or -1. */
static int open_source(const struct standin *s, const char *path, struct stat *st)
{
	if (s->root_fd < 0 || path[0] == '\0')
		return -1;
	/* Without O_NONBLOCK a named pipe would hold the thread. */
	int fd = openat(s->root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -1;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
		return fd;
	close(fd);
	return -1;
}

static enum MHD_Result process(const struct standin *s, struct MHD_Connection *conn, const struct job *job)
{
	struct stat st;
	struct validators v;
	struct image_result image;
	struct url_error error = { 404, "Source is unreachable" };

	int fd = open_source(s, job->path, &st);
	if (fd < 0)
		return send_error(s, conn, &error);
	make_validators(&st, &v);
	if (is_not_modified(conn, &v)) {
		close(fd);
		struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
		if (response == NULL)
			return MHD_NO;
		add_cache_headers(s, response, job, &v);
		return send_response(s, conn, MHD_HTTP_NOT_MODIFIED, response);
	}
	delay(s->config->delay_ms);
	while (sem_wait(s->slots) != 0) {
	}
	bool ok = image_process(s->config, job, fd, st.st_size, &image, &error);
	sem_post(s->slots);
	close(fd);
	return ok ? send_image(s, conn, job, &v, &image) : send_error(s, conn, &error);
}

enum MHD_Result handle(const struct standin *s, struct MHD_Connection *conn, const char *method, const char *target)
{
	static const struct url_error malformed = { 400, "400 Bad Request" };
	static const struct url_error not_found = { 404, " " };
	struct job job;
	struct url_error error;

	if (url_is_malformed(target))
		return send_error(s, conn, &malformed);
	if (strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0)
		return send_text(s, conn, MHD_HTTP_OK, "text/plain", "");
	if (strcmp(method, "GET") != 0)
		return send_error(s, conn, &not_found);

	char *path = url_decoded_path(target);
	if (path == NULL)
		return MHD_NO;
	bool health = strcmp(path, "/health") == 0;
	bool landing = strcmp(path, "/") == 0;
	bool nothing = strcmp(path, "/favicon.ico") == 0 || strncmp(path, "/.well-known/", 13) == 0;
	free(path);
	if (health)
		return send_text(s, conn, MHD_HTTP_OK, "text/plain", "imgproxy is running");
	if (landing)
		return send_text(s, conn, MHD_HTTP_OK, "text/html", "<h1>" SERVER_NAME "</h1>\n");
	if (nothing)
		return send_error(s, conn, &not_found);

	if (!url_parse(s->config, target, &job, &error))
		return send_error(s, conn, &error);
	enum MHD_Result result = process(s, conn, &job);
	free(job.path);
	return result;
}
