/* The format of a segment: what is written is read, what is damaged is not, and the next whole record is found. */
#include "unit.h"

#include <string.h>

#include "usage/segment.h"

static const struct segment_header example = { .agent = "0123456789abcdef",
	                                       .number = UINT64_C(0x0102030405060708),
	                                       .previous = 0x0a0b0c0d };

static void test_header(void **state)
{
	(void)state;
	uint8_t bytes[SEGMENT_HEADER];
	struct segment_header h;

	segment_header_write(bytes, &example);
	/* The layout is the file's, not this build's. */
	assert_memory_equal(bytes,
	                    "GWUSAGE\n\0\0\0\1"
	                    "0123456789abcdef"
	                    "\1\2\3\4\5\6\7\10\0\0\0\0\12\13\14\15",
	                    44);
	assert_int_equal(segment_header_read(bytes, sizeof(bytes), &h), ERR_OK);
	assert_memory_equal(h.agent, example.agent, sizeof(h.agent));
	assert_true(h.number == example.number && h.previous == example.previous);
	for (size_t n = 0; n < sizeof(bytes); n++)
		assert_int_equal(segment_header_read(bytes, n, &h), ERR_INCOMPLETE);
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(segment_header_read(bytes, sizeof(bytes), &h), ERR_CORRUPT);
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
}

static void test_header_bounds(void **state)
{
	(void)state;
	uint8_t bytes[SEGMENT_HEADER];
	struct segment_header h = example;
	struct segment_header out;

	h.previous = h.number;
	segment_header_write(bytes, &h);
	assert_int_equal(segment_header_read(bytes, sizeof(bytes), &out), ERR_CORRUPT);
	h = example;
	h.number = 0;
	h.previous = 0;
	segment_header_write(bytes, &h);
	assert_int_equal(segment_header_read(bytes, sizeof(bytes), &out), ERR_CORRUPT);
	h = example;
	h.agent[3] = 'A';
	segment_header_write(bytes, &h);
	assert_int_equal(segment_header_read(bytes, sizeof(bytes), &out), ERR_CORRUPT);
}

/* A whole header of version 2: its CRC-32 was made with another program. */
static void test_header_version(void **state)
{
	(void)state;
	static const uint8_t bytes[] = "GWUSAGE\n\0\0\0\2"
	                               "0123456789abcdef"
	                               "\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1"
	                               "\x23\x56\xaf\xfe";
	struct segment_header h;

	assert_int_equal(segment_header_read(bytes, SEGMENT_HEADER, &h), ERR_VERSION);
}

static void test_record(void **state)
{
	(void)state;
	uint8_t bytes[SEGMENT_RECORD_MAX];
	char longest[USAGE_TEXT_MAX];
	struct sv text;
	size_t size;

	assert_int_equal(segment_record_write(bytes, SV("a\tb")), 11);
	assert_memory_equal(bytes,
	                    "\xd7\x1e\0\3"
	                    "\xef\xfc\x42\xd9"
	                    "a\tb",
	                    11);
	assert_int_equal(segment_record_read(bytes, sizeof(bytes), &text, &size), ERR_OK);
	assert_true(sv_eq(text, SV("a\tb")) && size == 11);
	for (size_t n = 0; n < 11; n++)
		assert_int_equal(segment_record_read(bytes, n, &text, &size), ERR_INCOMPLETE);
	for (size_t bit = 0; bit < 11 * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_not_equal(segment_record_read(bytes, 11, &text, &size), ERR_OK);
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	memset(longest, 'z', sizeof(longest));
	assert_int_equal(segment_record_write(bytes, sv_from(longest, sizeof(longest))), SEGMENT_RECORD_MAX);
	assert_int_equal(segment_record_read(bytes, sizeof(bytes), &text, &size), ERR_OK);
	assert_int_equal(text.n, USAGE_TEXT_MAX);
	/* One more, or none, is no record, whatever follows. */
	assert_int_equal(segment_record_read("\xd7\x1e\x08\x01", 4, &text, &size), ERR_CORRUPT);
	assert_int_equal(segment_record_read("\xd7\x1e\0\0\0\0\0\0", 8, &text, &size), ERR_CORRUPT);
	assert_int_equal(segment_record_read("\0", 1, &text, &size), ERR_CORRUPT);
}

static void test_scan(void **state)
{
	(void)state;
	uint8_t bytes[200];
	size_t n = 0;

	memset(bytes, 0, sizeof(bytes));
	n += 5;
	memcpy(bytes + n, "\xd7\x1e\0\x40\1\2\3\4", 8); /* would reach over the end of the bytes, below */
	n += 10;
	size_t first = n;
	n += segment_record_write(bytes + n, SV("first"));
	size_t second = n;
	n += segment_record_write(bytes + n, SV("second"));
	assert_int_equal(segment_scan(bytes, n, 0, true), first);
	assert_int_equal(segment_scan(bytes, n, 0, false), 5);
	assert_int_equal(segment_scan(bytes, n, 6, false), first);
	assert_int_equal(segment_scan(bytes, n, first, true), first);
	assert_int_equal(segment_scan(bytes, n, first + 1, true), second);
	assert_int_equal(segment_scan(bytes, n, second + 1, true), n);
	assert_int_equal(segment_scan(bytes, n, n, true), n);
	/* A beginning alone counts when more may follow. */
	assert_int_equal(segment_scan(bytes, second + 1, second, false), second);
	assert_int_equal(segment_scan(bytes, second + 1, second, true), second + 1);
	/* All of the 0x40 bytes are there, and are not what their checksum says. */
	assert_int_equal(segment_scan(bytes, sizeof(bytes), 0, false), first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),         cmocka_unit_test(test_header_bounds),
		cmocka_unit_test(test_header_version), cmocka_unit_test(test_record),
		cmocka_unit_test(test_scan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
