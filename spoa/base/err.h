/*
 * One error enum for the whole project, and one table of its texts.
 *
 * Every function that can fail returns `enum err`: ERR_OK (0) or a negative value, and is marked MUST_CHECK. Codes flow
 * upwards unchanged; the sentence for a person is made at the edge, where the context (which key, which file) is known.
 */
#pragma once

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
	ERR_OK = 0,
	ERR_INCOMPLETE = -1,   /* more bytes are needed; nothing was consumed */
	ERR_INVALID = -2,      /* the input breaks its grammar */
	ERR_RANGE = -3,        /* a number or a length is outside of its bounds */
	ERR_SPACE = -4,        /* the destination is too small */
	ERR_NOMEM = -5,        /* no memory */
	ERR_NOT_FOUND = -6,    /* no such thing */
	ERR_EXISTS = -7,       /* it exists already */
	ERR_IO = -8,           /* a system call failed; errno says why */
	ERR_CLOSED = -9,       /* the peer or the owner closed it */
	ERR_TIMEOUT = -10,     /* the deadline passed */
	ERR_REFUSED = -11,     /* the peer refused it (an error answer of a server) */
	ERR_UNAVAILABLE = -12, /* the service behind it is down at the moment */
	ERR_VERSION = -13,     /* a layout or protocol version that this build does not know */
	ERR_BAD_STATE = -14,   /* not allowed in the present state */
	ERR_UNSUPPORTED = -15, /* known, but not supported */
	ERR_CORRUPT = -16,     /* stored data fails its check */
	ERR_CRYPTO = -17,      /* the crypto library refused */
	ERR_LAST = -17
};

/* The text of an error code; never NULL, also for numbers that are no code. */
const char *err_str(int err);
