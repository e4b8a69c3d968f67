/* What is a prefix of remote sources, and its one spelling. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "cli/source_prefix.h"

static void test_prefixes(void **state)
{
	static const char *const rows[][2] = {
		{ "https://cdn.example.com/images/", "https://cdn.example.com/images/" },
		{ "https://cdn.example.com/a/b.jpg", "https://cdn.example.com/a/b.jpg" },
		{ "https://cdn.example.com", "https://cdn.example.com/" },
		{ "http://192.0.2.7:8080/x", "http://192.0.2.7:8080/x" },
		{ "http://[2001:db8::1]/", "http://[2001:db8::1]/" },
		{ "s3://bucket", "s3://bucket/" },
		{ "gs://bucket/a_b/", "gs://bucket/a_b/" },
		{ "abs://container/x", "abs://container/x" },
		{ "https://a/...", "https://a/..." },
		/* Other spellings of one become it, so that what is listed is what is compared. */
		{ "HTTPS://Cdn.Example.com:443/a", "https://cdn.example.com/a" },
		{ "https://a/../", "https://a/" },
		{ "https://a/ x", "https://a/%20x" },
		{ "https://a/x/./y", "https://a/x/y" },
		{ "https://a/x/..", "https://a/" },
		{ "https://a/%2e%2e/%7Eb", "https://a/~b" },
	};
	char buf[SOURCE_PREFIX_MAX];
	const char *why = "";

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(source_prefix(rows[i][0], buf, &why), ERR_OK);
		assert_string_equal(buf, rows[i][1]);
	}
}

static void test_what_is_none(void **state)
{
	static const char *const wrong[] = {
		"",
		"/",
		"https",
		"https:",
		"https:/a",
		"https://",
		"https:///",
		"ftp://a/",
		"local:///a",
		"file:///a",
		"//a/",
		"a/",
		"https://u@a/",
		"https://u:p@a/",
		"https://a/#x",
		"https://a\\",
		"https://a/\\x",
		"https://a/x\n",
		"https://a/\x7f",
		"https://\xc3\xa4/",
		"https://a/\xc3\xa4",
		" https://a/",
		"https://a b/",
	};
	char buf[SOURCE_PREFIX_MAX], longest[SOURCE_PREFIX_MAX + 16];
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		why = NULL;
		if (source_prefix(wrong[i], buf, &why) != ERR_INVALID)
			fail_msg("%s", wrong[i]);
		assert_non_null(why);
	}
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "https://a/", 10);
	longest[SOURCE_PREFIX_MAX] = '\0';
	assert_int_equal(source_prefix(longest, buf, &why), ERR_INVALID);
	longest[SOURCE_PREFIX_MAX - 1] = '\0';
	assert_int_equal(source_prefix(longest, buf, &why), ERR_OK);
	assert_string_equal(buf, longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_what_is_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
