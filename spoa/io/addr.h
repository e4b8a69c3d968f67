/* Addresses as settings write them: "host:port", "[v6]:port", ":port" (any address) and "unix@/path". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ADDR_HOST_MAX 256
/* sun_path of sockaddr_un, NUL included */
#define ADDR_PATH_MAX 108
#define ADDR_TEXT_MAX 320

struct addr {
	bool is_unix;
	char host[ADDR_HOST_MAX]; /* without brackets; empty: any address */
	char port[6];             /* decimal, 0 to 65535 */
	uint16_t port_number;     /* the same as a number */
	char path[ADDR_PATH_MAX]; /* of a unix socket */
};

/* On an error *out is all zero and `error` says what is wrong with `text`. */
MUST_CHECK enum err addr_parse(const char *text, struct addr *out, char *error, size_t error_size);
