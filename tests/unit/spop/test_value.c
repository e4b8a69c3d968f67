/* Typed values: every type there and back, at its bounds, cut, and out of the table. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "spop/value.h"

static const uint8_t ip4[4] = { 127, 0, 0, 1 };
static const uint8_t ip6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

/* Writes v, reads it back from a block of exactly its size, also at odd addresses, and cut at every byte. */
static void there_and_back(struct spop_value v, size_t size)
{
	uint8_t bytes[512];
	struct wcur out;

	wcur_init(&out, bytes, sizeof(bytes));
	spop_value_write(&out, &v);
	assert_int_equal(out.err, ERR_OK);
	assert_int_equal(wcur_len(&out), size);
	assert_int_equal(bytes[0] & 0x0f, v.type);

	for (size_t offset = 0; offset < 8; offset++) {
		uint8_t *block = malloc(offset + size);
		struct rcur in;

		assert_non_null(block);
		memcpy(block + offset, bytes, size);
		rcur_init(&in, block + offset, size);
		struct spop_value read = spop_value_read(&in);
		assert_int_equal(in.err, ERR_OK);
		assert_int_equal(rcur_left(&in), 0);
		assert_true(spop_value_eq(&read, &v));

		for (size_t cut = 0; cut < size; cut++) {
			rcur_init(&in, block + offset, cut);
			read = spop_value_read(&in);
			assert_int_equal(in.err, ERR_INCOMPLETE);
			assert_int_equal(read.type, SPOP_TYPE_NULL);
		}
		free(block);
	}

	/* No room for the last byte. */
	wcur_init(&out, bytes, size - 1);
	spop_value_write(&out, &v);
	assert_int_equal(out.err, ERR_SPACE);
}

static void every_type(void **state)
{
	char text[300];

	(void)state;
	memset(text, 'x', sizeof(text));
	there_and_back(spop_null(), 1);
	there_and_back(spop_bool(false), 1);
	there_and_back(spop_bool(true), 1);
	there_and_back(spop_int32(0), 2);
	there_and_back(spop_int32(INT32_MAX), 6);
	there_and_back(spop_int32(-1), 11);
	there_and_back(spop_int32(INT32_MIN), 11);
	there_and_back(spop_uint32(UINT32_MAX), 6);
	there_and_back(spop_int64(INT64_MAX), 11);
	there_and_back(spop_int64(INT64_MIN), 11);
	there_and_back(spop_int64(-5), 11);
	there_and_back(spop_uint64(0), 2);
	there_and_back(spop_uint64(UINT64_MAX), 11);
	there_and_back(spop_ipv4(ip4), 5);
	there_and_back(spop_ipv6(ip6), 17);
	there_and_back(spop_string(SV("")), 2);
	there_and_back(spop_string(SV("allow")), 7);
	there_and_back(spop_string(sv_from(text, sizeof(text))), 1 + 2 + sizeof(text));
	there_and_back(spop_binary(SV("\0\xff")), 4);
}

static void wire_bytes(void **state)
{
	static const struct {
		struct spop_value v;
		const char *bytes;
		size_t n;
	} rows[] = {
		{ { .type = SPOP_TYPE_NULL }, "\x00", 1 },
		{ { .type = SPOP_TYPE_BOOL, .boolean = false }, "\x01", 1 },
		{ { .type = SPOP_TYPE_BOOL, .boolean = true }, "\x11", 1 },
		{ { .type = SPOP_TYPE_UINT32, .u64 = 16380 }, "\x03\xfc\xf0\x06", 4 },
		{ { .type = SPOP_TYPE_INT64, .i64 = 1 }, "\x04\x01", 2 },
		{ { .type = SPOP_TYPE_STRING, .view = { "2.0", 3 } },
		  "\x08\x03"
		  "2.0",
		  5 },
		{ { .type = SPOP_TYPE_BINARY, .view = { "\0", 1 } }, "\x09\x01\x00", 3 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[16];
		struct wcur out;

		wcur_init(&out, bytes, sizeof(bytes));
		spop_value_write(&out, &rows[i].v);
		assert_int_equal(wcur_len(&out), rows[i].n);
		assert_memory_equal(bytes, rows[i].bytes, rows[i].n);
	}
}

static void flags_are_the_high_nibble_and_stay(void **state)
{
	(void)state;
	for (unsigned flags = 0; flags < 16; flags++) {
		uint8_t in_bytes[] = { (uint8_t)(flags << 4 | SPOP_TYPE_STRING), 1, 'a',
			               (uint8_t)(flags << 4 | SPOP_TYPE_BOOL) };
		uint8_t out_bytes[sizeof(in_bytes)];
		struct rcur in;
		struct wcur out;

		rcur_init(&in, in_bytes, sizeof(in_bytes));
		struct spop_value text = spop_value_read(&in);
		struct spop_value boolean = spop_value_read(&in);
		assert_int_equal(in.err, ERR_OK);
		assert_int_equal(text.type, SPOP_TYPE_STRING);
		assert_int_equal(text.flags, flags);
		assert_int_equal(boolean.boolean, flags & 1);
		wcur_init(&out, out_bytes, sizeof(out_bytes));
		spop_value_write(&out, &text);
		spop_value_write(&out, &boolean);
		assert_int_equal(out.err, ERR_OK);
		assert_memory_equal(in_bytes, out_bytes, sizeof(in_bytes));
	}
}

static void reserved_types_are_refused(void **state)
{
	(void)state;
	for (unsigned head = 0; head < 256; head++) {
		uint8_t bytes[32] = { (uint8_t)head };
		struct rcur in;

		rcur_init(&in, bytes, sizeof(bytes));
		struct spop_value v = spop_value_read(&in);
		if ((head & 0x0f) < SPOP_TYPE_COUNT) {
			assert_int_equal(in.err, ERR_OK);
			assert_int_equal(v.type, head & 0x0f);
		} else {
			assert_int_equal(in.err, ERR_INVALID);
			assert_int_equal(v.type, SPOP_TYPE_NULL);
		}
	}
}

static void numbers_out_of_their_type_are_refused(void **state)
{
	static const struct {
		enum spop_type as;
		int64_t v;
		enum err err;
	} rows[] = {
		{ SPOP_TYPE_INT32, INT32_MAX, ERR_OK },   { SPOP_TYPE_INT32, (int64_t)INT32_MAX + 1, ERR_RANGE },
		{ SPOP_TYPE_INT32, INT32_MIN, ERR_OK },   { SPOP_TYPE_INT32, (int64_t)INT32_MIN - 1, ERR_RANGE },
		{ SPOP_TYPE_UINT32, UINT32_MAX, ERR_OK }, { SPOP_TYPE_UINT32, (int64_t)UINT32_MAX + 1, ERR_RANGE },
		{ SPOP_TYPE_UINT32, -1, ERR_RANGE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spop_value wide = spop_int64(rows[i].v);
		struct spop_value narrow = { .type = rows[i].as };
		uint8_t bytes[16];
		struct wcur out;
		struct rcur in;

		wcur_init(&out, bytes, sizeof(bytes));
		spop_value_write(&out, &wide);
		bytes[0] = (uint8_t)rows[i].as;
		rcur_init(&in, bytes, wcur_len(&out));
		(void)spop_value_read(&in);
		assert_int_equal(in.err, rows[i].err);

		if (rows[i].as == SPOP_TYPE_INT32)
			narrow.i64 = rows[i].v;
		else
			narrow.u64 = (uint64_t)rows[i].v;
		wcur_init(&out, bytes, sizeof(bytes));
		spop_value_write(&out, &narrow);
		assert_int_equal(out.err, rows[i].err);
	}
}

static void writer_refuses_what_is_no_value(void **state)
{
	const struct spop_value rows[] = {
		{ .type = SPOP_TYPE_IPV4, .view = { (const char *)ip6, 16 } },
		{ .type = SPOP_TYPE_IPV6, .view = { (const char *)ip4, 4 } },
		{ .type = SPOP_TYPE_NULL, .flags = 16 },
		{ .type = SPOP_TYPE_COUNT },
		{ .type = (enum spop_type)15 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[32];
		struct wcur out;

		wcur_init(&out, bytes, sizeof(bytes));
		spop_value_write(&out, &rows[i]);
		assert_int_not_equal(out.err, ERR_OK);
		assert_int_equal(wcur_len(&out), 0);
	}
}

static void accessors(void **state)
{
	const struct spop_value text = spop_string(SV("abc"));
	const struct spop_value empty = spop_string(SV(""));
	const struct spop_value null = spop_null();
	const struct spop_value too_big = spop_uint64((uint64_t)INT64_MAX + 1);
	const struct spop_value numbers[] = { spop_int32(7), spop_uint32(7), spop_int64(7), spop_uint64(7) };
	int64_t n = 4711;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		n = 0;
		assert_true(spop_value_int(&numbers[i], &n));
		assert_int_equal(n, 7);
		assert_null(spop_value_text(&numbers[i]).p);
	}
	n = 4711;
	assert_false(spop_value_int(&too_big, &n));
	assert_false(spop_value_int(&text, &n));
	assert_false(spop_value_int(&null, &n));
	assert_int_equal(n, 4711);
	assert_true(sv_eq(spop_value_text(&text), SV("abc")));
	assert_int_equal(spop_value_text(&empty).n, 0);
	assert_int_equal(spop_value_text(&null).n, 0);
	assert_false(spop_value_eq(&text, &empty));
	assert_false(spop_value_eq(&numbers[0], &numbers[1]));
	assert_string_equal(spop_type_str(SPOP_TYPE_IPV6), "ipv6");
	assert_string_equal(spop_type_str(SPOP_TYPE_COUNT), "reserved");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type),
		cmocka_unit_test(wire_bytes),
		cmocka_unit_test(flags_are_the_high_nibble_and_stay),
		cmocka_unit_test(reserved_types_are_refused),
		cmocka_unit_test(numbers_out_of_their_type_are_refused),
		cmocka_unit_test(writer_refuses_what_is_no_value),
		cmocka_unit_test(accessors),
	};

	return cmocka_run_group_tests_name("spop value", tests, NULL, NULL);
}
