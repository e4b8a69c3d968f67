/* The connection: every frame type in every state, sizes, answers, and the traps that agents fell into before. */
#include "conn_test.h"

static void run_hello(struct run *r, uint32_t offered)
{
	size_t n = hello_write(frames, sizeof(frames), offered, "pipelining", false);

	run_init(r, OURS);
	run_feed(r, frames, n);
	assert_int_equal(r->counts[SPOP_EVENT_HELLO], 1);
	assert_int_equal(r->conn.state, SPOP_CONN_RUNNING);
}

/* ---- type x state ---- */

struct outcome {
	enum spop_event_type event;
	enum spop_reason reason;
	enum spop_conn_state next;
};

#define BAD(r)                                                      \
	{                                                           \
		SPOP_EVENT_ERROR, SPOP_REASON_##r, SPOP_CONN_CLOSED \
	}
#define GONE                                                          \
	{                                                             \
		SPOP_EVENT_CLOSED, SPOP_REASON_NONE, SPOP_CONN_CLOSED \
	}
#define SKIP(s)                                                     \
	{                                                           \
		SPOP_EVENT_SKIPPED, SPOP_REASON_NONE, SPOP_CONN_##s \
	}

/* Rows: a type, -1 for all others. Columns: HELLO, RUNNING, CLOSING, CLOSED. */
static const struct {
	int type;
	struct outcome in[SPOP_CONN_STATE_COUNT];
} table[] = {
	{ SPOP_FRAME_UNSET, { BAD(NO_HELLO), BAD(FRAGMENTED), SKIP(CLOSING), GONE } },
	{ SPOP_FRAME_HAPROXY_HELLO,
	  { { SPOP_EVENT_HELLO, SPOP_REASON_NONE, SPOP_CONN_RUNNING }, BAD(UNEXPECTED), SKIP(CLOSING), GONE } },
	{ SPOP_FRAME_HAPROXY_DISCONNECT,
	  { BAD(NO_HELLO),
	    { SPOP_EVENT_DISCONNECT, SPOP_REASON_NONE, SPOP_CONN_CLOSED },
	    { SPOP_EVENT_DISCONNECT, SPOP_REASON_NONE, SPOP_CONN_CLOSED },
	    GONE } },
	{ SPOP_FRAME_NOTIFY,
	  { BAD(NO_HELLO), { SPOP_EVENT_NOTIFY, SPOP_REASON_NONE, SPOP_CONN_RUNNING }, SKIP(CLOSING), GONE } },
	{ SPOP_FRAME_AGENT_HELLO, { BAD(NO_HELLO), BAD(UNEXPECTED), SKIP(CLOSING), GONE } },
	{ SPOP_FRAME_AGENT_DISCONNECT, { BAD(NO_HELLO), BAD(UNEXPECTED), SKIP(CLOSING), GONE } },
	{ SPOP_FRAME_ACK, { BAD(NO_HELLO), BAD(UNEXPECTED), SKIP(CLOSING), GONE } },
	{ -1, { BAD(NO_HELLO), SKIP(RUNNING), SKIP(CLOSING), GONE } },
};

static const struct outcome *outcome_of(int type, unsigned state)
{
	size_t rows = sizeof(table) / sizeof(table[0]);

	for (size_t i = 0; i < rows; i++)
		if (table[i].type == type)
			return &table[i].in[state];
	return &table[rows - 1].in[state];
}

static size_t frame_of_type(int type, uint8_t *out, size_t size)
{
	switch (type) {
	case SPOP_FRAME_HAPROXY_HELLO:
		return hello_write(out, size, 16380, "pipelining", false);
	case SPOP_FRAME_NOTIFY:
		return notify_write(out, size, 1, 1, 64);
	default:
		return frame_write(out, size, (uint8_t)type, SPOP_FLAG_FIN, 0, 0, sv_from(NULL, 0));
	}
}

static void every_type_in_every_state(void **state)
{
	(void)state;
	for (unsigned s = 0; s < SPOP_CONN_STATE_COUNT; s++) {
		for (int type = 0; type < 256; type++) {
			const struct outcome *want = outcome_of(type, s);
			struct spop_conn conn;
			struct spop_event ev;
			uint8_t answer[1024];
			struct wcur out;
			size_t consumed;
			size_t n = frame_of_type(type, frames, sizeof(frames));

			conn_in(&conn, (enum spop_conn_state)s);
			wcur_init(&out, answer, sizeof(answer));
			enum spop_event_type event = spop_conn_next(&conn, frames, n, &consumed, &out, &ev);
			if (event != want->event || ev.reason != want->reason || conn.state != want->next)
				fail_msg("type %d in %s: %s, %s, then %s", type, spop_conn_state_str(s),
				         spop_event_str(event), spop_reason_str(ev.reason),
				         spop_conn_state_str(conn.state));
			assert_int_equal(consumed, n);
			assert_int_equal(ev.close, want->next == SPOP_CONN_CLOSED);
			assert_int_equal(ev.frame_type, s == SPOP_CONN_CLOSED ? -1 : type);
			if (event == SPOP_EVENT_ERROR)
				assert_int_equal(answer_disconnect(&out).status, spop_reason_status(want->reason));
			else if (event == SPOP_EVENT_DISCONNECT && s == SPOP_CONN_RUNNING)
				assert_int_equal(answer_disconnect(&out).status, SPOP_STATUS_NORMAL);
			else if (event != SPOP_EVENT_HELLO)
				assert_int_equal(wcur_len(&out), 0);
			spop_conn_fini(&conn);
			assert_int_equal(conn.state, SPOP_CONN_CLOSED);
		}
	}
}

/* ---- notify ---- */

static void stream_id_zero_and_the_same_on_two_connections(void **state)
{
	static const uint64_t ids[] = { 0, 1, 0, UINT64_MAX };
	struct spop_conn conns[2];
	uint8_t answer[2][1024];
	struct wcur out[2];

	(void)state;
	for (size_t i = 0; i < 2; i++)
		conn_in(&conns[i], SPOP_CONN_RUNNING);
	for (size_t k = 0; k < sizeof(ids) / sizeof(ids[0]); k++) {
		size_t n = notify_write(frames, sizeof(frames), ids[k], k, 64);

		for (size_t i = 0; i < 2; i++) {
			struct spop_event ev;
			struct spop_frame frame;
			struct spop_ack ack;
			size_t consumed;

			wcur_init(&out[i], answer[i], sizeof(answer[i]));
			assert_int_equal(step(&conns[i], frames, n, &out[i], &ev), SPOP_EVENT_NOTIFY);
			assert_true(ev.stream_id == ids[k] && ev.frame_id == k);
			spop_conn_ack_begin(&conns[i], &ack, &out[i], ev.stream_id, ev.frame_id);
			assert_int_equal(spop_conn_ack_end(&conns[i], &ack), ERR_OK);
			assert_int_equal(
			        spop_frame_decode(answer[i], wcur_len(&out[i]), SPOP_REPLY_MAX, &frame, &consumed),
			        ERR_OK);
			assert_true(frame.stream_id == ids[k] && frame.frame_id == k);
		}
		assert_int_equal(wcur_len(&out[0]), wcur_len(&out[1]));
		assert_memory_equal(answer[0], answer[1], wcur_len(&out[0]));
	}
}

static void pipelined_frames_come_one_by_one(void **state)
{
	static struct run r;
	size_t n = hello_write(frames, sizeof(frames), 16380, "pipelining", false);

	(void)state;
	for (uint64_t i = 0; i < 20; i++)
		n += notify_write(frames + n, sizeof(frames) - n, i, 1, 100 + i);
	run_init(&r, OURS);
	run_feed(&r, frames, n);
	assert_int_equal(r.counts[SPOP_EVENT_HELLO], 1);
	assert_int_equal(r.counts[SPOP_EVENT_NOTIFY], 20);
	assert_int_equal(r.counts[SPOP_EVENT_INCOMPLETE], 1);
	assert_int_equal(r.held_n, 0);
	run_fini(&r);
}

static void the_largest_frame_and_one_byte_more(void **state)
{
	static const uint32_t offers[] = { 256, 1024, 16380, 65532 };

	(void)state;
	for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
		static struct run r;

		run_hello(&r, offers[i]);
		size_t n = notify_write(frames, sizeof(frames), 1, 1, offers[i]);
		assert_int_equal(n, offers[i] + SPOP_LENGTH_BYTES);
		run_feed(&r, frames, n);
		assert_int_equal(r.counts[SPOP_EVENT_NOTIFY], 1);

		n = notify_write(frames, sizeof(frames), 1, 1, offers[i] + 1);
		assert_int_equal(n, offers[i] + 1 + SPOP_LENGTH_BYTES);
		/* Its length is enough to know. */
		run_feed(&r, frames, SPOP_LENGTH_BYTES);
		assert_int_equal(r.counts[SPOP_EVENT_ERROR], 1);
		assert_int_equal(r.reason, SPOP_REASON_TOO_BIG);
		run_feed(&r, frames + SPOP_LENGTH_BYTES, n - SPOP_LENGTH_BYTES);
		assert_int_equal(r.events, 3);
		run_fini(&r);
	}
}

/* HAProxy 3.1.0 sends up to its own offer, whatever the agent answered. */
static void frames_above_a_smaller_agreed_size_are_taken(void **state)
{
	struct spop_conn conn;
	struct spop_event ev;
	uint8_t answer[1024];
	struct wcur out;

	(void)state;
	spop_conn_init(&conn, 1024);
	wcur_init(&out, answer, sizeof(answer));
	size_t n = hello_write(frames, sizeof(frames), 16380, "pipelining", false);
	assert_int_equal(step(&conn, frames, n, &out, &ev), SPOP_EVENT_HELLO);
	assert_int_equal(answer_hello(&out).max_frame_size, 1024);
	n = notify_write(frames, sizeof(frames), 1, 1, 4125);
	assert_int_equal(step(&conn, frames, n, &out, &ev), SPOP_EVENT_NOTIFY);
}

static void acks_stay_within_the_agreed_size(void **state)
{
	static char text[300];
	struct spop_conn conn;
	struct spop_event ev;
	uint8_t answer[1024];
	struct spop_ack ack;
	struct wcur out;

	(void)state;
	memset(text, 'x', sizeof(text));
	spop_conn_init(&conn, 256);
	wcur_init(&out, answer, sizeof(answer));
	size_t n = hello_write(frames, sizeof(frames), 16380, "pipelining", false);
	assert_int_equal(step(&conn, frames, n, &out, &ev), SPOP_EVENT_HELLO);
	size_t before = wcur_len(&out);
	for (size_t len = 0; len <= sizeof(text); len++) {
		out.p = out.start + before;
		spop_conn_ack_begin(&conn, &ack, &out, 1, 1);
		spop_ack_set(&ack, SPOP_SCOPE_TXN, SV("target"), spop_string(sv_from(text, len)));
		enum err err = spop_conn_ack_end(&conn, &ack);
		/* 7 of the header, 3 + 7 of the action, 2 of the string's type and length */
		assert_int_equal(err, len <= 256 - 19 ? ERR_OK : ERR_RANGE);
		if (err != ERR_OK)
			assert_int_equal(wcur_len(&out), before);
	}
}

static void an_ack_has_an_action_and_needs_a_running_connection(void **state)
{
	(void)state;
	for (unsigned s = 0; s < SPOP_CONN_STATE_COUNT; s++) {
		struct spop_conn conn;
		struct spop_frame frame;
		struct spop_action action;
		uint8_t answer[1024];
		struct spop_ack ack;
		struct wcur out;
		struct rcur in;
		size_t consumed;

		conn_in(&conn, (enum spop_conn_state)s);
		wcur_init(&out, answer, sizeof(answer));
		spop_conn_ack_begin(&conn, &ack, &out, 5, 6);
		enum err err = spop_conn_ack_end(&conn, &ack);
		if (s != SPOP_CONN_RUNNING) {
			assert_int_equal(err, ERR_BAD_STATE);
			assert_int_equal(wcur_len(&out), 0);
			assert_int_equal(out.err, ERR_OK);
			continue;
		}
		assert_int_equal(err, ERR_OK);
		assert_int_equal(spop_frame_decode(answer, wcur_len(&out), 256, &frame, &consumed), ERR_OK);
		rcur_init(&in, frame.payload.p, frame.payload.n);
		assert_int_equal(spop_ack_next(&in, &action), ERR_OK);
	}
}

static void broken_and_fragmented_notifies(void **state)
{
	static const struct {
		const char *payload;
		size_t n;
		uint8_t type;
		uint32_t flags;
		enum spop_event_type event;
		enum spop_reason reason;
	} rows[] = {
		{ "\1m\0", 3, SPOP_FRAME_NOTIFY, 0x1, SPOP_EVENT_NOTIFY, SPOP_REASON_NONE },
		{ "", 0, SPOP_FRAME_NOTIFY, 0x1, SPOP_EVENT_NOTIFY, SPOP_REASON_NONE },
		/* reserved flags do not matter */
		{ "\1m\0", 3, SPOP_FRAME_NOTIFY, 0x80000005, SPOP_EVENT_NOTIFY, SPOP_REASON_NONE },
		{ "\1m\0", 3, SPOP_FRAME_NOTIFY, 0x0, SPOP_EVENT_ERROR, SPOP_REASON_FRAGMENTED },
		{ "\1m\0", 3, SPOP_FRAME_NOTIFY, 0x2, SPOP_EVENT_ERROR, SPOP_REASON_FRAGMENTED },
		{ "\1m\0", 3, SPOP_FRAME_NOTIFY, 0x3, SPOP_EVENT_ERROR, SPOP_REASON_FRAGMENTED },
		{ "", 0, SPOP_FRAME_UNSET, 0x3, SPOP_EVENT_ERROR, SPOP_REASON_FRAGMENTED },
		{ "\1m\1", 3, SPOP_FRAME_NOTIFY, 0x1, SPOP_EVENT_ERROR, SPOP_REASON_PAYLOAD },
		{ "\1m\1\1a\x0f", 6, SPOP_FRAME_NOTIFY, 0x1, SPOP_EVENT_ERROR, SPOP_REASON_PAYLOAD },
		{ "\1", 1, SPOP_FRAME_HAPROXY_DISCONNECT, 0x1, SPOP_EVENT_ERROR, SPOP_REASON_PAYLOAD },
		{ "", 0, SPOP_FRAME_HAPROXY_DISCONNECT, 0x0, SPOP_EVENT_ERROR, SPOP_REASON_FRAGMENTED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spop_conn conn;
		struct spop_event ev;
		uint8_t answer[1024];
		struct wcur out;
		bool notify = rows[i].type == SPOP_FRAME_NOTIFY;
		size_t n = frame_write(frames, sizeof(frames), rows[i].type, rows[i].flags, notify, notify,
		                       sv_from(rows[i].payload, rows[i].n));

		conn_in(&conn, SPOP_CONN_RUNNING);
		wcur_init(&out, answer, sizeof(answer));
		assert_int_equal(step(&conn, frames, n, &out, &ev), rows[i].event);
		assert_int_equal(ev.reason, rows[i].reason);
		if (rows[i].event == SPOP_EVENT_ERROR)
			assert_int_equal(answer_disconnect(&out).status, spop_reason_status(rows[i].reason));
		else
			assert_int_equal(ev.messages, rows[i].n > 0);
	}
}

static void a_length_of_zero_is_invalid(void **state)
{
	(void)state;
	for (unsigned s = SPOP_CONN_HELLO; s <= SPOP_CONN_RUNNING; s++) {
		struct spop_conn conn;
		struct spop_event ev;
		uint8_t answer[1024];
		struct wcur out;

		conn_in(&conn, (enum spop_conn_state)s);
		wcur_init(&out, answer, sizeof(answer));
		assert_int_equal(step(&conn, (const uint8_t *)"\0\0\0\0", 4, &out, &ev), SPOP_EVENT_ERROR);
		assert_int_equal(ev.reason, SPOP_REASON_HEADER);
		assert_int_equal(answer_disconnect(&out).status, SPOP_STATUS_INVALID);
	}
}

/* ---- the end ---- */

static void disconnect_ids_must_be_zero(void **state)
{
	static const uint64_t ids[][2] = { { 1, 0 }, { 0, 1 }, { 0, 0 } };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct spop_conn conn;
		struct spop_event ev;
		uint8_t answer[1024];
		struct wcur out;
		size_t n = frame_write(frames, sizeof(frames), SPOP_FRAME_HAPROXY_DISCONNECT, SPOP_FLAG_FIN, ids[i][0],
		                       ids[i][1],
		                       SV("\x0bstatus-code\x03\x02\x07message\x08\x03"
		                          "why"));

		conn_in(&conn, SPOP_CONN_RUNNING);
		wcur_init(&out, answer, sizeof(answer));
		enum spop_event_type event = step(&conn, frames, n, &out, &ev);
		assert_true(ev.close);
		if (i < 2) {
			assert_int_equal(event, SPOP_EVENT_ERROR);
			assert_int_equal(ev.reason, SPOP_REASON_IDS);
			assert_int_equal(answer_disconnect(&out).status, SPOP_STATUS_INVALID);
		} else {
			assert_int_equal(event, SPOP_EVENT_DISCONNECT);
			assert_int_equal(ev.disconnect.status, SPOP_STATUS_TIMEOUT);
			assert_true(sv_eq(ev.disconnect.text, SV("why")));
			assert_int_equal(answer_disconnect(&out).status, SPOP_STATUS_NORMAL);
		}
	}
}

/* Requests that were under way when the agent said good-bye are dropped, and nothing is answered any more. */
static void drain(void **state)
{
	struct spop_conn conn;
	struct spop_event ev;
	uint8_t answer[1024];
	struct wcur out;
	size_t consumed;

	(void)state;
	conn_in(&conn, SPOP_CONN_RUNNING);
	wcur_init(&out, answer, sizeof(answer));
	assert_int_equal(spop_conn_disconnect(&conn, &out, SPOP_STATUS_NORMAL, SV("restart")), ERR_OK);
	assert_int_equal(conn.state, SPOP_CONN_CLOSING);
	struct spop_disconnect disconnect = answer_disconnect(&out);
	assert_int_equal(disconnect.status, SPOP_STATUS_NORMAL);
	assert_true(sv_eq(disconnect.text, SV("restart")));
	size_t once = wcur_len(&out);
	assert_int_equal(spop_conn_disconnect(&conn, &out, SPOP_STATUS_NORMAL, SV("restart")), ERR_BAD_STATE);

	size_t first = notify_write(frames, sizeof(frames), 3, 1, 64);
	size_t n = first + frame_write(frames + first, sizeof(frames) - first, SPOP_FRAME_HAPROXY_DISCONNECT,
	                               SPOP_FLAG_FIN, 0, 0, SV("\x0bstatus-code\x03\x00"));
	assert_int_equal(spop_conn_next(&conn, frames, n, &consumed, &out, &ev), SPOP_EVENT_SKIPPED);
	assert_int_equal(consumed, first);
	assert_int_equal(ev.frame_type, SPOP_FRAME_NOTIFY);
	assert_false(ev.close);
	assert_int_equal(spop_conn_next(&conn, frames + first, n - first, &consumed, &out, &ev), SPOP_EVENT_DISCONNECT);
	assert_true(ev.close);
	assert_int_equal(spop_conn_next(&conn, frames, n, &consumed, &out, &ev), SPOP_EVENT_CLOSED);
	assert_int_equal(consumed, n);
	assert_int_equal(wcur_len(&out), once);
}

static void an_error_while_closing_is_not_answered_twice(void **state)
{
	struct spop_conn conn;
	struct spop_event ev;
	uint8_t answer[1024];
	struct wcur out;

	(void)state;
	conn_in(&conn, SPOP_CONN_CLOSING);
	wcur_init(&out, answer, sizeof(answer));
	assert_int_equal(step(&conn, (const uint8_t *)"\0\0\0\0", 4, &out, &ev), SPOP_EVENT_ERROR);
	assert_true(ev.close);
	assert_int_equal(wcur_len(&out), 0);
}

static void disconnect_before_hello_and_without_room(void **state)
{
	struct spop_conn conn;
	uint8_t answer[1024];
	struct wcur out;

	(void)state;
	conn_in(&conn, SPOP_CONN_HELLO);
	wcur_init(&out, answer, 20);
	assert_int_equal(spop_conn_disconnect(&conn, &out, SPOP_STATUS_RESOURCE, SV("full")), ERR_SPACE);
	assert_int_equal(conn.state, SPOP_CONN_HELLO);
	assert_int_equal(wcur_len(&out), 0);
	wcur_init(&out, answer, sizeof(answer));
	assert_int_equal(spop_conn_disconnect(&conn, &out, SPOP_STATUS_RESOURCE, SV("full")), ERR_OK);
	assert_int_equal(answer_disconnect(&out).status, SPOP_STATUS_RESOURCE);
	spop_conn_fini(&conn);
	assert_int_equal(spop_conn_disconnect(&conn, &out, SPOP_STATUS_RESOURCE, SV("full")), ERR_BAD_STATE);
}

static void without_room_for_an_answer_nothing_is_taken(void **state)
{
	struct spop_conn conn;
	struct spop_event ev;
	uint8_t answer[SPOP_REPLY_MAX];
	struct wcur out;
	size_t consumed = 99;
	size_t n = hello_write(frames, sizeof(frames), 16380, "pipelining", false);

	(void)state;
	spop_conn_init(&conn, OURS);
	wcur_init(&out, answer, SPOP_REPLY_MAX - 1);
	assert_int_equal(spop_conn_next(&conn, frames, n, &consumed, &out, &ev), SPOP_EVENT_NO_ROOM);
	assert_int_equal(consumed, 0);
	assert_int_equal(conn.state, SPOP_CONN_HELLO);
	wcur_init(&out, answer, SPOP_REPLY_MAX);
	assert_int_equal(spop_conn_next(&conn, frames, n, &consumed, &out, &ev), SPOP_EVENT_HELLO);
	assert_int_equal(consumed, n);
}

static void names_of_states_and_events(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SPOP_CONN_STATE_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(spop_conn_state_str(i), spop_conn_state_str(j));
	for (unsigned i = 0; i < SPOP_EVENT_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(spop_event_str(i), spop_event_str(j));
	assert_string_equal(spop_conn_state_str(SPOP_CONN_STATE_COUNT), "unknown");
	assert_string_equal(spop_event_str(SPOP_EVENT_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_in_every_state),
		cmocka_unit_test(stream_id_zero_and_the_same_on_two_connections),
		cmocka_unit_test(pipelined_frames_come_one_by_one),
		cmocka_unit_test(the_largest_frame_and_one_byte_more),
		cmocka_unit_test(frames_above_a_smaller_agreed_size_are_taken),
		cmocka_unit_test(acks_stay_within_the_agreed_size),
		cmocka_unit_test(an_ack_has_an_action_and_needs_a_running_connection),
		cmocka_unit_test(broken_and_fragmented_notifies),
		cmocka_unit_test(a_length_of_zero_is_invalid),
		cmocka_unit_test(disconnect_ids_must_be_zero),
		cmocka_unit_test(drain),
		cmocka_unit_test(an_error_while_closing_is_not_answered_twice),
		cmocka_unit_test(disconnect_before_hello_and_without_room),
		cmocka_unit_test(without_room_for_an_answer_nothing_is_taken),
		cmocka_unit_test(names_of_states_and_events),
	};

	return cmocka_run_group_tests_name("spop connection", tests, NULL, NULL);
}
