/* A UDP socket that takes datagrams. */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* How many bytes datagram_open() asks the system to keep for a receiver that is away. */
#define DATAGRAM_BUFFER (8 << 20)

/*
 * Binds a UDP socket, non-blocking and close-on-exec, to host:port of io/addr.h (not to a unix address: ERR_INVALID).
 * Host names are resolved in place (blocking: start-up only); the first address that can be bound is taken. Each
 * datagram comes with the count of those that were dropped for want of room (SO_RXQ_OVFL). The receive buffer is as
 * large as the system gives it, up to DATAGRAM_BUFFER (beyond net.core.rmem_max with CAP_NET_ADMIN only). *buffer is
 * its size as the kernel counts it: twice what was asked for, since it charges a datagram for more than its bytes. On
 * an error *fd is -1, and `error` names the address and the cause; ERR_EXISTS when it is in use.
 */
MUST_CHECK enum err datagram_open(const char *addr, int *fd, size_t *buffer, char *error, size_t error_size);

/* The same for a socket that others have bound: the count of drops, and the buffer, unless it is large enough. ERR_IO
 * with errno. */
MUST_CHECK enum err datagram_adopt(int fd, size_t *buffer);
