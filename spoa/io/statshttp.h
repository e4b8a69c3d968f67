/*
 * A small HTTP server on the loop, for /metrics, /healthz and /readyz. GET and HEAD only, no request bodies, answers
 * from memory. Limits: 64 connections, 16 of one address, 16 KB of memory and 10 s of silence for each.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "io/loop.h"

struct statshttp;
struct statshttp_response;

/* Called from the loop once for each request; path has no query. Without statshttp_status() the answer is 200. */
typedef void statshttp_handler(void *arg, const char *path, struct statshttp_response *resp);

/*
 * Takes over the listening socket fd (see listener_open()): statshttp_free() closes it. ERR_IO when the library
 * refuses; fd is then of no more use to the caller either (its state is not known).
 */
MUST_CHECK enum err statshttp_new(struct loop *loop, int fd, statshttp_handler *handler, void *arg,
                                  struct statshttp **out);
/* Not from the handler. NULL is allowed. */
void statshttp_free(struct statshttp *h);

void statshttp_status(struct statshttp_response *resp, unsigned status);
/* Default: text/plain; charset=utf-8. The string must outlive the request. */
void statshttp_content_type(struct statshttp_response *resp, const char *type);
/* Add to the body. Without memory the answer becomes a 500. */
void statshttp_write(struct statshttp_response *resp, const void *p, size_t n);
void statshttp_printf(struct statshttp_response *resp, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
