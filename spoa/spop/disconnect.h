/* The two DISCONNECT frames: a status code and a sentence, in both directions. */
#pragma once

#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"
#include "spop/frame.h"
#include "spop/reason.h"

/* Longer texts are cut. */
#define SPOP_DISCONNECT_TEXT_MAX 255
/* No DISCONNECT that this room writes has more bytes, its length included. */
#define SPOP_DISCONNECT_BYTES_MAX 304

struct spop_disconnect {
	uint32_t status; /* mostly an enum spop_status; SPOP_STATUS_UNKNOWN without the key or out of 32 bits */
	struct sv text;  /* into the payload; {NULL, 0} without the key */
};

/* Reads the payload. ERR_INVALID or ERR_RANGE when it is no KV list or a known key has another type. */
MUST_CHECK enum err spop_disconnect_decode(struct sv payload, struct spop_disconnect *out);

/*
 * Writes a whole frame; type is SPOP_FRAME_AGENT_DISCONNECT or SPOP_FRAME_HAPROXY_DISCONNECT. Errors as
 * spop_frame_end(): nothing is written then.
 */
MUST_CHECK enum err spop_disconnect_write(struct wcur *out, enum spop_frame_type type, uint32_t status, struct sv text);
