/* Listening sockets: open one by its address, and accept on it in a loop. */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "io/loop.h"

/*
 * Opens a listening socket, non-blocking and close-on-exec, for an address of io/addr.h. Host names are resolved in
 * place (blocking: start-up only); the first address that can be bound is taken. Port 0 lets the system choose.
 * A unix socket gets the file mode unix_mode; a socket file that nobody listens on is replaced, one that answers is
 * ERR_EXISTS, and a file that is no socket is left alone (ERR_EXISTS). On an error *fd is -1 and `error` names the
 * address and the cause.
 */
MUST_CHECK enum err listener_open(const char *addr, unsigned unix_mode, int *fd, char *error, size_t error_size);

/* The address that a socket is bound to, in the form that listener_open() takes; "?" when it cannot be told. */
void listener_address(int fd, char *buf, size_t size);

/* Removes the socket file of a unix address; nothing for others. For the process that opened it, at its end. */
void listener_unlink(const char *addr);

struct listener;

/*
 * Accepts on fd from now on. on_accept gets each connection (non-blocking, close-on-exec, TCP_NODELAY for TCP) and owns
 * it. A turn takes a bounded number, so that a storm of connections does not starve the others. When descriptors or
 * memory run out, accepting pauses for 100 ms and a line is logged, at most one in 10 s. When the socket was shut down
 * (shutdown(2), by any process that has it) accepting ends without a word. fd stays the caller's: close it after
 * listener_free().
 */
struct listener *listener_new(struct loop *loop, int fd, void (*on_accept)(void *arg, int fd), void *arg);

/* May be called from on_accept; NULL is allowed. */
void listener_free(struct listener *l);
