/* Whole paths: what goes upstream for what came in, and that no source leads out of the tenant's own. */
#include "world.h"

#include "base/cursor.h"

static struct imgurl_out out;

static enum imgurl_result unsafe_path(struct sv path)
{
	struct imgurl_tenant tenant = make_tenant();

	return imgurl_rewrite(documented_key(), NULL, path, &tenant, NOW, &out);
}

static enum imgurl_result signed_path(struct sv path)
{
	struct imgurl_tenant tenant = make_tenant();

	return imgurl_rewrite(documented_key(), documented_key(), path, &tenant, NOW, &out);
}

static void write_base64(char *text, size_t size, struct sv bytes)
{
	struct wcur w;

	wcur_init(&w, text, size - 1);
	wcur_base64url(&w, bytes.p, bytes.n);
	assert_int_equal(w.err, ERR_OK);
	text[wcur_len(&w)] = '\0';
}

/* The target that has this source, without options and format, is the one of the last rewrite. */
static void assert_source(const char *source)
{
	char text[8192];

	text[0] = '/';
	write_base64(text + 1, sizeof(text) - 1, sv_str(source));
	if (!sv_eq(sv_skip(out.target, 1 + IMGURL_SIGNATURE_CHARS), sv_str(text)))
		fail_msg("%s: %.*s", source, SV_ARG(out.target));
}

/* Made with `printf '%s' "hello$path" | openssl dgst -sha256 -hmac secret -binary | basenc --base64url`. */
static void test_golden(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		const char *target;
	} rows[] = {
		{ "/img/unsafe/plain/local:///cat.jpg",
		  "/s5YWBI3mSpExHiXVP7QCh7rl2cChyS87EKZMTArlf6w/bG9jYWw6Ly8vNy9jYXQuanBn" },
		{ "/img/unsafe/bG9jYWw6Ly8vY2F0LmpwZw",
		  "/s5YWBI3mSpExHiXVP7QCh7rl2cChyS87EKZMTArlf6w/bG9jYWw6Ly8vNy9jYXQuanBn" },
		{ "/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg@png",
		  "/-TggCbnKpzqwLJ95DB8Wql0cBel4NU0mPMiKh2KaGvc/rs:fit:300:200/bG9jYWw6Ly8vNy9jYXQuanBn.png" },
		{ "/img/unsafe/resize:fit:300:0200/bG9jYWw6/Ly8vY2F0Lmpw/Zw==.p/ng",
		  "/-TggCbnKpzqwLJ95DB8Wql0cBel4NU0mPMiKh2KaGvc/rs:fit:300:200/bG9jYWw6Ly8vNy9jYXQuanBn.png" },
		{ "/img/unsafe/w:10/h:20/q:80/f:webp/plain/local:///A-b_c.9.JPG",
		  "/QYyKrlfH9vkK5HciFYhz7WqNCJj9Qq9S8MwDyZmeTCE/w:10/h:20/q:80/f:webp/bG9jYWw6Ly8vNy9BLWJfYy45LkpQRw" },
		{ "/img/unsafe/resize:fill:1:2:0:1:ce:0.5/plain/local:///x@avif",
		  "/lskSqjUhmT9dFBYrUOjvB9yw__9V1sdwhy3degBzLF8/rs:fill:1:2:0:1:ce:0.5/bG9jYWw6Ly8vNy94.avif" },
		{ "/img/unsafe/w:1/w:2/plain/local:///plain",
		  "/FFLmtAdDERHl0Uq2liQRqDlmwjJehOXak6bZebXvAUw/w:1/w:2/bG9jYWw6Ly8vNy9wbGFpbg" },
		{ "/signed/9/8F4xURlVxstbJgUd5n28q_pvuwlnhGTn41qal_GCOCU/w:50/plain/local:///tenants/a/cat.jpg",
		  "/HL4i8JhjqRGACM3dac_3EC8F7ZrrNow6l9xeC3A89KA/w:50/bG9jYWw6Ly8vNy90ZW5hbnRzL2EvY2F0LmpwZw" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sv path = sv_str(rows[i].path);
		enum imgurl_result result = sv_starts(path, SV("/signed/")) ? signed_path(path) : unsafe_path(path);
		if (result != IMGURL_OK || !sv_eq(out.target, sv_str(rows[i].target)))
			fail_msg("%s: %s: %.*s", rows[i].path, result_name(result), SV_ARG(out.target));
		assert_int_equal(out.detail.n, 0);
	}
}

/* @imgproxy/imgproxy-node 1.1.0 with the endpoint /signed/9. */
static void test_official_client(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		enum imgurl_result result;
	} rows[] = {
		{ "QEmJrpUnj2qw6OUuwr9ZNILPbjAlJM1NdbcD-NbTKaE/h:400/rt:fill/w:300/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc",
		  IMGURL_OK },
		{ "8F4xURlVxstbJgUd5n28q_pvuwlnhGTn41qal_GCOCU/w:50/plain/local:///tenants/a/cat.jpg", IMGURL_OK },
		{ "km20jMwULcR-hzJ3EB_N6q98rSu8mBYgjqWstnPVtXE/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc", IMGURL_OK },
		{ "s7sQOvLplUY7Y7xR1o2hQT2Big3VQM8f1QmraPwFeH4/f:webp/g:sm/q:80/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc",
		  IMGURL_OK },
		{ "UyX7-Vt0CscC7OOyZFAZ8llrIWiWzpEnwyC6PRYPdGI/raw:t/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc",
		  IMGURL_OPTION },
		/* the tenant may use both presets */
		{ "zBaA6b8CFz61vJ-wZEizEwx8mu__Dj49YRGZnDnq6h0/pr:thumb:x/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc",
		  IMGURL_OK },
		{ "insecure/w:50/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc", IMGURL_SIGNATURE },
		{ "vks6807yw1WnrjjzC8st8xbpJnMIQjdJEOo6ufdIRb0/w:50/bG9jYWw6Ly8vdGVuYW50cy9hL9C60L7Rgi5qcGc",
		  IMGURL_OK },
		{ "info/xpn7TQ1IskNCDQk2MpwQeP3ASFAs2HO-DklVU4VfUYQ/s:t/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc",
		  IMGURL_SIGNATURE },
		/* the signature is right, and `s:t` no size */
		{ "xpn7TQ1IskNCDQk2MpwQeP3ASFAs2HO-DklVU4VfUYQ/s:t/bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc",
		  IMGURL_INVALID },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[256];
		snprintf(path, sizeof(path), "/signed/9/%s", rows[i].path);
		enum imgurl_result result = signed_path(sv_str(path));
		if (result != rows[i].result)
			fail_msg("%s: %s", path, result_name(result));
		/* Every bit of the path and of the signature counts; those of the id are the caller's. */
		if (result != IMGURL_OK)
			continue;
		size_t n = strlen(path);
		for (size_t bit = 8 * strlen("/signed/9/"); bit < 8 * n; bit++) {
			path[bit / 8] = (char)(path[bit / 8] ^ 1 << bit % 8);
			result = signed_path(sv_from(path, n));
			if (result != IMGURL_SIGNATURE && result != IMGURL_INVALID)
				fail_msg("%.*s: %s", (int)n, path, result_name(result));
			path[bit / 8] = (char)(path[bit / 8] ^ 1 << bit % 8);
		}
	}
}

/* Signs `text`; in `form` a "$" stands for the signature. */
static enum imgurl_result signed_as(const char *form, const char *text)
{
	char signature[IMGURL_SIGNATURE_CHARS + 1] = "";
	char path[IMGURL_PATH_MAX];

	assert_int_equal(imgurl_sign(documented_key(), sv_str(text), signature), ERR_OK);
	const char *mark = strchr(form, '$');
	int head = mark != NULL ? (int)(mark - form) : (int)strlen(form);
	snprintf(path, sizeof(path), "%.*s%s%s", head, form, mark != NULL ? signature : "",
	         mark != NULL ? mark + 1 : "");
	return signed_path(sv_str(path));
}

static void test_signed_paths(void **state)
{
	(void)state;
	static const struct {
		const char *form;
		const char *text;
		enum imgurl_result result;
	} rows[] = {
		{ "/signed/9/$/w:1/plain/local:///x", "/w:1/plain/local:///x", IMGURL_OK },
		/* what browsers and proxies make of it */
		{ "/signed/9/$/rs%3Afit%3A1%3A1/plain/local:///x", "/rs:fit:1:1/plain/local:///x", IMGURL_OK },
		{ "/signed/9/$/rs%3afit%3A1%3A1/plain/local:///x", "/rs:fit:1:1/plain/local:///x", IMGURL_SIGNATURE },
		{ "/signed/9/$/w:1/plain/local:/x", "/w:1/plain/local:///x", IMGURL_OK },
		{ "/signed/9/$/w:1/plain/https:/cdn.example.com/a/x", "/w:1/plain/https://cdn.example.com/a/x",
		  IMGURL_OK },
		{ "/signed/9/$//w:1/plain/local:///x", "/w:1/plain/local:///x", IMGURL_OK },
		{ "/signed/9/$//plain/local:///x", "/plain/local:///x", IMGURL_OK },
		{ "/signed/9/$///w:1/plain/local:///x", "/w:1/plain/local:///x", IMGURL_SIGNATURE },
		{ "/signed/9/$///w:1/plain/local:///x", "//w:1/plain/local:///x", IMGURL_INVALID },
		{ "/signed/9/$/w:1/plain/local:///a/x:/y", "/w:1/plain/local:///a/x://y", IMGURL_SOURCE },
		{ "/signed/9/$/w:1/plain/local:///a/x:/y", "/w:1/plain/local:///a/x:/y", IMGURL_SIGNATURE },
		/* a signature in another place */
		{ "/signed/9//$/w:1/plain/local:///x", "/w:1/plain/local:///x", IMGURL_SIGNATURE },
		{ "/signed/9/$=/w:1/plain/local:///x", "/w:1/plain/local:///x", IMGURL_SIGNATURE },
		{ "/signed/9/$", "/", IMGURL_SIGNATURE },
		{ "/signed/9/$/", "/", IMGURL_INVALID },
		{ "/signed/9/$//", "/", IMGURL_INVALID },
		{ "/signed/9", "/", IMGURL_INVALID },
		{ "/signed/9/", "/", IMGURL_SIGNATURE },
		{ "/signed/9/x", "/", IMGURL_SIGNATURE },
		{ "/signed/0/$/plain/local:///x", "/plain/local:///x", IMGURL_INVALID },
		{ "/signed/09/$/plain/local:///x", "/plain/local:///x", IMGURL_INVALID },
		{ "/signed//$/plain/local:///x", "/plain/local:///x", IMGURL_INVALID },
		{ "/signed/-9/$/plain/local:///x", "/plain/local:///x", IMGURL_INVALID },
		{ "/signed/9x/$/plain/local:///x", "/plain/local:///x", IMGURL_INVALID },
		{ "//signed/9/$/plain/local:///x", "/plain/local:///x", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///x", "/", IMGURL_INVALID },
		/* before the signature is right nothing else is told */
		{ "/signed/9/insecure/raw:1/plain/local:///../x", "/", IMGURL_SIGNATURE },
		{ "/signed/9/insecure/exp:1/plain/local:///x", "/", IMGURL_SIGNATURE },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum imgurl_result result = signed_as(rows[i].form, rows[i].text);
		if (result != rows[i].result)
			fail_msg("%s: %s", rows[i].form, result_name(result));
	}
	/* An API key's path is none that was signed. */
	assert_int_equal(unsafe_path(SV("/signed/9/insecure/plain/local:///x")), IMGURL_INVALID);
}

static void test_key_id(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		uint64_t id; /* 0: none */
	} rows[] = {
		{ "/signed/1/", 1 },
		{ "/signed/77/sig/w:1/x", 77 },
		{ "/signed/18446744073709551615/", UINT64_MAX },
		{ "/signed/18446744073709551616/", 0 },
		{ "/signed/0/", 0 },
		{ "/signed/01/", 0 },
		{ "/signed/1", 0 },
		{ "/signed/", 0 },
		{ "/signed//1/", 0 },
		{ "/signed", 0 },
		{ "/signedx/1/", 0 },
		{ "/SIGNED/1/", 0 },
		{ "/img/unsafe/1/", 0 },
		{ "/signed/1%2F", 0 },
		{ "/signed/+1/", 0 },
		{ "/signed/ 1/", 0 },
		{ "", 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t id = 0;
		enum err err = imgurl_signed_key_id(sv_str(rows[i].path), &id);
		assert_int_equal(err, rows[i].id != 0 ? ERR_OK : ERR_INVALID);
		if (err == ERR_OK)
			assert_int_equal(id, rows[i].id);
	}
}

/* Shapes of the path, as imgproxy's parser has them. */
static void test_shapes(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		enum imgurl_result result;
	} rows[] = {
		{ "", IMGURL_INVALID },
		{ "/", IMGURL_INVALID },
		{ "/img/unsafe", IMGURL_INVALID },
		{ "/img/unsafe/", IMGURL_INVALID },
		{ "/img/plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/safe/plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img//unsafe/plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe//plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe//w:1/plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe/%2Fw:1/plain/local:///a.jpg", IMGURL_OPTION },
		{ "/img/unsafe/rs:fit:1:1", IMGURL_INVALID },
		{ "/img/unsafe/rs:fit:1:1/", IMGURL_INVALID },
		{ "/img/unsafe/rs/plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe/fit/100/100/sm/0/plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe/unsafe/plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe/%70lain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe/PLAIN/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe/plain%2Flocal:///a.jpg", IMGURL_OPTION },
		{ "/img/unsafe/w:1//plain/local:///a.jpg", IMGURL_INVALID },
		{ "/img/unsafe/plain", IMGURL_INVALID },
		{ "/img/unsafe/plain/", IMGURL_INVALID },
		{ "/img/unsafe/plain/@png", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@", IMGURL_OK },
		{ "/img/unsafe/plain/local:///a.jpg@png", IMGURL_OK },
		{ "/img/unsafe/plain/local:///a.jpg@zzz", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@PNG", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@png@jpg", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@@", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@p%6Eg", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg@png/", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg%zz", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg%", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a.jpg%4", IMGURL_INVALID },
		{ "/img/unsafe/plain/local:///a+b%40c.jpg", IMGURL_OK },
		/* base64 of local:///a.jpg */
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc", IMGURL_OK },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc=", IMGURL_OK },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc==.png", IMGURL_OK },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc.", IMGURL_OK },
		{ "/img/unsafe/w:1///bG9j/YWw6//Ly8vYS5qcGc/=/=.p/ng/", IMGURL_OK },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGd", IMGURL_OK }, /* bits too many */
		{ "/img/unsafe/bG9jYWw6Ly8=vYS5qcGc", IMGURL_INVALID },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc%3D", IMGURL_INVALID },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcG+", IMGURL_INVALID },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGcA1", IMGURL_INVALID }, /* one character is no byte */
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc.png.jpg", IMGURL_INVALID },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc.zzz", IMGURL_INVALID },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc.pngpngpng", IMGURL_INVALID },
		{ "/img/unsafe/bG9jYWw6Ly8vYS5qcGc@png", IMGURL_INVALID },
		{ "/img/unsafe/.png", IMGURL_INVALID },
		{ "/img/unsafe/=", IMGURL_INVALID },
		{ "/img/unsafe///", IMGURL_INVALID },
		{ "/img/unsafe/nonsense", IMGURL_INVALID },
		{ "/img/unsafe/enc/bG9jYWw6Ly8vYS5qcGc", IMGURL_OPTION },
		/* as it arrives */
		{ "/img/unsafe/rs%3Afit%3A1/plain/local:/a.jpg", IMGURL_OK },
		{ "/img/unsafe/plain/local%3A///a.jpg", IMGURL_OK },
		{ "/img/unsafe/plain/local:%2F%2F/a.jpg", IMGURL_OK },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum imgurl_result result = unsafe_path(sv_str(rows[i].path));
		if (result != rows[i].result)
			fail_msg("%s: %s: %.*s", rows[i].path, result_name(result), SV_ARG(out.detail));
	}
}

/* Of local sources: what they become, or NULL. */
static const struct {
	const char *source;
	const char *becomes;
} locals[] = {
	{ "local:///cat.jpg", "local:///7/cat.jpg" },
	{ "local:///a/b/c/cat.jpg", "local:///7/a/b/c/cat.jpg" },
	{ "local:///8/cat.jpg", "local:///7/8/cat.jpg" },
	{ "local:///7/cat.jpg", "local:///7/7/cat.jpg" },
	{ "local:///\xd0\xba\xd0\xbe\xd1\x82.jpg", "local:///7/\xd0\xba\xd0\xbe\xd1\x82.jpg" },
	{ "local:///\xe7\x8c\xab/\xf0\x9f\x90\x88.jpg", "local:///7/\xe7\x8c\xab/\xf0\x9f\x90\x88.jpg" },
	{ "local:///a b!@$&'()*+,;=:~^[]{}|<>`\".jpg", "local:///7/a b!@$&'()*+,;=:~^[]{}|<>`\".jpg" },
	{ "local:///a..b", "local:///7/a..b" },
	{ "local:///a.", "local:///7/a." },
	{ "local:///a../b", "local:///7/a../b" },
	{ "local:///-", "local:///7/-" },
	{ "local:///plain", "local:///7/plain" },
	{ "local:///", NULL },
	{ "local:////", NULL },
	{ "local:////cat.jpg", NULL },
	{ "local://///cat.jpg", NULL },
	{ "local:///cat.jpg/", NULL },
	{ "local:///a//b", NULL },
	{ "local:///.", NULL },
	{ "local:///..", NULL },
	{ "local:///...", NULL },
	{ "local:///../8/x", NULL },
	{ "local:///a/../../8/x", NULL },
	{ "local:///a/./b", NULL },
	{ "local:///a/..", NULL },
	{ "local:///.part-0123", NULL },
	{ "local:///a/.hidden", NULL },
	{ "local:///a\\..\\b", NULL },
	{ "local:///a?b", NULL },
	{ "local:///a#b", NULL },
	{ "local:///a%2fb", NULL },
	{ "local:///%2e%2e/8/x", NULL },
	{ "local:///a\tb", NULL },
	{ "local:///a\n", NULL },
	{ "local:///a\x7f", NULL },
	{ "local:///\xc0\xae\xc0\xae/8/x", NULL },
	{ "local:///\xe0\x80\xaf", NULL },
	{ "local:///\xed\xa0\x80", NULL },
	{ "local:///\xf4\x90\x80\x80", NULL },
	{ "local:///\xf0\x80\x80\xaf", NULL },
	{ "local:///\xc2\x85", NULL },
	{ "local:///\xc2", NULL },
	{ "local:///\xe2\x80", NULL },
	{ "local:///\xf0\x9f\x90", NULL },
	{ "local:///\x80", NULL },
	{ "local:///\xfe", NULL },
	{ "local:///a\xff", NULL },
	{ "LOCAL:///cat.jpg", NULL },
	{ "Local:///cat.jpg", NULL },
	{ "local://cat.jpg", NULL },
	{ "local://h/cat.jpg", NULL },
	{ "local://u:p@h:80/cat.jpg", NULL },
	{ "local:cat.jpg", NULL },
	{ "local:/cat.jpg", NULL },
	{ " local:///cat.jpg", NULL },
	{ "local :///cat.jpg", NULL },
	{ "file:///cat.jpg", NULL },
	{ "cat.jpg", NULL },
	{ "/cat.jpg", NULL },
	{ "//cat.jpg", NULL },
	{ "../8/cat.jpg", NULL },
	{ "", NULL },
};

/* Remote ones; the tenant's prefixes are those of world.h. */
static const struct {
	const char *source;
	const char *becomes;
} remotes[] = {
	{ "https://cdn.example.com/a/x.jpg", "https://cdn.example.com/a/x.jpg" },
	{ "HTTPS://CDN.example.com:443/b/../a/%78.jpg?q=1", "https://cdn.example.com/a/x.jpg?q=1" },
	{ "http://images.example", "http://images.example/" },
	{ "http://images.example?id=5", "http://images.example/?id=5" },
	{ "http://images.example/\xd0\xba", NULL },
	{ "http://images.example/%D0%BA%20x", "http://images.example/%D0%BA%20x" },
	{ "http://images.example/a b", "http://images.example/a%20b" },
	{ "https://one.example/only.jpg", "https://one.example/only.jpg" },
	{ "https://one.example/only.jpg?v=2", "https://one.example/only.jpg?v=2" },
	{ "s3://bucket/a/x.jpg", "s3://bucket/a/x.jpg" },
	{ "https://one.example/only.jpgx", NULL },
	{ "https://one.example/other.jpg", NULL },
	{ "https://cdn.example.com/a", NULL },
	{ "https://cdn.example.com/ab/x.jpg", NULL },
	{ "https://cdn.example.com/a/../b/x.jpg", NULL },
	{ "https://cdn.example.com/a/%2e%2e/b/x.jpg", NULL },
	{ "https://cdn.example.com/a/..%2fb/x.jpg", NULL },
	{ "https://cdn.example.com/a/..;/b/x.jpg", NULL },
	{ "https://cdn.example.com/a/%252e%252e/b/x.jpg", NULL },
	{ "https://cdn.example.com/a/..%5cb/x.jpg", NULL },
	{ "https://cdn.example.com/A/x.jpg", NULL },
	{ "https://cdn.example.com:8443/a/x.jpg", NULL },
	{ "https://cdn.example.com.evil.net/a/x.jpg", NULL },
	{ "https://cdn.example.com@evil.net/a/x.jpg", NULL },
	{ "https://evil.net#cdn.example.com/a/x.jpg", NULL },
	{ "https://evil.net/https://cdn.example.com/a/x.jpg", NULL },
	{ "https://evil.net?https://cdn.example.com/a/x.jpg", NULL },
	{ "https://cdn.example.com\\@evil.net/a/x.jpg", NULL },
	{ "https://cdn.example.com./a/x.jpg", NULL },
	{ "http://cdn.example.com/a/x.jpg", NULL },
	{ "https://127.0.0.1/a/x.jpg", NULL },
	{ "s3://bucket/a/", NULL },
	{ "s3://bucket/a", NULL },
	{ "s3://bucket/a/../b", NULL },
	{ "s3://bucket2/a/x.jpg", NULL },
	{ "gs://bucket/a/x.jpg", NULL },
	{ "data:image/png;base64,AAAA", NULL },
};

/* As base64 whole, in chunks with padding, and as plain text with every byte escaped. */
static void check_source(const char *source, const char *becomes)
{
	char forms[3][4096];
	char text[2048];
	size_t n = 0;

	write_base64(text, sizeof(text), sv_str(source));
	snprintf(forms[0], sizeof(forms[0]), "/img/unsafe/%s", text);
	n = (size_t)snprintf(forms[1], sizeof(forms[1]), "/img/unsafe/");
	for (size_t i = 0; text[i] != '\0'; i++)
		n += (size_t)snprintf(forms[1] + n, sizeof(forms[1]) - n, "%s%c", i % 5 == 4 ? "/" : "", text[i]);
	snprintf(forms[1] + n, sizeof(forms[1]) - n, "==");
	n = (size_t)snprintf(forms[2], sizeof(forms[2]), "/img/unsafe/plain/");
	for (size_t i = 0; source[i] != '\0'; i++)
		n += (size_t)snprintf(forms[2] + n, sizeof(forms[2]) - n, "%%%02x", (unsigned char)source[i]);
	for (size_t i = 0; i < 3; i++) {
		enum imgurl_result result = unsafe_path(sv_str(forms[i]));
		if (becomes != NULL) {
			if (result != IMGURL_OK)
				fail_msg("%s (%s): %s: %.*s", source, forms[i], result_name(result),
				         SV_ARG(out.detail));
			assert_source(becomes);
		} else if (result != IMGURL_SOURCE && source[0] != '\0') {
			fail_msg("%s (%s): %s", source, forms[i], result_name(result));
		} else {
			assert_int_not_equal(result, IMGURL_OK);
			assert_int_equal(out.target.n, 0);
			if (result == IMGURL_SOURCE)
				assert_true(sv_starts(out.detail, SV("The source is not allowed: ")));
		}
	}
}

static void test_sources(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++)
		check_source(locals[i].source, locals[i].becomes);
	for (size_t i = 0; i < sizeof(remotes) / sizeof(remotes[0]); i++)
		check_source(remotes[i].source, remotes[i].becomes);
}

static void test_no_remote_source_by_default(void **state)
{
	(void)state;
	struct imgurl_tenant tenant = make_tenant();
	static uint8_t none[] = { 0, 0 };
	tenant.sources = (struct imgurl_list){ NULL, 0 };
	for (size_t i = 0; i < sizeof(remotes) / sizeof(remotes[0]); i++) {
		char text[2048];
		char path[4096];
		write_base64(text, sizeof(text), sv_str(remotes[i].source));
		snprintf(path, sizeof(path), "/img/unsafe/%s", text);
		assert_int_equal(imgurl_rewrite(documented_key(), NULL, sv_str(path), &tenant, NOW, &out),
		                 IMGURL_SOURCE);
		/* An empty entry is no prefix of everything. */
		tenant.sources = (struct imgurl_list){ none, sizeof(none) };
		assert_int_equal(imgurl_rewrite(documented_key(), NULL, sv_str(path), &tenant, NOW, &out),
		                 IMGURL_SOURCE);
	}
}

/* The path after the signature of facts measured on imgproxy: with a key that may use it, and with what it becomes. */
static void test_escape_vectors(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		enum imgurl_result result; /* when it is IMGURL_OK, the source lies in the tenant's own folder */
	} rows[] = {
		{ "/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9hLy4uL2Ivc2VjcmV0LmpwZw.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local:///tenants/a/%2E%2E%2Fb%2Fsecret.jpg@png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local:///tenants/a/%c0%ae%c0%ae/b/secret.jpg@png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local://///tenants//b///secret.jpg@png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/bG9jYWw6Ly8vLy8vdGVuYW50cy8vYi8vc2VjcmV0LmpwZw.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local://whatever/tenants/b/secret.jpg@png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/bG9jYWw6Ly90ZW5hbnRzL3RlbmFudHMvYi9zZWNyZXQuanBn.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local://u:p%40h:80/tenants/b/secret.jpg@png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/bG9jYWw6Ly90ZW5hbnRzL2EvLi4vdGVuYW50cy9iL3NlY3JldC5qcGc.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGcjLy4uLy4uL2EvY2F0LmpwZw.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local:///tenants/b/secret.jpg%23/../../a/cat.jpg@png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9hXC4uXGIvc2VjcmV0LmpwZw.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local:///tenants/b/secret.jpg%00/../../a/cat.jpg@png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGcK.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGcv.png", IMGURL_SOURCE },
		{ "/rs:fit:50:0/plain/local:///tenants/b/secret.jpg%3F/plain/local:///tenants/a/cat.jpg@png",
		  IMGURL_SOURCE },
		{ "/raw:1/plain/local:///tenants/b/secret.txt@/../a/cat.jpg", IMGURL_OPTION },
		{ "/w:1/plain/local:///tenants/b/secret.txt@/../a/cat.jpg", IMGURL_INVALID },
		{ "/rs:fit:50:0/plain/local:///tenants/b/secret.jpg@png/../../a/cat.jpg", IMGURL_INVALID },
		{ "/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGc_eA%3D.png", IMGURL_INVALID },
		{ "/rs:fit:50:0///bG9jY//Ww6Ly//8vdGV//uYW50//cy9iL//3NlY3//JldC5//qcGc.png", IMGURL_OK },
		{ "/rs:fit:10:10/rs:fit:50:0/plain/local:///tenants/b/secret.jpg@png", IMGURL_OK },
		{ "/rs:fit:50:0/fn:eCINClNldC1Db29raWU6IGE9Yg:1/plain/local:///tenants/b/secret.jpg@png",
		  IMGURL_INVALID },
		{ "/w:50/plain/local:///tenants/a/ln.jpg", IMGURL_OK },
		/* options and parser */
		{ "/foo:1/plain/local:///x", IMGURL_OPTION },
		{ "/rs:fit:abc/plain/local:///x", IMGURL_INVALID },
		{ "/exp:1/plain/local:///x", IMGURL_EXPIRED },
		{ "/exp:-1/plain/local:///x", IMGURL_OK },
		{ "/exp:0/plain/local:///x", IMGURL_OK },
		{ "/msr:1/plain/local:///x", IMGURL_OPTION },
		{ "/wmu:aHR0cDovL2E/plain/local:///x", IMGURL_OPTION },
		{ "/pr:foo/plain/local:///x", IMGURL_OPTION },
		{ "/plain/local:///x", IMGURL_OK },
		{ "/w:1%2Fh:1/plain/local:///x", IMGURL_INVALID },
		{ "/bG9j%2FYWw6Ly8veA", IMGURL_INVALID },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char form[512];
		char path[512];
		snprintf(path, sizeof(path), "/img/unsafe%s", rows[i].path);
		enum imgurl_result result = unsafe_path(sv_str(path));
		if (result != rows[i].result)
			fail_msg("%s: %s: %.*s", path, result_name(result), SV_ARG(out.detail));
		/* The same with a signature. */
		snprintf(form, sizeof(form), "/signed/9/$%s", rows[i].path);
		assert_int_equal(signed_as(form, rows[i].path), rows[i].result);
		if (result == IMGURL_OK) {
			/* base64 of "local:///7/" and what begins the next byte */
			const char *slash = out.target.p + out.target.n;
			while (*--slash != '/')
				;
			assert_memory_equal(slash, "/bG9jYWw6Ly8vNy9", 16);
		}
	}
}

static void test_names_up_to_255_bytes(void **state)
{
	(void)state;
	char path[1024] = "/img/unsafe/plain/local:///";
	size_t n = strlen(path);
	memset(path + n, 'a', 255);
	assert_int_equal(unsafe_path(sv_str(path)), IMGURL_OK);
	path[n + 255] = '/';
	memset(path + n + 256, 'b', 255);
	assert_int_equal(unsafe_path(sv_str(path)), IMGURL_OK);
	path[n + 256 + 255] = 'b';
	assert_int_equal(unsafe_path(sv_str(path)), IMGURL_SOURCE);
	path[n + 255] = 'a';
	path[n + 256] = '\0';
	assert_int_equal(unsafe_path(sv_str(path)), IMGURL_SOURCE);
	/* 85 characters of three bytes */
	path[n] = '\0';
	for (int i = 0; i < 85; i++)
		strcat(path, "%E7%8C%AB");
	assert_int_equal(unsafe_path(sv_str(path)), IMGURL_OK);
	strcat(path, "a");
	assert_int_equal(unsafe_path(sv_str(path)), IMGURL_SOURCE);
}

/* Each byte as it is in the path, and escaped. */
static void test_every_byte(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char path[] = "/img/unsafe/plain/local:///aXb.jpg";
		*strchr(path, 'X') = (char)c;
		enum imgurl_result result = unsafe_path(sv_from(path, sizeof(path) - 1));
		if (c < 0x21 || c > 0x7e || c == '%' || c == '@')
			assert_int_equal(result, IMGURL_INVALID);
		else if (strchr("\\?#", c) != NULL)
			assert_int_equal(result, IMGURL_SOURCE);
		else
			assert_int_equal(result, IMGURL_OK);
		char escaped[64];
		snprintf(escaped, sizeof(escaped), "/img/unsafe/plain/local:///a%%%02Xb.jpg", c);
		result = unsafe_path(sv_str(escaped));
		bool fine = c >= 0x20 && c < 0x7f && strchr("\\?#%", c) == NULL;
		assert_int_equal(result, fine ? IMGURL_OK : IMGURL_SOURCE);
		/* In the place of an option's name, and between the parts. */
		for (size_t at = 0; at < strlen("/img/unsafe/"); at++) {
			char head[] = "/img/unsafe/w:1/plain/local:///a.jpg";
			if (head[at] == (char)c)
				continue;
			head[at] = (char)c;
			assert_int_equal(unsafe_path(sv_from(head, sizeof(head) - 1)), IMGURL_INVALID);
		}
	}
}

/* No path is too long for the buffers, and none that is allowed is read past its end. */
static void test_lengths(void **state)
{
	(void)state;
	static char path[IMGURL_PATH_MAX + 64];
	struct imgurl_tenant tenant = make_tenant();
	size_t n = (size_t)snprintf(path, sizeof(path), "/img/unsafe/");
	const char tail[] = "plain/local:///a.jpg";
	tenant.user_id = UINT64_MAX;
	while (n + 5 + sizeof(tail) - 1 <= IMGURL_PATH_MAX)
		n += (size_t)snprintf(path + n, sizeof(path) - n, "fn:x/");
	n += (size_t)snprintf(path + n, sizeof(path) - n, "%s", tail);
	assert_int_equal(imgurl_rewrite(documented_key(), NULL, sv_from(path, n), &tenant, NOW, &out), IMGURL_OK);
	assert_true(out.target.n < IMGURL_TARGET_MAX);
	/* A source of segments up to the path's end. */
	n = (size_t)snprintf(path, sizeof(path), "/img/unsafe/plain/local:///");
	for (size_t i = 0; n < sizeof(path); i++, n++)
		path[n] = i % 200 == 199 ? '/' : 'a';
	assert_int_equal(imgurl_rewrite(documented_key(), NULL, sv_from(path, IMGURL_PATH_MAX), &tenant, NOW, &out),
	                 IMGURL_OK);
	assert_int_equal(imgurl_rewrite(documented_key(), NULL, sv_from(path, IMGURL_PATH_MAX + 1), &tenant, NOW, &out),
	                 IMGURL_INVALID);
	/* Half of it options that grow, half a URL that triples. */
	n = (size_t)snprintf(path, sizeof(path), "/img/unsafe/");
	while (n < 2800)
		n += (size_t)snprintf(path + n, sizeof(path) - n, "fn:x/");
	n += (size_t)snprintf(path + n, sizeof(path) - n, "plain/http://images.example/");
	memset(path + n, '|', IMGURL_PATH_MAX - n);
	assert_int_equal(imgurl_rewrite(documented_key(), NULL, sv_from(path, IMGURL_PATH_MAX), &tenant, NOW, &out),
	                 IMGURL_INVALID);
	assert_int_equal(out.target.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_official_client),
		cmocka_unit_test(test_signed_paths),
		cmocka_unit_test(test_key_id),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_no_remote_source_by_default),
		cmocka_unit_test(test_escape_vectors),
		cmocka_unit_test(test_names_up_to_255_bytes),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_lengths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
