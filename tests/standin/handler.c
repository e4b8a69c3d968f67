#include "handler.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "image.h"
#include "source.h"
#include "url.h"

#define REQUEST_ID_SIZE 64
#define CSP             "default-src 'none'; img-src 'none'; script-src 'none'; style-src 'none'; sandbox"

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

/* inline; filename="cat.png" with what a quoted string cannot hold as %XX; without an extension none is added. */
static void disposition(const struct job *job, const char *extension, char *out, size_t size)
{
	char name[FILENAME_SIZE];

	if (job->filename[0] != '\0')
		snprintf(name, sizeof(name), "%s", job->filename);
	else
		source_name(job->source, name, sizeof(name));
	size_t n = (size_t)snprintf(out, size, "%s; filename=\"", job->attachment ? "attachment" : "inline");
	for (const char *p = name; *p != '\0' && n + 16 < size; p++) {
		unsigned char c = (unsigned char)*p;
		bool bare = c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '%';
		n += (size_t)snprintf(out + n, size - n, bare ? "%c" : "%%%02X", c);
	}
	snprintf(out + n, size - n, "%s%s\"", extension[0] != '\0' ? "." : "", extension);
}

static void add_cache_headers(const struct standin *s, struct MHD_Response *response, const struct job *job,
                              const struct source *source)
{
	char text[64];
	long ttl = s->config->ttl;

	if (job->expires > 0 && job->expires - (long)time(NULL) < ttl)
		ttl = job->expires - (long)time(NULL);
	snprintf(text, sizeof(text), "max-age=%ld, public", ttl > 0 ? ttl : 0);
	add(response, "Cache-Control", text);
	/* The source's: the same for every image that is made from it, as imgproxy does. */
	if (source->etag[0] != '\0')
		add(response, "ETag", source->etag);
	if (source->modified[0] != '\0')
		add(response, "Last-Modified", source->modified);
}

static enum MHD_Result send_image(const struct standin *s, struct MHD_Connection *conn, const struct job *job,
                                  const struct source *source, struct image_result *image)
{
	char text[3 * FILENAME_SIZE + 64];

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
	add_cache_headers(s, response, job, source);
	return send_response(s, conn, MHD_HTTP_OK, response);
}

/* The source as it came, with its own status. */
static enum MHD_Result send_raw(const struct standin *s, struct MHD_Connection *conn, const struct job *job,
                                const struct source *source)
{
	char text[3 * FILENAME_SIZE + 64];
	void *data = source->data;
	char none[1] = "";

	struct MHD_Response *response = MHD_create_response_from_buffer(source->len, data != NULL ? data : none,
	                                                                MHD_RESPMEM_MUST_COPY);
	if (response == NULL)
		return MHD_NO;
	disposition(job, "", text, sizeof(text));
	if (source->type[0] != '\0')
		add(response, "Content-Type", source->type);
	if (source->range[0] != '\0')
		add(response, "Content-Range", source->range);
	add(response, "Content-Disposition", text);
	add(response, "Content-Security-Policy", CSP);
	if (source->status < 400)
		add_cache_headers(s, response, job, source);
	return send_response(s, conn, source->status, response);
}

static void delay(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (ms > 0 && nanosleep(&ts, &ts) != 0) {
	}
}

static enum MHD_Result send_not_modified(const struct standin *s, struct MHD_Connection *conn, const struct job *job,
                                         const struct source *source)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

	if (response == NULL)
		return MHD_NO;
	add_cache_headers(s, response, job, source);
	return send_response(s, conn, MHD_HTTP_NOT_MODIFIED, response);
}

static const char *header(struct MHD_Connection *conn, const char *name)
{
	return MHD_lookup_connection_value(conn, MHD_HEADER_KIND, name);
}

static enum MHD_Result process(const struct standin *s, struct MHD_Connection *conn, const struct job *job)
{
	struct source source;
	struct image_result image;
	struct url_error error;
	const struct conditions conditions = { header(conn, "If-None-Match"), header(conn, "If-Modified-Since"),
		                               job->raw ? header(conn, "Range") : NULL };
	enum MHD_Result result;

	if (!source_get(s->config, s->root_fd, job, &conditions, &source, &error))
		return send_error(s, conn, &error);
	if (source.status == 304) {
		result = send_not_modified(s, conn, job, &source);
	} else if (job->raw) {
		result = send_raw(s, conn, job, &source);
	} else {
		delay(s->config->delay_ms);
		while (sem_wait(s->slots) != 0) {
		}
		bool ok = image_process(s->config, job, source.data, source.len, &image, &error);
		sem_post(s->slots);
		result = ok ? send_image(s, conn, job, &source, &image) : send_error(s, conn, &error);
	}
	source_free(&source);
	return result;
}

/* Whoever knows the secret, when there is one. */
static bool knows_secret(const struct standin *s, struct MHD_Connection *conn)
{
	const char *given = header(conn, "Authorization");

	if (s->config->secret == NULL)
		return true;
	return given != NULL && strncmp(given, "Bearer ", 7) == 0 && strcmp(given + 7, s->config->secret) == 0;
}

enum MHD_Result handle(const struct standin *s, struct MHD_Connection *conn, const char *method, const char *target)
{
	static const struct url_error malformed = { 400, "400 Bad Request" };
	static const struct url_error not_found = { 404, " " };
	static const struct url_error forbidden = { 403, "Forbidden" };
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

	if (!knows_secret(s, conn))
		return send_error(s, conn, &forbidden);
	if (!url_parse(s->config, target, &job, &error))
		return send_error(s, conn, &error);
	enum MHD_Result result = process(s, conn, &job);
	free(job.source);
	return result;
}
