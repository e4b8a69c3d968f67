/* The text of a record: known texts, its bounds from both sides, and that reading and writing are one another's
 * inverse. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "usage/record.h"

#define SAMPLE                                                                                                       \
	"3f2a9c1e-0d41-4a57-9b0e-1c2d3e4f5a6b\t7\t12\tallow\t200\t1764312345123\t18\t0\t48213\t48213\timage\t----\t" \
	"GET\tbe_imgproxy\timg1\t203.0.113.9\t/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg"
#define NOTHING_KNOWN "a\t1\t-\tquota_requests\t-\t0\t-\t0\t0\t0\tapi\t-\t-\t-\t-\t-\t-"

static char long_text[USAGE_PATH_MAX + 2];

static int make_long_text(void **state)
{
	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	return 0;
}

static struct usage_record sample(void)
{
	struct usage_record r;
	assert_int_equal(usage_record_parse(SV(SAMPLE), &r), ERR_OK);
	return r;
}

static void test_parse(void **state)
{
	(void)state;
	struct usage_record r = sample();

	assert_true(sv_eq(r.id, SV("3f2a9c1e-0d41-4a57-9b0e-1c2d3e4f5a6b")));
	assert_int_equal(r.user, 7);
	assert_int_equal(r.key, 12);
	assert_true(sv_eq(r.code, SV("allow")));
	assert_int_equal(r.status, 200);
	assert_true(r.start_ms == INT64_C(1764312345123));
	assert_int_equal(r.active_ms, 18);
	assert_int_equal(r.request_bytes, 0);
	assert_int_equal(r.response_bytes, 48213);
	assert_int_equal(r.billed_bytes, 48213);
	assert_int_equal(r.kind, USAGE_IMAGE);
	assert_true(sv_eq(r.termination, SV("----")));
	assert_true(sv_eq(r.method, SV("GET")));
	assert_true(sv_eq(r.backend, SV("be_imgproxy")));
	assert_true(sv_eq(r.server, SV("img1")));
	assert_true(sv_eq(r.address, SV("203.0.113.9")));
	assert_true(sv_eq(r.path, SV("/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg")));
}

static void test_parse_unknown(void **state)
{
	(void)state;
	struct usage_record r;

	assert_int_equal(usage_record_parse(SV(NOTHING_KNOWN), &r), ERR_OK);
	assert_int_equal(r.key, 0);
	assert_int_equal(r.status, -1);
	assert_int_equal(r.active_ms, -1);
	assert_int_equal(r.kind, USAGE_API);
	assert_int_equal(r.termination.n + r.method.n + r.backend.n + r.server.n + r.address.n + r.path.n, 0);
}

static void check_format(const struct usage_record *r, const char *want)
{
	char buf[USAGE_TEXT_MAX];
	size_t n = 0;

	assert_int_equal(usage_record_format(r, buf, sizeof(buf), &n), ERR_OK);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(buf, want, n);
	/* In just the room it needs, and in none that is less. */
	for (size_t size = 0; size < n; size++) {
		char *tight = malloc(size + 1);
		size_t untouched = 77;
		assert_non_null(tight);
		memset(tight, '#', size + 1);
		assert_int_equal(usage_record_format(r, tight, size, &untouched), ERR_SPACE);
		assert_int_equal(untouched, 77);
		assert_int_equal(tight[size], '#');
		free(tight);
	}
	memset(buf, '#', sizeof(buf));
	assert_int_equal(usage_record_format(r, buf, strlen(want), &n), ERR_OK);
	assert_int_equal(buf[n], '#');
}

static void test_format(void **state)
{
	(void)state;
	struct usage_record r = sample();
	struct usage_record least = {
		.id = SV("a"), .user = 1, .code = SV("quota_requests"), .status = -1, .active_ms = -1, .kind = USAGE_API
	};

	check_format(&r, SAMPLE);
	check_format(&least, NOTHING_KNOWN);
}

/* The longest record that there is fits into USAGE_TEXT_MAX, and comes back as it was. */
static void test_longest(void **state)
{
	(void)state;
	char buf[USAGE_TEXT_MAX], again[USAGE_TEXT_MAX];
	struct sv word = sv_from(long_text, USAGE_WORD_MAX);
	struct usage_record r = {
		.id = sv_from(long_text, USAGE_ID_MAX),
		.user = USAGE_NUMBER_MAX,
		.key = USAGE_NUMBER_MAX,
		.code = word,
		.status = 999,
		.start_ms = USAGE_START_MAX_MS,
		.active_ms = USAGE_ACTIVE_MAX_MS,
		.request_bytes = USAGE_BYTES_MAX,
		.response_bytes = USAGE_BYTES_MAX,
		.billed_bytes = USAGE_BYTES_MAX,
		.kind = USAGE_UPLOAD,
		.termination = word,
		.method = word,
		.backend = word,
		.server = word,
		.address = word,
		.path = sv_from(long_text, USAGE_PATH_MAX),
	};
	size_t n, m;

	assert_int_equal(usage_record_format(&r, buf, sizeof(buf), &n), ERR_OK);
	/* id, two ids of 19 digits, six words, 3 + 13 + 10 digits, three times 16, "upload", the path, 16 tabs. */
	assert_int_equal(n, 128 + 2 * 19 + 6 * 64 + 26 + 3 * 16 + 6 + 1024 + 16);
	assert_int_equal(usage_record_parse(sv_from(buf, n), &r), ERR_OK);
	assert_int_equal(usage_record_format(&r, again, sizeof(again), &m), ERR_OK);
	assert_int_equal(n, m);
	assert_memory_equal(buf, again, n);
}

/* Each bound: the last value that is allowed, and the first that is not. */
#define CHECK_BOUND(field, good, bad)                                                             \
	do {                                                                                      \
		struct usage_record r_ = sample();                                                \
		char buf_[USAGE_TEXT_MAX];                                                        \
		size_t n_;                                                                        \
		r_.field = (good);                                                                \
		assert_int_equal(usage_record_format(&r_, buf_, sizeof(buf_), &n_), ERR_OK);      \
		r_.field = (bad);                                                                 \
		assert_int_equal(usage_record_format(&r_, buf_, sizeof(buf_), &n_), ERR_INVALID); \
	} while (0)

static void test_bounds_of_numbers(void **state)
{
	(void)state;
	CHECK_BOUND(user, 1, 0);
	CHECK_BOUND(user, USAGE_NUMBER_MAX, (uint64_t)USAGE_NUMBER_MAX + 1);
	CHECK_BOUND(key, 0, (uint64_t)USAGE_NUMBER_MAX + 1);
	CHECK_BOUND(status, -1, -2);
	CHECK_BOUND(status, 100, 99);
	CHECK_BOUND(status, 999, 1000);
	CHECK_BOUND(status, 200, 0);
	CHECK_BOUND(start_ms, 0, -1);
	CHECK_BOUND(start_ms, USAGE_START_MAX_MS, USAGE_START_MAX_MS + 1);
	CHECK_BOUND(active_ms, -1, -2);
	CHECK_BOUND(active_ms, USAGE_ACTIVE_MAX_MS, (int64_t)USAGE_ACTIVE_MAX_MS + 1);
	CHECK_BOUND(request_bytes, USAGE_BYTES_MAX, USAGE_BYTES_MAX + 1);
	CHECK_BOUND(response_bytes, USAGE_BYTES_MAX, USAGE_BYTES_MAX + 1);
	CHECK_BOUND(billed_bytes, USAGE_BYTES_MAX, UINT64_MAX);
	CHECK_BOUND(kind, USAGE_API, USAGE_KIND_COUNT);
}

static void test_bounds_of_texts(void **state)
{
	(void)state;
	CHECK_BOUND(id, SV("-a"), SV(""));
	CHECK_BOUND(id, SV("!"), SV("-"));
	CHECK_BOUND(id, sv_from(long_text, USAGE_ID_MAX), sv_from(long_text, USAGE_ID_MAX + 1));
	CHECK_BOUND(id, SV("a~"), SV("a\x7f"));
	CHECK_BOUND(code, SV("allow"), SV(""));
	CHECK_BOUND(code, SV("--"), SV("-"));
	CHECK_BOUND(code, sv_from(long_text, USAGE_WORD_MAX), sv_from(long_text, USAGE_WORD_MAX + 1));
	CHECK_BOUND(termination, sv_from(long_text, USAGE_WORD_MAX), sv_from(long_text, USAGE_WORD_MAX + 1));
	CHECK_BOUND(termination, SV("--"), SV("\t"));
	CHECK_BOUND(method, sv_from(long_text, USAGE_WORD_MAX), sv_from(long_text, USAGE_WORD_MAX + 1));
	CHECK_BOUND(method, SV("<BADREQ>"), SV("a b"));
	CHECK_BOUND(backend, sv_from(long_text, USAGE_WORD_MAX), sv_from(long_text, USAGE_WORD_MAX + 1));
	CHECK_BOUND(backend, SV(""), SV("-"));
	CHECK_BOUND(server, sv_from(long_text, USAGE_WORD_MAX), sv_from(long_text, USAGE_WORD_MAX + 1));
	CHECK_BOUND(server, SV("<NOSRV>"), SV("s\n"));
	CHECK_BOUND(address, sv_from(long_text, USAGE_WORD_MAX), sv_from(long_text, USAGE_WORD_MAX + 1));
	CHECK_BOUND(address, SV("2001:db8::1"), sv_from("a\0b", 3));
	CHECK_BOUND(path, sv_from(long_text, USAGE_PATH_MAX), sv_from(long_text, USAGE_PATH_MAX + 1));
	CHECK_BOUND(path, SV("/%C3%A9"), SV("/\xc3\xa9"));
}

/* Each field of the sample is replaced, one at a time, by texts that are not what is written. */
static void check_field(int index, const char *text, enum err want)
{
	char line[USAGE_TEXT_MAX];
	size_t n = 0;
	struct sv rest = SV(SAMPLE);
	struct sv field;
	struct usage_record r;

	for (int i = 0; sv_split(&rest, '\t', &field); i++) {
		if (i == index)
			field = sv_str(text);
		if (i > 0)
			line[n++] = '\t';
		memcpy(line + n, field.p, field.n);
		n += field.n;
	}
	memset(&r, 0x5a, sizeof(r));
	enum err err = usage_record_parse(sv_from(line, n), &r);
	if (err != want)
		fail_msg("field %d as '%s': %s", index, text, err_str(err));
	if (err != ERR_OK)
		assert_int_equal(r.status, 0x5a5a5a5a);
}

static void test_parse_refuses(void **state)
{
	(void)state;
	static const struct {
		int index;
		const char *text;
	} rows[] = {
		{ 0, "" },
		{ 0, "-" },
		{ 0, "a b" },
		{ 1, "" },
		{ 1, "-" },
		{ 1, "0" },
		{ 1, "07" },
		{ 1, "+7" },
		{ 1, "9223372036854775808" },
		{ 2, "0" },
		{ 2, "01" },
		{ 2, "" },
		{ 2, "-1" },
		{ 2, "9223372036854775808" },
		{ 3, "" },
		{ 3, "-" },
		{ 3, "caf\xc3\xa9" },
		{ 4, "-1" },
		{ 4, "0" },
		{ 4, "99" },
		{ 4, "1000" },
		{ 4, "0200" },
		{ 4, "" },
		{ 4, "18446744073709551615" },
		{ 5, "-" },
		{ 5, "-1" },
		{ 5, "7258118400001" },
		{ 5, "1764312345.123" },
		{ 6, "-1" },
		{ 6, "00" },
		{ 6, "2147483648" },
		{ 6, "18446744073709551615" },
		{ 7, "-" },
		{ 7, "-1" },
		{ 7, "1125899906842625" },
		{ 8, "-" },
		{ 8, "1.0" },
		{ 8, "1125899906842625" },
		{ 9, "-" },
		{ 9, " 1" },
		{ 9, "1125899906842625" },
		{ 10, "" },
		{ 10, "-" },
		{ 10, "Image" },
		{ 10, "images" },
		{ 10, "imag" },
		{ 11, "" },
		{ 12, "" },
		{ 13, "" },
		{ 14, "" },
		{ 15, "" },
		{ 16, "" },
		{ 16, "/a\tb" },
		{ 16, "/a\n" },
		{ 16, "/caf\xc3\xa9" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_field(rows[i].index, rows[i].text, ERR_INVALID);
	for (int i = 11; i < USAGE_FIELDS; i++)
		check_field(i, "-", ERR_OK);
	check_field(1, "9223372036854775807", ERR_OK);
	check_field(10, "upload", ERR_OK);
}

/* A record that was cut anywhere before its last field is none; with more behind it neither. */
static void test_cut(void **state)
{
	(void)state;
	struct sv text = SV(SAMPLE);
	struct usage_record r;
	size_t last = text.n;

	while (text.p[last - 1] != '\t')
		last--;
	for (size_t n = 0; n <= last; n++)
		assert_int_equal(usage_record_parse(sv_from(text.p, n), &r), ERR_INVALID);
	assert_int_equal(usage_record_parse(sv_from(text.p, last + 1), &r), ERR_OK);
	assert_int_equal(usage_record_parse(SV(SAMPLE "\t"), &r), ERR_INVALID);
	assert_int_equal(usage_record_parse(SV(SAMPLE "\n"), &r), ERR_INVALID);
	assert_int_equal(usage_record_parse(SV("\t" SAMPLE), &r), ERR_INVALID);
	assert_int_equal(usage_record_parse(sv_from(NULL, 0), &r), ERR_INVALID);
}

/* Every byte at every place of views that are shorter and longer than the words that are looked at in one step. */
static void test_printable(void **state)
{
	(void)state;
	for (size_t n = 0; n <= 25; n++) {
		char *text = malloc(n + 1);
		assert_non_null(text);
		memset(text, '!', n);
		assert_true(usage_printable(sv_from(text, n)));
		memset(text, '~', n);
		assert_true(usage_printable(sv_from(text, n)));
		for (size_t at = 0; at < n; at++) {
			for (int c = 0; c < 256; c++) {
				text[at] = (char)c;
				assert_int_equal(usage_printable(sv_from(text, n)), c >= 0x21 && c <= 0x7e);
			}
			text[at] = (char)('!' + at);
		}
		free(text);
	}
	assert_true(usage_printable(sv_from(NULL, 0)));
}

static void test_kind_names(void **state)
{
	(void)state;
	assert_string_equal(usage_kind_name(USAGE_IMAGE), "image");
	assert_string_equal(usage_kind_name(USAGE_UPLOAD), "upload");
	assert_string_equal(usage_kind_name(USAGE_API), "api");
	assert_string_equal(usage_kind_name(USAGE_KIND_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_unknown),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_bounds_of_numbers),
		cmocka_unit_test(test_bounds_of_texts),
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_printable),
		cmocka_unit_test(test_kind_names),
	};
	return cmocka_run_group_tests(tests, make_long_text, NULL);
}
