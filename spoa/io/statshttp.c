#include "io/statshttp.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

#define CONNECTIONS_MAX        64u
#define CONNECTIONS_PER_IP_MAX 16u
#define CONNECTION_MEMORY      ((size_t)16384)
#define CONNECTION_TIMEOUT_S   10u

struct statshttp {
	struct loop *loop;
	struct MHD_Daemon *daemon;
	struct loop_io io;
	struct loop_timer timer;
	statshttp_handler *handler;
	void *arg;
};

struct statshttp_response {
	unsigned status;
	const char *type;
	char *body;
	size_t len;
	size_t size;
	bool failed;
};

static void run(struct statshttp *h)
{
	MHD_UNSIGNED_LONG_LONG ms;
	MHD_run(h->daemon);
	/* The time until a silent connection must be closed, or 0 when there is work left. */
	if (MHD_get_timeout(h->daemon, &ms) == MHD_YES)
		loop_timer_start(&h->timer, ms, 0);
	else
		loop_timer_stop(&h->timer);
}

static void on_io(void *arg, unsigned events)
{
	(void)events;
	run(arg);
}

static void on_timer(void *arg)
{
	run(arg);
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct statshttp_response *resp)
{
	struct MHD_Response *r;
	enum MHD_Result rc;
	if (resp->failed) {
		free(resp->body);
		*resp = (struct statshttp_response){ .status = 500, .type = resp->type };
	}
	r = MHD_create_response_from_buffer(resp->len, resp->body, MHD_RESPMEM_MUST_FREE);
	if (r == NULL) {
		free(resp->body);
		return MHD_NO;
	}
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, resp->type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (resp->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	rc = MHD_queue_response(connection, resp->status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_size, void **state)
{
	struct statshttp *h = arg;
	struct statshttp_response resp = { .status = 200, .type = "text/plain; charset=utf-8" };
	(void)version;
	(void)data;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		resp.status = MHD_HTTP_METHOD_NOT_ALLOWED;
		statshttp_printf(&resp, "only GET and HEAD\n");
		return answer(connection, &resp);
	}
	if (*data_size > 0)
		return MHD_NO;
	if (*state == NULL) { /* the headers are there; the next call comes once the request is complete */
		*state = h;
		return MHD_YES;
	}
	h->handler(h->arg, url, &resp);
	return answer(connection, &resp);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *arg, const char *fmt, va_list ap)
{
	char line[256];
	(void)arg;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("stats port: %s", line);
}

enum err statshttp_new(struct loop *loop, int fd, statshttp_handler *handler, void *arg, struct statshttp **out)
{
	struct statshttp *h = check_calloc(1, sizeof(*h));
	const union MHD_DaemonInfo *info;
	*out = NULL;
	h->loop = loop;
	h->handler = handler;
	h->arg = arg;
	/* The logger comes first: it is for the errors of the options after it. */
	h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
	                             MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
	                             MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
	                             CONNECTIONS_PER_IP_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
	                             MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_TIMEOUT_S, MHD_OPTION_END);
	if (h->daemon == NULL) {
		free(h);
		return ERR_IO;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	CHECK(info != NULL && info->epoll_fd >= 0);
	loop_io_init(&h->io, loop, on_io, h);
	loop_timer_init(&h->timer, loop, on_timer, h);
	loop_io_start(&h->io, info->epoll_fd, LOOP_READ);
	*out = h;
	return ERR_OK;
}

void statshttp_free(struct statshttp *h)
{
	if (h == NULL)
		return;
	loop_io_stop(&h->io);
	loop_timer_stop(&h->timer);
	MHD_stop_daemon(h->daemon);
	free(h);
}

void statshttp_status(struct statshttp_response *resp, unsigned status)
{
	resp->status = status;
}

void statshttp_content_type(struct statshttp_response *resp, const char *type)
{
	resp->type = type;
}

static bool room(struct statshttp_response *resp, size_t need)
{
	size_t size = resp->size > 0 ? resp->size : 4096;
	char *body;
	if (resp->failed)
		return false;
	if (resp->size - resp->len >= need)
		return true;
	while (size < resp->len + need)
		size *= 2;
	body = realloc(resp->body, size);
	if (body == NULL) {
		resp->failed = true;
		return false;
	}
	resp->body = body;
	resp->size = size;
	return true;
}

void statshttp_write(struct statshttp_response *resp, const void *p, size_t n)
{
	if (n == 0 || !room(resp, n))
		return;
	memcpy(resp->body + resp->len, p, n);
	resp->len += n;
}

void statshttp_printf(struct statshttp_response *resp, const char *fmt, ...)
{
	va_list ap, again;
	int n;
	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n > 0 && room(resp, (size_t)n + 1)) {
		vsnprintf(resp->body + resp->len, (size_t)n + 1, fmt, again);
		resp->len += (size_t)n;
	}
	va_end(again);
	va_end(ap);
}
