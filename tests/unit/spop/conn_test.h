/* What the tests of the connection share: frames as HAProxy writes them, and a connection in a given state. */
#pragma once

#include "unit.h"

#include <stdbool.h>

#include "harness.h"

#define OURS 16384

static uint8_t frames[1 << 17];

/* ---- frames as HAProxy writes them ---- */

static inline size_t frame_write(uint8_t *out, size_t size, uint8_t type, uint32_t flags, uint64_t stream_id,
                                 uint64_t frame_id, struct sv payload)
{
	struct wcur c;

	wcur_init(&c, out, size);
	size_t mark = spop_frame_begin(&c, type, flags, stream_id, frame_id);
	wcur_sv(&c, payload);
	assert_int_equal(spop_frame_end(&c, mark, UINT32_MAX), ERR_OK);
	return wcur_len(&c);
}

static inline size_t hello_write(uint8_t *out, size_t size, uint32_t max_frame_size, const char *capabilities,
                                 bool healthcheck)
{
	struct spop_hello hello = {
		.versions = SV("2.0"),
		.max_frame_size = max_frame_size,
		.capabilities = sv_str(capabilities),
		.healthcheck = healthcheck,
		.has_healthcheck = healthcheck,
	};
	struct wcur c;

	wcur_init(&c, out, size);
	assert_int_equal(spop_hello_write(&c, &hello), ERR_OK);
	return wcur_len(&c);
}

/* A NOTIFY of one message without arguments whose frame is `length` long, without its length bytes. */
static inline size_t notify_write(uint8_t *out, size_t size, uint64_t stream_id, uint64_t frame_id, size_t length)
{
	static char text[1 << 17];
	const size_t head = 5 + 2;
	struct spop_value value;
	struct wcur c;
	size_t n = 0;

	/* The size of the string's length depends on the string: approach the length from below. */
	for (size_t fill = length > head ? length - head : 0;; fill--) {
		value = spop_string(sv_from(text, fill));
		wcur_init(&c, out, size);
		size_t mark = spop_frame_begin(&c, SPOP_FRAME_NOTIFY, SPOP_FLAG_FIN, stream_id, frame_id);
		spop_message_write(&c, SV("check"), 1);
		spop_kv_write(&c, SV("path"), &value);
		assert_int_equal(spop_frame_end(&c, mark, UINT32_MAX), ERR_OK);
		n = wcur_len(&c);
		if (fill == 0 || n - SPOP_LENGTH_BYTES <= length)
			break;
	}
	return n;
}

/* One call, with the answer left in out. */
static inline enum spop_event_type step(struct spop_conn *conn, const uint8_t *p, size_t n, struct wcur *out,
                                        struct spop_event *ev)
{
	size_t consumed;

	return spop_conn_next(conn, p, n, &consumed, out, ev);
}

static inline struct spop_disconnect answer_disconnect(const struct wcur *out)
{
	struct spop_disconnect disconnect;
	struct spop_frame frame;
	size_t consumed;

	assert_int_equal(spop_frame_decode(out->start, wcur_len(out), SPOP_REPLY_MAX, &frame, &consumed), ERR_OK);
	assert_int_equal(consumed, wcur_len(out));
	assert_int_equal(frame.type, SPOP_FRAME_AGENT_DISCONNECT);
	assert_int_equal(frame.flags, SPOP_FLAG_FIN);
	assert_true(frame.stream_id == 0 && frame.frame_id == 0);
	assert_int_equal(spop_disconnect_decode(frame.payload, &disconnect), ERR_OK);
	return disconnect;
}

/* Brings a connection into a state. */
static inline void conn_in(struct spop_conn *conn, enum spop_conn_state state)
{
	uint8_t bytes[256];
	uint8_t answer[1024];
	struct spop_event ev;
	struct wcur out;

	spop_conn_init(conn, OURS);
	wcur_init(&out, answer, sizeof(answer));
	if (state == SPOP_CONN_CLOSED)
		spop_conn_fini(conn);
	if (state == SPOP_CONN_RUNNING || state == SPOP_CONN_CLOSING) {
		size_t n = hello_write(bytes, sizeof(bytes), 16380, "pipelining", false);

		assert_int_equal(step(conn, bytes, n, &out, &ev), SPOP_EVENT_HELLO);
	}
	if (state == SPOP_CONN_CLOSING)
		assert_int_equal(spop_conn_disconnect(conn, &out, SPOP_STATUS_NORMAL, SV("bye")), ERR_OK);
	assert_int_equal(conn->state, state);
}

static inline struct spop_agent_hello answer_hello(const struct wcur *out)
{
	struct spop_agent_hello hello;
	struct spop_frame frame;
	size_t consumed;

	assert_int_equal(spop_frame_decode(out->start, wcur_len(out), SPOP_REPLY_MAX, &frame, &consumed), ERR_OK);
	assert_int_equal(consumed, wcur_len(out));
	assert_int_equal(frame.type, SPOP_FRAME_AGENT_HELLO);
	assert_int_equal(frame.flags, SPOP_FLAG_FIN);
	assert_int_equal(spop_agent_hello_decode(frame.payload, &hello), SPOP_REASON_NONE);
	return hello;
}
