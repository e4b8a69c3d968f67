/*
 * A buffered stream over a connected, non-blocking socket.
 *
 * Input gathers in one buffer that grows up to in_max; on_data sees all of it that is not yet consumed. Output gathers
 * in another buffer and leaves with one write at the end of the loop turn, and further ones as the socket takes more.
 * Nothing here calls back from inside of a function that the user calls: on_close comes from a deferred task.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/err.h"
#include "io/loop.h"

struct stream;

/* Why a stream ended. The user's own reasons start at STREAM_USER. */
enum stream_reason {
	STREAM_EOF = 0,  /* the peer closed; normal */
	STREAM_RESET,    /* the peer reset the connection; normal */
	STREAM_ERROR,    /* another error of the socket (logged) */
	STREAM_IN_FULL,  /* in_max bytes, and on_data consumed none of them */
	STREAM_OUT_FULL, /* more than out_max bytes wait for a peer that does not read */
	STREAM_DONE,     /* closed by the user, all well */
	STREAM_REASON_COUNT,
	STREAM_USER = 16,
};

/* "eof", "reset", …; "user" for the user's own. For log lines and metrics. */
const char *stream_reason_str(unsigned reason);

struct stream_ops {
	/*
	 * New bytes have come: p holds n bytes, those that an earlier call left included. Returns how many are done
	 * with (at most n); the rest is shown again together with the next bytes, and only then: consume all that can
	 * be. The bytes are valid during the call. May call stream_close().
	 */
	size_t (*on_data)(void *arg, const uint8_t *p, size_t n);
	/*
	 * Exactly once for each stream, from the loop: the socket is closed, and the stream's memory goes after the
	 * call. `reason` is that of the first close.
	 */
	void (*on_close)(void *arg, unsigned reason);
};

struct stream_limits {
	size_t in_max;
	size_t out_max;
};

/* Takes fd over and watches it. `ops` must outlive the stream. */
struct stream *stream_new(struct loop *loop, int fd, struct stream_limits limits, const struct stream_ops *ops,
                          void *arg);

/*
 * Room for at least `need` more bytes of output; write through the cursor, then stream_commit(). Between the two no
 * other function of this stream is called. ERR_CLOSED on a closed stream. ERR_SPACE when the limit would be passed: the
 * stream is then closed with STREAM_OUT_FULL.
 */
MUST_CHECK enum err stream_out(struct stream *s, size_t need, struct wcur *out);

/* Takes over what was written. A cursor that has failed adds nothing, and its error is returned. */
MUST_CHECK enum err stream_commit(struct stream *s, const struct wcur *out);

/* stream_out() + copy + stream_commit(). */
MUST_CHECK enum err stream_write(struct stream *s, const void *p, size_t n);

/* Bytes of output that the socket has not yet taken. */
size_t stream_out_len(const struct stream *s);
bool stream_is_open(const struct stream *s);

/*
 * Ends the stream: no on_data any more, output that waits is dropped, the socket is closed at once, on_close follows at
 * the end of the turn. Later closes are ignored.
 */
void stream_close(struct stream *s, unsigned reason);

/*
 * The same once all output is written: until then the stream counts as closed for stream_out() and reads nothing. It
 * lasts until the peer has taken all or goes away; a caller that will not wait for ever calls stream_close() later.
 */
void stream_close_after_flush(struct stream *s, unsigned reason);
