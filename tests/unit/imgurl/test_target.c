/* The narrow image path: what is accepted leads into the tenant's own folder, everything else is refused. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "imgurl/target.h"

/* "secret" and "hello", as in imgproxy's documentation. */
static struct imgurl_signer *make_signer(void)
{
	struct imgurl_signer *s = NULL;
	assert_int_equal(imgurl_signer_new("736563726574", "68656C6C6F", &s), ERR_OK);
	return s;
}

static enum err target(const char *path, char *out)
{
	char buf[IMGURL_TARGET_MAX];
	struct sv t = { NULL, 0 };
	struct imgurl_signer *s = make_signer();
	enum err err = imgurl_target(s, sv_str(path), 7, buf, sizeof(buf), &t);
	imgurl_signer_free(s);
	if (err == ERR_OK)
		assert_int_equal(sv_copy(t, out, IMGURL_TARGET_MAX), ERR_OK);
	else
		assert_int_equal(t.n, 0);
	return err;
}

/* Values made with `printf '%s' "hello$path" | openssl dgst -sha256 -hmac secret -binary | basenc --base64url`. */
static void test_golden(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		const char *target;
	} rows[] = {
		{ "/img/unsafe/plain/local:///cat.jpg",
		  "/s5YWBI3mSpExHiXVP7QCh7rl2cChyS87EKZMTArlf6w/bG9jYWw6Ly8vNy9jYXQuanBn" },
		{ "/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg@png",
		  "/-TggCbnKpzqwLJ95DB8Wql0cBel4NU0mPMiKh2KaGvc/rs:fit:300:200/bG9jYWw6Ly8vNy9jYXQuanBn.png" },
		{ "/img/unsafe/w:10/h:20/q:80/f:webp/plain/local:///A-b_c.9.JPG",
		  "/QYyKrlfH9vkK5HciFYhz7WqNCJj9Qq9S8MwDyZmeTCE/w:10/h:20/q:80/f:webp/bG9jYWw6Ly8vNy9BLWJfYy45LkpQRw" },
		{ "/img/unsafe/resize:fill:1:2:0:1:ce:0.5/plain/local:///x@avif",
		  "/-ohL9w6PGM8PeeW4n86cTgqTUZFU0ycN3c4ik_rG4i8/resize:fill:1:2:0:1:ce:0.5/bG9jYWw6Ly8vNy94.avif" },
		{ "/img/unsafe/w:1/w:2/plain/local:///plain",
		  "/FFLmtAdDERHl0Uq2liQRqDlmwjJehOXak6bZebXvAUw/w:1/w:2/bG9jYWw6Ly8vNy9wbGFpbg" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[IMGURL_TARGET_MAX];
		assert_int_equal(target(rows[i].path, out), ERR_OK);
		assert_string_equal(out, rows[i].target);
	}
}

static void test_refused(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		enum err err;
	} rows[] = {
		/* not of the form */
		{ "", ERR_INVALID },
		{ "/img/unsafe/", ERR_INVALID },
		{ "/img/unsafe", ERR_INVALID },
		{ "/img/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/safe/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe//plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/rs:fit:1:1", ERR_INVALID },
		{ "/img/unsafe/rs:fit:1:1/", ERR_INVALID },
		{ "/img/unsafe/rs/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/rs:fit:%31/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/rs%3Afit:1/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/%70lain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/raw:1/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/preset:x/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/-/plain/local:///a.jpg", ERR_INVALID },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc", ERR_INVALID },
		{ "/img/unsafe/enc/abc", ERR_INVALID },
		{ "/img/unsafe/plain", ERR_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@", ERR_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@png@jpg", ERR_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@png/../b", ERR_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@PNG", ERR_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@abcdefghi", ERR_INVALID },
		/* another source than a file of the tenant's own */
		{ "/img/unsafe/plain/", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///", ERR_REFUSED },
		{ "/img/unsafe/plain/http://example.com/a.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local://x/a.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:/a.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/LOCAL:///a.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:////a.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///8/a.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///../8/a.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///..", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///.part-0123", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///%2e%2e%2f8%2fa.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///a.jpg%00", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///a\\b.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///a b.jpg", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///a.jpg?x", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///a.jpg#x", ERR_REFUSED },
		{ "/img/unsafe/plain/local:///\xc3\xa9.jpg", ERR_REFUSED },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[IMGURL_TARGET_MAX];
		enum err err = target(rows[i].path, out);
		if (err != rows[i].err)
			fail_msg("%s: %d", rows[i].path, err);
	}
}

/* The client's path with a NUL or a control byte, which no C string can hold. */
static void test_control_bytes(void **state)
{
	(void)state;
	char path[] = "/img/unsafe/plain/local:///aXb.jpg";
	char *x = strchr(path, 'X');
	struct imgurl_signer *s = make_signer();
	for (int c = 0; c < 256; c++) {
		char buf[IMGURL_TARGET_MAX];
		struct sv t;
		bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
		            c == '_' || c == '-';
		*x = (char)c;
		enum err err = imgurl_target(s, sv_from(path, sizeof(path) - 1), 7, buf, sizeof(buf), &t);
		if (c == '@')
			assert_int_equal(err, ERR_INVALID);
		else
			assert_int_equal(err, word ? ERR_OK : ERR_REFUSED);
	}
	imgurl_signer_free(s);
}

static void test_small_buffers(void **state)
{
	(void)state;
	char buf[IMGURL_TARGET_MAX];
	struct sv t = { NULL, 0 };
	struct imgurl_signer *s = make_signer();
	struct sv path = SV("/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg@png");
	size_t size = 0;
	while (imgurl_target(s, path, UINT64_MAX, buf, size, &t) == ERR_SPACE)
		assert_true(++size < sizeof(buf));
	assert_int_equal(t.n, size);
	imgurl_signer_free(s);
}

static void test_longest_path_fits(void **state)
{
	(void)state;
	static char path[4097];
	char buf[IMGURL_TARGET_MAX];
	struct sv t;
	struct imgurl_signer *s = make_signer();
	size_t n = (size_t)snprintf(path, sizeof(path), "/img/unsafe/");
	const char tail[] = "plain/local:///a.jpg";
	while (n + 4 + sizeof(tail) < sizeof(path))
		n += (size_t)snprintf(path + n, sizeof(path) - n, "w:1/");
	snprintf(path + n, sizeof(path) - n, "%s", tail);
	assert_int_equal(imgurl_target(s, sv_str(path), UINT64_MAX, buf, sizeof(buf), &t), ERR_OK);
	imgurl_signer_free(s);
}

static void test_name_length(void **state)
{
	(void)state;
	char path[600] = "/img/unsafe/plain/local:///";
	char out[IMGURL_TARGET_MAX];
	size_t n = strlen(path);
	memset(path + n, 'a', 255);
	assert_int_equal(target(path, out), ERR_OK);
	memset(path + n, 'a', 256);
	assert_int_equal(target(path, out), ERR_REFUSED);
}

static void test_bad_keys(void **state)
{
	(void)state;
	struct imgurl_signer *s = NULL;
	assert_int_equal(imgurl_signer_new("", "68", &s), ERR_INVALID);
	assert_int_equal(imgurl_signer_new("68", "", &s), ERR_INVALID);
	assert_int_equal(imgurl_signer_new("6", "68", &s), ERR_INVALID);
	assert_int_equal(imgurl_signer_new("zz", "68", &s), ERR_INVALID);
	assert_int_equal(imgurl_signer_new("68:68", "68", &s), ERR_INVALID);
	assert_null(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_control_bytes),
		cmocka_unit_test(test_small_buffers),
		cmocka_unit_test(test_longest_path_fits),
		cmocka_unit_test(test_name_length),
		cmocka_unit_test(test_bad_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
