/*
 * HAProxy's runtime socket, asked from a loop (gateway-agent), and the servers of a backend as it tells them. Format:
 * HAProxy's management guide, sections 9.1 (CSV) and 9.3, `show stat`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"
#include "io/loop.h"

#define HAPROXY_SERVERS_MAX 64
#define HAPROXY_SERVER_NAME 256

struct haproxy_server {
	char name[HAPROXY_SERVER_NAME];
	bool up; /* it gets requests if its weight lets it: its checks are passed, or there are none */
	uint32_t weight;
};

/*
 * From an answer to `show stat BACKEND 4 -1`: the servers, those with names of other characters than
 * A-Z a-z 0-9 . _ - left out. ERR_INVALID: no such answer; ERR_SPACE: more than HAPROXY_SERVERS_MAX.
 */
MUST_CHECK enum err haproxy_servers_parse(struct sv answer, struct haproxy_server items[HAPROXY_SERVERS_MAX],
                                          size_t *count);

struct haproxy_asker;

/* Once for each question that was taken, from the loop. The answer is valid during the call. */
typedef void haproxy_answer_cb(void *arg, enum err err, struct sv answer);

/* path: of the socket; it must outlive the asker. */
struct haproxy_asker *haproxy_asker_new(struct loop *loop, const char *path);
/* A question that is under way gets no answer any more. NULL is allowed. */
void haproxy_asker_free(struct haproxy_asker *a);

/*
 * Sends a command; one at a time. ERR_BAD_STATE: one is under way; ERR_UNAVAILABLE: nobody listens there, or the queue
 * is full; then cb is not called. It gets ERR_TIMEOUT after timeout_ms, ERR_CLOSED when the connection breaks, and
 * ERR_SPACE for more than a megabyte.
 */
MUST_CHECK enum err haproxy_ask(struct haproxy_asker *a, const char *command, unsigned timeout_ms,
                                haproxy_answer_cb *cb, void *arg);
