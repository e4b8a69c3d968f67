/*
 * One GET in blocking code, for `gatewayctl health`: whether a program of this gateway answers, and with which status.
 * HTTP/1.1 (RFC 9112) as far as a status line goes; the body is not looked at.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

/*
 * Asks `address` (see io/addr.h; an empty host is this machine) for `path`. timeout_ms is for all of it, a lookup of
 * the host's name excepted. ERR_INVALID: no such address; ERR_UNAVAILABLE: nobody answers there, or what answers is no
 * HTTP; ERR_TIMEOUT; `error` then holds one line.
 */
MUST_CHECK enum err http_probe(const char *address, const char *path, unsigned timeout_ms, unsigned *status,
                               char *error, size_t error_size);
