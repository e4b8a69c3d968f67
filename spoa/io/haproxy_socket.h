/*
 * HAProxy's runtime socket, asked in blocking code (gatewayctl), and what is read there: which process it is, and its
 * counters for each user (stick table `st_user` of haproxy/haproxy.cfg). Formats: HAProxy's management guide, section
 * 9.3, `show info` and `show table`.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

#define HAPROXY_PROCESS_MAX 64
#define HAPROXY_ANSWER_MAX  ((size_t)256 << 20)

/*
 * Sends one command to the unix socket `path` and reads to the end of the answer. timeout_ms is for all of it.
 * ERR_UNAVAILABLE: nobody answers there; ERR_TIMEOUT; ERR_SPACE: more than HAPROXY_ANSWER_MAX bytes; `error` then holds
 * one line. *answer (NUL behind its *n bytes) is freed by the caller; NULL on an error.
 */
MUST_CHECK enum err haproxy_socket_ask(const char *path, const char *command, unsigned timeout_ms, char **answer,
                                       size_t *n, char *error, size_t error_size);

/*
 * From an answer to `show info`: a name for this process that no other HAProxy has, from its pid and the second of its
 * start (Start_time_sec). ERR_INVALID: no such answer.
 */
MUST_CHECK enum err haproxy_info_process(struct sv answer, char process[HAPROXY_PROCESS_MAX]);

/* Of one user. Bytes count headers too; those of requests in flight are in requests and the bytes. */
struct haproxy_counter {
	uint64_t key;
	uint64_t requests;
	uint64_t in_flight;
	uint64_t bytes_in;
	uint64_t bytes_out;
};

struct haproxy_table {
	struct haproxy_counter *items; /* by rising key */
	size_t count;
	uint64_t size; /* how many the table takes, before it forgets the oldest */
};

/*
 * From an answer to `show table`, for a table of type integer. Unknown data are skipped, missing ones are 0.
 * ERR_NOT_FOUND: HAProxy has no such table; ERR_INVALID: no such answer.
 */
MUST_CHECK enum err haproxy_table_parse(struct sv answer, struct haproxy_table *out);
void haproxy_table_free(struct haproxy_table *t);
