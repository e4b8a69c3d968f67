/*
 * Many thousands of paths, honest and not: whatever the rewrite lets pass, an imgproxy written apart (oracle.h) reads
 * as exactly one file of the tenant's folder, or one URL below a prefix. The honest ones must all pass, and name the
 * file or URL that they were made of, so that refusing everything is no way to pass the test.
 */
#include "world.h"

#include "base/cursor.h"
#include "oracle.h"

#define VARIANTS 240000
#define HONEST   60000
#define TEXT_MAX 2048

static const char *const prefixes[] = { "https://cdn.example.com/a/", "http://images.example/", "s3://bucket/a/",
	                                "https://one.example/only.jpg", NULL };
static struct oracle oracle = { .key = "secret", .salt = "hello", .user_id = USER_ID, .prefixes = prefixes };
static struct imgurl_out out;

/* ---- numbers that are the same in each run (splitmix64, Steele, Lea, Flood 2014) ---- */

static uint64_t seed;

static uint64_t next_random(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned below(unsigned n)
{
	return (unsigned)(next_random() % n);
}

static bool one_in(unsigned n)
{
	return below(n) == 0;
}

/* ---- text ---- */

struct text {
	char p[TEXT_MAX];
	size_t n;
};

static void add_bytes(struct text *t, const char *p, size_t n)
{
	for (size_t i = 0; i < n && t->n < sizeof(t->p) - 1; i++)
		t->p[t->n++] = p[i];
	t->p[t->n] = '\0';
}

static void add(struct text *t, const char *text)
{
	add_bytes(t, text, strlen(text));
}

#define PICK(list)     (list)[below(sizeof(list) / sizeof((list)[0]))]
#define ADD_PICK(t, l) add((t), PICK(l))

static void add_escaped(struct text *t, uint8_t c)
{
	char escape[4];

	if (one_in(2))
		snprintf(escape, sizeof(escape), "%%%02x", c);
	else
		snprintf(escape, sizeof(escape), "%%%02X", c);
	add(t, escape);
}

static void add_base64(struct text *t, const char *p, size_t n)
{
	char buf[4 * TEXT_MAX];
	struct wcur w;

	wcur_init(&w, buf, sizeof(buf));
	wcur_base64url(&w, p, n);
	assert_int_equal(w.err, ERR_OK);
	add_bytes(t, buf, wcur_len(&w));
}

/* ---- sources that somebody would try ---- */

static const char *const names[] = {
	"cat.jpg",
	"b",
	"8",
	"secret.jpg",
	"7",
	"a",
	"\xd0\xba\xd0\xbe\xd1\x82.jpg",
	"x",
	"plain",
	"local:",
	".part-0",
	"only.jpg",
	"...",
	"~",
	"a b",
	"\xc2\x85",
	"\xff",
	"\xc0\xae\xc0\xae",
	"\xe0\x80\xae",
	"-",
	"enc",
	"..;",
	"..;x=1",
	".;",
};
static const char *const dots[] = {
	"..",
	".",
	"",
	"%2e%2e",
	"%2E%2E",
	".%2e",
	"%2e",
	"%252e%252e",
	"%25252e",
	"..%00",
	"..%20",
	".. ",
	"..\t",
	"\\..",
	"..\\",
	"..%5c",
	"..%2f",
	"%2f",
	"%5c",
	"..%c0%af",
	"%c0%ae%c0%ae",
	"%e0%80%ae%e0%80%ae",
	"%uff0e%uff0e",
	"..;",
	"..%3b",
	"*",
	"%25%32%65%25%32%65",
	"\xef\xbc\x8e\xef\xbc\x8e",
	"..%0a",
	"..%0d%0a",
};
static const char *const slashes[] = {
	"/",      "/",     "/",  "/", "/", "/", "//", "///", "\\", "%2f", "%2F", "%5c", "/./", "/../", "\xef\xbc\x8f",
	"%c0%af", "/%2e/", ";/",
};
static const char *const schemes[] = {
	"local:///",
	"local:///",
	"local:///",
	"local:///",
	"local:///",
	"local:///",
	"local:///",
	"local:///",
	"LOCAL:///",
	"Local:///",
	"local:",
	"local:/",
	"local://",
	"local:////",
	"local://///",
	"local://h/",
	"local://u:p@h:80/",
	"local://7/",
	"local://..",
	"local:///7/",
	"local:///../7/",
	"local:///7/../",
	"local%3a///",
	"local:%2f%2f/",
	" local:///",
	"\tlocal:///",
	"local\n:///",
	"",
	"/",
	"//",
	"file:///",
	"http://",
	"https://",
	"local:\\\\\\",
	"local:///\\",
	"local:///%2f",
	"https://cdn.example.com/a/",
	"https://cdn.example.com/a/",
	"https://cdn.example.com/a/",
	"https://cdn.example.com/a",
	"https://cdn.example.com/",
	"HTTPS://CDN.EXAMPLE.COM:443/a/",
	"https://cdn.example.com:8443/a/",
	"https://cdn.example.com.evil.net/a/",
	"https://cdn.example.com@evil.net/a/",
	"https://evil.net/@cdn.example.com/a/",
	"https://evil.net#cdn.example.com/a/",
	"https://evil.net?cdn.example.com/a/",
	"https://cdn.example.com\\@evil.net/a/",
	"https:cdn.example.com/a/",
	"https:/cdn.example.com/a/",
	"https:///cdn.example.com/a/",
	"//cdn.example.com/a/",
	"https://cdn.example.com./a/",
	"https://cdn.example.com%2fa/",
	"https://u:p@cdn.example.com/a/",
	"https://cdn.example.com/%61/",
	"https://cdn.example.com/b/../a/",
	"https://cdn.example.com/a/../",
	"http://images.example/",
	"http://images.example",
	"http://images.example?",
	"http://images.example:80/",
	"http://0x7f.1/",
	"http://2130706433/",
	"http://127.1/",
	"http://[::1]/",
	"http://[::ffff:1.2.3.4]/",
	"http://[::1%25eth0]/",
	"s3://bucket/a/",
	"s3://bucket/",
	"S3://bucket/a/",
	"s3://Bucket/a/",
	"s3://bucket/a/../",
	"s3://bucket:80/a/",
	"s3://bucket//a/",
	"gs://bucket/a/",
	"abs://bucket/a/",
	"https://one.example/only.jpg",
	"https://one.example/only.jpg/..",
	"https://one.example/only.jpg?",
	"data:image/png;base64,",
	"ftp://cdn.example.com/a/",
};
static const char *const tails[] = { "",          "",     "",   "",          "",
	                             "",          "/",    "?x", "#x",        "%00",
	                             "%0a",       "\n",   "?",  "?/../../b", "#/../../b",
	                             "%3fx",      "%23x", "/.", "/..",       "//",
	                             "\\",        " ",    ".",  "@png",      "?a=https://x/",
	                             "/..;/..;/b" };

static void make_source(struct text *t)
{
	t->n = 0;
	ADD_PICK(t, schemes);
	unsigned parts = 1 + below(3);
	for (unsigned i = 0; i < parts; i++) {
		if (i > 0 && one_in(3))
			ADD_PICK(t, slashes);
		else if (i > 0)
			add(t, "/");
		if (one_in(6))
			ADD_PICK(t, dots);
		else
			ADD_PICK(t, names);
	}
	if (one_in(3))
		ADD_PICK(t, tails);
	/* A byte of any kind somewhere. */
	if (t->n > 0 && one_in(8))
		t->p[below((unsigned)t->n)] = (char)below(256);
}

/* ---- how a source is written ---- */

static void add_plain(struct text *t, const struct text *source, bool honest)
{
	unsigned rate = 1 + below(8);

	add(t, "plain/");
	for (size_t i = 0; i < source->n; i++) {
		uint8_t c = (uint8_t)source->p[i];
		/* What the path could not hold, or would be taken for something else. */
		bool must = c < 0x21 || c > 0x7e || (honest && strchr("%@?#", c) != NULL);
		/* A ":/" before an escape would be taken for one that lost a slash on its way. */
		bool scheme = honest && c == '/' && i > 0 && (source->p[i - 1] == ':' || source->p[i - 1] == '/');
		if (must || (!scheme && one_in(rate * rate)))
			add_escaped(t, c);
		else
			add_bytes(t, (char *)&c, 1);
	}
	static const char *const formats[] = { "", "", "@png", "@", "@webp", "@jpg" };
	static const char *const odd[] = { "@png@jpg", "@zzz", "@png/../../b", "@/../b",
		                           "@%70ng",   "@PNG", "@png?x",       "@.." };
	if (!honest && one_in(10))
		ADD_PICK(t, odd);
	else
		ADD_PICK(t, formats);
}

static void add_chunks(struct text *t, const struct text *source, bool honest)
{
	static const char *const padding[] = { "", "", "=", "==", "===" };
	static const char *const formats[] = { "", "", ".png", ".p/ng", "./webp", ".", ".jpg/" };
	static const char *const odd[] = { ".png.jpg", ".zzz", "%3D", "+", ".%70ng", "=x", "@png", "?x", "%2f", "." };
	struct text encoded = { .n = 0 };
	unsigned size = one_in(2) ? 0 : 1 + below(20);

	add_base64(&encoded, source->p, source->n);
	ADD_PICK(&encoded, padding);
	for (size_t i = 0; i < encoded.n; i++) {
		/* The first chunk must not look like something else. */
		if (size != 0 && i > 8 && i % size == 0)
			add(t, one_in(8) ? "//" : "/");
		char c = encoded.p[i];
		/* Bits that nobody looks at. */
		if (!honest && one_in(400))
			c = (char)(c ^ 1);
		add_bytes(t, &c, 1);
	}
	if (!honest && one_in(10))
		ADD_PICK(t, odd);
	else
		ADD_PICK(t, formats);
}

/* ---- options ---- */

static const char *const good_options[] = {
	"rs:fit:300:200/",
	"w:10/",
	"h:20/",
	"g:sm/",
	"q:80/",
	"f:webp/",
	"rs:fill:1:2:0:1:ce:0.5/",
	"dpr:2/",
	"bl:5/",
	"el:0/",
	"rot:90/",
	"exp:0/",
	"exp:1900000000/",
	"cb:v1/",
	"fn:cat/",
	"fn:Y2F0:1/",
	"pr:thumb:x/rs:fit:5:5:0/", /* alone it bounds what may stand beside it */
	"c:10:10:sm/",
	"t:10/",
	"bg:fff/",
	"att:t/",
	"resize:auto:10:10/",
	"quality:5/",
	"fq:jpg:5/",
	"skp:gif/",
	"pd:1:2/",
	"z:0.5/",
	"wm:0.5:re:1:1:0.5/",
	"exar:1/",
};
static const char *const bad_options[] = {
	"raw:1/",
	"enc:1/",
	"-/",
	"enc/",
	"msr:1/",
	"wmu:aHR0cDovL2E/",
	"foo:1/",
	"w:99999/",
	"pr:foo/",
	"skp:svg/",
	"exp:1/",
	"/",
	"//",
	"w/",
	"w:1%2fraw:1/",
	"raw%3A1/",
	"raw%3a1/",
	"plain/",
	"/plain/",
	"plain/local:///x/",
	"w:1/../",
	"../",
	"./",
	"w:%31/",
	"fn:a%2fb/",
	"cb:../",
	"fn:../",
	"pr:../x/",
	"unsafe/",
	"w:1?x/",
	"w:1#x/",
	"%70lain/",
	"w:1/plain/local:/",
	"fiu:eA/",
	"st:eA/",
	"w:1:/",
	":/",
	"rs%3Afit%3A1%3A1/",
	"dpr:9/",
	"bl:9999/",
};

static void add_options(struct text *t, bool honest)
{
	for (unsigned n = below(4); n > 0; n--) {
		if (!honest && one_in(15)) {
			ADD_PICK(t, bad_options);
			continue;
		}
		const char *option = PICK(good_options);
		/* As a proxy writes it. */
		if (!one_in(10)) {
			add(t, option);
			continue;
		}
		for (; *option != '\0'; option++)
			add_bytes(t, *option == ':' ? "%3A" : option, *option == ':' ? 3 : 1);
	}
}

/* ---- the path ---- */

/* `rest` behind the prefix, or signed; what a proxy does to a path comes after the signature. */
static enum imgurl_result rewrite(const struct text *rest, bool is_signed)
{
	static struct imgurl_tenant tenant;
	char signature[IMGURL_SIGNATURE_CHARS];
	struct text path = { .n = 0 };
	struct text normal = { .n = 0 };

	if (tenant.user_id == 0)
		tenant = make_tenant();
	if (!is_signed) {
		add(&path, "/img/unsafe/");
		add_bytes(&path, rest->p, rest->n);
		return imgurl_rewrite(documented_key(), NULL, sv_from(path.p, path.n), &tenant, NOW, &out);
	}
	add(&normal, "/");
	for (size_t i = 0; i < rest->n; i++) {
		/* Before "/plain/" alone, as a client signs. */
		bool colon = i + 3 <= rest->n && memcmp(rest->p + i, "%3A", 3) == 0 &&
		             memmem(normal.p, normal.n, "/plain/", 7) == NULL;
		add_bytes(&normal, colon ? ":" : rest->p + i, 1);
		i += colon ? 2 : 0;
	}
	assert_int_equal(imgurl_sign(documented_key(), sv_from(normal.p, normal.n), signature), ERR_OK);
	add(&path, "/signed/5/");
	add_bytes(&path, signature, sizeof(signature));
	add(&path, "/");
	add_bytes(&path, rest->p, rest->n);
	return imgurl_rewrite(documented_key(), documented_key(), sv_from(path.p, path.n), &tenant, NOW, &out);
}

static void assert_confined(const struct text *rest)
{
	const char *wrong = oracle_judge(&oracle, out.target.p, out.target.n);

	if (wrong != NULL)
		fail_msg("%s: %.*s: %s (%.*s)", rest->p, SV_ARG(out.target), wrong, (int)oracle.source_n,
		         oracle.source);
}

static void test_nothing_leads_out(void **state)
{
	(void)state;
	struct text source;
	struct text rest;
	unsigned results[IMGURL_INTERNAL + 1] = { 0 };
	unsigned remote = 0;
	seed = 5;
	for (unsigned i = 0; i < VARIANTS; i++) {
		rest.n = 0;
		make_source(&source);
		add_options(&rest, false);
		if (one_in(2))
			add_plain(&rest, &source, false);
		else
			add_chunks(&rest, &source, false);
		/* A second source behind the first, or something anywhere. */
		if (one_in(20))
			add_plain(&rest, &source, false);
		if (one_in(20))
			rest.p[below((unsigned)rest.n)] = (char)below(256);
		enum imgurl_result result = rewrite(&rest, one_in(3));
		results[result]++;
		if (result == IMGURL_OK) {
			assert_confined(&rest);
			remote += oracle.source[0] != 'l' ? 1 : 0;
		} else {
			assert_int_equal(out.target.n, 0);
		}
	}
	assert_int_equal(results[IMGURL_INTERNAL], 0);
	/* All kinds are met. */
	print_message("%u variants:", VARIANTS);
	for (unsigned i = 0; i < IMGURL_INTERNAL; i++) {
		print_message(" %s %u", result_name((enum imgurl_result)i), results[i]);
		assert_true(results[i] > 100);
	}
	print_message(" (of the ok ones %u remote)\n", remote);
	assert_true(results[IMGURL_OK] > VARIANTS / 20 && remote > 5000);
}

/* ---- honest ones ---- */

static const char *const honest_parts[] = {
	"cat.jpg",
	"photos",
	"2024",
	"a-b_c",
	"\xd0\xba\xd0\xbe\xd1\x82.jpg",
	"\xe7\x8c\xab",
	"a b",
	"x+y",
	"a@2x.png",
	"local:",
	"plain",
	"\xf0\x9f\x90\x88",
	"A.B.C",
	"a..b",
	"name.",
	"~",
	"(1)",
	"it's",
	"a,b;c",
	"a=b&c",
	"\xc3\xa9t\xc3\xa9.png",
	"100$",
	"[x]",
};

static void make_path(struct text *t)
{
	for (unsigned n = 1 + below(4); n > 0; n--) {
		ADD_PICK(t, honest_parts);
		if (n > 1)
			add(t, "/");
	}
}

static void test_honest_paths_pass(void **state)
{
	(void)state;
	struct text source;
	struct text wanted;
	struct text rest;
	seed = 7;
	for (unsigned i = 0; i < HONEST; i++) {
		bool local = !one_in(3);
		source.n = wanted.n = rest.n = 0;
		add(&source, local ? "local:///" : "s3://bucket/a/");
		add(&wanted, local ? "local:///7/" : "s3://bucket/a/");
		size_t head = source.n;
		make_path(&source);
		add_bytes(&wanted, source.p + head, source.n - head);
		add_options(&rest, true);
		if (one_in(2))
			add_plain(&rest, &source, true);
		else
			add_chunks(&rest, &source, true);
		/* ":/" before a name: imgproxy reads "://" there, and a client cannot mean anything else. */
		if (strstr(source.p + head, ":/") != NULL)
			continue;
		enum imgurl_result result = rewrite(&rest, one_in(2));
		if (result != IMGURL_OK)
			fail_msg("%s: %s: %.*s", rest.p, result_name(result), SV_ARG(out.detail));
		assert_confined(&rest);
		if (oracle.source_n != wanted.n || memcmp(oracle.source, wanted.p, wanted.n) != 0)
			fail_msg("%s: %.*s, not %s", rest.p, (int)oracle.source_n, oracle.source, wanted.p);
	}
}

/* Other spellings of allowed URLs, which all become the one. */
static void test_spellings_of_one_url(void **state)
{
	(void)state;
	static const char *const parts[] = { "HTTPS", "https", "Https", "httpS" };
	static const char *const hosts[] = { "cdn.example.com", "CDN.example.com", "cdn.EXAMPLE.com:443",
		                             "cdn.example.com:443" };
	static const char *const paths[] = { "/a/",    "/./a/", "/x/../a/", "/%61/",       "/a/b/../",
		                             "/../a/", "/a/./", "/a/%2e/",  "/x/%2E%2e/a/" };
	static const char wanted[] = "https://cdn.example.com/a/cat~1.jpg?v=1";
	struct text source;
	struct text rest;
	seed = 9;
	for (unsigned i = 0; i < 20000; i++) {
		source.n = rest.n = 0;
		ADD_PICK(&source, parts);
		add(&source, "://");
		ADD_PICK(&source, hosts);
		ADD_PICK(&source, paths);
		for (const char *p = "cat~1.jpg"; *p != '\0'; p++) {
			if (one_in(5))
				add_escaped(&source, (uint8_t)*p);
			else
				add_bytes(&source, p, 1);
		}
		add(&source, "?v=1");
		add_options(&rest, true);
		if (one_in(2))
			add_plain(&rest, &source, true);
		else
			add_chunks(&rest, &source, true);
		assert_int_equal(rewrite(&rest, one_in(2)), IMGURL_OK);
		assert_confined(&rest);
		assert_int_equal(oracle.source_n, sizeof(wanted) - 1);
		assert_memory_equal(oracle.source, wanted, sizeof(wanted) - 1);
	}
}

/* The oracle itself: what it must not let pass. */
static void test_the_oracle_sees(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"local:///8/x",
		"local:///7",
		"local:///7/",
		"local:///7/../8/x",
		"local:///7//x",
		"local:///7/x/",
		"local://h/7/x",
		"LOCAL:///7/x",
		"local:///7/a\\b",
		"local:///7/%2e",
		"local:///7/.x",
		"local:///7/x?y",
		"local:7/x",
		"http://x/",
		"https://cdn.example.com/b",
		"https://cdn.example.com/a/../b",
		"https://cdn.example.com/a/%2e%2e/b",
		"https://cdn.example.com/a/..;/b",
		"https://cdn.example.com/a/%252e%252e%252fb",
		"https://one.example/only.jpgx",
		"https://cdn.example.com/a/..\\b",
		"s3://bucket/b",
		"7/x",
		"",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char signature[IMGURL_SIGNATURE_CHARS];
		struct text path = { .n = 0 };
		struct text target = { .n = 0 };
		add(&path, "/w:1/");
		add_base64(&path, bad[i], strlen(bad[i]));
		assert_int_equal(imgurl_sign(documented_key(), sv_from(path.p, path.n), signature), ERR_OK);
		add(&target, "/");
		add_bytes(&target, signature, sizeof(signature));
		add_bytes(&target, path.p, path.n);
		const char *wrong = oracle_judge(&oracle, target.p, target.n);
		if (wrong == NULL || strstr(wrong, "signature") != NULL)
			fail_msg("%s: %s", bad[i], wrong != NULL ? wrong : "let pass");
		target.p[45] = 'h';
		assert_string_equal(oracle_judge(&oracle, target.p, target.n), "the signature is another");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_oracle_sees),
		cmocka_unit_test(test_nothing_leads_out),
		cmocka_unit_test(test_honest_paths_pass),
		cmocka_unit_test(test_spellings_of_one_url),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
