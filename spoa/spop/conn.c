#include "spop/conn.h"

#include <string.h>

#include "base/check.h"
#include "spop/frame.h"

static const char *const state_names[SPOP_CONN_STATE_COUNT] = {
	[SPOP_CONN_HELLO] = "hello",
	[SPOP_CONN_RUNNING] = "running",
	[SPOP_CONN_CLOSING] = "closing",
	[SPOP_CONN_CLOSED] = "closed",
};

static const char *const event_names[SPOP_EVENT_COUNT] = {
	[SPOP_EVENT_INCOMPLETE] = "incomplete",   [SPOP_EVENT_NO_ROOM] = "no_room",
	[SPOP_EVENT_SKIPPED] = "skipped",         [SPOP_EVENT_HELLO] = "hello",
	[SPOP_EVENT_HEALTHCHECK] = "healthcheck", [SPOP_EVENT_NOTIFY] = "notify",
	[SPOP_EVENT_DISCONNECT] = "disconnect",   [SPOP_EVENT_ERROR] = "error",
	[SPOP_EVENT_CLOSED] = "closed",
};

const char *spop_conn_state_str(unsigned state)
{
	return state < SPOP_CONN_STATE_COUNT ? state_names[state] : "unknown";
}

const char *spop_event_str(unsigned event)
{
	return event < SPOP_EVENT_COUNT ? event_names[event] : "unknown";
}

/* The only place where the state changes. A connection never goes back. */
static void set_state(struct spop_conn *conn, enum spop_conn_state next)
{
	CHECK((unsigned)next < SPOP_CONN_STATE_COUNT);
	CHECK(next > conn->state);
	conn->state = next;
}

void spop_conn_init(struct spop_conn *conn, uint32_t max_frame_size)
{
	CHECK(max_frame_size >= SPOP_FRAME_SIZE_MIN && max_frame_size <= SPOP_FRAME_HARD_MAX);
	*conn = (struct spop_conn){
		.max_frame_size = max_frame_size,
		.state = SPOP_CONN_HELLO,
		.recv_max = SPOP_HELLO_MAX,
		.send_max = SPOP_FRAME_SIZE_MIN,
	};
}

void spop_conn_fini(struct spop_conn *conn)
{
	if (conn->state != SPOP_CONN_CLOSED)
		set_state(conn, SPOP_CONN_CLOSED);
}

static enum err agent_disconnect(struct wcur *out, enum spop_status status)
{
	return spop_disconnect_write(out, SPOP_FRAME_AGENT_DISCONNECT, status, sv_str(spop_status_text(status)));
}

static void fail(struct spop_conn *conn, struct wcur *out, enum spop_reason reason, struct spop_event *ev)
{
	/* In CLOSING the agent's DISCONNECT is out already. */
	if (conn->state != SPOP_CONN_CLOSING)
		CHECK(agent_disconnect(out, spop_reason_status(reason)) == ERR_OK);
	set_state(conn, SPOP_CONN_CLOSED);
	ev->type = SPOP_EVENT_ERROR;
	ev->reason = reason;
	ev->close = true;
}

static enum spop_reason control_check(const struct spop_frame *frame)
{
	if ((frame->flags & SPOP_FLAG_FIN) == 0)
		return SPOP_REASON_FRAGMENTED;
	if (frame->stream_id != 0 || frame->frame_id != 0)
		return SPOP_REASON_IDS;
	return SPOP_REASON_NONE;
}

static enum spop_reason on_hello(struct spop_conn *conn, const struct spop_frame *frame, struct wcur *out,
                                 struct spop_event *ev)
{
	struct spop_hello hello;
	enum spop_reason reason = control_check(frame);

	if (reason == SPOP_REASON_NONE)
		reason = spop_hello_decode(frame->payload, &hello);
	if (reason != SPOP_REASON_NONE)
		return reason;

	uint32_t agreed = hello.max_frame_size < conn->max_frame_size ? hello.max_frame_size : conn->max_frame_size;
	bool pipelining = spop_list_has(hello.capabilities, SV(SPOP_CAP_PIPELINING));
	CHECK(spop_agent_hello_write(out, agreed, pipelining) == ERR_OK);

	conn->send_max = agreed;
	conn->recv_max = hello.max_frame_size < SPOP_FRAME_HARD_MAX ? hello.max_frame_size : SPOP_FRAME_HARD_MAX;
	conn->pipelining = pipelining;
	ev->type = hello.healthcheck ? SPOP_EVENT_HEALTHCHECK : SPOP_EVENT_HELLO;
	ev->hello = hello;
	ev->close = hello.healthcheck;
	set_state(conn, hello.healthcheck ? SPOP_CONN_CLOSED : SPOP_CONN_RUNNING);
	return SPOP_REASON_NONE;
}

static enum spop_reason on_notify(const struct spop_frame *frame, struct spop_event *ev)
{
	if ((frame->flags & SPOP_FLAG_FIN) == 0 || (frame->flags & SPOP_FLAG_ABORT) != 0)
		return SPOP_REASON_FRAGMENTED;
	if (spop_notify_check(frame->payload, &ev->messages) != ERR_OK)
		return SPOP_REASON_PAYLOAD;
	spop_notify_init(&ev->notify, frame->payload);
	ev->stream_id = frame->stream_id;
	ev->frame_id = frame->frame_id;
	ev->type = SPOP_EVENT_NOTIFY;
	return SPOP_REASON_NONE;
}

static enum spop_reason on_disconnect(struct spop_conn *conn, const struct spop_frame *frame, struct wcur *out,
                                      struct spop_event *ev)
{
	struct spop_disconnect disconnect;
	enum spop_reason reason = control_check(frame);

	if (reason != SPOP_REASON_NONE)
		return reason;
	if (spop_disconnect_decode(frame->payload, &disconnect) != ERR_OK)
		return SPOP_REASON_PAYLOAD;
	if (conn->state != SPOP_CONN_CLOSING)
		CHECK(agent_disconnect(out, SPOP_STATUS_NORMAL) == ERR_OK);
	set_state(conn, SPOP_CONN_CLOSED);
	ev->type = SPOP_EVENT_DISCONNECT;
	ev->disconnect = disconnect;
	ev->close = true;
	return SPOP_REASON_NONE;
}

static enum spop_reason on_frame(struct spop_conn *conn, const struct spop_frame *frame, struct wcur *out,
                                 struct spop_event *ev)
{
	if (conn->state == SPOP_CONN_HELLO && frame->type != SPOP_FRAME_HAPROXY_HELLO)
		return SPOP_REASON_NO_HELLO;
	if (conn->state == SPOP_CONN_CLOSING && frame->type != SPOP_FRAME_HAPROXY_DISCONNECT) {
		ev->type = SPOP_EVENT_SKIPPED;
		return SPOP_REASON_NONE;
	}

	switch (frame->type) {
	case SPOP_FRAME_HAPROXY_HELLO:
		if (conn->state != SPOP_CONN_HELLO)
			return SPOP_REASON_UNEXPECTED;
		return on_hello(conn, frame, out, ev);
	case SPOP_FRAME_NOTIFY:
		return on_notify(frame, ev);
	case SPOP_FRAME_HAPROXY_DISCONNECT:
		return on_disconnect(conn, frame, out, ev);
	case SPOP_FRAME_UNSET:
		return SPOP_REASON_FRAGMENTED;
	case SPOP_FRAME_AGENT_HELLO:
	case SPOP_FRAME_AGENT_DISCONNECT:
	case SPOP_FRAME_ACK:
		return SPOP_REASON_UNEXPECTED;
	default:
		ev->type = SPOP_EVENT_SKIPPED;
		return SPOP_REASON_NONE;
	}
}

static size_t bytes_needed(const uint8_t *p, size_t n)
{
	struct rcur c;

	rcur_init(&c, p, n);
	uint32_t len = rcur_be32(&c);
	return SPOP_LENGTH_BYTES + (size_t)len;
}

enum spop_event_type spop_conn_next(struct spop_conn *conn, const void *p, size_t n, size_t *consumed, struct wcur *out,
                                    struct spop_event *ev)
{
	struct spop_frame frame;
	enum spop_reason reason;

	*consumed = 0;
	memset(ev, 0, sizeof(*ev));
	ev->frame_type = -1;
	if (conn->state == SPOP_CONN_CLOSED) {
		*consumed = n;
		ev->type = SPOP_EVENT_CLOSED;
		ev->close = true;
		return ev->type;
	}
	if (wcur_left(out) < SPOP_REPLY_MAX) {
		ev->type = SPOP_EVENT_NO_ROOM;
		return ev->type;
	}

	enum err err = spop_frame_decode(p, n, conn->recv_max, &frame, consumed);
	if (err == ERR_INCOMPLETE) {
		ev->type = SPOP_EVENT_INCOMPLETE;
		ev->need = bytes_needed(p, n);
		return ev->type;
	}
	if (err == ERR_OK) {
		ev->frame_type = frame.type;
		reason = on_frame(conn, &frame, out, ev);
	} else {
		reason = err == ERR_RANGE ? SPOP_REASON_TOO_BIG : SPOP_REASON_HEADER;
	}
	if (reason != SPOP_REASON_NONE) {
		fail(conn, out, reason, ev);
		*consumed = n;
	}
	return ev->type;
}

void spop_conn_ack_begin(const struct spop_conn *conn, struct spop_ack *ack, struct wcur *out, uint64_t stream_id,
                         uint64_t frame_id)
{
	spop_ack_begin(ack, out, stream_id, frame_id);
	if (conn->state != SPOP_CONN_RUNNING)
		wcur_fail(out, ERR_BAD_STATE);
}

enum err spop_conn_ack_end(const struct spop_conn *conn, struct spop_ack *ack)
{
	if (conn->state != SPOP_CONN_RUNNING)
		wcur_fail(ack->out, ERR_BAD_STATE);
	return spop_ack_end(ack, conn->send_max);
}

enum err spop_conn_disconnect(struct spop_conn *conn, struct wcur *out, enum spop_status status, struct sv text)
{
	if (conn->state >= SPOP_CONN_CLOSING)
		return ERR_BAD_STATE;
	enum err err = spop_disconnect_write(out, SPOP_FRAME_AGENT_DISCONNECT, status, text);
	if (err == ERR_OK)
		set_state(conn, SPOP_CONN_CLOSING);
	return err;
}
