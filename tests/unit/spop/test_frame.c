/* Frames and the lists in them: lengths, limits, NOTIFY and ACK. */
#include "unit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "spop/ack.h"
#include "spop/frame.h"
#include "spop/notify.h"
#include "spop/varint.h"

static uint8_t buffer[16384];

static size_t frame_of(size_t payload, uint8_t *out, size_t size)
{
	struct wcur c;

	wcur_init(&c, out, size);
	size_t mark = spop_frame_begin(&c, SPOP_FRAME_NOTIFY, SPOP_FLAG_FIN, 0, 1);
	for (size_t i = 0; i < payload; i++)
		wcur_u8(&c, (uint8_t)i);
	assert_int_equal(spop_frame_end(&c, mark, UINT32_MAX), ERR_OK);
	return wcur_len(&c);
}

static void the_limit_counts_without_the_length(void **state)
{
	struct spop_frame frame;
	size_t consumed = 99;
	size_t n = frame_of(256 - SPOP_FRAME_LEAST, buffer, sizeof(buffer));

	(void)state;
	assert_int_equal(n, 260);
	assert_int_equal(spop_frame_decode(buffer, n, 255, &frame, &consumed), ERR_RANGE);
	/* Known from the length alone. */
	assert_int_equal(spop_frame_decode(buffer, 4, 255, &frame, &consumed), ERR_RANGE);
	assert_int_equal(consumed, 99);
	assert_int_equal(spop_frame_decode(buffer, n, 256, &frame, &consumed), ERR_OK);
	assert_int_equal(consumed, n);
	assert_int_equal(frame.payload.n, 249);
}

static void two_frames_are_told_apart(void **state)
{
	struct spop_frame frame;
	size_t consumed;
	size_t first = frame_of(3, buffer, sizeof(buffer));
	size_t second = frame_of(0, buffer + first, sizeof(buffer) - first);

	(void)state;
	assert_int_equal(spop_frame_decode(buffer, first + second, 256, &frame, &consumed), ERR_OK);
	assert_int_equal(consumed, first);
	assert_int_equal(frame.payload.n, 3);
	assert_int_equal(frame.stream_id, 0);
	assert_int_equal(frame.frame_id, 1);
	assert_int_equal(spop_frame_decode(buffer + first, second, 256, &frame, &consumed), ERR_OK);
	assert_int_equal(consumed, second);
	assert_int_equal(frame.payload.n, 0);
}

static void short_lengths_are_invalid(void **state)
{
	(void)state;
	for (uint8_t len = 0; len < SPOP_FRAME_LEAST; len++) {
		const uint8_t bytes[] = { 0, 0, 0, len, 3, 0, 0, 0, 1, 0, 0, 0 };
		struct spop_frame frame;
		size_t consumed;

		assert_int_equal(spop_frame_decode(bytes, sizeof(bytes), 256, &frame, &consumed), ERR_INVALID);
		assert_int_equal(spop_frame_decode(bytes, 4, 256, &frame, &consumed), ERR_INVALID);
		assert_int_equal(spop_frame_decode(bytes, 3, 256, &frame, &consumed), ERR_INCOMPLETE);
	}
}

static void ids_must_end_inside_of_the_frame(void **state)
{
	/* The frame id goes on into the byte after the frame. */
	const uint8_t runs_out[] = { 0, 0, 0, 7, 3, 0, 0, 0, 1, 0, 0xf0, 0 };
	const uint8_t overflow[] = { 0,    0,    0,    17,   3,    0,    0,    0,    1,    0xf0, 0xff,
		                     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00 };
	struct spop_frame frame;
	size_t consumed;

	(void)state;
	assert_int_equal(spop_frame_decode(runs_out, sizeof(runs_out), 256, &frame, &consumed), ERR_INVALID);
	assert_int_equal(spop_frame_decode(overflow, sizeof(overflow), 256, &frame, &consumed), ERR_INVALID);
}

static void frames_decode_at_any_address(void **state)
{
	size_t n = frame_of(10, buffer, sizeof(buffer));

	(void)state;
	for (size_t offset = 0; offset < 8; offset++) {
		struct spop_frame frame;
		size_t consumed;
		uint8_t *block = malloc(offset + n);

		assert_non_null(block);
		memcpy(block + offset, buffer, n);
		assert_int_equal(spop_frame_decode(block + offset, n, 256, &frame, &consumed), ERR_OK);
		assert_int_equal(frame.flags, SPOP_FLAG_FIN);
		free(block);
	}
}

static void a_frame_that_fails_is_taken_back(void **state)
{
	struct wcur out;

	(void)state;
	wcur_init(&out, buffer, 64);
	wcur_bytes(&out, "kept", 4);
	size_t mark = spop_frame_begin(&out, SPOP_FRAME_ACK, SPOP_FLAG_FIN, 1, 1);
	for (int i = 0; i < 100; i++)
		wcur_u8(&out, 0);
	assert_int_equal(spop_frame_end(&out, mark, 256), ERR_SPACE);
	assert_int_equal(wcur_len(&out), 4);
	assert_int_equal(out.err, ERR_OK);

	mark = spop_frame_begin(&out, SPOP_FRAME_ACK, SPOP_FLAG_FIN, 1, 1);
	for (int i = 0; i < 20; i++)
		wcur_u8(&out, 0);
	assert_int_equal(spop_frame_end(&out, mark, 26), ERR_RANGE);
	assert_int_equal(wcur_len(&out), 4);

	mark = spop_frame_begin(&out, SPOP_FRAME_ACK, SPOP_FLAG_FIN, 1, 1);
	for (int i = 0; i < 20; i++)
		wcur_u8(&out, 0);
	assert_int_equal(spop_frame_end(&out, mark, 27), ERR_OK);
	assert_int_equal(wcur_len(&out), 4 + 4 + 27);
	assert_memory_equal(buffer, "kept\0\0\0\x1b", 8);
}

static void kv_lists(void **state)
{
	const struct spop_value value = spop_string(SV("v"));
	struct spop_value read;
	struct wcur out;
	struct rcur in;
	struct sv name = SV("untouched");

	(void)state;
	wcur_init(&out, buffer, sizeof(buffer));
	spop_kv_write(&out, SV(""), &value);
	spop_kv_write(&out, SV("name"), &value);
	rcur_init(&in, buffer, wcur_len(&out));
	assert_int_equal(spop_kv_next(&in, &name, &read), ERR_OK);
	assert_int_equal(name.n, 0);
	assert_int_equal(spop_kv_next(&in, &name, &read), ERR_OK);
	assert_true(sv_eq(name, SV("name")));
	assert_int_equal(spop_kv_next(&in, &name, &read), ERR_NOT_FOUND);
	assert_true(sv_eq(name, SV("name")));

	/* A key with nothing behind it: its type byte is past the end. */
	rcur_init(&in, "\4name", 5);
	assert_int_equal(spop_kv_next(&in, &name, &read), ERR_INVALID);
	assert_int_equal(spop_kv_next(&in, &name, &read), ERR_INVALID);
	rcur_init(&in, "\1a\x0f", 3);
	assert_int_equal(spop_kv_next(&in, &name, &read), ERR_INVALID);
}

/* Several messages in a frame, with no, some and the most arguments, NULL in all of them, and empty names. */
static void messages_and_arguments(void **state)
{
	static const unsigned counts[] = { 0, 255, 1, 255, 0 };
	const struct spop_value null = spop_null();
	struct spop_notify notify;
	struct spop_value value;
	struct wcur out;
	struct sv name;
	unsigned args;
	unsigned messages = 0;

	(void)state;
	wcur_init(&out, buffer, sizeof(buffer));
	for (size_t i = 0; i < 5; i++) {
		spop_message_write(&out, i == 2 ? SV("") : SV("check"), counts[i]);
		for (unsigned a = 0; a < counts[i]; a++)
			spop_kv_write(&out, a % 2 ? SV("") : SV("arg"), &null);
	}
	struct sv payload = sv_from(buffer, wcur_len(&out));
	assert_int_equal(spop_notify_check(payload, &messages), ERR_OK);
	assert_int_equal(messages, 5);

	/* Skipping: reads 0, 1, 2 ... arguments of each message. */
	for (unsigned take = 0; take < 300; take += 37) {
		spop_notify_init(&notify, payload);
		for (size_t i = 0; i < 5; i++) {
			assert_int_equal(spop_notify_message(&notify, &name, &args), ERR_OK);
			assert_int_equal(args, counts[i]);
			assert_int_equal(name.n, i == 2 ? 0 : 5);
			for (unsigned a = 0; a < take; a++) {
				enum err err = spop_notify_arg(&notify, &name, &value);

				assert_int_equal(err, a < args ? ERR_OK : ERR_NOT_FOUND);
				if (err == ERR_OK) {
					assert_int_equal(value.type, SPOP_TYPE_NULL);
					assert_int_equal(name.n, a % 2 ? 0 : 3);
				}
			}
		}
		assert_int_equal(spop_notify_message(&notify, &name, &args), ERR_NOT_FOUND);
		assert_int_equal(spop_notify_message(&notify, &name, &args), ERR_NOT_FOUND);
		assert_int_equal(spop_notify_arg(&notify, &name, &value), ERR_NOT_FOUND);
	}
}

static void no_message_is_a_list_too(void **state)
{
	unsigned messages = 99;

	(void)state;
	assert_int_equal(spop_notify_check(sv_from(buffer, 0), &messages), ERR_OK);
	assert_int_equal(messages, 0);
}

static void broken_messages(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		enum err err;
	} rows[] = {
		{ "\5chec", 5, ERR_INVALID },           /* the name ends too early */
		{ "\5check", 6, ERR_INVALID },          /* no number of arguments */
		{ "\5check\1", 7, ERR_INVALID },        /* the argument is missing */
		{ "\1m\2\1a\0", 6, ERR_INVALID },       /* one of two is missing */
		{ "\1m\1\1a", 5, ERR_INVALID },         /* the value is missing */
		{ "\1m\1\1a\x0a", 6, ERR_INVALID },     /* a reserved type */
		{ "\1m\1\1a\x08\5ab", 9, ERR_INVALID }, /* the string ends too early */
		{ "\1m\0\1", 4, ERR_INVALID },          /* a second message that is broken */
		{ "\1m\1\1a\x03\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e", 16, ERR_RANGE }, /* 64 bits in a UINT32 */
		{ "\xf0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 12, ERR_RANGE },       /* a length past 64 bits */
		{ "\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"
		  "abc",
		  13, ERR_INVALID }, /* the longest length */
		{ "\1m\1\1a\x08\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e"
		  "abc",
		  19, ERR_INVALID },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned messages = 99;

		assert_int_equal(spop_notify_check(sv_from(rows[i].bytes, rows[i].n), &messages), rows[i].err);
		assert_int_equal(messages, 99);
	}
}

static struct sv payload_of(const struct wcur *out, struct spop_frame *frame)
{
	size_t consumed;

	assert_int_equal(spop_frame_decode(out->start, wcur_len(out), UINT32_MAX, frame, &consumed), ERR_OK);
	assert_int_equal(consumed, wcur_len(out));
	assert_int_equal(frame->type, SPOP_FRAME_ACK);
	assert_int_equal(frame->flags, SPOP_FLAG_FIN);
	return frame->payload;
}

static void acks_in_every_scope(void **state)
{
	struct spop_action action;
	struct spop_frame frame;
	struct spop_ack ack;
	struct wcur out;
	struct rcur in;

	(void)state;
	wcur_init(&out, buffer, sizeof(buffer));
	spop_ack_begin(&ack, &out, UINT64_MAX, 77);
	for (unsigned scope = 0; scope < SPOP_SCOPE_COUNT; scope++) {
		spop_ack_set(&ack, (enum spop_scope)scope, SV("status"), spop_int64((int64_t)scope - 2));
		spop_ack_unset(&ack, (enum spop_scope)scope, SV("gone"));
	}
	assert_int_equal(spop_ack_end(&ack, 4096), ERR_OK);

	struct sv payload = payload_of(&out, &frame);
	assert_true(frame.stream_id == UINT64_MAX && frame.frame_id == 77);
	rcur_init(&in, payload.p, payload.n);
	for (unsigned scope = 0; scope < SPOP_SCOPE_COUNT; scope++) {
		int64_t n = 0;

		assert_int_equal(spop_ack_next(&in, &action), ERR_OK);
		assert_int_equal(action.type, SPOP_ACTION_SET_VAR);
		assert_int_equal(action.scope, scope);
		assert_true(sv_eq(action.name, SV("status")));
		assert_true(spop_value_int(&action.value, &n) && n == (int64_t)scope - 2);
		assert_int_equal(spop_ack_next(&in, &action), ERR_OK);
		assert_int_equal(action.type, SPOP_ACTION_UNSET_VAR);
		assert_int_equal(action.scope, scope);
		assert_true(sv_eq(action.name, SV("gone")));
		assert_int_equal(action.value.type, SPOP_TYPE_NULL);
	}
	assert_int_equal(spop_ack_next(&in, &action), ERR_NOT_FOUND);
}

static void ack_bytes_are_those_that_haproxy_took(void **state)
{
	static const uint8_t golden[] = "\0\0\0\x19\x67\0\0\0\1\0\1\1\3\2\7verdict\x08\5allow";
	struct spop_ack ack;
	struct wcur out;

	(void)state;
	wcur_init(&out, buffer, sizeof(buffer));
	spop_ack_begin(&ack, &out, 0, 1);
	spop_ack_set(&ack, SPOP_SCOPE_TXN, SV("verdict"), spop_string(SV("allow")));
	assert_int_equal(spop_ack_end(&ack, 4096), ERR_OK);
	assert_int_equal(wcur_len(&out), sizeof(golden) - 1);
	assert_memory_equal(buffer, golden, sizeof(golden) - 1);
}

static void an_empty_ack_is_impossible(void **state)
{
	struct spop_action action;
	struct spop_frame frame;
	struct spop_ack ack;
	struct wcur out;
	struct rcur in;

	(void)state;
	wcur_init(&out, buffer, sizeof(buffer));
	spop_ack_begin(&ack, &out, 1, 1);
	assert_int_equal(spop_ack_end(&ack, 256), ERR_OK);
	struct sv payload = payload_of(&out, &frame);
	rcur_init(&in, payload.p, payload.n);
	assert_int_equal(spop_ack_next(&in, &action), ERR_OK);
	assert_int_equal(action.type, SPOP_ACTION_UNSET_VAR);
	assert_int_equal(spop_ack_next(&in, &action), ERR_NOT_FOUND);

	/* Nor does one without its only action remain when that does not fit. */
	wcur_init(&out, buffer, 12);
	spop_ack_begin(&ack, &out, 1, 1);
	assert_int_equal(spop_ack_end(&ack, 256), ERR_SPACE);
	assert_int_equal(wcur_len(&out), 0);
}

static void bad_actions_take_the_ack_back(void **state)
{
	static const char *const names[] = { "",    "with space",  "txn.name",
		                             "a-b", "nul\xc3\xa4", "abcdefghijklmnopqrstuvwxy" };
	struct spop_ack ack;
	struct wcur out;

	(void)state;
	wcur_init(&out, buffer, sizeof(buffer));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_false(spop_var_name_ok(sv_str(names[i])));
		spop_ack_begin(&ack, &out, 1, 1);
		spop_ack_set(&ack, SPOP_SCOPE_TXN, SV("verdict"), spop_string(SV("allow")));
		spop_ack_set(&ack, SPOP_SCOPE_TXN, sv_str(names[i]), spop_null());
		assert_int_equal(spop_ack_end(&ack, 4096), ERR_INVALID);
		assert_int_equal(wcur_len(&out), 0);
	}
	assert_true(spop_var_name_ok(SV("abcdefghijklmnopqrstuvwx")));
	assert_true(spop_var_name_ok(SV("A_z09")));

	spop_ack_begin(&ack, &out, 1, 1);
	spop_ack_unset(&ack, SPOP_SCOPE_COUNT, SV("verdict"));
	assert_int_equal(spop_ack_end(&ack, 4096), ERR_INVALID);
	assert_int_equal(wcur_len(&out), 0);
	assert_int_equal(out.err, ERR_OK);
}

static void broken_acks(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {
		{ "\3\3\2\1a\0", 6 },                       /* unknown action */
		{ "\0\3\2\1a\0", 6 }, { "\1\2\2\1a\0", 6 }, /* wrong number of arguments */
		{ "\2\3\2\1a\0", 6 }, { "\1\3\5\1a\0", 6 }, /* unknown scope */
		{ "\1\3\2\1a", 5 },                         /* no value */
		{ "\2\2\2\2a", 5 },                         /* the name ends too early */
		{ "\1\3", 2 },        { "\1", 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spop_action action;
		struct rcur in;

		rcur_init(&in, rows[i].bytes, rows[i].n);
		assert_int_equal(spop_ack_next(&in, &action), ERR_INVALID);
		assert_int_equal(spop_ack_next(&in, &action), ERR_INVALID);
	}
}

static void frame_type_labels(void **state)
{
	(void)state;
	assert_string_equal(spop_frame_type_str(SPOP_FRAME_NOTIFY), "notify");
	assert_string_equal(spop_frame_type_str(SPOP_FRAME_UNSET), "unset");
	assert_string_equal(spop_frame_type_str(4), "unknown");
	assert_string_equal(spop_frame_type_str(-1), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_limit_counts_without_the_length),
		cmocka_unit_test(two_frames_are_told_apart),
		cmocka_unit_test(short_lengths_are_invalid),
		cmocka_unit_test(ids_must_end_inside_of_the_frame),
		cmocka_unit_test(frames_decode_at_any_address),
		cmocka_unit_test(a_frame_that_fails_is_taken_back),
		cmocka_unit_test(kv_lists),
		cmocka_unit_test(messages_and_arguments),
		cmocka_unit_test(no_message_is_a_list_too),
		cmocka_unit_test(broken_messages),
		cmocka_unit_test(acks_in_every_scope),
		cmocka_unit_test(ack_bytes_are_those_that_haproxy_took),
		cmocka_unit_test(an_empty_ack_is_impossible),
		cmocka_unit_test(bad_actions_take_the_ack_back),
		cmocka_unit_test(broken_acks),
		cmocka_unit_test(frame_type_labels),
	};

	return cmocka_run_group_tests_name("spop frames", tests, NULL, NULL);
}
