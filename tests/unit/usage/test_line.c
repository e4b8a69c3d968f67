/* Usage lines: what HAProxy logs, what it logs in odd cases, and what is none of its own. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usage/line.h"

#define HEADER "<134>1 2026-11-28T06:30:00.123456+00:00 gw haproxy 1234 - "
#define TOKEN  "5b1f0c9a7e3d4f62"

/* The fields of a line, in its order. */
enum {
	AT_ID = 0,
	AT_USER,
	AT_KEY,
	AT_CODE,
	AT_STATUS,
	AT_READ,
	AT_UPLOADED,
	AT_LENGTH,
	AT_HEAD,
	AT_REQUEST_LENGTH,
	AT_START,
	AT_ACTIVE,
	AT_RESPONSE,
	AT_TERMINATION,
	AT_BACKEND,
	AT_SERVER,
	AT_ROUTE,
	AT_METHOD,
	AT_ADDRESS,
	AT_PATH,
	AT_COUNT
};

static const char *const image[AT_COUNT] = {
	"3f2a9c1e-0d41-4a57-9b0e-1c2d3e4f5a6b",
	"7",
	"12",
	"-",
	"200",
	"48401",
	"213",
	"48213",
	"188",
	"-",
	"1764312345123",
	"18",
	"17",
	"----",
	"be_imgproxy",
	"img1",
	"image",
	"GET",
	"203.0.113.9",
	"/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg",
};
static const char *const upload[AT_COUNT] = {
	"3f2a9c1e-0d41-4a57-9b0e-1c2d3e4f5a6c",
	"7",
	"12",
	"-",
	"200",
	"420",
	"6831918",
	"220",
	"200",
	"6831736",
	"1764312345007",
	"1018",
	"1017",
	"----",
	"be_api",
	"api",
	"api",
	"POST",
	"203.0.113.9",
	"/api/v1/upload",
};

/* What a test works on: a line of these fields, and what was read of it. */
struct fixture {
	const char *fields[AT_COUNT];
	char line[16384];
	size_t n;
	struct usage_line_room room;
	struct usage_record r;
};

static struct fixture *make(const char *const fields[AT_COUNT])
{
	struct fixture *x = calloc(1, sizeof(*x));
	assert_non_null(x);
	memcpy(x->fields, fields, sizeof(x->fields));
	return x;
}

static void add(struct fixture *x, const char *text)
{
	size_t n = strlen(text);
	assert_true(x->n + n < sizeof(x->line));
	memcpy(x->line + x->n, text, n);
	x->n += n;
}

static void join(struct fixture *x)
{
	x->n = 0;
	add(x, HEADER "gwu1\t" TOKEN "\t");
	for (int i = 0; i < AT_COUNT; i++) {
		add(x, x->fields[i]);
		add(x, "\t");
	}
}

static enum usage_line_reason read_line(struct fixture *x)
{
	return usage_line_read(sv_from(x->line, x->n), SV(TOKEN), &x->room, &x->r);
}

/* The reason for the line in which one field is another one. */
static enum usage_line_reason read_with(struct fixture *x, int index, const char *text)
{
	const char *kept = x->fields[index];

	x->fields[index] = text;
	join(x);
	memset(&x->r, 0x5a, sizeof(x->r));
	enum usage_line_reason reason = read_line(x);
	x->fields[index] = kept;
	if (reason != USAGE_LINE_OK)
		assert_int_equal(x->r.status, 0x5a5a5a5a);
	return reason;
}

#define ASSERT_READS(x, index, text) assert_int_equal(read_with(x, index, text), USAGE_LINE_OK)
#define ASSERT_TEXT(view, text)      assert_true(sv_eq(view, SV(text)))

static void test_image(void **state)
{
	(void)state;
	struct fixture *x = make(image);

	join(x);
	add(x, " 203.0.113.9 GET /img/unsafe/rs:fit:300:200/plain/local:///cat.jpg 200 ----\r\n");
	assert_int_equal(read_line(x), USAGE_LINE_OK);
	ASSERT_TEXT(x->r.id, "3f2a9c1e-0d41-4a57-9b0e-1c2d3e4f5a6b");
	assert_int_equal(x->r.user, 7);
	assert_int_equal(x->r.key, 12);
	ASSERT_TEXT(x->r.code, "allow");
	assert_int_equal(x->r.status, 200);
	assert_true(x->r.start_ms == INT64_C(1764312345123));
	assert_int_equal(x->r.active_ms, 18);
	assert_int_equal(x->r.request_bytes, 0);
	assert_int_equal(x->r.response_bytes, 48213);
	assert_int_equal(x->r.billed_bytes, 48213);
	assert_int_equal(x->r.kind, USAGE_IMAGE);
	ASSERT_TEXT(x->r.termination, "----");
	ASSERT_TEXT(x->r.method, "GET");
	ASSERT_TEXT(x->r.backend, "be_imgproxy");
	ASSERT_TEXT(x->r.server, "img1");
	ASSERT_TEXT(x->r.address, "203.0.113.9");
	ASSERT_TEXT(x->r.path, "/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg");
	free(x);
}

static void test_upload(void **state)
{
	(void)state;
	struct fixture *x = make(upload);

	join(x);
	assert_int_equal(read_line(x), USAGE_LINE_OK);
	assert_int_equal(x->r.kind, USAGE_UPLOAD);
	assert_int_equal(x->r.request_bytes, 6831736);
	assert_int_equal(x->r.response_bytes, 220);
	assert_int_equal(x->r.billed_bytes, 6831736);
	assert_true(x->r.start_ms == INT64_C(1764312345007));
	free(x);
}

/* Just as HAProxy 2.6.12 writes them: an answer of its own, and a request that it could not read. */
static void test_logged(void **state)
{
	(void)state;
	struct usage_line_room room;
	struct usage_record r;
	char text[USAGE_TEXT_MAX];
	size_t n;
	struct sv want = SV(
	        "a3a3deb3-7e45-49da-bab4-dc6a80e7bca3\t7\t-\trate_limited\t429\t1795849248921\t0\t0\t5\t0\timage\t"
	        "LR--\tGET\tf\t<NOSRV>\t127.0.0.1\t/img/a\\b\"c]d%C3%A9");

	assert_int_equal(
	        usage_line_read(SV("<142>1 2026-11-28T07:00:48.922077+00:00 - haproxy 2219 - gwu1\ttok\t"
	                           "a3a3deb3-7e45-49da-bab4-dc6a80e7bca3\t7\t-\trate_limited\t429\t76\t59\t5\t-\t-\t"
	                           "1795849248921\t0\t-1\tLR--\tf\t<NOSRV>\timage\tGET\t127.0.0.1\t"
	                           "/img/a\\b\"c]d%C3%A9\t 127.0.0.1 GET /img/a\\b#22c]d%C3%A9 429\n"),
	                        SV("tok"), &room, &r),
	        USAGE_LINE_OK);
	assert_int_equal(usage_record_format(&r, text, sizeof(text), &n), ERR_OK);
	assert_true(sv_eq(sv_from(text, n), want));
	assert_int_equal(
	        usage_line_read(
	                SV("<142>1 2026-11-28T07:00:48.922717+00:00 - haproxy 2219 - gwu1\ttok\t-\t-\t-\t-\t400\t0\t"
	                   "0\t-\t-\t-\t1795849248922\t0\t-1\tPR--\tf\t<NOSRV>\t-\t<BADREQ>\t127.0.0.1\t-\t "
	                   "127.0.0.1 <BADREQ> <BADREQ> 400\n"),
	                SV("tok"), &room, &r),
	        USAGE_LINE_NOBODY);
}

/* Every number of the line reaches the bill as what it is. */
static void test_billed(void **state)
{
	(void)state;
	struct fixture *x = make(image);

	ASSERT_READS(x, AT_CODE, "allow");
	assert_int_equal(x->r.billed_bytes, 48213);
	ASSERT_READS(x, AT_CODE, "rate_limited");
	ASSERT_TEXT(x->r.code, "rate_limited");
	assert_int_equal(x->r.response_bytes, 48213);
	assert_int_equal(x->r.billed_bytes, 0);
	ASSERT_READS(x, AT_METHOD, "HEAD");
	assert_int_equal(x->r.response_bytes, 0);
	ASSERT_READS(x, AT_STATUS, "304");
	assert_int_equal(x->r.response_bytes, 0);
	ASSERT_READS(x, AT_HEAD, "-");
	assert_int_equal(x->r.response_bytes, 48213);
	assert_int_equal(x->r.billed_bytes, 0);
	ASSERT_READS(x, AT_LENGTH, "-");
	assert_int_equal(x->r.billed_bytes, 48401 - 188);
	ASSERT_READS(x, AT_REQUEST_LENGTH, "44");
	assert_int_equal(x->r.request_bytes, 44);
	x->fields[AT_TERMINATION] = "CD--";
	ASSERT_READS(x, AT_READ, "1188");
	assert_int_equal(x->r.billed_bytes, 1000);
	memcpy(x->fields, upload, sizeof(x->fields));
	x->fields[AT_TERMINATION] = "CD--";
	ASSERT_READS(x, AT_UPLOADED, "1256");
	assert_int_equal(x->r.billed_bytes, 1000);
	free(x);
}

static void test_odd_numbers(void **state)
{
	(void)state;
	struct fixture *x = make(image);

	/* Logged before the end, not known, or as a client wrote it. */
	ASSERT_READS(x, AT_READ, "+48401");
	ASSERT_READS(x, AT_READ, "-1");
	ASSERT_READS(x, AT_UPLOADED, "-");
	ASSERT_READS(x, AT_HEAD, "-99999999999999999999");
	assert_int_equal(x->r.response_bytes, 48213);
	assert_int_equal(x->r.billed_bytes, 0);
	ASSERT_READS(x, AT_STATUS, "-2");
	assert_int_equal(x->r.status, -1);
	ASSERT_READS(x, AT_LENGTH, "00048213");
	assert_int_equal(x->r.billed_bytes, 48213);
	ASSERT_READS(x, AT_LENGTH, "99999999999999999999999999999999999");
	assert_true(x->r.billed_bytes == USAGE_BYTES_MAX);
	ASSERT_READS(x, AT_LENGTH, "9223372036854775808");
	assert_true(x->r.billed_bytes == USAGE_BYTES_MAX);
	ASSERT_READS(x, AT_ACTIVE, "+18");
	assert_int_equal(x->r.active_ms, 18);
	ASSERT_READS(x, AT_ACTIVE, "-1");
	assert_int_equal(x->r.active_ms, -1);
	ASSERT_READS(x, AT_ACTIVE, "-");
	assert_int_equal(x->r.active_ms, -1);
	ASSERT_READS(x, AT_ACTIVE, "99999999999");
	assert_int_equal(x->r.active_ms, USAGE_ACTIVE_MAX_MS);
	ASSERT_READS(x, AT_RESPONSE, "-1");
	ASSERT_READS(x, AT_STATUS, "-1");
	assert_int_equal(x->r.status, -1);
	ASSERT_READS(x, AT_STATUS, "0");
	assert_int_equal(x->r.status, -1);
	ASSERT_READS(x, AT_STATUS, "-");
	assert_int_equal(x->r.status, -1);
	ASSERT_READS(x, AT_STATUS, "100");
	ASSERT_READS(x, AT_STATUS, "999");
	ASSERT_READS(x, AT_START, "0");
	assert_int_equal(x->r.start_ms, 0);
	ASSERT_READS(x, AT_START, "7258118400000");
	assert_true(x->r.start_ms == USAGE_START_MAX_MS);
	free(x);
}

static void test_unknown_fields(void **state)
{
	(void)state;
	struct fixture *x = make(image);

	ASSERT_READS(x, AT_KEY, "-");
	assert_int_equal(x->r.key, 0);
	ASSERT_READS(x, AT_KEY, "0");
	assert_int_equal(x->r.key, 0);
	ASSERT_READS(x, AT_TERMINATION, "-");
	assert_int_equal(x->r.termination.n, 0);
	ASSERT_READS(x, AT_BACKEND, "-");
	assert_int_equal(x->r.backend.n, 0);
	ASSERT_READS(x, AT_SERVER, "-");
	assert_int_equal(x->r.server.n, 0);
	ASSERT_READS(x, AT_METHOD, "-");
	assert_int_equal(x->r.method.n, 0);
	ASSERT_READS(x, AT_ADDRESS, "-");
	assert_int_equal(x->r.address.n, 0);
	ASSERT_READS(x, AT_PATH, "-");
	assert_int_equal(x->r.path.n, 0);
	ASSERT_READS(x, AT_SERVER, "<NOSRV>");
	ASSERT_TEXT(x->r.server, "<NOSRV>");
	free(x);
}

static void test_form(void **state)
{
	(void)state;
	static const struct {
		int index;
		const char *text;
	} rows[] = {
		{ AT_ID, "" },
		{ AT_ID, "-" },
		{ AT_ID, "a b" },
		{ AT_ID, "\x7f" },
		{ AT_USER, "" },
		{ AT_USER, "-7" },
		{ AT_USER, "07" },
		{ AT_USER, "x" },
		{ AT_USER, "9223372036854775808" },
		{ AT_KEY, "" },
		{ AT_KEY, "-1" },
		{ AT_KEY, "1a" },
		{ AT_KEY, "9223372036854775808" },
		{ AT_CODE, "" },
		{ AT_CODE, "a\nb" },
		{ AT_STATUS, "" },
		{ AT_STATUS, "99" },
		{ AT_STATUS, "1000" },
		{ AT_STATUS, "-x" },
		{ AT_STATUS, "ok" },
		{ AT_READ, "" },
		{ AT_READ, "+" },
		{ AT_READ, "++1" },
		{ AT_READ, "-+2" },
		{ AT_READ, "+-2" },
		{ AT_HEAD, "-2 " },
		{ AT_READ, "1.5" },
		{ AT_READ, "--" },
		{ AT_UPLOADED, "1 " },
		{ AT_LENGTH, "0x10" },
		{ AT_LENGTH, "5, 5" },
		{ AT_HEAD, "" },
		{ AT_HEAD, "a" },
		{ AT_REQUEST_LENGTH, "1/" },
		{ AT_REQUEST_LENGTH, "1:" },
		{ AT_START, "" },
		{ AT_START, "-" },
		{ AT_START, "1764312345.123" },
		{ AT_START, "1764312345123 " },
		{ AT_START, "+1764312345123" },
		{ AT_START, "1764312345,123" },
		{ AT_START, "1764312345 123" },
		{ AT_START, "176431234512:" },
		{ AT_START, "-1" },
		{ AT_START, "01764312345123" },
		{ AT_START, "7258118400001" },
		{ AT_START, "18446744073709551615" },
		{ AT_START, "99999999999999999999" },
		{ AT_ACTIVE, "" },
		{ AT_ACTIVE, "1ms" },
		{ AT_RESPONSE, "" },
		{ AT_RESPONSE, "1ms" },
		{ AT_TERMINATION, "" },
		{ AT_BACKEND, "" },
		{ AT_SERVER, "" },
		{ AT_SERVER, "caf\xc3\xa9" },
		{ AT_ROUTE, "" },
		{ AT_ROUTE, "health" },
		{ AT_ROUTE, "images" },
		{ AT_ROUTE, "ap" },
		{ AT_METHOD, "" },
		{ AT_ADDRESS, "" },
		{ AT_ADDRESS, "::1 " },
		{ AT_PATH, "" },
	};
	struct fixture *x = make(image);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum usage_line_reason reason = read_with(x, rows[i].index, rows[i].text);
		if (reason != USAGE_LINE_FORM)
			fail_msg("field %d as '%s': %s", rows[i].index, rows[i].text, usage_line_reason_name(reason));
	}
	free(x);
}

static void test_nobody(void **state)
{
	(void)state;
	struct fixture *x = make(image);

	assert_int_equal(read_with(x, AT_USER, "-"), USAGE_LINE_NOBODY);
	assert_int_equal(read_with(x, AT_USER, "0"), USAGE_LINE_NOBODY);
	/* A request that HAProxy could not read. */
	x->fields[AT_ID] = x->fields[AT_KEY] = x->fields[AT_SERVER] = x->fields[AT_ROUTE] = "-";
	x->fields[AT_METHOD] = x->fields[AT_PATH] = "<BADREQ>";
	assert_int_equal(read_with(x, AT_USER, "-"), USAGE_LINE_NOBODY);
	free(x);
}

static enum usage_line_reason read_text(struct sv line, struct sv token)
{
	static struct usage_line_room room;
	struct usage_record r;
	return usage_line_read(line, token, &room, &r);
}

static void test_token(void **state)
{
	(void)state;
	struct fixture *x = make(image);
	static const char *const wrong[] = {
		"5b1f0c9a7e3d4f6", "5b1f0c9a7e3d4f622", "5b1f0c9a7e3d4f63", "4b1f0c9a7e3d4f62", "-", "5B1F0C9A7E3D4F62"
	};

	join(x);
	struct sv line = sv_from(x->line, x->n);
	assert_int_equal(read_text(line, SV(TOKEN)), USAGE_LINE_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(read_text(line, sv_str(wrong[i])), USAGE_LINE_TOKEN);
	/* Without a token of its own nothing is believed, a line without one neither. */
	assert_int_equal(read_text(line, SV("")), USAGE_LINE_TOKEN);
	assert_int_equal(read_text(line, sv_from(NULL, 0)), USAGE_LINE_TOKEN);
	assert_int_equal(read_text(SV(HEADER "gwu1\t\ta\t7"), SV("")), USAGE_LINE_TOKEN);
	assert_int_equal(read_text(SV(HEADER "gwu1\t\ta\t7"), SV(TOKEN)), USAGE_LINE_TOKEN);
	assert_int_equal(read_text(SV(HEADER "gwu1\t"), SV(TOKEN)), USAGE_LINE_TOKEN);
	assert_int_equal(read_text(SV(HEADER "gwu1\t-\ta\t-"), SV(TOKEN)), USAGE_LINE_TOKEN);
	/* It comes first: with it what follows matters, without it nothing does. */
	assert_int_equal(read_text(SV(HEADER "gwu1\t" TOKEN), SV(TOKEN)), USAGE_LINE_FORM);
	assert_int_equal(read_text(SV(HEADER "gwu1\t" TOKEN "\t"), SV(TOKEN)), USAGE_LINE_FORM);
	assert_int_equal(read_text(SV(HEADER "gwu1\tx\t"), SV(TOKEN)), USAGE_LINE_TOKEN);
	free(x);
}

static void test_header(void **state)
{
	(void)state;
	struct fixture *x = make(image);
	char line[sizeof(x->line)];
	static const struct {
		const char *header;
		enum usage_line_reason want;
	} rows[] = {
		{ "<14>1 - - - - - gwu1", USAGE_LINE_OK },
		{ "      gwu1", USAGE_LINE_OK }, /* whatever the words hold */
		{ "<134>1 t h a 1 gwu1", USAGE_LINE_FORM },
		{ "<134>1 t h a 1 - - gwu1", USAGE_LINE_FORM },
		{ "gwu1", USAGE_LINE_FORM },
		{ "<134>1 t h a 1 - gwu2", USAGE_LINE_FORM },
		{ "<134>1 t h a 1 - gwu", USAGE_LINE_FORM },
		{ "<134>1 t h a 1 - gwu1 ", USAGE_LINE_FORM },
		{ "<134>1 t h a 1 - -", USAGE_LINE_FORM },
	};

	join(x);
	const char *fields = x->line + sizeof(HEADER "gwu1") - 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int n = snprintf(line, sizeof(line), "%s%.*s", rows[i].header, (int)(x->n - (size_t)(fields - x->line)),
		                 fields);
		enum usage_line_reason reason = read_text(sv_from(line, (size_t)n), SV(TOKEN));
		if (reason != rows[i].want)
			fail_msg("'%s': %s", rows[i].header, usage_line_reason_name(reason));
	}
	/* What else may come over the same wire. */
	assert_int_equal(read_text(sv_from(NULL, 0), SV(TOKEN)), USAGE_LINE_FORM);
	assert_int_equal(read_text(SV(""), SV(TOKEN)), USAGE_LINE_FORM);
	assert_int_equal(read_text(SV("12 event(s) dropped\n"), SV(TOKEN)), USAGE_LINE_FORM);
	assert_int_equal(read_text(SV("<133>1 t h haproxy 1 - - Server be_imgproxy/img1 is DOWN.\n"), SV(TOKEN)),
	                 USAGE_LINE_FORM);
	free(x);
}

/* Cut anywhere before the tab behind the path it is no line; from there on it is the same one. */
static void test_cut(void **state)
{
	(void)state;
	struct fixture *x = make(image);
	size_t token_end = sizeof(HEADER "gwu1\t" TOKEN) - 1;

	join(x);
	size_t whole = x->n;
	add(x, " for people \t with\ttabs\t and \xff bytes\r\n");
	size_t all = x->n;
	for (x->n = 0; x->n <= all; x->n++) {
		/* A block of just its length, so that a sanitizer sees a read behind it. */
		char *copy = malloc(x->n + 1);
		assert_non_null(copy);
		memcpy(copy + 1, x->line, x->n);
		enum usage_line_reason want = x->n >= whole ? USAGE_LINE_OK : USAGE_LINE_FORM;
		if (x->n >= sizeof(HEADER "gwu1\t") - 1 && x->n < token_end)
			want = USAGE_LINE_TOKEN;
		enum usage_line_reason reason = read_text(sv_from(copy + 1, x->n), SV(TOKEN));
		free(copy);
		if (reason != want)
			fail_msg("%zu bytes: %s", x->n, usage_line_reason_name(reason));
	}
	free(x);
}

static void test_kinds(void **state)
{
	(void)state;
	static const struct {
		const char *route;
		const char *method;
		const char *path;
		enum usage_kind want;
	} rows[] = {
		{ "image", "GET", "/img/a", USAGE_IMAGE },
		{ "image", "POST", "/api/v1/upload", USAGE_IMAGE },
		{ "api", "POST", "/api/v1/upload", USAGE_UPLOAD },
		{ "api", "GET", "/api/v1/upload", USAGE_API },
		{ "api", "post", "/api/v1/upload", USAGE_API },
		{ "api", "POST", "/api/v1/upload/", USAGE_API },
		{ "api", "POST", "/api/v1/uploa", USAGE_API },
		{ "api", "GET", "/api/v1/images", USAGE_API },
		{ "api", "GET", "/img/a", USAGE_API },
		{ "-", "GET", "/api/v2", USAGE_API },
		{ "-", "GET", "/api", USAGE_IMAGE },
		{ "-", "GET", "-", USAGE_IMAGE },
	};
	struct fixture *x = make(image);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		x->fields[AT_ROUTE] = rows[i].route;
		x->fields[AT_METHOD] = rows[i].method;
		ASSERT_READS(x, AT_PATH, rows[i].path);
		if (x->r.kind != rows[i].want)
			fail_msg("%s %s %s: %s", rows[i].route, rows[i].method, rows[i].path,
			         usage_kind_name(x->r.kind));
	}
	free(x);
}

static void check_path(struct fixture *x, const char *path, const char *want)
{
	ASSERT_READS(x, AT_PATH, path);
	if (!sv_eq(x->r.path, sv_str(want)))
		fail_msg("%s became %.*s", path, SV_ARG(x->r.path));
}

static void test_escapes(void **state)
{
	(void)state;
	struct fixture *x = make(image);

	check_path(x, "/!~", "/!~");
	check_path(x, "/a b", "/a%20b");
	check_path(x, "/caf\xc3\xa9", "/caf%C3%A9");
	check_path(x, "/\x01\x1f\x7f\xff", "/%01%1F%7F%FF");
	check_path(x, "/a\r\n", "/a%0D%0A");
	check_path(x, "/%41%zz%", "/%41%zz%");
	check_path(x, "/\\\"'", "/\\\"'");
	check_path(x, "*", "*");
	free(x);
}

static void test_signatures(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "/signed/12/c2lnbmF0dXJl/rs:fit/plain/local:///cat.jpg",
		  "/signed/12/*/rs:fit/plain/local:///cat.jpg" },
		{ "/signed/12/c2lnbmF0dXJl/", "/signed/12/*/" },
		{ "/signed/12/c2lnbmF0dXJl", "/signed/12/*" },
		{ "/signed/12/", "/signed/12/*" },
		{ "/signed/12//rs:fit", "/signed/12/*/rs:fit" },
		{ "/signed/12/\xc3\xa9 x/a b", "/signed/12/*/a%20b" },
		{ "/signed//c2lnbmF0dXJl/a", "/signed//*/a" },
		{ "/signed/\xff/c2lnbmF0dXJl/a", "/signed/%FF/*/a" },
		{ "/signed/12", "/signed/12" },
		{ "/signed/", "/signed/" },
		{ "/signed", "/signed" },
		{ "/signedx/12/c2lnbmF0dXJl/a", "/signedx/12/c2lnbmF0dXJl/a" },
		{ "/img/signed/12/c2lnbmF0dXJl", "/img/signed/12/c2lnbmF0dXJl" },
	};
	struct fixture *x = make(image);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_path(x, rows[i][0], rows[i][1]);
	free(x);
}

/* `n` bytes 'x' between a head and a tail. */
static const char *long_path(const char *head, size_t n, const char *tail)
{
	static char path[8192];
	size_t at = strlen(head);

	assert_true(at + n + strlen(tail) < sizeof(path));
	memcpy(path, head, at);
	memset(path + at, 'x', n);
	memcpy(path + at + n, tail, strlen(tail) + 1);
	return path;
}

static void check_long(struct fixture *x, const char *head, size_t n, const char *tail, size_t want, const char *end)
{
	ASSERT_READS(x, AT_PATH, long_path(head, n, tail));
	assert_int_equal(x->r.path.n, want);
	assert_memory_equal(x->r.path.p + want - strlen(end), end, strlen(end));
}

static void test_long_paths(void **state)
{
	(void)state;
	struct fixture *x = make(image);
	size_t max = USAGE_PATH_MAX;

	check_long(x, "/", max - 1, "", max, "xx");
	check_long(x, "/", max, "", max, "xx");
	check_long(x, "/", 4000, "", max, "xx");
	/* Our own escapes whole or not at all, with nothing behind a byte that had no room. */
	check_long(x, "/", max - 4, "\xff", max, "x%FF");
	check_long(x, "/", max - 3, "\xff", max - 2, "xx");
	check_long(x, "/", max - 2, "\xff", max - 1, "xx");
	check_long(x, "/", max - 3, "\xffyy", max - 2, "xx");
	/* A client's escape likewise, as long as something was cut. */
	check_long(x, "/", max - 4, "%41", max, "x%41");
	check_long(x, "/", max - 4, "%41y", max, "x%41");
	check_long(x, "/", max - 3, "%41", max - 2, "xx");
	check_long(x, "/", max - 2, "%41", max - 1, "xx");
	check_long(x, "/", max - 1, "%41", max, "xx");
	check_long(x, "/", max - 3, "%4", max, "x%4");
	/* A signature: masked where it fits, and gone where its place is cut; never part of it. */
	check_long(x, "/signed/1/", 3000, "/rs:fit", strlen("/signed/1/*/rs:fit"), "/signed/1/*/rs:fit");
	check_long(x, "/signed/1/SIGNATURE/", 3000, "", max, "xx");
	check_long(x, "/signed/", max - 9, "/SIGNATURE/a", max, "x/");
	check_long(x, "/signed/", max - 10, "/SIGNATURE/a", max, "x/*");
	check_long(x, "/signed/", max - 11, "/SIGNATURE/a", max, "x/*/");
	check_long(x, "/signed/", max - 8, "/SIGNATURE/a", max, "xx");
	check_long(x, "/signed/", 3000, "/SIGNATURE/a", max, "xx");
	free(x);
}

static void test_long_fields(void **state)
{
	(void)state;
	static const int words[] = { AT_CODE, AT_TERMINATION, AT_BACKEND, AT_SERVER, AT_METHOD, AT_ADDRESS };
	struct fixture *x = make(image);
	char buf[USAGE_TEXT_MAX];
	char text[USAGE_ID_MAX + 2] = { 0 };
	size_t n;

	/* All of them at once, and one more byte than is kept. */
	memset(text, 'i', USAGE_ID_MAX + 1);
	char *word = text + USAGE_ID_MAX - USAGE_WORD_MAX;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		x->fields[words[i]] = word;
	x->fields[AT_ID] = text;
	ASSERT_READS(x, AT_PATH, long_path("/", 4000, ""));
	assert_int_equal(x->r.id.n, USAGE_ID_MAX);
	assert_int_equal(x->r.code.n, USAGE_WORD_MAX);
	assert_int_equal(x->r.termination.n, USAGE_WORD_MAX);
	assert_int_equal(x->r.backend.n, USAGE_WORD_MAX);
	assert_int_equal(x->r.server.n, USAGE_WORD_MAX);
	assert_int_equal(x->r.method.n, USAGE_WORD_MAX);
	assert_int_equal(x->r.address.n, USAGE_WORD_MAX);
	assert_int_equal(usage_record_format(&x->r, buf, sizeof(buf), &n), ERR_OK);
	free(x);
}

static void test_reason_names(void **state)
{
	(void)state;
	assert_string_equal(usage_line_reason_name(USAGE_LINE_OK), "ok");
	assert_string_equal(usage_line_reason_name(USAGE_LINE_TOKEN), "token");
	assert_string_equal(usage_line_reason_name(USAGE_LINE_FORM), "form");
	assert_string_equal(usage_line_reason_name(USAGE_LINE_NOBODY), "nobody");
	assert_string_equal(usage_line_reason_name(USAGE_LINE_REASONS), "unknown");
}

/* What HAProxy says of itself; what another one logs of its requests is a line of the wrong form. */
static void test_notices(void **state)
{
#define SAID "1 2026-11-28T06:30:00.1+00:00 - haproxy 7 - - Proxy fe_gateway stopped (cumulated conns: FE: 35, BE: 0)."
	static const struct {
		const char *line;
		enum usage_line_reason reason;
	} rows[] = {
		{ "<140>" SAID "\n", USAGE_LINE_NOTICE }, /* local1.warning */
		{ "<136>" SAID, USAGE_LINE_NOTICE },      /* local1.emerg: no descriptors, no room */
		{ "<141>" SAID, USAGE_LINE_NOTICE },      /* local1.notice */
		{ "<142>" SAID, USAGE_LINE_FORM },        /* local1.info, local1.err: of a request */
		{ "<139>" SAID, USAGE_LINE_FORM },
		{ "<143>" SAID, USAGE_LINE_FORM },
		{ "<132>" SAID, USAGE_LINE_FORM }, /* local0 */
		{ "<148>" SAID, USAGE_LINE_FORM }, /* local2 */
		{ "<0140>" SAID, USAGE_LINE_FORM },
		{ "<140" SAID, USAGE_LINE_FORM },
		{ "140>" SAID, USAGE_LINE_FORM },
		{ "<>" SAID, USAGE_LINE_FORM },
		{ "<140>", USAGE_LINE_NOTICE },
		{ "<140>1 - - - - - gwu1\tnot-the-token\t", USAGE_LINE_TOKEN },
		{ "", USAGE_LINE_FORM },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(read_text(sv_str(rows[i].line), SV(TOKEN)), rows[i].reason);
	assert_string_equal(usage_line_reason_name(USAGE_LINE_NOTICE), "notice");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image),        cmocka_unit_test(test_logged),
		cmocka_unit_test(test_upload),       cmocka_unit_test(test_billed),
		cmocka_unit_test(test_odd_numbers),  cmocka_unit_test(test_unknown_fields),
		cmocka_unit_test(test_form),         cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_token),        cmocka_unit_test(test_header),
		cmocka_unit_test(test_cut),          cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_escapes),      cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_long_paths),   cmocka_unit_test(test_long_fields),
		cmocka_unit_test(test_reason_names), cmocka_unit_test(test_notices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
