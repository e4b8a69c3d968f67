/*
 * Octet counting, by which HAProxy's ring sends syslog messages over TCP (RFC 6587 section 3.4.1): the length in
 * decimal digits, one blank, and as many bytes.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/sv.h"

/*
 * Takes one message off the front of `bytes`: *message is a view of it, *used what it takes with its length.
 * ERR_INCOMPLETE: more bytes are needed. ERR_INVALID: this is not a length, or one beyond `max`; what follows cannot be
 * read either.
 */
MUST_CHECK enum err octets_take(struct sv bytes, size_t max, struct sv *message, size_t *used);
