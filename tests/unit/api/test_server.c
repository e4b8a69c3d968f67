/* LDFLAGS: -Wl,--wrap=write */
/* The whole service over a unix socket: raw HTTP in, the answer and the folder checked. */
#include "api/service.h"

#include "base/clock.h"

/* What the program bounds: bytes of a body that is dropped, and requests that are served at once. */
#define REST_BYTES    65536
#define REQUESTS_MOST 512

static void assert_problem(const char *answer, int status, const char *code)
{
	char text[64];

	snprintf(text, sizeof(text), "HTTP/1.1 %d ", status);
	assert_has(answer, text);
	assert_has(answer, "application/problem+json");
	snprintf(text, sizeof(text), "\"code\":\"%s\"", code);
	assert_has(answer, text);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
}

static void assert_stored(const char *answer, size_t files)
{
	assert_has(answer, "HTTP/1.1 200 ");
	assert_has(answer, "\"content_type\":\"image/gif\"");
	assert_has(answer, "\"width\":37,\"height\":23");
	assert_int_equal(folder_count(&folder, USER_DIR, ".part-", NULL), 0);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), files);
}

#define POST "POST /api/v1/upload HTTP/1.1\r\n" PROXY

static void test_raw(void **state)
{
	char answer[ANSWER_MAX];
	char name[256];
	char path[512];
	uint8_t stored[4096];
	(void)state;

	ask(POST, gif, gif_len, answer);
	assert_stored(answer, 1);
	folder_count(&folder, USER_DIR, "", name);
	snprintf(path, sizeof(path), "%s/" USER_DIR "/%s", folder.path, name);
	assert_int_equal(file_read(path, stored, sizeof(stored)), gif_len);
	assert_memory_equal(stored, gif, gif_len);
	/* what curl --data-binary says of itself does not make it a form */
	ask(POST "Content-Type: application/x-www-form-urlencoded\r\n", gif, gif_len, answer);
	assert_stored(answer, 1);
}

static void test_chunked_and_keep_alive(void **state)
{
	char answer[ANSWER_MAX];
	char text[1024];
	(void)state;

	int fd = dial();
	snprintf(text, sizeof(text), POST "Transfer-Encoding: chunked\r\n\r\n3\r\n%.3s\r\n%zx\r\n", (const char *)gif,
	         gif_len - 3);
	put(fd, text, strlen(text));
	put(fd, gif + 3, gif_len - 3);
	put(fd, "\r\n0\r\n\r\n", 7);
	snprintf(text, sizeof(text), POST "Connection: close\r\nContent-Length: %zu\r\n\r\n", gif_len);
	put(fd, text, strlen(text));
	put(fd, gif, gif_len);
	get(fd, answer);
	assert_stored(answer, 1);
	assert_has(strstr(answer, "200 OK") + 1, "200 OK");
}

static void test_expect_continue(void **state)
{
	char answer[ANSWER_MAX];
	char text[1024];
	(void)state;

	int fd = dial();
	snprintf(text, sizeof(text), POST "Connection: close\r\nExpect: 100-continue\r\nContent-Length: %zu\r\n\r\n",
	         gif_len);
	put(fd, text, strlen(text));
	ssize_t n = recv(fd, answer, ANSWER_MAX - 1, 0);
	assert_true(n > 0);
	answer[n] = '\0';
	assert_has(answer, "HTTP/1.1 100 ");
	put(fd, gif, gif_len);
	get(fd, answer);
	assert_stored(answer, 1);
}

/* A refusal comes at once when the client waits with its body. */
static void test_expect_refused(void **state)
{
	char answer[ANSWER_MAX];
	(void)state;

	int fd = dial();
	const char *head = POST "Expect: 100-continue\r\nContent-Length: 8193\r\n\r\n";
	put(fd, head, strlen(head));
	get(fd, answer);
	assert_problem(answer, 413, "too_large");
	assert_null(strstr(answer, "HTTP/1.1 100"));
}

#define FORM "Content-Type: multipart/form-data; boundary=XyZ\r\n"

struct form {
	char text[8192];
	size_t len;
};

static void form_add(struct form *f, const void *data, size_t len)
{
	assert_true(len <= sizeof(f->text) - f->len);
	memcpy(f->text + f->len, data, len);
	f->len += len;
}

static void form_part(struct form *f, const char *name, const void *data, size_t len)
{
	char head[256];

	snprintf(head, sizeof(head),
	         "--XyZ\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"../../x.png\"\r\n"
	         "Content-Type: text/html\r\n\r\n",
	         name);
	form_add(f, head, strlen(head));
	form_add(f, data, len);
	form_add(f, "\r\n", 2);
}

static void form_end(struct form *f)
{
	form_add(f, "--XyZ--\r\n", 9);
}

static void test_multipart(void **state)
{
	static struct form f;
	char answer[ANSWER_MAX];
	(void)state;

	f.len = 0;
	form_part(&f, "title", "a -- b\r\n--Xy", 12);
	form_part(&f, "file", gif, gif_len);
	form_part(&f, "after", "", 0);
	form_end(&f);
	ask(POST FORM, f.text, f.len, answer);
	assert_stored(answer, 1);
	/* as some clients say it */
	ask(POST "Content-Type: multipart/form-data; boundary=XyZ; charset=UTF-8\r\n", f.text, f.len, answer);
	assert_stored(answer, 1);
	ask(POST "Content-Type: Multipart/Form-Data; boundary=\"XyZ\" ; charset=UTF-8\r\n", f.text, f.len, answer);
	assert_stored(answer, 1);
}

/* A small image, so that every byte can be the last of a piece. */
static void test_multipart_split_at_every_byte(void **state)
{
	static const char tiny[] = "GIF89a\x25\0\x17\0\0\0\0\r\n--Xy\r\n\r\n--;";
	static struct form f;
	char answer[ANSWER_MAX];
	char head[512];
	char first[74];
	(void)state;

	f.len = 0;
	form_part(&f, "file", tiny, sizeof(tiny) - 1);
	form_part(&f, "x", "y", 1);
	form_end(&f);
	snprintf(head, sizeof(head), POST FORM "Connection: close\r\nContent-Length: %zu\r\n\r\n", f.len);
	for (size_t at = 0; at <= f.len; at++) {
		int fd = dial();
		put(fd, head, strlen(head));
		put(fd, f.text, at);
		wait_read(fd);
		put(fd, f.text + at, f.len - at);
		get(fd, answer);
		assert_stored(answer, 1);
		assert_has(answer, "\"bytes\":26,");
		/* every split gives the same bytes */
		const char *sha = strstr(answer, "\"sha256\":");
		assert_non_null(sha);
		if (at == 0)
			memcpy(first, sha, sizeof(first));
		assert_memory_equal(sha, first, sizeof(first));
	}
}

static void test_bad_forms(void **state)
{
	static struct form f;
	char answer[ANSWER_MAX];
	(void)state;

	f.len = 0;
	form_part(&f, "file", gif, gif_len);
	size_t one = f.len;
	form_end(&f);
	size_t whole = f.len;
	/* cut off: in the part, after it, in the last boundary */
	ask(POST FORM, f.text, one - 100, answer);
	assert_problem(answer, 400, "bad_request");
	ask(POST FORM, f.text, one, answer);
	assert_problem(answer, 400, "bad_request");
	ask(POST FORM, f.text, whole - 5, answer);
	assert_problem(answer, 400, "bad_request");
	/* no boundary; another boundary; no part of that name; no bytes in it */
	ask(POST "Content-Type: multipart/form-data\r\n", f.text, whole, answer);
	assert_problem(answer, 400, "bad_request");
	ask(POST "Content-Type: multipart/form-data; boundary=other\r\n", f.text, whole, answer);
	assert_problem(answer, 400, "bad_request");
	f.len = 0;
	form_part(&f, "files", gif, gif_len);
	form_end(&f);
	ask(POST FORM, f.text, f.len, answer);
	assert_problem(answer, 400, "bad_request");
	f.len = 0;
	form_part(&f, "file", "", 0);
	form_end(&f);
	ask(POST FORM, f.text, f.len, answer);
	assert_problem(answer, 400, "bad_request");
	f.len = 0;
	form_part(&f, "file", gif, gif_len);
	form_part(&f, "file", gif, gif_len);
	form_end(&f);
	ask(POST FORM, f.text, f.len, answer);
	assert_problem(answer, 400, "bad_request");
	/* the first one is empty */
	static const char empty[] = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n"
	                            "Content-Type: application/octet-stream\r\n\r\n\r\n";
	f.len = 0;
	form_add(&f, empty, sizeof(empty) - 1);
	form_part(&f, "file", gif, gif_len);
	form_end(&f);
	ask(POST FORM, f.text, f.len, answer);
	assert_problem(answer, 400, "bad_request");
	assert_has(answer, "more than one file");
}

static void test_bodies_refused(void **state)
{
	static const uint8_t zeros[3 * MAX_SIZE];
	char answer[ANSWER_MAX];
	(void)state;

	ask(POST, "", 0, answer);
	assert_problem(answer, 400, "bad_request");
	ask(POST "Content-Type: image/png\r\n", "not an image", 12, answer);
	assert_problem(answer, 415, "type_unsupported");
	ask(POST, gif, 8, answer);
	assert_problem(answer, 415, "type_unsupported");
	ask(POST, zeros, MAX_SIZE + 1, answer);
	assert_problem(answer, 413, "too_large");
	assert_has(answer, "\"request_id\":\"id-1\"");
}

/* Without a Content-Length the size is found while the bytes come. */
static void test_too_large_while_streaming(void **state)
{
	static uint8_t zeros[3 * MAX_SIZE];
	static struct form f;
	char answer[ANSWER_MAX];
	char text[512];
	(void)state;

	int fd = dial();
	snprintf(text, sizeof(text), POST "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n",
	         sizeof(zeros));
	put(fd, text, strlen(text));
	put(fd, zeros, sizeof(zeros));
	put(fd, "\r\n0\r\n\r\n", 7);
	get(fd, answer);
	assert_problem(answer, 413, "too_large");

	/* a form may be a little longer than its file */
	fd = dial();
	f.len = 0;
	form_part(&f, "file", "", 0);
	snprintf(text, sizeof(text), POST FORM "Connection: close\r\nContent-Length: %zu\r\n\r\n",
	         f.len + sizeof(zeros) + 9);
	put(fd, text, strlen(text));
	put(fd, f.text, f.len - 2);
	put(fd, zeros, sizeof(zeros));
	put(fd, "\r\n--XyZ--\r\n", 11);
	get(fd, answer);
	assert_problem(answer, 413, "too_large");
}

#define LIMITED(n) POST "X-GW-Storage-Limit: " n "\r\n"

/* The limit that comes with the request, for what the folder holds and for what comes. */
static void test_storage_limit(void **state)
{
	static struct form f;
	char answer[ANSWER_MAX];
	char head[1024];
	(void)state;

	ask(LIMITED("100"), gif, gif_len, answer);
	assert_problem(answer, 507, "quota_storage");
	assert_has(answer, "0 of 100 bytes are used");
	ask(LIMITED("many"), gif, gif_len, answer);
	assert_problem(answer, 503, "unavailable");
	/* a form that is longer than the limit, with a file that is not */
	f.len = 0;
	form_part(&f, "file", gif, gif_len);
	form_end(&f);
	snprintf(head, sizeof(head), POST FORM "X-GW-Storage-Limit: %" PRIu64 "\r\n", storage_size(gif_len) - 1);
	ask(head, f.text, f.len, answer);
	assert_problem(answer, 507, "quota_storage");
	snprintf(head, sizeof(head), POST FORM "X-GW-Storage-Limit: %" PRIu64 "\r\n", storage_size(gif_len));
	ask(head, f.text, f.len, answer);
	assert_stored(answer, 1);
	/* full: not one byte more; 0 is no limit */
	snprintf(head, sizeof(head), POST "X-GW-Storage-Limit: %" PRIu64 "\r\n", storage_size(gif_len));
	ask(head, "x", 1, answer);
	assert_has(answer, "HTTP/1.1 507 ");
	ask(LIMITED("0"), gif, gif_len, answer);
	assert_stored(answer, 1);
}

/* Without a length nothing can be reserved: the bytes decide. */
static void test_storage_limit_while_streaming(void **state)
{
	static uint8_t zeros[6000];
	char answer[ANSWER_MAX];
	char text[1024];
	(void)state;

	int fd = dial();
	snprintf(text, sizeof(text), LIMITED("8191") "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n",
	         sizeof(zeros));
	put(fd, text, strlen(text));
	put(fd, zeros, sizeof(zeros));
	put(fd, "\r\n0\r\n\r\n", 7);
	get(fd, answer);
	assert_problem(answer, 507, "quota_storage");
}

/* A refusal for its storage comes before a body that waits to be sent. */
static void test_storage_limit_expect(void **state)
{
	char answer[ANSWER_MAX];
	(void)state;

	int fd = dial();
	const char *head = LIMITED("99") "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n";
	put(fd, head, strlen(head));
	get(fd, answer);
	assert_problem(answer, 507, "quota_storage");
	assert_null(strstr(answer, "HTTP/1.1 100"));
}

static void test_too_many_pixels(void **state)
{
	char answer[ANSWER_MAX];
	(void)state;

	memcpy(gif + 6, "\xff\xff\xff\xff", 4);
	ask(POST, gif, gif_len, answer);
	assert_problem(answer, 413, "too_large");
	assert_has(answer, "65535 x 65535 pixels in 1 frame; at most 100000 pixels");
}

static void test_svg_is_refused(void **state)
{
	static const char svg[] = "<svg xmlns='http://www.w3.org/2000/svg'/>";
	char answer[ANSWER_MAX];
	(void)state;

	ask(POST, svg, sizeof(svg) - 1, answer);
	assert_problem(answer, 415, "type_unsupported");
	assert_has(answer, "SVG images are not taken here.");
}

static void test_requests_refused(void **state)
{
	static const struct {
		const char *head;
		int status;
		const char *code;
	} rows[] = {
		{ "GET /api/v1/upload HTTP/1.1\r\n" PROXY, 405, "method_not_allowed" },
		{ "PUT /api/v1/upload HTTP/1.1\r\n" PROXY, 405, "method_not_allowed" },
		{ "POST /api/v1/uploads HTTP/1.1\r\n" PROXY, 404, "not_found" },
		{ "POST /api/v1/%75pload HTTP/1.1\r\n" PROXY, 404, "not_found" },
		{ "POST /api/v1/upload/ HTTP/1.1\r\n" PROXY, 404, "not_found" },
		{ "POST /healthz HTTP/1.1\r\n" PROXY, 404, "not_found" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-User: 7\r\nX-GW-Scopes: read\r\nX-GW-Token: " TOKEN
		  "\r\n",
		  403, "scope_missing" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-User: 7\r\nX-GW-Scopes: "
		  "uploads,up\r\nX-GW-Token: " TOKEN "\r\n",
		  403, "scope_missing" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-User: 7\r\nX-GW-Scopes: upload\r\n", 403,
		  "ip_not_allowed" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-User: 7\r\nX-GW-Scopes: upload\r\nX-GW-Token: "
		  "the-tokem\r\n",
		  403, "ip_not_allowed" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-Scopes: upload\r\nX-GW-Token: " TOKEN "\r\n", 403,
		  "ip_not_allowed" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-User: 0\r\nX-GW-Scopes: upload\r\nX-GW-Token: " TOKEN
		  "\r\n",
		  403, "ip_not_allowed" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-User: ../7\r\nX-GW-Scopes: "
		  "upload\r\nX-GW-Token: " TOKEN "\r\n",
		  403, "ip_not_allowed" },
		{ "POST /api/v1/upload HTTP/1.1\r\nHost: x\r\nX-GW-User: 07\r\nX-GW-Scopes: "
		  "upload\r\nX-GW-Token: " TOKEN "\r\n",
		  403, "ip_not_allowed" },
	};
	char answer[ANSWER_MAX];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ask(rows[i].head, gif, gif_len, answer);
		assert_problem(answer, rows[i].status, rows[i].code);
		if (rows[i].status == 405)
			assert_has(answer, "\r\nAllow: POST\r\n");
	}
}

static void test_health(void **state)
{
	char answer[ANSWER_MAX];
	(void)state;

	ask("GET /healthz HTTP/1.1\r\nHost: x\r\n", "", 0, answer);
	assert_has(answer, "HTTP/1.1 200 ");
	assert_has(answer, "\r\n\r\n{\"status\":\"ok\"}");
}

static void test_disk_full(void **state)
{
	char answer[ANSWER_MAX];
	(void)state;

	write_errno = ENOSPC;
	ask(POST, gif, gif_len, answer);
	write_errno = 0;
	assert_problem(answer, 503, "unavailable");
	assert_has(answer, "\r\nRetry-After: ");
	ask(POST, gif, gif_len, answer);
	assert_stored(answer, 1);
}

/* An upload that has begun: its temporary file is there. */
static int begin_upload(void)
{
	char text[512];

	int fd = dial();
	snprintf(text, sizeof(text), POST "Content-Length: %zu\r\n\r\n", gif_len);
	put(fd, text, strlen(text));
	put(fd, gif, 100);
	while (folder_count(&folder, USER_DIR, ".part-", NULL) == 0)
		sched_yield();
	return fd;
}

static void test_client_goes_away(void **state)
{
	(void)state;
	int fd = begin_upload();
	close(fd);
	assert_int_equal(server_drain(server, WAIT_MS), ERR_OK);
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
}

/* ---- bodies that nobody should read ---- */

/* In one piece: the answer may come at once, and the end with it. */
static int begin(const char *head, const char *length, const void *data, size_t len)
{
	char text[8192];

	int fd = dial();
	int n = snprintf(text, sizeof(text), "%s%s\r\n\r\n", head, length);
	assert_true(n > 0 && (size_t)n + len <= sizeof(text));
	memcpy(text + n, data, len);
	put(fd, text, (size_t)n + len);
	return fd;
}

static void pause_ms(unsigned ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000L };

	nanosleep(&ts, NULL);
}

/* The answer to a body that is not read; the connection lingers for a moment. */
static void get_cut(int fd, char answer[ANSWER_MAX])
{
	size_t n = 0;
	ssize_t got;

	do {
		got = recv(fd, answer + n, ANSWER_MAX - 1 - n, 0);
		assert_true(got > 0);
		n += (size_t)got;
		answer[n] = '\0';
	} while (strchr(answer, '}') == NULL);
	close(fd);
}

/* After the grace the body must have its rate on average; what has come too slowly ends with an answer. */
static void test_slow_body(void **state)
{
	char answer[ANSWER_MAX];
	(void)state;

	service_env.body_grace_ms = 50;
	service_env.body_rate = 1000;
	int fd = begin(POST, "Content-Length: 4000", gif, 5);
	for (int i = 0; i < 20; i++) {
		pause_ms(10);
		if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
			break;
	}
	get_cut(fd, answer);
	assert_problem(answer, 408, "bad_request");
	assert_has(answer, "\r\nConnection: close\r\n");
	assert_has(answer, "\"request_id\":\"id-1\"");
	/* a form, and a route that only drops what comes */
	fd = begin(POST FORM, "Content-Length: 4000", "--XyZ\r\n", 7);
	pause_ms(100);
	put(fd, "C", 1);
	get_cut(fd, answer);
	assert_problem(answer, 408, "bad_request");
	fd = begin("POST /api/v1/images HTTP/1.1\r\n" PROXY, "Content-Length: 4000", "{", 1);
	pause_ms(100);
	put(fd, "C", 1);
	get_cut(fd, answer);
	assert_problem(answer, 408, "bad_request");
}

/* As slow as is allowed, with a burst at the beginning and pauses. */
static void test_slow_but_honest_body(void **state)
{
	char answer[ANSWER_MAX];
	char length[64];
	(void)state;

	service_env.body_grace_ms = 100;
	service_env.body_rate = 1000;
	snprintf(length, sizeof(length), "Connection: close\r\nContent-Length: %zu", gif_len);
	int fd = begin(POST, length, gif, gif_len - 30);
	for (size_t at = gif_len - 30; at < gif_len; at++) {
		pause_ms(10);
		put(fd, gif + at, 1);
	}
	get(fd, answer);
	assert_stored(answer, 1);
}

/* Routes without a body do not read one: a large one is refused by its length, or where that is not told, at the bound.
 */
static void test_bodies_that_have_no_place(void **state)
{
	static const struct {
		const char *head;
		const char *length;
		int status;
		const char *code;
	} rows[] = {
		{ "POST /api/v1/images HTTP/1.1\r\n" PROXY, "65537", 405, "method_not_allowed" },
		{ "POST /api/v1/images HTTP/1.1\r\n" PROXY, "90000000", 405, "method_not_allowed" },
		{ "PATCH /api/v1/images HTTP/1.1\r\n" PROXY, "90000000", 405, "method_not_allowed" },
		{ "GET /api/v1/images HTTP/1.1\r\n" PROXY, "90000000", 400, "bad_request" },
		{ "DELETE /api/v1/images/0 HTTP/1.1\r\n" PROXY, "90000000", 400, "bad_request" },
		{ "POST /api/v1/nothing HTTP/1.1\r\n" PROXY, "90000000", 404, "not_found" },
		{ "PUT /api/v1/images HTTP/1.1\r\nHost: x\r\n", "90000000", 403, "ip_not_allowed" },
	};
	static char zeros[REST_BYTES + 4096];
	char answer[ANSWER_MAX];
	char text[64];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "Content-Length: %s", rows[i].length);
		int fd = begin(rows[i].head, text, zeros, 100);
		get_cut(fd, answer);
		assert_problem(answer, rows[i].status, rows[i].code);
	}
	/* small: read, and the connection stays */
	ask("GET /api/v1/images HTTP/1.1\r\n" PROXY, zeros, REST_BYTES, answer);
	assert_has(answer, "HTTP/1.1 200 ");
	snprintf(text, sizeof(text), "Transfer-Encoding: chunked\r\n\r\n%zx", sizeof(zeros));
	int fd = dial();
	snprintf(answer, sizeof(answer), "POST /api/v1/images HTTP/1.1\r\n" PROXY "%s\r\n", text);
	put(fd, answer, strlen(answer));
	put(fd, zeros, sizeof(zeros));
	get_cut(fd, answer);
	assert_problem(answer, 413, "too_large");
}

/* Behind such an answer the connection ends soon, whether the client goes on or not, and nothing more is said. */
static void test_cut_connections_end(void **state)
{
	static const char head[] = "POST /api/v1/images HTTP/1.1\r\n" PROXY;
	char answer[ANSWER_MAX];
	(void)state;

	int silent = begin(head, "Content-Length: 90000000", "x", 1);
	int busy = begin(head, "Content-Length: 90000000", "x", 1);
	int whole = begin(head, "Content-Length: 65540", "x", 1);
	static char zeros[65539];
	put(whole, zeros, sizeof(zeros));
	uint64_t began = clock_mono_ns();
	while (send(busy, "x", 1, MSG_NOSIGNAL) > 0)
		pause_ms(10);
	assert_in_range(clock_mono_ns() - began, NS_PER_SEC / 2, 4 * NS_PER_SEC);
	get(busy, answer);
	assert_problem(answer, 405, "method_not_allowed");
	get(silent, answer);
	assert_problem(answer, 405, "method_not_allowed");
	get(whole, answer);
	assert_problem(answer, 405, "method_not_allowed");
	assert_null(strstr(answer + 1, "HTTP/1.1"));
	assert_true(clock_mono_ns() - began < 5 * NS_PER_SEC);
}

/* Requests that are under way as many as are served: others are told so, and the proxy's check is answered. */
static void test_health_when_full(void **state)
{
	static int fds[REQUESTS_MOST];
	char answer[ANSWER_MAX];
	(void)state;

	for (size_t i = 0; i < REQUESTS_MOST; i++) {
		fds[i] = begin(POST, "Content-Length: 4000", gif, 10);
		if (i % 64 == 63)
			while (folder_count(&folder, USER_DIR, ".part-", NULL) <= i)
				sched_yield();
	}
	for (int i = 0; i < 100; i++) {
		ask("GET /healthz HTTP/1.1\r\nHost: x\r\n", "", 0, answer);
		assert_has(answer, "HTTP/1.1 200 ");
		int fd = begin(POST, "Content-Length: 4000", gif, 10);
		get(fd, answer);
		assert_has(answer, "HTTP/1.1 503 ");
		assert_has(answer, "\r\nRetry-After: ");
		assert_has(answer, "\"code\":\"unavailable\"");
	}
	for (size_t i = 0; i < REQUESTS_MOST; i++)
		close(fds[i]);
	while (folder_count(&folder, USER_DIR, "", NULL) > 0)
		sched_yield();
	ask(POST, gif, gif_len, answer);
	assert_stored(answer, 1);
}

struct drain {
	pthread_t thread;
	enum err result;
};

static void *drain_main(void *arg)
{
	struct drain *d = arg;

	d->result = server_drain(server, WAIT_MS);
	return NULL;
}

static void test_drain(void **state)
{
	struct drain d = { .result = ERR_TIMEOUT };
	char answer[ANSWER_MAX];
	(void)state;

	int fd = begin_upload();
	assert_int_equal(pthread_create(&d.thread, NULL, drain_main, &d), 0);
	/* New connections are refused, the upload goes on. */
	int other;
	while ((other = dial()) >= 0) {
		close(other);
		sched_yield();
	}
	put(fd, gif + 100, gif_len - 100);
	get(fd, answer);
	pthread_join(d.thread, NULL);
	assert_int_equal(d.result, ERR_OK);
	assert_stored(answer, 1);
	assert_has(answer, "\r\nConnection: close\r\n");
}

/* As the program ends. */
static void *end_main(void *arg)
{
	drain_main(arg);
	server_free(server);
	server = NULL;
	return NULL;
}

/*
 * Who has connected is answered: those that were not accepted yet, and one that is, and whose request comes a moment
 * later.
 */
static void test_drain_answers_all_connections(void **state)
{
	enum { CONNECTIONS = 40 };
	static const char head[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	struct drain d = { .result = ERR_TIMEOUT };
	char answer[ANSWER_MAX];
	int fds[CONNECTIONS];
	(void)state;

	int late = dial();
	put(late, head, 10);
	wait_read(late);
	for (int i = 0; i < CONNECTIONS; i++)
		fds[i] = dial();
	assert_int_equal(unlink(address.sun_path), 0);
	assert_int_equal(pthread_create(&d.thread, NULL, end_main, &d), 0);
	for (int i = 0; i < CONNECTIONS; i++)
		put(fds[i], head, strlen(head));
	pause_ms(50);
	put(late, head + 10, strlen(head) - 10);
	for (int i = 0; i < CONNECTIONS; i++) {
		get(fds[i], answer);
		assert_has(answer, "HTTP/1.1 200 ");
	}
	get(late, answer);
	assert_has(answer, "HTTP/1.1 200 ");
	pthread_join(d.thread, NULL);
	assert_int_equal(d.result, ERR_OK);
}

/* One that says nothing does not hold the end up for long. */
static void test_drain_leaves_the_silent(void **state)
{
	(void)state;
	int fd = dial();
	uint64_t began = clock_mono_ns();
	assert_int_equal(server_drain(server, WAIT_MS), ERR_OK);
	assert_true(clock_mono_ns() - began < 5 * NS_PER_SEC);
	close(fd);
}

static void test_drain_gives_up(void **state)
{
	(void)state;
	int fd = begin_upload();
	assert_int_equal(server_drain(server, 10), ERR_TIMEOUT);
	server_free(server);
	server = NULL;
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
	close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, service_setup, service_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_raw),
		TEST(test_chunked_and_keep_alive),
		TEST(test_expect_continue),
		TEST(test_expect_refused),
		TEST(test_multipart),
		TEST(test_multipart_split_at_every_byte),
		TEST(test_bad_forms),
		TEST(test_bodies_refused),
		TEST(test_too_large_while_streaming),
		TEST(test_storage_limit),
		TEST(test_storage_limit_while_streaming),
		TEST(test_storage_limit_expect),
		TEST(test_too_many_pixels),
		TEST(test_svg_is_refused),
		TEST(test_requests_refused),
		TEST(test_health),
		TEST(test_disk_full),
		TEST(test_client_goes_away),
		TEST(test_slow_body),
		TEST(test_slow_but_honest_body),
		TEST(test_bodies_that_have_no_place),
		TEST(test_cut_connections_end),
		TEST(test_health_when_full),
		TEST(test_drain),
		TEST(test_drain_answers_all_connections),
		TEST(test_drain_leaves_the_silent),
		TEST(test_drain_gives_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
