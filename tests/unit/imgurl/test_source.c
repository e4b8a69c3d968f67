/* Remote sources: one spelling for each, and what lies below a prefix. */
#include "world.h"

#include "imgurl/source.h"

static enum err canonical(struct sv url, char out[IMGURL_SOURCE_MAX + 1], const char **why)
{
	char buf[IMGURL_SOURCE_MAX];
	struct sv view = { NULL, 0 };

	enum err err = imgurl_source_canonical(url, buf, sizeof(buf), &view, why);
	memset(out, 0, IMGURL_SOURCE_MAX + 1);
	if (err == ERR_OK)
		memcpy(out, view.p, view.n);
	return err;
}

static const struct {
	const char *url;
	const char *canonical; /* NULL: refused */
} rows[] = {
	/* case and ports */
	{ "https://cdn.example.com/a.jpg", "https://cdn.example.com/a.jpg" },
	{ "HTTPS://CDN.Example.COM/A.jpg", "https://cdn.example.com/A.jpg" },
	{ "hTTp://h/", "http://h/" },
	{ "https://h:443/x", "https://h/x" },
	{ "http://h:80/x", "http://h/x" },
	{ "https://h:80/x", "https://h:80/x" },
	{ "http://h:443/x", "http://h:443/x" },
	{ "https://h:8443/x", "https://h:8443/x" },
	{ "https://h:/x", NULL },
	{ "https://h:0443/x", NULL },
	{ "https://h:0/x", NULL },
	{ "https://h:65535/x", "https://h:65535/x" },
	{ "https://h:65536/x", NULL },
	{ "https://h:+443/x", NULL },
	{ "https://h:443:443/x", NULL },
	{ "https://h:4 3/x", NULL },
	/* hosts */
	{ "https://xn--e1aybc.xn--p1ai/x", "https://xn--e1aybc.xn--p1ai/x" },
	{ "https://XN--E1AYBC.example/x", "https://xn--e1aybc.example/x" },
	{ "https://\xd1\x82\xd0\xb5\xd1\x81\xd1\x82.example/x", NULL },
	{ "https://ex\xc3\xa4mple.com/x", NULL },
	{ "https://%65xample.com/x", NULL },
	{ "https://example%2ecom/x", NULL },
	{ "https://example.com./x", NULL },
	{ "https://.example.com/x", NULL },
	{ "https://a..b/x", NULL },
	{ "https://-a.b/x", NULL },
	{ "https://a-.b/x", NULL },
	{ "https://a_b.c/x", NULL },
	{ "https://*.example.com/x", NULL },
	{ "https://a b/x", NULL },
	{ "https://a,b/x", NULL },
	{ "https://a\xe3\x80\x82"
	  "b/x",
	  NULL }, /* an ideographic full stop is a dot to IDNA */
	{ "https://localhost/x", "https://localhost/x" },
	{ "https://0a/x", "https://0a/x" },
	{ "https://1.2.3.4.example/x", "https://1.2.3.4.example/x" },
	{ "https:///x", NULL },
	{ "https://:443/x", NULL },
	{ "https://?x", NULL },
	{ "https://", NULL },
	/* spellings of addresses */
	{ "http://1.2.3.4/x", "http://1.2.3.4/x" },
	{ "http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x" },
	{ "http://0x7f.1/x", NULL },
	{ "http://0x7f000001/x", NULL },
	{ "http://2130706433/x", NULL },
	{ "http://127.1/x", NULL },
	{ "http://0177.0.0.1/x", NULL },
	{ "http://127.0.0.01/x", NULL },
	{ "http://127.0.0.256/x", NULL },
	{ "http://1.2.3.4.5/x", NULL },
	{ "http://1.2.3/x", NULL },
	{ "http://1.2.3.4./x", NULL },
	{ "http://127.0.0.0x1/x", NULL },
	{ "http://foo.0x/x", NULL },
	{ "http://foo.1/x", NULL },
	{ "http://0/x", NULL },
	{ "http://[::1]/x", "http://[::1]/x" },
	{ "http://[0:0:0:0:0:0:0:1]:80/x", "http://[::1]/x" },
	{ "http://[2001:DB8::A]:8080/x", "http://[2001:db8::a]:8080/x" },
	{ "http://[2001:db8:0:0:1:0:0:1]/x", "http://[2001:db8::1:0:0:1]/x" },
	{ "http://[::ffff:1.2.3.4]/x", NULL },
	{ "http://[::ffff:102:304]/x", NULL },
	{ "http://[::1%25eth0]/x", NULL },
	{ "http://[fe80::1%eth0]/x", NULL },
	{ "http://[1.2.3.4]/x", NULL },
	{ "http://[]/x", NULL },
	{ "http://[::1/x", NULL },
	{ "http://[::1]x/x", NULL },
	{ "http://[::1]80/x", NULL },
	{ "http://[::1]:/x", NULL },
	{ "http://::1/x", NULL },
	{ "http://[::1]]/x", NULL },
	{ "http://[v1.a]/x", NULL },
	/* users */
	{ "https://user@h/x", NULL },
	{ "https://user:pass@h/x", NULL },
	{ "https://cdn.example.com@evil.net/x", NULL },
	{ "https://@h/x", NULL },
	{ "https://h%40evil/x", NULL },
	{ "https://h/@x", "https://h/@x" },
	/* the form */
	{ "https:example.com/x", NULL },
	{ "https:/example.com/x", NULL },
	{ "//example.com/x", NULL },
	{ "/x", NULL },
	{ "x", NULL },
	{ "", NULL },
	{ ":", NULL },
	{ "://h/x", NULL },
	{ " https://h/x", NULL },
	{ "https ://h/x", NULL },
	{ "https:\\\\h\\x", NULL },
	{ "https:/\\h/x", NULL },
	{ "https://h\\x", NULL },
	{ "https://h\\@evil.net/x", NULL },
	{ "ftp://h/x", NULL },
	{ "file:///etc/passwd", NULL },
	{ "local:///x", NULL },
	{ "LOCAL:///x", NULL },
	{ "data:image/png;base64,AAAA", NULL },
	{ "swift://c/o", NULL },
	{ "http+unix://x/y", NULL },
	/* paths */
	{ "https://h", "https://h/" },
	{ "https://h/", "https://h/" },
	{ "https://h?x=1", "https://h/?x=1" },
	{ "https://h/a/./b", "https://h/a/b" },
	{ "https://h/a/../b", "https://h/b" },
	{ "https://h/a/b/..", "https://h/a/" },
	{ "https://h/a/b/.", "https://h/a/b/" },
	{ "https://h/..", "https://h/" },
	{ "https://h/../../b", "https://h/b" },
	{ "https://h/a/../../../b", "https://h/b" },
	{ "https://h/a//b", "https://h/a//b" },
	{ "https://h/a//../b", "https://h/a/b" },
	{ "https://h/a/%2e%2e/b", "https://h/b" },
	{ "https://h/a/%2E./b", "https://h/b" },
	{ "https://h/a/.%2e/b", "https://h/b" },
	{ "https://h/a/%2e/b", "https://h/a/b" },
	{ "https://h/a/...", "https://h/a/..." },
	{ "https://h/a/..%2fb", NULL },
	{ "https://h/a/%2F../b", NULL },
	{ "https://h/a/..%5cb", NULL },
	{ "https://h/a%5Cb", NULL },
	{ "https://h/a\\..\\b", NULL },
	{ "https://h/a/%252e%252e/b", NULL },
	{ "https://h/a/%25%32%65/b", NULL },
	{ "https://h/a%25", "https://h/a%25" },
	{ "https://h/100%25x", "https://h/100%25x" },
	{ "https://h/a/%c0%ae%c0%ae/b", NULL },
	{ "https://h/%e0%80%af", NULL },
	{ "https://h/%ff", NULL },
	{ "https://h/%d0%ba%D0%be%D1%82.jpg", "https://h/%D0%BA%D0%BE%D1%82.jpg" },
	{ "https://h/\xd0\xba.jpg", NULL },
	{ "https://h/..;/b", NULL },
	{ "https://h/a/..;x=1/b", NULL },
	{ "https://h/a/.;/b", NULL },
	{ "https://h/a/%2e%2e%3b/b", NULL },
	{ "https://h/a;x/b", "https://h/a;x/b" },
	{ "https://h/%7Euser/%41%2d%5f", "https://h/~user/A-_" },
	{ "https://h/a%3ab%40", "https://h/a%3Ab%40" },
	{ "https://h/a b", "https://h/a%20b" },
	{ "https://h/a%20b", "https://h/a%20b" },
	{ "https://h/a+b", "https://h/a+b" },
	{ "https://h/{a}|<b>^`\"[]", "https://h/%7Ba%7D%7C%3Cb%3E%5E%60%22%5B%5D" },
	{ "https://h/%", NULL },
	{ "https://h/%4", NULL },
	{ "https://h/%zz", NULL },
	{ "https://h/%00", NULL },
	{ "https://h/%0a", NULL },
	{ "https://h/%7f", NULL },
	{ "https://h/%c2%80", NULL },
	{ "https://h/a\tb", NULL },
	{ "https://h/a\nb", NULL },
	{ "https://h\t/a", NULL },
	{ "ht\ntps://h/a", NULL },
	{ "https://h/a\x7f", NULL },
	/* queries and fragments */
	{ "https://h/a?x=1&y=%2F..%2f", "https://h/a?x=1&y=%2F..%2f" },
	{ "https://h/a?", "https://h/a" },
	{ "https://h/a??", "https://h/a??" },
	{ "https://h/a?/../b", "https://h/a?/../b" },
	{ "https://h/a?x y", NULL },
	{ "https://h/a?x\\y", NULL },
	{ "https://h/a?x#y", NULL },
	{ "https://h/a#y", NULL },
	{ "https://h#y", NULL },
	{ "https://h/a?\xc3\xa4", NULL },
	{ "https://h/a%3Fb", "https://h/a%3Fb" },
	{ "https://h/a%23b", "https://h/a%23b" },
	/* object stores */
	{ "s3://bucket/key/a.jpg", "s3://bucket/key/a.jpg" },
	{ "S3://bucket/Key", "s3://bucket/Key" },
	{ "gs://my-bucket.x_1/\xd0\xba\xd0\xbe\xd1\x82.jpg", "gs://my-bucket.x_1/\xd0\xba\xd0\xbe\xd1\x82.jpg" },
	{ "abs://c/a b.jpg", "abs://c/a b.jpg" },
	{ "s3://bucket", "s3://bucket/" },
	{ "s3://bucket/", "s3://bucket/" },
	{ "s3://bucket/a/", "s3://bucket/a/" },
	{ "s3://Bucket/a", NULL },
	{ "s3://-bucket/a", NULL },
	{ "s3://.bucket/a", NULL },
	{ "s3://bucket:80/a", NULL },
	{ "s3://u@bucket/a", NULL },
	{ "s3:///a", NULL },
	{ "s3:bucket/a", NULL },
	{ "s3://bucket//a", NULL },
	{ "s3://bucket/a//b", NULL },
	{ "s3://bucket/a//", NULL },
	{ "s3://bucket/../a", NULL },
	{ "s3://bucket/a/./b", NULL },
	{ "s3://bucket/.a", NULL },
	{ "s3://bucket/a?version", NULL },
	{ "s3://bucket/a%2f", NULL },
	{ "s3://bucket/a#b", NULL },
	{ "s3://bucket/a\\b", NULL },
	{ "s3://bucket/a\x01", NULL },
	{ "s3://bucket/\xc0\xae", NULL },
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[IMGURL_SOURCE_MAX + 1];
		char again[IMGURL_SOURCE_MAX + 1];
		const char *why = NULL;
		enum err err = canonical(sv_str(rows[i].url), out, &why);
		if (rows[i].canonical == NULL) {
			if (err != ERR_INVALID && err != ERR_REFUSED)
				fail_msg("%s: %s", rows[i].url, out);
			assert_true(why != NULL && strlen(why) > 0 && strlen(why) < 150);
			continue;
		}
		if (err != ERR_OK || strcmp(out, rows[i].canonical) != 0)
			fail_msg("%s: %s (%s)", rows[i].url, out, why != NULL ? why : "");
		assert_int_equal(canonical(sv_str(out), again, &why), ERR_OK);
		assert_string_equal(out, again);
	}
}

static void test_no_byte_of_a_host_but_letters_digits_and_hyphens(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char out[IMGURL_SOURCE_MAX + 1];
		const char *why;
		char url[] = "https://aXb.c/x";
		url[9] = (char)c;
		bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
		            c == '.';
		enum err err = canonical(sv_from(url, sizeof(url) - 1), out, &why);
		/* These two end the host. */
		if (c == '/' || c == '?')
			continue;
		assert_int_equal(err == ERR_OK, word);
	}
	const char *why;
	char out[IMGURL_SOURCE_MAX + 1];
	assert_int_equal(canonical(sv_from("http://1.2.3.4\0.example/", 24), out, &why), ERR_REFUSED);
	assert_int_equal(canonical(sv_from("http://[::1\0]/", 14), out, &why), ERR_REFUSED);
}

static void test_lengths(void **state)
{
	(void)state;
	static char url[3 * IMGURL_SOURCE_MAX];
	char out[IMGURL_SOURCE_MAX + 1];
	char buf[64];
	struct sv view = { NULL, 0 };
	const char *why = NULL;
	memset(url, 'a', sizeof(url));
	memcpy(url, "http://h/", 9);
	assert_int_equal(canonical(sv_from(url, IMGURL_SOURCE_MAX), out, &why), ERR_OK);
	assert_int_equal(canonical(sv_from(url, IMGURL_SOURCE_MAX + 1), out, &why), ERR_SPACE);
	assert_string_equal(why, "it is too long");
	memset(url + 9, ' ', IMGURL_SOURCE_MAX);
	assert_int_equal(canonical(sv_from(url, IMGURL_SOURCE_MAX / 2), out, &why), ERR_SPACE);
	for (size_t size = 0; size < 20; size++)
		assert_int_equal(imgurl_source_canonical(SV("https://h:8443/a/%20?q"), buf, size, &view, &why),
		                 ERR_SPACE);
	assert_int_equal(imgurl_source_canonical(SV("https://h:8443/a/%20?q"), buf, 22, &view, &why), ERR_OK);
	memcpy(url, "http://", 7);
	memset(url + 7, 'a', 64);
	url[71] = '/';
	assert_int_equal(canonical(sv_from(url, 72), out, &why), ERR_REFUSED);
	url[70] = '/';
	assert_int_equal(canonical(sv_from(url, 71), out, &why), ERR_OK);
}

static void test_below(void **state)
{
	(void)state;
	static const struct {
		const char *prefix;
		const char *url;
		bool below;
	} below[] = {
		{ "https://h/", "https://h/", true },
		{ "https://h/", "https://h/a?b", true },
		{ "https://h/", "https://h/?b", true },
		{ "https://h/", "https://h:8443/a", false },
		{ "https://h/", "http://h/a", false },
		{ "https://cdn.example.com/", "https://cdn.example.com.evil.net/", false },
		{ "https://h/a", "https://h/a", true },
		{ "https://h/a", "https://h/a/", true },
		{ "https://h/a", "https://h/a/b", true },
		{ "https://h/a", "https://h/a?b", true },
		{ "https://h/a", "https://h/ab", false },
		{ "https://h/a", "https://h/a.jpg", false },
		{ "https://h/a", "https://h/a%2Fb", false },
		{ "https://h/a", "https://h/A/b", false },
		{ "https://h/a/", "https://h/a/b", true },
		{ "https://h/a/", "https://h/a", false },
		{ "https://h/a/", "https://h/b/a/", false },
		{ "https://h/get?d=a", "https://h/get?d=a", true },
		{ "https://h/get?d=a", "https://h/get?d=a/../b", false },
		{ "https://h/get?d=a/", "https://h/get?d=a/../b", false },
		{ "https://h/get?d=a", "https://h/get?d=a?b", false },
		{ "s3://b/", "s3://b/k", true },
		{ "s3://b/k", "s3://b/k2", false },
		{ "s3://b/", "s3://bb/k", false },
		{ "", "https://h/a", false },
	};
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++)
		if (imgurl_source_below(sv_str(below[i].url), sv_str(below[i].prefix)) != below[i].below)
			fail_msg("%s below %s", below[i].url, below[i].prefix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_no_byte_of_a_host_but_letters_digits_and_hyphens),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_below),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
