/*
 * Backends as data: the keeper keeps the weights of HAProxy's image servers (be_imgproxy of haproxy/haproxy.cfg) equal
 * to those of the table `backends`, by name, and tells how the servers are.
 *
 * Once a second it reads the table and asks HAProxy; what differs is set. So an HAProxy that was started anew or
 * reloaded, and has the weights of its configuration, has the table's within a second or two. A server that is not in
 * the table is left alone; one whose row was removed gets back the weight of the configuration. (A keeper
 * that was started since does not know that it had one.) Without PostgreSQL the last rows count. Nothing here waits: a
 * HAProxy that does not answer is asked again a second later.
 */
#pragma once

#include <stddef.h>

#include "base/settings.h"
#include "io/haproxy_servers.h"
#include "io/loop.h"
#include "io/pg.h"

struct backends;

/* NULL without haproxy.socket. pg, loop and settings must outlive it. */
struct backends *backends_new(struct loop *loop, struct pg *pg, const struct settings *settings);
/* Asks no more. NULL is allowed. */
void backends_stop(struct backends *b);
/* After pg_free(), so that no answer is under way. NULL is allowed. */
void backends_free(struct backends *b);

/* HAProxy's servers as they were at the last look, for the metrics; none while it does not answer. b may be NULL. */
const struct haproxy_server *backends_servers(const struct backends *b, size_t *count);
