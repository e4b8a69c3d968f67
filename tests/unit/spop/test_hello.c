/* HELLO and DISCONNECT payloads: what is accepted, and which status answers what is not. */
#include "unit.h"

#include <stdbool.h>
#include <string.h>

#include "spop/disconnect.h"
#include "spop/frame.h"
#include "spop/hello.h"

static uint8_t buffer[2048];

struct pair {
	const char *name;
	struct spop_value value;
};

#define TEXT(s)                                                         \
	{                                                               \
		.type = SPOP_TYPE_STRING, .view = {(s), sizeof(s) - 1 } \
	}
#define UINT(n)                                      \
	{                                            \
		.type = SPOP_TYPE_UINT32, .u64 = (n) \
	}
#define VERSIONS(s)                           \
	{                                     \
		"supported-versions", TEXT(s) \
	}
#define SIZE(n)                           \
	{                                 \
		"max-frame-size", UINT(n) \
	}
#define CAPS(s)                         \
	{                               \
		"capabilities", TEXT(s) \
	}
#define END                                    \
	{                                      \
		NULL,                          \
		{                              \
			.type = SPOP_TYPE_NULL \
		}                              \
	}

static struct sv payload_of(const struct pair *pairs)
{
	struct wcur out;

	wcur_init(&out, buffer, sizeof(buffer));
	for (; pairs->name != NULL; pairs++)
		spop_kv_write(&out, sv_str(pairs->name), &pairs->value);
	assert_int_equal(out.err, ERR_OK);
	return sv_from(buffer, wcur_len(&out));
}

static void hellos(void **state)
{
	static const struct {
		struct pair pairs[6];
		enum spop_reason reason;
	} rows[] = {
		{ { VERSIONS("2.0"), SIZE(16380), CAPS("pipelining"), END }, SPOP_REASON_NONE },
		{ { CAPS(""), SIZE(16380), VERSIONS("2.0"), END }, SPOP_REASON_NONE },
		/* the list */
		{ { VERSIONS("1.0, 2.0"), SIZE(256), CAPS(""), END }, SPOP_REASON_NONE },
		{ { VERSIONS(" 2.0 ,3.0"), SIZE(256), CAPS(""), END }, SPOP_REASON_NONE },
		{ { VERSIONS("2"), SIZE(256), CAPS(""), END }, SPOP_REASON_BAD_VERSION },
		{ { VERSIONS("2.00"), SIZE(256), CAPS(""), END }, SPOP_REASON_BAD_VERSION },
		{ { VERSIONS("12.0"), SIZE(256), CAPS(""), END }, SPOP_REASON_BAD_VERSION },
		{ { VERSIONS("1.0,2.1"), SIZE(256), CAPS(""), END }, SPOP_REASON_BAD_VERSION },
		{ { VERSIONS("2.0 3.0"), SIZE(256), CAPS(""), END }, SPOP_REASON_BAD_VERSION },
		{ { VERSIONS(""), SIZE(256), CAPS(""), END }, SPOP_REASON_BAD_VERSION },
		/* missing keys; capabilities may be empty, not absent */
		{ { SIZE(256), CAPS(""), END }, SPOP_REASON_NO_VERSION },
		{ { VERSIONS("2.0"), CAPS(""), END }, SPOP_REASON_NO_FRAME_SIZE },
		{ { VERSIONS("2.0"), SIZE(256), END }, SPOP_REASON_NO_CAPABILITIES },
		{ { END }, SPOP_REASON_NO_VERSION },
		/* keys that only start like the known ones */
		{ { { "supported-versionsX", TEXT("2.0") }, SIZE(256), CAPS(""), END }, SPOP_REASON_NO_VERSION },
		{ { { "versionX", TEXT("2.0") }, SIZE(256), CAPS(""), END }, SPOP_REASON_NO_VERSION },
		{ { { "supported-version", TEXT("2.0") }, SIZE(256), CAPS(""), END }, SPOP_REASON_NO_VERSION },
		{ { VERSIONS("2.0"), { "max-frame-size2", UINT(256) }, CAPS(""), END }, SPOP_REASON_NO_FRAME_SIZE },
		{ { VERSIONS("2.0"), SIZE(256), { "capabilities-", TEXT("") }, END }, SPOP_REASON_NO_CAPABILITIES },
		{ { VERSIONS("2.0"), SIZE(256), CAPS(""), { "healthcheckX", TEXT("x") }, END }, SPOP_REASON_NONE },
		/* sizes */
		{ { VERSIONS("2.0"), SIZE(255), CAPS(""), END }, SPOP_REASON_BAD_FRAME_SIZE },
		{ { VERSIONS("2.0"), SIZE(0), CAPS(""), END }, SPOP_REASON_BAD_FRAME_SIZE },
		{ { VERSIONS("2.0"), SIZE(UINT32_MAX), CAPS(""), END }, SPOP_REASON_NONE },
		{ { VERSIONS("2.0"), { "max-frame-size", { .type = SPOP_TYPE_INT64, .i64 = 16380 } }, CAPS(""), END },
		  SPOP_REASON_NONE },
		{ { VERSIONS("2.0"), { "max-frame-size", { .type = SPOP_TYPE_INT32, .i64 = -1 } }, CAPS(""), END },
		  SPOP_REASON_BAD_FRAME_SIZE },
		{ { VERSIONS("2.0"),
		    { "max-frame-size", { .type = SPOP_TYPE_UINT64, .u64 = 1ull << 32 } },
		    CAPS(""),
		    END },
		  SPOP_REASON_BAD_FRAME_SIZE },
		{ { VERSIONS("2.0"),
		    { "max-frame-size", { .type = SPOP_TYPE_UINT64, .u64 = UINT64_MAX } },
		    CAPS(""),
		    END },
		  SPOP_REASON_BAD_FRAME_SIZE },
		/* wrong types */
		{ { { "supported-versions", UINT(2) }, SIZE(256), CAPS(""), END }, SPOP_REASON_PAYLOAD },
		{ { VERSIONS("2.0"), { "max-frame-size", TEXT("256") }, CAPS(""), END }, SPOP_REASON_PAYLOAD },
		{ { VERSIONS("2.0"), SIZE(256), { "capabilities", { .type = SPOP_TYPE_NULL } }, END },
		  SPOP_REASON_PAYLOAD },
		{ { VERSIONS("2.0"), SIZE(256), CAPS(""), { "healthcheck", UINT(1) }, END }, SPOP_REASON_PAYLOAD },
		{ { VERSIONS("2.0"), SIZE(256), CAPS(""), { "engine-id", UINT(1) }, END }, SPOP_REASON_PAYLOAD },
		/* unknown keys, of any type */
		{ { { "x", UINT(1) }, VERSIONS("2.0"), { "", TEXT("") }, SIZE(256), CAPS(""), END }, SPOP_REASON_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spop_hello hello = { .max_frame_size = 4711 };
		enum spop_reason reason = spop_hello_decode(payload_of(rows[i].pairs), &hello);

		if (reason != rows[i].reason)
			fail_msg("row %zu: %s, not %s", i, spop_reason_str(reason), spop_reason_str(rows[i].reason));
		if (reason == SPOP_REASON_NONE)
			assert_int_not_equal(hello.max_frame_size, 4711);
		else
			assert_int_equal(hello.max_frame_size, 4711);
	}
}

static void hello_fields(void **state)
{
	static const struct pair pairs[] = { VERSIONS("2.0"),
		                             SIZE(300),
		                             CAPS("async , pipelining"),
		                             { "healthcheck", { .type = SPOP_TYPE_BOOL, .boolean = true } },
		                             { "engine-id", TEXT("abc") },
		                             END };
	struct spop_hello hello;

	(void)state;
	assert_int_equal(spop_hello_decode(payload_of(pairs), &hello), SPOP_REASON_NONE);
	assert_int_equal(hello.max_frame_size, 300);
	assert_true(hello.healthcheck && hello.has_healthcheck);
	assert_true(sv_eq(hello.engine_id, SV("abc")));
	assert_true(spop_list_has(hello.capabilities, SV("pipelining")));
	assert_true(spop_list_has(hello.capabilities, SV("async")));
	assert_false(spop_list_has(hello.capabilities, SV("pipe")));
	assert_false(spop_list_has(SV("pipelining2"), SV("pipelining")));
	assert_false(spop_list_has(SV(""), SV("pipelining")));
	assert_false(spop_list_has(sv_from(NULL, 0), SV("pipelining")));
}

static void cut_payload_is_refused(void **state)
{
	static const struct pair pairs[] = { VERSIONS("2.0"), SIZE(300), CAPS("pipelining"), END };
	struct sv payload = payload_of(pairs);
	struct spop_hello hello;

	(void)state;
	for (size_t cut = 0; cut < payload.n; cut++)
		assert_int_not_equal(spop_hello_decode(sv_from(payload.p, cut), &hello), SPOP_REASON_NONE);
}

static void agent_hello(void **state)
{
	static const struct {
		struct pair pairs[5];
		enum spop_reason reason;
	} rows[] = {
		{ { { "version", TEXT("2.0") }, SIZE(256), CAPS(""), END }, SPOP_REASON_NONE },
		{ { { "version", TEXT("1.0,2.0") }, SIZE(256), CAPS(""), END }, SPOP_REASON_BAD_VERSION },
		{ { { "versions", TEXT("2.0") }, SIZE(256), CAPS(""), END }, SPOP_REASON_NO_VERSION },
		{ { { "version", TEXT("2.0") }, CAPS(""), END }, SPOP_REASON_NO_FRAME_SIZE },
		{ { { "version", TEXT("2.0") }, SIZE(256), END }, SPOP_REASON_NO_CAPABILITIES },
		{ { { "version", TEXT("2.0") }, SIZE(255), CAPS(""), END }, SPOP_REASON_BAD_FRAME_SIZE },
		{ { { "version", UINT(2) }, SIZE(256), CAPS(""), END }, SPOP_REASON_PAYLOAD },
	};
	static const char *const capabilities[] = { "", "pipelining" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spop_agent_hello hello;

		assert_int_equal(spop_agent_hello_decode(payload_of(rows[i].pairs), &hello), rows[i].reason);
	}
	for (unsigned pipelining = 0; pipelining < 2; pipelining++) {
		struct spop_agent_hello hello;
		struct spop_frame frame;
		struct wcur out;
		size_t consumed;

		wcur_init(&out, buffer, sizeof(buffer));
		assert_int_equal(spop_agent_hello_write(&out, 16380, pipelining != 0), ERR_OK);
		assert_int_equal(spop_frame_decode(buffer, wcur_len(&out), 256, &frame, &consumed), ERR_OK);
		assert_int_equal(frame.type, SPOP_FRAME_AGENT_HELLO);
		assert_int_equal(frame.flags, SPOP_FLAG_FIN);
		assert_true(frame.stream_id == 0 && frame.frame_id == 0);
		assert_int_equal(spop_agent_hello_decode(frame.payload, &hello), SPOP_REASON_NONE);
		assert_true(sv_eq(hello.version, SV("2.0")));
		assert_int_equal(hello.max_frame_size, 16380);
		assert_true(sv_eq(hello.capabilities, sv_str(capabilities[pipelining])));
	}
}

static void writers_need_room(void **state)
{
	struct wcur out;

	(void)state;
	for (size_t room = 0; room < 60; room++) {
		wcur_init(&out, buffer, room);
		assert_int_equal(spop_agent_hello_write(&out, 16380, true), ERR_SPACE);
		assert_int_equal(wcur_len(&out), 0);
	}
}

static void disconnects_with_every_status(void **state)
{
	static const uint32_t statuses[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99, 14, 256, UINT32_MAX };
	static const enum spop_frame_type types[] = { SPOP_FRAME_AGENT_DISCONNECT, SPOP_FRAME_HAPROXY_DISCONNECT };

	(void)state;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		for (size_t t = 0; t < 2; t++) {
			struct spop_disconnect disconnect;
			struct spop_frame frame;
			struct wcur out;
			size_t consumed;
			const char *text = spop_status_text(statuses[i]);

			assert_true(strlen(text) > 0 && strlen(text) <= SPOP_DISCONNECT_TEXT_MAX);
			if (statuses[i] > 13)
				assert_string_equal(text, spop_status_text(SPOP_STATUS_UNKNOWN));
			wcur_init(&out, buffer, sizeof(buffer));
			assert_int_equal(spop_disconnect_write(&out, types[t], statuses[i], sv_str(text)), ERR_OK);
			assert_int_equal(spop_frame_decode(buffer, wcur_len(&out), 300, &frame, &consumed), ERR_OK);
			assert_int_equal(frame.type, types[t]);
			assert_int_equal(frame.flags, SPOP_FLAG_FIN);
			assert_true(frame.stream_id == 0 && frame.frame_id == 0);
			assert_int_equal(spop_disconnect_decode(frame.payload, &disconnect), ERR_OK);
			assert_true(disconnect.status == statuses[i]);
			assert_true(sv_eq(disconnect.text, sv_str(text)));
		}
	}
}

static void disconnect_text_is_cut(void **state)
{
	static char text[1000];
	struct spop_disconnect disconnect;
	struct spop_frame frame;
	struct wcur out;
	size_t consumed;

	(void)state;
	memset(text, 'x', sizeof(text));
	wcur_init(&out, buffer, SPOP_DISCONNECT_BYTES_MAX);
	assert_int_equal(
	        spop_disconnect_write(&out, SPOP_FRAME_AGENT_DISCONNECT, UINT32_MAX, sv_from(text, sizeof(text))),
	        ERR_OK);
	assert_int_equal(spop_frame_decode(buffer, wcur_len(&out), 300, &frame, &consumed), ERR_OK);
	assert_int_equal(spop_disconnect_decode(frame.payload, &disconnect), ERR_OK);
	assert_int_equal(disconnect.text.n, 255);
}

static void disconnects_that_are_odd(void **state)
{
	static const struct pair none[] = { END };
	static const struct pair lookalike[] = { { "status-codes", UINT(1) }, { "messages", UINT(1) }, END };
	static const struct pair negative[] = { { "status-code", { .type = SPOP_TYPE_INT32, .i64 = -1 } }, END };
	static const struct pair text[] = { { "status-code", TEXT("0") }, END };
	static const struct pair number[] = { { "message", UINT(0) }, END };
	struct spop_disconnect disconnect = { .status = 4711 };

	(void)state;
	assert_int_equal(spop_disconnect_decode(payload_of(text), &disconnect), ERR_INVALID);
	assert_int_equal(spop_disconnect_decode(payload_of(number), &disconnect), ERR_INVALID);
	assert_int_equal(spop_disconnect_decode(SV("\xb"
	                                           "status-code"),
	                                        &disconnect),
	                 ERR_INVALID);
	assert_int_equal(disconnect.status, 4711);
	assert_int_equal(spop_disconnect_decode(payload_of(none), &disconnect), ERR_OK);
	assert_int_equal(disconnect.status, SPOP_STATUS_UNKNOWN);
	assert_int_equal(disconnect.text.n, 0);
	assert_int_equal(spop_disconnect_decode(payload_of(lookalike), &disconnect), ERR_OK);
	assert_int_equal(disconnect.status, SPOP_STATUS_UNKNOWN);
	assert_int_equal(spop_disconnect_decode(payload_of(negative), &disconnect), ERR_OK);
	assert_int_equal(disconnect.status, SPOP_STATUS_UNKNOWN);
}

static void reasons_have_labels_and_a_status(void **state)
{
	static const uint32_t status[SPOP_REASON_COUNT] = {
		[SPOP_REASON_NONE] = 0,
		[SPOP_REASON_TOO_BIG] = 3,
		[SPOP_REASON_HEADER] = 4,
		[SPOP_REASON_IDS] = 4,
		[SPOP_REASON_NO_HELLO] = 4,
		[SPOP_REASON_UNEXPECTED] = 4,
		[SPOP_REASON_FRAGMENTED] = 10,
		[SPOP_REASON_PAYLOAD] = 4,
		[SPOP_REASON_NO_VERSION] = 5,
		[SPOP_REASON_NO_FRAME_SIZE] = 6,
		[SPOP_REASON_NO_CAPABILITIES] = 7,
		[SPOP_REASON_BAD_VERSION] = 8,
		[SPOP_REASON_BAD_FRAME_SIZE] = 9,
	};

	(void)state;
	for (unsigned i = 0; i < SPOP_REASON_COUNT; i++) {
		const char *label = spop_reason_str(i);

		assert_int_equal(spop_reason_status((enum spop_reason)i), status[i]);
		assert_true(strlen(label) > 0);
		assert_int_equal(strspn(label, "abcdefghijklmnopqrstuvwxyz_"), strlen(label));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(label, spop_reason_str(j));
	}
	assert_string_equal(spop_reason_str(SPOP_REASON_COUNT), "unknown");
	assert_int_equal(spop_reason_status((enum spop_reason)1000), SPOP_STATUS_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hellos),
		cmocka_unit_test(hello_fields),
		cmocka_unit_test(cut_payload_is_refused),
		cmocka_unit_test(agent_hello),
		cmocka_unit_test(writers_need_room),
		cmocka_unit_test(disconnects_with_every_status),
		cmocka_unit_test(disconnect_text_is_cut),
		cmocka_unit_test(disconnects_that_are_odd),
		cmocka_unit_test(reasons_have_labels_and_a_status),
	};

	return cmocka_run_group_tests_name("spop hello and disconnect", tests, NULL, NULL);
}
