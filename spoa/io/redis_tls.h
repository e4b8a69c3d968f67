/*
 * TLS for a connection of hiredis. It takes hiredis 1.0 or later with its libhiredis_ssl; Debian 12 has 0.14. A build
 * without it (the Makefile asks pkg-config) says so here, and refuses the setting.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct redisContext;
struct redis_tls;

/* NULL when this build speaks TLS to Redis, else why not. */
const char *redis_tls_missing(void);

/*
 * What all connections of one client share: TLS 1.2 or later, and the server must show a certificate for `host` (a
 * name, or an address as text) that an authority in the PEM file `ca` has signed ("": one of the system's).
 * ERR_UNSUPPORTED: not in this build; ERR_INVALID: the file cannot be read. Both with a text in `error`. Free with
 * redis_tls_free().
 */
MUST_CHECK enum err redis_tls_new(const char *host, const char *ca, struct redis_tls **out, char *error,
                                  size_t error_size);
/* NULL is allowed. */
void redis_tls_free(struct redis_tls *tls);

/*
 * For a connection that was just begun: everything on it goes through TLS. ERR_CRYPTO: the handshake has failed
 * already; the connection is of no use then.
 */
MUST_CHECK enum err redis_tls_begin(struct redis_tls *tls, struct redisContext *c);

/* Why the server's certificate was refused on the last connection that was begun; NULL: it was not. */
const char *redis_tls_refused(const struct redis_tls *tls);
