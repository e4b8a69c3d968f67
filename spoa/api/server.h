/*
 * The HTTP server of gateway-api: libmicrohttpd with epoll and a small pool of threads. Memory is bounded by the number
 * of connections times the buffer of each. Of these some are spare: when all requests that are served at once are under
 * way, others are refused, and /healthz answers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "api/request.h"
#include "base/err.h"

struct server;

/*
 * Serves on the listening socket, which is the server's from now on (on an error it stays the caller's). A connection
 * that is silent for idle_timeout_s seconds ends. `env` must outlive the server. ERR_NOMEM, or ERR_IO.
 */
MUST_CHECK enum err server_new(struct server **out, int listen_fd, const struct request_env *env,
                               unsigned idle_timeout_s);

/*
 * Answers whoever has connected, accepts no more, and waits until every request is answered; ERR_TIMEOUT when some were
 * not in time. The caller has taken away the path of a unix socket before, so that nobody new connects; with an address
 * of TCP, who comes in the moment between the last one and the end of listening is reset.
 */
MUST_CHECK enum err server_drain(struct server *s, uint64_t timeout_ms);

/* Ends the connections that are left, removes what their uploads left, closes the socket. NULL is allowed. */
void server_free(struct server *s);
