/*
 * Host names to addresses without blocking the loop: getaddrinfo() runs in a thread of its own.
 *
 * Numeric addresses are answered without a thread, but like all others from the loop, never from inside of
 * resolver_start(). At most 16 lookups run at a time in a process; further ones fail with ERR_UNAVAILABLE.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "io/loop.h"

struct resolver;

struct resolver_addr {
	struct sockaddr_storage sa; /* with the port */
	socklen_t len;
	char text[64]; /* the numeric address without the port, NUL-terminated */
};

/*
 * err is ERR_OK with count > 0 addresses in the system's order of preference, ERR_NOT_FOUND, ERR_UNAVAILABLE or ERR_IO
 * with a text. All pointers are valid during the call.
 */
typedef void resolver_cb(void *arg, enum err err, const struct resolver_addr *addrs, size_t count, const char *error);

/* cb is called exactly once, unless cancelled; the handle is invalid from the moment that cb is called. */
struct resolver *resolver_start(struct loop *loop, const char *host, uint16_t port, resolver_cb *cb, void *arg);

/* cb is not called any more. NULL is allowed. */
void resolver_cancel(struct resolver *r);
