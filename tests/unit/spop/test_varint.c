/* Variable-length integers at every bound, cut at every byte, and too long. */
#include "unit.h"

#include <string.h>

#include "spop/varint.h"

struct row {
	uint64_t v;
	size_t n;
};

/* The last number of each length and the first of the next one. */
static const struct row bounds[] = {
	{ 0, 1 },
	{ 1, 1 },
	{ 239, 1 },
	{ 240, 2 },
	{ 2287, 2 },
	{ 2288, 3 },
	{ 264431, 3 },
	{ 264432, 4 },
	{ 33818863, 4 },
	{ 33818864, 5 },
	{ UINT32_MAX, 5 },
	{ 4328786159, 5 },
	{ 4328786160, 6 },
	{ 554084600047, 6 },
	{ 554084600048, 7 },
	{ 70922828777711, 7 },
	{ 70922828777712, 8 },
	{ 9078122083518703, 8 },
	{ 9078122083518704, 9 },
	{ 1161999626690365679, 9 },
	{ 1161999626690365680, 10 },
	{ INT64_MAX, 10 },
	{ (uint64_t)INT64_MIN, 10 },
	{ UINT64_MAX - 1, 10 },
	{ UINT64_MAX, 10 },
};

static void bounds_have_the_least_length(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		uint8_t bytes[SPOP_VARINT_MAX];
		uint64_t v = 0;
		size_t used = 0;

		assert_int_equal(spop_varint_size(bounds[i].v), bounds[i].n);
		assert_int_equal(spop_varint_encode(bounds[i].v, bytes), bounds[i].n);
		assert_int_equal(spop_varint_decode(bytes, bounds[i].n, &v, &used), ERR_OK);
		assert_true(v == bounds[i].v);
		assert_int_equal(used, bounds[i].n);
	}
}

static void known_bytes(void **state)
{
	/* 16380 as max-frame-size of real frames, and the largest number. */
	static const uint8_t frame_size[] = { 0xfc, 0xf0, 0x06 };
	static const uint8_t top[] = { 0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e };
	uint8_t bytes[SPOP_VARINT_MAX];

	(void)state;
	assert_int_equal(spop_varint_encode(16380, bytes), sizeof(frame_size));
	assert_memory_equal(bytes, frame_size, sizeof(frame_size));
	assert_int_equal(spop_varint_encode(UINT64_MAX, bytes), sizeof(top));
	assert_memory_equal(bytes, top, sizeof(top));
}

static void cuts_are_incomplete_and_set_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
		uint8_t bytes[SPOP_VARINT_MAX];
		size_t n = spop_varint_encode(bounds[i].v, bytes);

		for (size_t cut = 0; cut < n; cut++) {
			uint64_t v = 4711;
			size_t used = 42;

			assert_int_equal(spop_varint_decode(bytes, cut, &v, &used), ERR_INCOMPLETE);
			assert_true(v == 4711 && used == 42);
		}
	}
}

static void too_long_is_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {
		/* one more than the largest number, in its last and in its first byte */
		{ "\xff\xf1\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e", 10 },
		{ "\xff\xf0\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0f", 10 },
		/* bits above the 64th */
		{ "\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x10", 10 },
		{ "\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x80", 10 },
		/* more than ten bytes */
		{ "\xf0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11 },
		{ "\xf0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 18 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t v = 4711;
		size_t used = 42;

		assert_int_equal(spop_varint_decode((const uint8_t *)rows[i].bytes, rows[i].n, &v, &used), ERR_RANGE);
		assert_true(v == 4711 && used == 42);
	}
}

static void cursor_stays_failed(void **state)
{
	static const uint8_t bytes[] = { 0x05, 0xf0 };
	struct rcur c;

	(void)state;
	rcur_init(&c, bytes, sizeof(bytes));
	assert_true(spop_varint_read(&c) == 5);
	assert_true(spop_varint_read(&c) == 0);
	assert_int_equal(c.err, ERR_INCOMPLETE);
	assert_true(spop_varint_read(&c) == 0);
	assert_int_equal(c.err, ERR_INCOMPLETE);
}

static void writer_has_room_or_writes_nothing(void **state)
{
	uint8_t bytes[3];
	struct wcur c;

	(void)state;
	wcur_init(&c, bytes, 3);
	spop_varint_write(&c, 2288);
	assert_int_equal(c.err, ERR_OK);
	wcur_init(&c, bytes, 2);
	spop_varint_write(&c, 2288);
	assert_int_equal(c.err, ERR_SPACE);
	assert_int_equal(wcur_len(&c), 0);
}

/* A length near the top of the address space must not wrap when it meets a pointer. */
static void string_lengths_do_not_wrap(void **state)
{
	static const uint64_t lengths[] = { 4, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 16, UINT64_MAX / 2, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t bytes[SPOP_VARINT_MAX + 3] = { 0 };
		size_t n = spop_varint_encode(lengths[i], bytes);
		struct rcur c;

		rcur_init(&c, bytes, n + 3);
		struct sv v = spop_string_read(&c);
		assert_null(v.p);
		assert_int_equal(v.n, 0);
		assert_int_equal(c.err, ERR_INCOMPLETE);
	}
}

static void strings(void **state)
{
	uint8_t bytes[300];
	char text[256];
	struct wcur out;
	struct rcur in;

	(void)state;
	memset(text, 'x', sizeof(text));
	wcur_init(&out, bytes, sizeof(bytes));
	spop_string_write(&out, SV(""));
	spop_string_write(&out, sv_from(text, sizeof(text)));
	assert_int_equal(out.err, ERR_OK);
	assert_int_equal(wcur_len(&out), 1 + 2 + sizeof(text));
	rcur_init(&in, bytes, wcur_len(&out));
	assert_int_equal(spop_string_read(&in).n, 0);
	assert_true(sv_eq(spop_string_read(&in), sv_from(text, sizeof(text))));
	assert_int_equal(in.err, ERR_OK);
	assert_int_equal(rcur_left(&in), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds_have_the_least_length),
		cmocka_unit_test(known_bytes),
		cmocka_unit_test(cuts_are_incomplete_and_set_nothing),
		cmocka_unit_test(too_long_is_refused),
		cmocka_unit_test(cursor_stays_failed),
		cmocka_unit_test(writer_has_room_or_writes_nothing),
		cmocka_unit_test(string_lengths_do_not_wrap),
		cmocka_unit_test(strings),
	};

	return cmocka_run_group_tests_name("spop varint", tests, NULL, NULL);
}
