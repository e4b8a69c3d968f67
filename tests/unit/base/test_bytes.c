/* Views and cursors at the first, the last and one past the last position; errors stick. */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/err.h"
#include "base/log.h"
#include "base/sv.h"

static void test_split(void **state)
{
	(void)state;
	struct sv rest = SV("a,,b,");
	struct sv part;
	static const char *const parts[] = { "a", "", "b", "" };
	for (size_t i = 0; i < 4; i++) {
		assert_true(sv_split(&rest, ',', &part));
		assert_true(sv_eq(part, sv_str(parts[i])));
	}
	assert_false(sv_split(&rest, ',', &part));
	rest = sv_from("", 0);
	assert_true(sv_split(&rest, ',', &part));
	assert_int_equal(part.n, 0);
	assert_false(sv_split(&rest, ',', &part));
}

static void test_numbers(void **state)
{
	(void)state;
	uint64_t v = 5;
	assert_int_equal(sv_to_u64(SV("0"), &v), ERR_OK);
	assert_int_equal(v, 0);
	assert_int_equal(sv_to_u64(SV("18446744073709551615"), &v), ERR_OK);
	assert_true(v == UINT64_MAX);
	assert_int_equal(sv_to_u64(SV("18446744073709551616"), &v), ERR_RANGE);
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "01", "0x1", "1.0", "a" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sv_to_u64(sv_str(bad[i]), &v), ERR_INVALID);
	assert_true(v == UINT64_MAX);
}

static void test_compare(void **state)
{
	(void)state;
	assert_true(sv_eq(sv_from(NULL, 0), SV("")));
	assert_false(sv_eq(SV("a"), SV("ab")));
	assert_true(sv_ieq(SV("bEaReR"), SV("Bearer")));
	assert_false(sv_ieq(SV("bearer"), SV("bearez")));
	assert_true(sv_starts(SV("/img/"), SV("/img/")));
	assert_false(sv_starts(SV("/img"), SV("/img/")));
	assert_true(sv_eq(sv_trim(SV(" \t a b\r\n")), SV("a b")));
	assert_int_equal(sv_trim(SV("  ")).n, 0);
	assert_int_equal(sv_skip(SV("ab"), 5).n, 0);
}

static void test_copy(void **state)
{
	(void)state;
	char buf[4] = "xyz";
	assert_int_equal(sv_copy(SV("abc"), buf, sizeof(buf)), ERR_OK);
	assert_string_equal(buf, "abc");
	assert_int_equal(sv_copy(SV("abcd"), buf, sizeof(buf)), ERR_SPACE);
	assert_string_equal(buf, "");
	assert_int_equal(sv_copy(SV("a"), buf, 0), ERR_SPACE);
}

static void test_reader(void **state)
{
	(void)state;
	const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct rcur c;
	rcur_init(&c, bytes, sizeof(bytes));
	assert_int_equal(rcur_u8(&c), 1);
	assert_int_equal(rcur_be16(&c), 0x0203);
	assert_int_equal(rcur_be32(&c), 0x04050607);
	assert_int_equal(rcur_left(&c), 1);
	assert_int_equal(rcur_be16(&c), 0);
	assert_int_equal(c.err, ERR_INCOMPLETE);
	assert_int_equal(rcur_u8(&c), 0); /* the error sticks, though one byte was left */
	rcur_fail(&c, ERR_RANGE);
	assert_int_equal(c.err, ERR_INCOMPLETE);
	rcur_init(&c, bytes, sizeof(bytes));
	assert_int_equal(rcur_bytes(&c, 8).n, 8);
	assert_int_equal(c.err, ERR_OK);
	rcur_init(&c, bytes, sizeof(bytes));
	assert_int_equal(rcur_bytes(&c, UINT64_MAX).n, 0);
	assert_int_equal(c.err, ERR_INCOMPLETE);
	rcur_init(&c, NULL, 0);
	assert_int_equal(rcur_be32(&c), 0);
	assert_int_equal(c.err, ERR_INCOMPLETE);
}

static void test_writer(void **state)
{
	(void)state;
	uint8_t buf[7];
	struct wcur c;
	wcur_init(&c, buf, sizeof(buf));
	wcur_be32(&c, 0x01020304);
	wcur_sv(&c, SV("ab"));
	wcur_u8(&c, 'c');
	assert_int_equal(c.err, ERR_OK);
	assert_memory_equal(buf, "\1\2\3\4abc", 7);
	wcur_u8(&c, 'd');
	assert_int_equal(c.err, ERR_SPACE);
	assert_int_equal(wcur_len(&c), 7);
	wcur_init(&c, buf, 3);
	wcur_be32(&c, 1);
	assert_int_equal(c.err, ERR_SPACE);
	assert_int_equal(wcur_len(&c), 0);
}

static void test_text_writers(void **state)
{
	(void)state;
	char buf[64];
	struct wcur c;
	wcur_init(&c, buf, sizeof(buf));
	wcur_u64(&c, 0);
	wcur_u8(&c, ' ');
	wcur_u64(&c, UINT64_MAX);
	assert_memory_equal(buf, "0 18446744073709551615", 22);
	static const struct {
		const char *in;
		const char *out;
	} rows[] = { { "", "" },        { "f", "Zg" },        { "fo", "Zm8" },
		     { "foo", "Zm9v" }, { "foob", "Zm9vYg" }, { "\xfb\xff\xbf", "-_-_" } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = strlen(rows[i].out);
		memset(buf, '#', sizeof(buf));
		wcur_init(&c, buf, n); /* just enough */
		wcur_base64url(&c, rows[i].in, strlen(rows[i].in));
		assert_int_equal(c.err, ERR_OK);
		assert_int_equal(wcur_len(&c), n);
		assert_memory_equal(buf, rows[i].out, n);
		assert_int_equal(buf[n], '#');
		if (n == 0)
			continue;
		wcur_init(&c, buf, n - 1);
		wcur_base64url(&c, rows[i].in, strlen(rows[i].in));
		assert_int_equal(c.err, ERR_SPACE);
		assert_int_equal(wcur_len(&c), 0);
	}
}

/* Every number of up to three digits, and those around each power of ten, held against printf(). */
static void test_decimal(void **state)
{
	(void)state;
	for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10)
		for (uint64_t v = power - 1; v < power + 1001; v++) {
			char want[24], got[24];
			struct wcur c;
			int n = snprintf(want, sizeof(want), "%" PRIu64, v);
			wcur_init(&c, got, (size_t)n);
			wcur_u64(&c, v);
			assert_int_equal(c.err, ERR_OK);
			assert_int_equal(wcur_len(&c), n);
			assert_memory_equal(got, want, (size_t)n);
			wcur_init(&c, got, (size_t)n - 1);
			wcur_u64(&c, v);
			assert_int_equal(c.err, ERR_SPACE);
		}
}

static void test_alnum(void **state)
{
	(void)state;
	for (int c = -128; c < 128; c++)
		assert_int_equal(sv_alnum((char)c),
		                 (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'));
}

static void test_every_error_has_a_text(void **state)
{
	(void)state;
	for (int e = 0; e >= ERR_LAST; e--) {
		assert_non_null(err_str(e));
		assert_string_not_equal(err_str(e), "unknown error");
	}
	assert_string_equal(err_str(1), "unknown error");
	assert_string_equal(err_str(ERR_LAST - 1), "unknown error");
}

static void test_log_gate(void **state)
{
	(void)state;
	struct log_gate gate = { 0 };
	uint64_t skipped = 9;
	assert_true(log_gate(&gate, 1000, 100, &skipped));
	assert_int_equal(skipped, 0);
	assert_false(log_gate(&gate, 1050, 100, &skipped));
	assert_false(log_gate(&gate, 1099, 100, &skipped));
	assert_true(log_gate(&gate, 1100, 100, &skipped));
	assert_int_equal(skipped, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),        cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_compare),      cmocka_unit_test(test_copy),
		cmocka_unit_test(test_reader),       cmocka_unit_test(test_writer),
		cmocka_unit_test(test_text_writers), cmocka_unit_test(test_every_error_has_a_text),
		cmocka_unit_test(test_log_gate),     cmocka_unit_test(test_decimal),
		cmocka_unit_test(test_alnum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
