/* Values of a policy file: what a person writes, and the one text that it is in a struct admin_policy. */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "store/admin_policy.h"

#define POLICY_VALUE_MAX 320 /* a canonical text that is made here, with its NUL */

/*
 * The canonical text of a field that is one plain value. ERR_INVALID: `why` (POLICY_VALUE_MAX bytes) says what it must
 * be.
 */
MUST_CHECK enum err policy_value(enum admin_field field, const char *text, char canonical[POLICY_VALUE_MAX], char *why);

/* A moment, as 2026-01-31T12:00:00Z, 2026-01-31 (its first second, UTC), or "never". ERR_INVALID. */
MUST_CHECK enum err policy_value_moment(const char *text, char canonical[POLICY_VALUE_MAX]);

/* The name of a user, and of a backend, as their tables take them. ERR_INVALID. */
MUST_CHECK enum err policy_value_username(const char *text);
MUST_CHECK enum err policy_value_backend(const char *text);
/* http://HOST:PORT or https://…, as the table takes it. ERR_INVALID. */
MUST_CHECK enum err policy_value_url(const char *text);

/* How many characters of UTF-8 a text has. */
size_t policy_value_length(const char *text);
