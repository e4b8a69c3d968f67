/*
 * The threads that may wait for PostgreSQL, so that those of the HTTP server never do: a fixed few, each with a
 * connection of its own, which is opened when it is needed, closed when it was idle for a minute, and replaced when it
 * broke. While PostgreSQL is away one thread after the other tries, at most twice a second, and everybody else is told
 * so at once.
 *
 * Times: 2 s to connect (to each address), 5 s for a statement.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"

/* More threads wait for each other in PostgreSQL, where all changes of the policy take turns. */
#define POOL_THREADS_MAX 8u

/* A connection of one thread of the pool. */
struct pool_thread;

/* Embedded in what the pool works on. */
struct pool_job {
	struct pool_job *next;
	uint64_t queued_ns;
	/* Called once, by a thread of the pool. late: it waited too long, and nobody should wait for PostgreSQL now. */
	void (*run)(struct pool_job *job, struct pool_thread *thread, bool late);
};

struct pool;

/* `connections` threads (at most POOL_THREADS_MAX); dsn must outlive the pool. ERR_NOMEM: no thread can be started. */
MUST_CHECK enum err pool_new(struct pool **out, const char *dsn, unsigned connections);

/* False, and the job was not taken: there are too many, or the pool was closed. */
bool pool_push(struct pool *p, struct pool_job *job);

/* A usable connection until the job ends, or NULL when there is none at the moment. */
struct pg_sync *pool_connection(struct pool_thread *thread);

/* Ends all threads; jobs that wait are run as late ones before. NULL is allowed. May be called again. */
void pool_close(struct pool *p);
/* NULL is allowed. */
void pool_free(struct pool *p);
