/*
 * A DSN of PostgreSQL as it may be shown: without its password.
 *
 * Both forms of it are known (https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING). A URL is shown
 * without the password before the @. What is not understood to the last byte, be it a mistyped port behind which a
 * password may stand, or a parameter that is not known to be harmless, is not shown at all: the text is "(set)" then.
 */
#pragma once

#include <stddef.h>

/* Writes it to buf, cut to size; returns buf. */
const char *dsn_shown(const char *dsn, char *buf, size_t size);
