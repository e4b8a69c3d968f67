/* What is signed for what arrives, as measured on imgproxy 4.0.12. */
#include "world.h"

#include "imgurl/normalise.h"

/* arrives: what follows the signature, with its slash. */
static const struct {
	const char *arrives;
	const char *becomes;
} rows[] = {
	{ "/rs%3Afit%3A1%3A1/plain/local:///x", "/rs:fit:1:1/plain/local:///x" },
	{ "/rs%3afit%3A1%3A1/plain/local:///x", "/rs%3afit:1:1/plain/local:///x" },
	{ "/rs%3Afit%3A1%3A1/abc/abc", "/rs:fit:1:1/abc/abc" },
	{ "/w:1/plain/http:/h/x", "/w:1/plain/http://h/x" },
	{ "/w:1/plain/local:/x", "/w:1/plain/local:///x" },
	{ "/w:1/plain/local:///a/x:/y", "/w:1/plain/local:///a/x://y" },
	{ "//w:1/plain/local:///x", "/w:1/plain/local:///x" },
	{ "/plain/http:", "/plain/http:" },
	{ "/plain/http:/", "/plain/http:/" },
	{ "/plain/http:/a", "/plain/http://a" },
	{ "/plain/example.com/x", "/plain/example.com/x" },
	/* behind "/plain/" nothing is decoded, and before it no slash is added */
	{ "/w:1/plain/local%3A/x", "/w:1/plain/local%3A/x" },
	{ "/w%3A1/plain/local%3A///x", "/w:1/plain/local%3A///x" },
	{ "/plain/a%3Ab", "/plain/a%3Ab" },
	{ "/plain/w%3A1/plain/x:/y", "/plain/w%3A1/plain/x://y" },
	{ "/w:/x/plain/y", "/w:/x/plain/y" },
	{ "/w:/x", "/w:/x" },
	/* the first "/plain/" is the one, also as the name of a chunk */
	{ "/w%3A1/plain/a%3A/plain/local:/x", "/w:1/plain/a%3A/plain/local://x" },
	{ "/plain/local:/a:/b", "/plain/local:/a://b" },
	{ "/plain/:/b", "/plain/:/b" },
	{ "/plain/LOCAL:/b", "/plain/LOCAL://b" },
	{ "/plain/local:////b", "/plain/local:////b" },
	/* the slash that goes */
	{ "//plain/local:///x", "/plain/local:///x" },
	{ "//plain/local:/x", "/plain/local:///x" },
	{ "///plain/local:/x", "//plain/local:///x" },
	{ "///w:1/x", "//w:1/x" },
	{ "//rs%3A1/x", "/rs:1/x" },
	{ "/", "/" },
	{ "//", "/" },
	{ "/%3A", "/:" },
	{ "/%3A%3A%3", "/::%3" },
	{ "/x", "/x" },
	{ "/plain/", "/plain/" },
	{ "/plain", "/plain" },
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char buf[IMGURL_NORMALISED_MAX];
		char path[256];
		/* Nothing is read behind the path's end. */
		size_t n = strlen(rows[i].arrives);
		memcpy(path, rows[i].arrives, n);
		struct sv normal = imgurl_normalise(sv_from(path + 1, n - 1), buf);
		if (!sv_eq(normal, sv_str(rows[i].becomes)))
			fail_msg("%s: %.*s", rows[i].arrives, SV_ARG(normal));
	}
}

/* Two bytes more are all that a path can grow by. */
static void test_longest(void **state)
{
	(void)state;
	static char path[IMGURL_PATH_MAX + 1];
	char buf[IMGURL_NORMALISED_MAX];
	const char start[] = "/%3A/plain/local:/";
	memset(path, 'a', sizeof(path));
	memcpy(path, start, sizeof(start) - 1);
	struct sv normal = imgurl_normalise(sv_from(path + 1, IMGURL_PATH_MAX), buf);
	assert_int_equal(normal.n, IMGURL_PATH_MAX + 1 - 2 + 2);
	assert_true(sv_starts(normal, SV("/:/plain/local:///aaa")));
	memset(path, 'a', sizeof(path));
	memcpy(path, "/plain/local:/", 14);
	normal = imgurl_normalise(sv_from(path + 1, IMGURL_PATH_MAX), buf);
	assert_int_equal(normal.n, IMGURL_PATH_MAX + 1 + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_longest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
