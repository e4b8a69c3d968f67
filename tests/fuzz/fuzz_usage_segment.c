/* ROOM: usage */
/*
 * Segments: a header that is accepted is the same when it is written again; walking over the bytes as a reader does
 * ends, each record that is found is the same when it is written again, and none is found that the search goes over.
 */
#include <string.h>

#include "base/check.h"
#include "usage/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_header(const uint8_t *data, size_t size)
{
	uint8_t again[SEGMENT_HEADER];
	struct segment_header h;

	if (segment_header_read(data, size, &h) != ERR_OK)
		return;
	segment_header_write(again, &h);
	CHECK(memcmp(again, data, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t again[SEGMENT_RECORD_MAX];
	size_t at = 0;

	check_header(data, size);
	while (at < size) {
		struct sv text;
		size_t length;
		enum err err = segment_record_read(data + at, size - at, &text, &length);

		if (err == ERR_OK) {
			CHECK(length <= size - at && text.p == (const char *)data + at + SEGMENT_RECORD_HEAD);
			CHECK(text.n + SEGMENT_RECORD_HEAD == length && text.n <= USAGE_TEXT_MAX);
			CHECK(segment_record_write(again, text) == length && memcmp(again, data + at, length) == 0);
			at += length;
			continue;
		}
		size_t next = segment_scan(data, size, at + 1, true);
		size_t maybe = segment_scan(data, size, at + 1, false);
		CHECK(next > at && next <= size && maybe <= next);
		if (next < size)
			CHECK(segment_record_read(data + next, size - next, &text, &length) == ERR_OK);
		for (size_t i = at + 1; i < next && i < at + 64; i++)
			CHECK(segment_record_read(data + i, size - i, &text, &length) != ERR_OK);
		at = next;
	}
	return 0;
}
