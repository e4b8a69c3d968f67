/*
 * Frames of SPOP 2.0 (doc/SPOE.txt): a length of 4 bytes, big endian, that counts what follows it, then type (1 byte),
 * flags (4 bytes, big endian), stream id and frame id (varints), and the payload.
 *
 * Decoding has two levels: spop_frame_decode() finds a frame and gives a view of its payload; the readers of hello.h,
 * notify.h, ack.h and disconnect.h read that payload. Lengths and limits are without the 4 bytes of the length.
 */
#pragma once

#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"
#include "spop/value.h"

/* The numbers are those of the wire. */
enum spop_frame_type {
	SPOP_FRAME_UNSET = 0, /* a further piece of a fragmented NOTIFY */
	SPOP_FRAME_HAPROXY_HELLO = 1,
	SPOP_FRAME_HAPROXY_DISCONNECT = 2,
	SPOP_FRAME_NOTIFY = 3,
	SPOP_FRAME_AGENT_HELLO = 101,
	SPOP_FRAME_AGENT_DISCONNECT = 102,
	SPOP_FRAME_ACK = 103,
};

#define SPOP_FLAG_FIN   0x1u /* the last (or only) piece; on every frame that the agent sends */
#define SPOP_FLAG_ABORT 0x2u /* a fragmented frame is given up */

#define SPOP_LENGTH_BYTES 4
/* Type, flags and two one-byte ids. */
#define SPOP_FRAME_LEAST 7
/* The least max-frame-size that both sides may ask for. */
#define SPOP_FRAME_SIZE_MIN 256

struct spop_frame {
	uint8_t type; /* enum spop_frame_type, or a number that this version does not know */
	uint32_t flags;
	uint64_t stream_id; /* 0 is legal in a NOTIFY, and the same one may appear on several connections */
	uint64_t frame_id;
	struct sv payload; /* into the bytes that were given */
};

/*
 * Finds the frame at p, of which n bytes are there so far. On success sets *out and *consumed (its bytes with the
 * length). ERR_INCOMPLETE: more bytes are needed. ERR_RANGE: longer than max (known as soon as the length is there).
 * ERR_INVALID: a length of 0 or too small for the header, or broken ids. Nothing is set on failure.
 */
MUST_CHECK enum err spop_frame_decode(const uint8_t *p, size_t n, uint32_t max, struct spop_frame *out,
                                      size_t *consumed);

/*
 * Starts a frame in `out` and returns a mark for spop_frame_end(); the payload is written between the two. `out` must
 * not have failed before.
 */
MUST_CHECK size_t spop_frame_begin(struct wcur *out, uint8_t type, uint32_t flags, uint64_t stream_id,
                                   uint64_t frame_id);

/*
 * Sets the length of the frame that began at mark. When a write since then failed (its error, ERR_SPACE for a full
 * buffer) or the frame is longer than max (ERR_RANGE), the frame is taken back: `out` is as it was before
 * spop_frame_begin() and can be used on.
 */
MUST_CHECK enum err spop_frame_end(struct wcur *out, size_t mark, uint32_t max);

/* Takes the frame that began at mark back. */
void spop_frame_cancel(struct wcur *out, size_t mark);

/*
 * The next pair of a KV list that fills the rest of the cursor. ERR_NOT_FOUND at its end; ERR_INVALID or ERR_RANGE for
 * what is no pair. Nothing is set on failure. A name may be empty.
 */
MUST_CHECK enum err spop_kv_next(struct rcur *c, struct sv *name, struct spop_value *value);
void spop_kv_write(struct wcur *c, struct sv name, const struct spop_value *value);

/* The error of a reader whose whole input was there: bytes that end too early are then an invalid frame. */
enum err spop_payload_err(enum err err);

/* "haproxy_hello", "notify" ..., "unknown": a metrics label. */
const char *spop_frame_type_str(int type);
