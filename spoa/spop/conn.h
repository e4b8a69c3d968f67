/*
 * The agent's side of one SPOP connection, without a socket: bytes in, events out, answers into the caller's buffer.
 *
 * The caller keeps what it read in a buffer and calls spop_conn_next() until it says SPOP_EVENT_INCOMPLETE, dropping
 * the consumed bytes; then it sends what was written to `out` (whole frames only, best with one write for all of them:
 * HAProxy 3.2 may reset a connection whose AGENT-HELLO comes in pieces), and reads on. When an event has `close` set,
 * it sends what is left and closes. A connection that HAProxy closes or resets without a DISCONNECT is normal.
 *
 * Sizes. HAProxy offers a largest frame; the agent answers with the smaller of that and its own setting, and never
 * sends a longer one. But HAProxy 3.1.0 sends frames up to its own offer whatever the agent said. So the limit for
 * received frames is the offer, bounded by SPOP_FRAME_HARD_MAX alone, and the caller's read buffer must be able to grow
 * to that (spop_event.need says how far).
 *
 * States. HELLO: nothing but a HAPROXY-HELLO may come. RUNNING: NOTIFY and HAPROXY-DISCONNECT may come. CLOSING: the
 * agent said DISCONNECT on its own; what still comes is skipped up to HAProxy's DISCONNECT. CLOSED: nothing is read or
 * written any more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/sv.h"
#include "spop/ack.h"
#include "spop/disconnect.h"
#include "spop/hello.h"
#include "spop/notify.h"
#include "spop/reason.h"

/* No frame is taken above this, whatever HAProxy offers. */
#define SPOP_FRAME_HARD_MAX 1048576u
/* The limit before the offer is known; a real HELLO has less than 200 bytes. */
#define SPOP_HELLO_MAX 4096u
/* spop_conn_next() wants this much room in `out`; it writes at most one answer of that size in a call. */
#define SPOP_REPLY_MAX SPOP_DISCONNECT_BYTES_MAX

enum spop_conn_state {
	SPOP_CONN_HELLO = 0,
	SPOP_CONN_RUNNING,
	SPOP_CONN_CLOSING,
	SPOP_CONN_CLOSED,
	SPOP_CONN_STATE_COUNT
};

enum spop_event_type {
	SPOP_EVENT_INCOMPLETE = 0, /* nothing more in these bytes: read more; `need` is set */
	SPOP_EVENT_NO_ROOM,        /* `out` has less than SPOP_REPLY_MAX left: send first; nothing was consumed */
	SPOP_EVENT_SKIPPED,        /* a frame of unknown type, or one in CLOSING, was dropped */
	SPOP_EVENT_HELLO,          /* a connection began; AGENT-HELLO was written; `hello` is set */
	SPOP_EVENT_HEALTHCHECK,    /* the same for a health check: neither a connection to count nor to log; close */
	SPOP_EVENT_NOTIFY,         /* a request: ids, `notify` and `messages` are set */
	SPOP_EVENT_DISCONNECT,     /* HAProxy says good-bye; the answer was written; `disconnect` is set; close */
	SPOP_EVENT_ERROR,          /* bad input: `reason` is set; AGENT-DISCONNECT with its status was written; close */
	SPOP_EVENT_CLOSED,         /* bytes after the end were dropped; close */
	SPOP_EVENT_COUNT
};

/* What spop_conn_next() found. Fields that an event does not name are zero. Views point into the bytes given. */
struct spop_event {
	enum spop_event_type type;
	bool close;                /* send what is in `out`, then close */
	int frame_type;            /* of the frame that was taken, for counting; -1 when none was */
	size_t need;               /* bytes of the present frame with its length; 4 while that is unknown */
	enum spop_reason reason;   /* of ERROR */
	uint64_t stream_id;        /* of NOTIFY */
	uint64_t frame_id;         /* of NOTIFY */
	unsigned messages;         /* number of messages in the NOTIFY; may be 0 */
	struct spop_notify notify; /* ready to walk over; its grammar was checked, so the walk only ends with
	                              ERR_NOT_FOUND */
	struct spop_hello hello;
	struct spop_disconnect disconnect;
};

/* One connection; part of the caller's own struct. The caller may read the fields below the line. */
struct spop_conn {
	uint32_t max_frame_size; /* the setting */
	/* ---- */
	enum spop_conn_state state;
	uint32_t recv_max; /* longest frame that is taken */
	uint32_t send_max; /* longest frame that may be sent: the agreed size */
	bool pipelining;   /* agreed: several NOTIFY may wait for their ACK */
};

/* max_frame_size: the largest frame that the agent agrees to, SPOP_FRAME_SIZE_MIN to SPOP_FRAME_HARD_MAX. */
void spop_conn_init(struct spop_conn *conn, uint32_t max_frame_size);

/* The end, from any state. */
void spop_conn_fini(struct spop_conn *conn);

/*
 * Takes at most one frame from the n bytes at p. Sets *consumed (the bytes that the caller may drop once it is done
 * with the event's views) and *ev, and returns ev->type. After ERROR and in CLOSED all bytes are consumed.
 */
enum spop_event_type spop_conn_next(struct spop_conn *conn, const void *p, size_t n, size_t *consumed, struct wcur *out,
                                    struct spop_event *ev);

/*
 * The ACK of a NOTIFY: begin, spop_ack_set() and spop_ack_unset(), end; it has at least one action, and the agreed size
 * bounds it. ERR_BAD_STATE when the connection is not RUNNING any more; other errors as spop_ack_end(). Nothing is
 * written on failure, and `out` can be used on.
 */
void spop_conn_ack_begin(const struct spop_conn *conn, struct spop_ack *ack, struct wcur *out, uint64_t stream_id,
                         uint64_t frame_id);
MUST_CHECK enum err spop_conn_ack_end(const struct spop_conn *conn, struct spop_ack *ack);

/*
 * The agent ends the connection on its own: writes AGENT-DISCONNECT and goes to CLOSING. For a quiet end write all ACKs
 * before, and leave a short time between them and the close (HAProxy 3.1.0 drops ACKs that a close follows at once).
 * ERR_BAD_STATE when it is ending already, ERR_SPACE when it does not fit; nothing is written and no state changes
 * then.
 */
MUST_CHECK enum err spop_conn_disconnect(struct spop_conn *conn, struct wcur *out, enum spop_status status,
                                         struct sv text);

/* "hello", "running", "closing", "closed". */
const char *spop_conn_state_str(unsigned state);
/* "incomplete", "hello", "notify" ... */
const char *spop_event_str(unsigned event);
