/* The first frame of a connection: what is agreed on, and what is refused. */
#include "conn_test.h"

/* ---- hello ---- */

static void a_hello_in_pieces_gets_one_answer(void **state)
{
	size_t n = hello_write(frames, sizeof(frames), 16380, "pipelining", false);

	(void)state;
	for (size_t cut = 0; cut < n; cut++) {
		struct spop_conn conn;
		struct spop_event ev;
		uint8_t answer[1024];
		struct wcur out;

		spop_conn_init(&conn, OURS);
		wcur_init(&out, answer, sizeof(answer));
		assert_int_equal(step(&conn, frames, cut, &out, &ev), SPOP_EVENT_INCOMPLETE);
		assert_int_equal(ev.need, cut < SPOP_LENGTH_BYTES ? SPOP_LENGTH_BYTES : n);
		assert_int_equal(wcur_len(&out), 0);
		assert_int_equal(step(&conn, frames, n, &out, &ev), SPOP_EVENT_HELLO);
		size_t once = wcur_len(&out);
		assert_true(once > 0);
		assert_int_equal(step(&conn, frames, 0, &out, &ev), SPOP_EVENT_INCOMPLETE);
		assert_int_equal(wcur_len(&out), once);
	}
}

static void what_hello_agrees_on(void **state)
{
	static const struct {
		uint32_t ours;
		uint32_t offered;
		const char *capabilities;
		bool healthcheck;
		uint32_t agreed;
		uint32_t recv_max;
		const char *answer;
	} rows[] = {
		{ 65536, 16380, "pipelining", false, 16380, 16380, "pipelining" },
		{ 65536, 16380, "pipelining,async", false, 16380, 16380, "pipelining" },
		{ 65536, 16380, "async, fragmentation", false, 16380, 16380, "" },
		{ 65536, 16380, "pipelining2", false, 16380, 16380, "" },
		{ 65536, 16380, "", false, 16380, 16380, "" },
		{ 65536, 16380, "", true, 16380, 16380, "" },
		{ 65536, 256, "pipelining", false, 256, 256, "pipelining" },
		{ 65536, 65536, "pipelining", false, 65536, 65536, "pipelining" },
		/* more than ours: we send no more than ours, but take what 3.1.0 sends all the same */
		{ 1024, 16380, "pipelining", false, 1024, 16380, "pipelining" },
		{ 256, 16380, "pipelining", false, 256, 16380, "pipelining" },
		{ 65536, 131068, "pipelining", false, 65536, 131068, "pipelining" },
		{ 65536, UINT32_MAX, "pipelining", false, 65536, SPOP_FRAME_HARD_MAX, "pipelining" },
		{ SPOP_FRAME_HARD_MAX, UINT32_MAX, "", false, SPOP_FRAME_HARD_MAX, SPOP_FRAME_HARD_MAX, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spop_conn conn;
		struct spop_event ev;
		uint8_t answer[1024];
		struct wcur out;
		size_t n = hello_write(frames, sizeof(frames), rows[i].offered, rows[i].capabilities,
		                       rows[i].healthcheck);

		spop_conn_init(&conn, rows[i].ours);
		wcur_init(&out, answer, sizeof(answer));
		assert_int_equal(step(&conn, frames, n, &out, &ev),
		                 rows[i].healthcheck ? SPOP_EVENT_HEALTHCHECK : SPOP_EVENT_HELLO);
		assert_int_equal(ev.close, rows[i].healthcheck);
		assert_true(ev.hello.max_frame_size == rows[i].offered);
		struct spop_agent_hello hello = answer_hello(&out);
		assert_true(sv_eq(hello.version, SV("2.0")));
		assert_int_equal(hello.max_frame_size, rows[i].agreed);
		assert_int_equal(conn.send_max, rows[i].agreed);
		assert_int_equal(conn.recv_max, rows[i].recv_max);
		assert_true(sv_eq(hello.capabilities, sv_str(rows[i].answer)));
		assert_int_equal(conn.pipelining, rows[i].answer[0] != '\0');
	}
}

static void bad_hellos_get_the_status_of_their_fault(void **state)
{
#define K_VERSION                        \
	"\x12supported-versions\x08\x03" \
	"2.0"
#define K_SIZE "\x0emax-frame-size\x03\xfc\xf0\x06"
#define K_CAPS \
	"\x0c" \
	"capabilities\x08\x00"
#define ROW(lit, st, re)                                                        \
	{                                                                       \
		lit, sizeof(lit) - 1, SPOP_FLAG_FIN, 0, 0, st, SPOP_REASON_##re \
	}
	static const struct {
		const char *payload;
		size_t n;
		uint32_t flags;
		uint64_t stream_id;
		uint64_t frame_id;
		uint32_t status;
		enum spop_reason reason;
	} rows[] = {
		ROW(K_SIZE K_CAPS, 5, NO_VERSION),
		ROW(K_VERSION K_CAPS, 6, NO_FRAME_SIZE),
		ROW(K_VERSION K_SIZE, 7, NO_CAPABILITIES),
		ROW("\x12supported-versions\x08\x03"
		    "3.0" K_SIZE K_CAPS,
		    8, BAD_VERSION),
		ROW(K_VERSION "\x0emax-frame-size\x03\xef" K_CAPS, 9, BAD_FRAME_SIZE),
		ROW("\x13supported-versionsX\x08\x03"
		    "2.0" K_SIZE K_CAPS,
		    5, NO_VERSION),
		ROW(K_VERSION K_SIZE K_CAPS "\1", 4, PAYLOAD),
		ROW(K_VERSION K_SIZE K_CAPS "\1a\x0b", 4, PAYLOAD),
		{ K_VERSION K_SIZE K_CAPS, sizeof(K_VERSION K_SIZE K_CAPS) - 1, 0, 0, 0, 10, SPOP_REASON_FRAGMENTED },
		{ K_VERSION K_SIZE K_CAPS, sizeof(K_VERSION K_SIZE K_CAPS) - 1, 1, 1, 0, 4, SPOP_REASON_IDS },
		{ K_VERSION K_SIZE K_CAPS, sizeof(K_VERSION K_SIZE K_CAPS) - 1, 1, 0, 1, 4, SPOP_REASON_IDS },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spop_conn conn;
		struct spop_event ev;
		uint8_t answer[1024];
		struct wcur out;
		size_t n = frame_write(frames, sizeof(frames), SPOP_FRAME_HAPROXY_HELLO, rows[i].flags,
		                       rows[i].stream_id, rows[i].frame_id, sv_from(rows[i].payload, rows[i].n));

		spop_conn_init(&conn, OURS);
		wcur_init(&out, answer, sizeof(answer));
		assert_int_equal(step(&conn, frames, n, &out, &ev), SPOP_EVENT_ERROR);
		assert_int_equal(ev.reason, rows[i].reason);
		struct spop_disconnect disconnect = answer_disconnect(&out);
		assert_int_equal(disconnect.status, rows[i].status);
		assert_true(sv_eq(disconnect.text, sv_str(spop_status_text(rows[i].status))));
		assert_int_equal(conn.state, SPOP_CONN_CLOSED);
	}
}

/* Another protocol on the port: its first four bytes are a length above any HELLO. */
static void other_protocols_end_at_once(void **state)
{
	struct spop_conn conn;
	struct spop_event ev;
	uint8_t answer[1024];
	struct wcur out;

	(void)state;
	spop_conn_init(&conn, OURS);
	wcur_init(&out, answer, sizeof(answer));
	assert_int_equal(step(&conn, (const uint8_t *)"GET / HTTP/1.1", 14, &out, &ev), SPOP_EVENT_ERROR);
	assert_int_equal(ev.reason, SPOP_REASON_TOO_BIG);
	assert_int_equal(ev.frame_type, -1);
	assert_int_equal(answer_disconnect(&out).status, SPOP_STATUS_TOO_BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hello_in_pieces_gets_one_answer),
		cmocka_unit_test(what_hello_agrees_on),
		cmocka_unit_test(bad_hellos_get_the_status_of_their_fault),
		cmocka_unit_test(other_protocols_end_at_once),
	};

	return cmocka_run_group_tests_name("spop connection: hello", tests, NULL, NULL);
}
