/* The lines of the log: fields, escapes, and nothing that a text can forge. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define TIME "2026-11-28T09:26:21.881Z"
#define HEAD "time=" TIME " level=warn program=gateway-agent/keeper pid=77 msg="

static const char *line(enum log_format format, const char *text)
{
	static char out[LOG_LINE_MAX + 1];
	size_t n = log_line(out, format, TIME, LOG_WARN, "gateway-agent/keeper", 77, text);
	assert_in_range(n, 1, LOG_LINE_MAX);
	assert_ptr_equal(memchr(out, '\n', n), out + n - 1);
	out[n - 1] = '\0';
	return out;
}

static void test_text(void **state)
{
	(void)state;
	static const struct {
		const char *text, *wanted;
	} rows[] = {
		{ "reload: done", HEAD "\"reload: done\"" },
		{ "usage: a line was dropped: why skipped=3", HEAD "\"usage: a line was dropped: why\" skipped=3" },
		{ "a: b=1 is no field c=2 d=\"two words\" e=x", HEAD "\"a: b=1 is no field\" c=2 d=\"two words\" e=x" },
		{ "started: version=1", HEAD "\"started\" version=1" },
		{ "only=fields here=1", HEAD "\"only=fields\" here=1" },
		/* No fields, since not all that follows is. */
		{ "a b=\"c d", HEAD "\"a b=\\\"c d\"" },
		{ "a b=\"c\"d", HEAD "\"a b=\\\"c\\\"d\"" },
		{ "a b= c", HEAD "\"a b= c\"" },
		{ "a b=", HEAD "\"a\" b=\"\"" },
		{ "a B=1", HEAD "\"a B=1\"" },
		{ "", HEAD "\"\"" },
		/* What a client sent stays within its quotes, and its line. */
		{ "x\ntime=y level=error", HEAD "\"x\\x0atime=y\" level=error" },
		{ "a \"b\\c\x7f", HEAD "\"a \\\"b\\\\c\\x7f\"" },
		{ "a v=b\\\x01=", HEAD "\"a\" v=\"b\\\\\\x01=\"" },
		{ "\xd0\xba\xd0\xbe\xd1\x82 \xff", HEAD "\"\xd0\xba\xd0\xbe\xd1\x82 \\xff\"" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(line(LOG_TEXT, rows[i].text), rows[i].wanted);
}

#define JSON_HEAD "{\"time\":\"" TIME "\",\"level\":\"warn\",\"program\":\"gateway-agent/keeper\",\"pid\":77,\"msg\":"

static void test_json(void **state)
{
	(void)state;
	static const struct {
		const char *text, *wanted;
	} rows[] = {
		{ "reload: done", JSON_HEAD "\"reload: done\"}" },
		{ "a: b skipped=3 x=y", JSON_HEAD "\"a: b\",\"skipped\":3,\"x\":\"y\"}" },
		{ "a n=007 m=0 k=123456789012345", JSON_HEAD "\"a\",\"n\":\"007\",\"m\":0,\"k\":123456789012345}" },
		{ "a n=1234567890123456 m=\"1 2\"", JSON_HEAD "\"a\",\"n\":\"1234567890123456\",\"m\":\"1 2\"}" },
		{ "a n=-1 m=", JSON_HEAD "\"a\",\"n\":\"-1\",\"m\":\"\"}" },
		{ "x\n\"},{\\", JSON_HEAD "\"x\\u000a\\\"},{\\\\\"}" },
		{ "\xd0\xba \xf0\x9f\x90\x88", JSON_HEAD "\"\xd0\xba \xf0\x9f\x90\x88\"}" },
		/* No UTF-8: a byte, an overlong slash, half a surrogate pair, a cut character. */
		{ "\xff \xc0\xaf \xed\xa0\x80 \xe2\x82",
		  JSON_HEAD "\"\\u00ff \\u00c0\\u00af \\u00ed\\u00a0\\u0080 \\u00e2\\u0082\"}" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(line(LOG_JSON, rows[i].text), rows[i].wanted);
}

/* Of any bytes and any length comes one line of printable bytes, whose quotes are even. */
static void test_anything(void **state)
{
	char text[LOG_TEXT_MAX * 2];
	unsigned seed = 1;
	(void)state;

	for (int turn = 0; turn < 3000; turn++) {
		seed = seed * 1103515245 + 12345;
		size_t n = turn < 3 ? sizeof(text) - 1 : seed / 65536 % (sizeof(text) - 1);
		for (size_t i = 0; i < n; i++) {
			seed = seed * 1103515245 + 12345;
			unsigned c = seed / 65536 % 512;
			text[i] = (char)(turn == 0 ? 1 : c < 256 && c > 0 ? c : (unsigned char)"ab=\" _\\\x80"[c % 8]);
		}
		text[n] = '\0';
		for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
			size_t quotes = 0;
			for (const char *p = line((enum log_format)format, text); *p != '\0'; p++) {
				assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
				if (*p == '\\')
					p++;
				else
					quotes += *p == '"';
			}
			assert_int_equal(quotes % 2, 0);
		}
	}
}

static void test_value(void **state)
{
	(void)state;
	char value[16], text[64];

	assert_string_equal(log_value(value, sizeof(value), "plain"), "plain");
	assert_string_equal(log_value(value, sizeof(value), "a\" b=\"c"), "a' b='c");
	assert_string_equal(log_value(value, sizeof(value), "cut at its 15th byte"), "cut at its 15th");
	assert_string_equal(log_value(value, sizeof(value), ""), "");
	/* As libpq says it. */
	snprintf(text, sizeof(text), "down: error=\"%s\" n=1", log_value(value, sizeof(value), "at \"::1\", no"));
	assert_string_equal(line(LOG_TEXT, text), HEAD "\"down\" error=\"at '::1', no\" n=1");
}

static void test_words(void **state)
{
	enum log_format format = LOG_TEXT;
	enum log_level level;
	(void)state;
	assert_int_equal(log_format_parse("json", &format), ERR_OK);
	assert_int_equal(format, LOG_JSON);
	assert_int_equal(log_format_parse("text", &format), ERR_OK);
	assert_int_equal(format, LOG_TEXT);
	assert_int_equal(log_format_parse("JSON", &format), ERR_INVALID);
	assert_int_equal(log_level_parse("warn", &level), ERR_OK);
	assert_int_equal(level, LOG_WARN);
	assert_int_equal(log_level_parse("", &level), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),  cmocka_unit_test(test_json),  cmocka_unit_test(test_anything),
		cmocka_unit_test(test_value), cmocka_unit_test(test_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
