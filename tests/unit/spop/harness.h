/*
 * What the tests of the SPOP room and its fuzz target share: writing a decoded frame again, and running a stream of
 * bytes through a connection in pieces while keeping a digest of all that happened. A broken promise aborts.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "spop/conn.h"
#include "spop/frame.h"
#include "spop/varint.h"

/* ---- again ---- */

static inline enum err again_kv(struct rcur *in, struct wcur *out)
{
	struct sv name;
	struct spop_value value;
	enum err err;

	while ((err = spop_kv_next(in, &name, &value)) == ERR_OK)
		spop_kv_write(out, name, &value);
	return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static inline enum err again_notify(struct sv payload, struct wcur *out)
{
	struct spop_notify notify;
	struct sv name;
	struct spop_value value;
	unsigned args;
	enum err err;

	spop_notify_init(&notify, payload);
	while ((err = spop_notify_message(&notify, &name, &args)) == ERR_OK) {
		spop_message_write(out, name, args);
		while ((err = spop_notify_arg(&notify, &name, &value)) == ERR_OK)
			spop_kv_write(out, name, &value);
	}
	return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Without the writer of ack.h, which refuses names that a decoded frame may well hold. */
static inline enum err again_ack(struct rcur *in, struct wcur *out)
{
	struct spop_action action;
	enum err err;

	while ((err = spop_ack_next(in, &action)) == ERR_OK) {
		wcur_u8(out, (uint8_t)action.type);
		wcur_u8(out, action.type == SPOP_ACTION_SET_VAR ? 3 : 2);
		wcur_u8(out, (uint8_t)action.scope);
		spop_string_write(out, action.name);
		if (action.type == SPOP_ACTION_SET_VAR)
			spop_value_write(out, &action.value);
	}
	return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Decodes the payload and writes the whole frame. An error is the payload's; the frame is then not written. */
static inline enum err again_frame(const struct spop_frame *frame, struct wcur *out)
{
	size_t mark = spop_frame_begin(out, frame->type, frame->flags, frame->stream_id, frame->frame_id);
	struct rcur in;
	enum err err = ERR_OK;

	rcur_init(&in, frame->payload.p, frame->payload.n);
	switch (frame->type) {
	case SPOP_FRAME_HAPROXY_HELLO:
	case SPOP_FRAME_AGENT_HELLO:
	case SPOP_FRAME_HAPROXY_DISCONNECT:
	case SPOP_FRAME_AGENT_DISCONNECT:
		err = again_kv(&in, out);
		break;
	case SPOP_FRAME_NOTIFY:
		err = again_notify(frame->payload, out);
		break;
	case SPOP_FRAME_ACK:
		err = again_ack(&in, out);
		break;
	default:
		wcur_sv(out, frame->payload);
		break;
	}
	if (err != ERR_OK) {
		spop_frame_cancel(out, mark);
		return err;
	}
	return spop_frame_end(out, mark, UINT32_MAX);
}

/* ---- digest ---- */

#define DIGEST_START 14695981039346656037u

/* FNV-1a */
static inline void digest_bytes(uint64_t *digest, const void *p, size_t n)
{
	const uint8_t *bytes = p;

	for (size_t i = 0; i < n; i++)
		*digest = (*digest ^ bytes[i]) * 1099511628211u;
}

static inline void digest_u64(uint64_t *digest, uint64_t v)
{
	digest_bytes(digest, &v, sizeof(v));
}

static inline void digest_sv(uint64_t *digest, struct sv v)
{
	digest_u64(digest, v.n);
	digest_bytes(digest, v.p, v.n);
}

static inline void digest_value(uint64_t *digest, const struct spop_value *value)
{
	uint8_t bytes[1 + SPOP_VARINT_MAX + 16];
	struct wcur c;

	digest_u64(digest, value->type);
	if (value->type == SPOP_TYPE_STRING || value->type == SPOP_TYPE_BINARY) {
		digest_sv(digest, value->view);
		return;
	}
	wcur_init(&c, bytes, sizeof(bytes));
	spop_value_write(&c, value);
	CHECK(c.err == ERR_OK);
	digest_bytes(digest, bytes, wcur_len(&c));
}

/* ---- a connection ---- */

struct run {
	struct spop_conn conn;
	uint64_t digest;
	unsigned counts[SPOP_EVENT_COUNT];
	uint8_t order[1024]; /* the first events, without INCOMPLETE */
	unsigned events;
	unsigned args;
	enum spop_reason reason;
	uint8_t *held; /* a block of its own with exactly the bytes at hand, so that a read past them shows */
	size_t held_n;
	uint8_t out_bytes[1024];
	struct wcur out;
};

static inline void run_init(struct run *r, uint32_t max_frame_size)
{
	memset(r, 0, sizeof(*r));
	spop_conn_init(&r->conn, max_frame_size);
	r->digest = DIGEST_START;
	wcur_init(&r->out, r->out_bytes, sizeof(r->out_bytes));
}

static inline void run_fini(struct run *r)
{
	spop_conn_fini(&r->conn);
	free(r->held);
	r->held = NULL;
}

/* All output so far is whole frames with FIN, within the agreed size, and no ACK is empty. */
static inline void run_flush(struct run *r)
{
	const uint8_t *p = r->out_bytes;
	size_t n = wcur_len(&r->out);

	digest_bytes(&r->digest, p, n);
	while (n > 0) {
		struct spop_frame frame;
		struct spop_action action;
		struct rcur c;
		size_t used;

		CHECK(spop_frame_decode(p, n, SPOP_REPLY_MAX, &frame, &used) == ERR_OK);
		CHECK(frame.flags == SPOP_FLAG_FIN);
		rcur_init(&c, frame.payload.p, frame.payload.n);
		if (frame.type == SPOP_FRAME_ACK) {
			CHECK(used - SPOP_LENGTH_BYTES <= r->conn.send_max);
			CHECK(spop_ack_next(&c, &action) == ERR_OK);
		} else {
			CHECK(frame.stream_id == 0 && frame.frame_id == 0);
		}
		p += used;
		n -= used;
	}
	wcur_init(&r->out, r->out_bytes, sizeof(r->out_bytes));
}

static inline void run_notify(struct run *r, struct spop_event *ev)
{
	struct sv name;
	struct spop_value value;
	struct spop_ack ack;
	unsigned messages = 0;
	unsigned args;
	enum err err;

	while ((err = spop_notify_message(&ev->notify, &name, &args)) == ERR_OK) {
		messages++;
		digest_sv(&r->digest, name);
		for (unsigned i = 0; i < args; i++) {
			CHECK(spop_notify_arg(&ev->notify, &name, &value) == ERR_OK);
			digest_sv(&r->digest, name);
			digest_value(&r->digest, &value);
			r->args++;
		}
		CHECK(spop_notify_arg(&ev->notify, &name, &value) == ERR_NOT_FOUND);
	}
	CHECK(err == ERR_NOT_FOUND && messages == ev->messages);

	spop_conn_ack_begin(&r->conn, &ack, &r->out, ev->stream_id, ev->frame_id);
	if (ev->messages > 0)
		spop_ack_set(&ack, SPOP_SCOPE_TXN, SV("verdict"), spop_string(SV("allow")));
	CHECK(spop_conn_ack_end(&r->conn, &ack) == ERR_OK);
}

static inline void run_event(struct run *r, struct spop_event *ev)
{
	if (r->events < sizeof(r->order))
		r->order[r->events] = (uint8_t)ev->type;
	r->events++;
	digest_u64(&r->digest, ev->type);
	digest_u64(&r->digest, ev->close);
	digest_u64(&r->digest, (uint64_t)(int64_t)ev->frame_type);
	digest_u64(&r->digest, ev->reason);
	digest_u64(&r->digest, ev->stream_id);
	digest_u64(&r->digest, ev->frame_id);
	digest_sv(&r->digest, ev->hello.versions);
	digest_sv(&r->digest, ev->hello.capabilities);
	digest_sv(&r->digest, ev->hello.engine_id);
	digest_u64(&r->digest, ev->hello.max_frame_size);
	digest_u64(&r->digest, ev->disconnect.status);
	digest_sv(&r->digest, ev->disconnect.text);
	if (ev->type == SPOP_EVENT_NOTIFY)
		run_notify(r, ev);
	if (ev->type == SPOP_EVENT_ERROR) {
		CHECK(ev->reason != SPOP_REASON_NONE);
		r->reason = ev->reason;
	}
}

/* Gives n more bytes to the connection and takes all events that they complete. */
static inline void run_feed(struct run *r, const uint8_t *p, size_t n)
{
	size_t total = r->held_n + n;
	uint8_t *bytes = check_calloc(1, total > 0 ? total : 1);
	size_t at = 0;

	if (r->held_n > 0)
		memcpy(bytes, r->held, r->held_n);
	if (n > 0)
		memcpy(bytes + r->held_n, p, n);
	free(r->held);

	for (;;) {
		struct spop_event ev;
		size_t consumed = SIZE_MAX;
		enum spop_event_type type = spop_conn_next(&r->conn, bytes + at, total - at, &consumed, &r->out, &ev);

		CHECK(type == ev.type && consumed <= total - at);
		r->counts[type]++;
		at += consumed;
		if (type == SPOP_EVENT_INCOMPLETE) {
			CHECK(consumed == 0 && ev.need > total - at);
			break;
		}
		if (type == SPOP_EVENT_CLOSED)
			break;
		CHECK(type != SPOP_EVENT_NO_ROOM && consumed > 0);
		run_event(r, &ev);
		CHECK(ev.close == (r->conn.state == SPOP_CONN_CLOSED));
		run_flush(r);
	}
	r->held_n = total - at;
	r->held = check_calloc(1, r->held_n > 0 ? r->held_n : 1);
	memcpy(r->held, bytes + at, r->held_n);
	free(bytes);
}
