/* Reading the spool back: all that was appended and is whole, in order, and a line for what is lost. */
#include "usage/folder.h"

static struct usage_reader *read_from(struct usage_spool *s, struct usage_position from)
{
	struct usage_reader *r = usage_reader_new(s, from);

	assert_non_null(r);
	return r;
}

static void test_follows(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(1000, 0);
	struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
	struct usage_position after = { 0 };
	char text[64];
	struct sv got;

	expect_end(r);
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "record %d", i);
		append(s, text);
		assert_int_equal(usage_reader_next(r, &got, &after), ERR_OK);
		assert_true(sv_eq(got, sv_str(text)));
		expect_end(r);
		assert_int_equal(usage_position_cmp(after, usage_spool_end(s)), 0);
		assert_int_equal(usage_spool_bytes_after(s, after), 0);
	}
	usage_reader_free(r);
	usage_spool_close(s);
	s = spool_open_with(1000, 0);
	r = read_from(s, (struct usage_position){ 0 });
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "record %d", i);
		expect(r, text);
	}
	expect_end(r);
	usage_reader_free(r);
	usage_spool_close(s);
	assert_int_equal(told_n, 0);
}

static void test_seek(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(50, 0);
	struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
	struct usage_position after[3];
	struct sv got;

	append(s, "one");
	append(s, "two");
	append(s, "three");
	for (int i = 0; i < 3; i++)
		assert_int_equal(usage_reader_next(r, &got, &after[i]), ERR_OK);
	usage_reader_seek(r, after[0]);
	expect(r, "two");
	expect(r, "three");
	usage_reader_seek(r, after[1]);
	expect(r, "three");
	usage_reader_seek(r, after[2]);
	expect_end(r);
	usage_reader_free(r);
	usage_spool_close(s);
	assert_int_equal(told_n, 0);
}

/* Five records in one segment of a closed spool; where each begins. */
static uint64_t five(uint64_t at[6])
{
	struct usage_spool *s = spool_open_with(100000, 0);
	char text[] = "the record 0";

	for (int i = 0; i < 5; i++) {
		at[i] = usage_spool_end(s).offset;
		text[sizeof(text) - 2] = (char)('0' + i);
		append(s, text);
	}
	struct usage_position end = usage_spool_end(s);
	at[5] = end.offset;
	usage_spool_close(s);
	return end.segment;
}

static void test_flip(void **state)
{
	(void)state;
	uint64_t at[6];
	uint64_t segment = five(at);
	char place[64];

	/* In the text, the checksum, the magic, and in the length, which then says nothing of how many were lost. */
	for (unsigned byte = 0; byte < 9; byte++) {
		flip(segment_path(segment), at[2] + byte, 0x11);
		told_forget();
		struct usage_spool *s = spool_open_with(1000, 0);
		struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
		expect(r, "the record 0");
		expect(r, "the record 1");
		expect(r, "the record 3");
		expect(r, "the record 4");
		expect_end(r);
		assert_int_equal(told_n, 1);
		assert_int_equal(told_records, 1);
		snprintf(place, sizeof(place), "%016" PRIx64 ".usage: offset %" PRIu64 ": 20 bytes", segment, at[2]);
		told_has(place);
		usage_reader_free(r);
		/* A second reader finds it too, and does not tell it again. */
		r = read_from(s, (struct usage_position){ .segment = segment, .offset = at[2] });
		expect(r, "the record 3");
		assert_int_equal(told_n, 1);
		usage_reader_free(r);
		usage_spool_close(s);
		flip(segment_path(segment), at[2] + byte, 0x11);
	}
}

static void test_header(void **state)
{
	(void)state;
	uint64_t at[6];
	uint64_t segment = five(at);

	for (unsigned byte = 0; byte < SEGMENT_HEADER; byte++) {
		flip(segment_path(segment), byte, 0x40);
		told_forget();
		struct usage_spool *s = spool_open_with(1000, 0);
		struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
		for (int i = 0; i < 5; i++) {
			char text[32];
			snprintf(text, sizeof(text), "the record %d", i);
			expect(r, text);
		}
		expect_end(r);
		assert_int_equal(told_n, 1);
		told_has("offset 0: the header is damaged");
		usage_reader_free(r);
		usage_spool_close(s);
		flip(segment_path(segment), byte, 0x40);
	}
}

/* Any suffix cut, and then nothing, zeros or garbage behind it. */
static void test_torn(void **state)
{
	(void)state;
	static const uint8_t zeros[100];
	static const uint8_t garbage[] = { 0xd7, 0x1e, 0,    30,   1,    2,    3, 4, 0xd7,
		                           0x1e, 0xff, 0xff, 0xd7, 0xd7, 0x1e, 0, 3, 0xd7 };

	for (unsigned cut = 0; cut < 60; cut++) {
		for (int with = 0; with < 3; with++) {
			uint64_t at[6];
			uint64_t segment = five(at);
			uint64_t size = at[5] - cut;
			assert_int_equal(truncate(segment_path(segment), (off_t)size), 0);
			int fd = open(segment_path(segment), O_WRONLY | O_APPEND);
			assert_true(fd >= 0);
			if (with == 1)
				assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
			if (with == 2)
				assert_int_equal(write(fd, garbage, sizeof(garbage)), sizeof(garbage));
			close(fd);
			told_forget();
			struct usage_spool *s = spool_open_with(1000, 0);
			append(s, "after it");
			struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
			for (int i = 0; i < 5 && at[i + 1] <= size; i++) {
				char text[32];
				snprintf(text, sizeof(text), "the record %d", i);
				expect(r, text);
			}
			expect(r, "after it");
			expect_end(r);
			bool clean = with == 0 && cut % 20 == 0;
			assert_int_equal(told_n, clean ? 0 : 1);
			if (!clean)
				told_has("to the end of the segment");
			usage_reader_free(r);
			usage_spool_close(s);
			folder_remove(NULL);
			folder_make(NULL);
		}
	}
}

/* One record in each of four segments. */
static void four(struct usage_position after[4])
{
	struct usage_spool *s = spool_open_with(60, 0);

	for (int i = 0; i < 4; i++) {
		char text[32];
		snprintf(text, sizeof(text), "in segment %d", i);
		append(s, text);
		after[i] = usage_spool_end(s);
	}
	usage_spool_close(s);
}

static void test_hole(void **state)
{
	(void)state;
	struct usage_position after[4];

	four(after);
	assert_int_equal(unlink(segment_path(after[1].segment)), 0);
	struct usage_spool *s = spool_open_with(60, 0);
	struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
	expect(r, "in segment 0");
	assert_int_equal(told_n, 0);
	expect(r, "in segment 2");
	assert_int_equal(told_n, 1);
	told_has(strrchr(segment_path(after[1].segment), '/') + 1);
	told_has("is missing");
	assert_int_equal(told_records, 1);
	expect(r, "in segment 3");
	expect_end(r);
	assert_int_equal(told_n, 1);
	usage_reader_free(r);
	usage_spool_close(s);

	/* From behind a record of the segment that is gone: the rest of it may be lost. */
	told_forget();
	s = spool_open_with(60, 0);
	r = read_from(s, after[1]);
	expect(r, "in segment 2");
	assert_int_equal(told_n, 1);
	usage_reader_free(r);
	usage_spool_close(s);

	/* From behind the hole there is none. */
	told_forget();
	s = spool_open_with(60, 0);
	r = read_from(s, after[2]);
	expect(r, "in segment 3");
	expect_end(r);
	assert_int_equal(told_n, 0);
	usage_reader_free(r);
	usage_spool_close(s);
}

static void test_emptied(void **state)
{
	(void)state;
	struct usage_position after[4];

	four(after);
	/* Four segments within a millisecond have numbers that are ahead of the time. */
	usleep(20000);
	for (int i = 0; i < 4; i++)
		assert_int_equal(unlink(segment_path(after[i].segment)), 0);
	struct usage_spool *s = spool_open_with(60, 0);
	append(s, "new");
	struct usage_reader *r = read_from(s, after[2]);
	expect(r, "new");
	assert_int_equal(told_n, 1);
	told_has(strrchr(segment_path(after[2].segment), '/') + 1);
	usage_reader_free(r);

	/* Behind the end: of a spool of another time. */
	told_forget();
	r = read_from(s, (struct usage_position){ .segment = UINT64_MAX - 1, .offset = 100 });
	expect(r, "new");
	expect_end(r);
	assert_int_equal(told_n, 1);
	told_has("is behind the newest");
	usage_reader_free(r);
	usage_spool_close(s);
}

static void test_shipped_is_no_hole(void **state)
{
	(void)state;
	struct usage_position after[4];

	four(after);
	struct usage_spool *s = spool_open_with(60, 0);
	usage_spool_shipped(s, after[2]);
	usage_spool_close(s);
	s = spool_open_with(60, 0);
	assert_int_equal(segments_there(), 3);
	struct usage_reader *r = read_from(s, after[2]);
	expect(r, "in segment 3");
	usage_reader_free(r);
	r = read_from(s, (struct usage_position){ 0 });
	expect(r, "in segment 2");
	usage_reader_free(r);
	assert_int_equal(told_n, 0);
	usage_spool_close(s);
}

static void test_deleted_or_cut_while_open(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(50, 0);
	struct usage_position after[3];

	append(s, "one");
	after[0] = usage_spool_end(s);
	append(s, "two");
	after[1] = usage_spool_end(s);
	append(s, "three");
	after[2] = usage_spool_end(s);
	append(s, "four");
	assert_int_equal(unlink(segment_path(after[1].segment)), 0);
	assert_int_equal(truncate(segment_path(after[2].segment), 50), 0);
	struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
	expect(r, "one");
	expect(r, "four");
	assert_int_equal(told_n, 2);
	told_has("is missing: 11 bytes");
	told_has("offset 48: 13 bytes are damaged");
	usage_reader_free(r);
	usage_spool_close(s);
}

/* Damage that is longer than what is read at once, with records on both sides of it. */
static void test_long_damage(void **state)
{
	(void)state;
	struct usage_spool *s = spool_open_with(100000000, 0);
	struct usage_reader *r;
	char text[USAGE_TEXT_MAX + 1];

	memset(text, 'x', sizeof(text));
	text[USAGE_TEXT_MAX] = '\0';
	append(s, "first");
	uint64_t from = usage_spool_end(s).offset;
	for (int i = 0; i < 500; i++)
		append(s, text);
	struct usage_position end = usage_spool_end(s);
	append(s, "last");
	usage_spool_close(s);
	/* Each offset modulo a record's length, and magics alone that might begin a record. */
	for (uint64_t at = from; at < end.offset; at += SEGMENT_RECORD_MAX)
		flip(segment_path(end.segment), at + SEGMENT_RECORD_HEAD + 100, 1);
	s = spool_open_with(1000, 0);
	r = read_from(s, (struct usage_position){ 0 });
	expect(r, "first");
	expect(r, "last");
	expect_end(r);
	assert_int_equal(told_n, 1);
	usage_reader_free(r);
	usage_spool_close(s);
}

/* ---- what is read is what was appended and not damaged, whatever happens between
 * ---------------------------------------- */

struct kept {
	uint64_t segment;
	uint64_t offset;
	uint64_t size;
	unsigned id;
	bool lost;
};

static uint64_t seed;

static unsigned pick(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % below;
}

static void text_of(unsigned id, char text[256])
{
	int n = snprintf(text, 256, "%u", id);

	memset(text + n, 'a' + (int)(id % 26), id % 97);
	text[n + (int)(id % 97)] = '\0';
}

/* Damages the segment of a record; whether it must be told. */
static bool damage(struct kept *all, unsigned n)
{
	const struct kept *k = &all[pick(n)];
	uint64_t segment = k->segment;
	uint64_t from = k->offset + pick((unsigned)k->size);
	uint64_t to = from + 1;
	struct stat st;
	bool must = false;

	if (k->lost || stat(segment_path(segment), &st) != 0 || (uint64_t)st.st_size <= from)
		return false;
	switch (pick(4)) {
	case 0:
		flip(segment_path(segment), from, (uint8_t)(1 + pick(255)));
		must = true;
		break;
	case 1: /* cut */
		assert_int_equal(truncate(segment_path(segment), (off_t)from), 0);
		to = UINT64_MAX;
		break;
	case 2: /* cut, and zeros behind it */
		assert_int_equal(truncate(segment_path(segment), (off_t)from), 0);
		assert_int_equal(truncate(segment_path(segment), (off_t)from + 1 + pick(3000)), 0);
		to = UINT64_MAX;
		must = true;
		break;
	default:
		assert_int_equal(unlink(segment_path(segment)), 0);
		from = 0;
		to = UINT64_MAX;
	}
	for (unsigned i = 0; i < n; i++) {
		if (all[i].segment == segment && all[i].offset < to && all[i].offset + all[i].size > from)
			all[i].lost = true;
	}
	return must;
}

static void run_random(void)
{
	static struct kept all[4000];
	unsigned n = 0;
	bool must_tell = false;
	struct usage_spool *s = spool_open_with(2000, 0);

	for (int step = 0; step < 150; step++) {
		char texts[8][256];
		struct sv views[8];
		unsigned batch = 1 + pick(8);

		if (pick(12) == 0) {
			usage_spool_close(s);
			if (n > 0 && pick(3) == 0)
				must_tell |= damage(all, n);
			s = spool_open_with(500 + pick(3000), 0);
			continue;
		}
		for (unsigned i = 0; i < batch; i++) {
			text_of(n + i, texts[i]);
			views[i] = sv_str(texts[i]);
		}
		assert_int_equal(usage_spool_append(s, views, batch), ERR_OK);
		struct usage_position end = usage_spool_end(s);
		for (unsigned i = batch; i-- > 0;) {
			uint64_t size = SEGMENT_RECORD_HEAD + views[i].n;
			end.offset -= size;
			all[n + i] = (struct kept){
				.segment = end.segment, .offset = end.offset, .size = size, .id = n + i
			};
		}
		n += batch;
	}
	struct usage_reader *r = read_from(s, (struct usage_position){ 0 });
	for (unsigned i = 0; i < n; i++) {
		char text[256];

		if (all[i].lost)
			continue;
		text_of(all[i].id, text);
		expect(r, text);
	}
	expect_end(r);
	if (must_tell)
		assert_true(told_n > 0);
	usage_reader_free(r);
	usage_spool_close(s);
}

static void test_random(void **state)
{
	for (uint64_t round = 1; round <= 100; round++) {
		seed = round * 7919;
		run_random();
		assert_int_equal(folder_remove(state), 0);
		assert_int_equal(folder_make(state), 0);
	}
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(test_follows),
		WITH_FOLDER(test_seek),
		WITH_FOLDER(test_flip),
		WITH_FOLDER(test_header),
		WITH_FOLDER(test_torn),
		WITH_FOLDER(test_hole),
		WITH_FOLDER(test_emptied),
		WITH_FOLDER(test_shipped_is_no_hole),
		WITH_FOLDER(test_deleted_or_cut_while_open),
		WITH_FOLDER(test_long_damage),
		WITH_FOLDER(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
