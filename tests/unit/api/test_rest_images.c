/* LDFLAGS: -Wl,--wrap=write */
/* /api/v1/images over HTTP: pages, one image, deleting, and everything that is not an image. */
#include "api/service.h"

#include <jansson.h>

#include "api/rest_images.h"

#define HEAD(method, target) method " " target " HTTP/1.1\r\n" PROXY
#define SCOPES(method, target, scopes)                                                                                 \
	method " " target " HTTP/1.1\r\nHost: x\r\nX-GW-User: 7\r\nX-GW-Scopes: " scopes "\r\nX-GW-Token: " TOKEN "\r" \
	       "\n"

/* The answer's document; the status must be 200. */
static json_t *document(const char *head)
{
	char answer[ANSWER_MAX];

	ask(head, "", 0, answer);
	assert_has(answer, "HTTP/1.1 200 ");
	assert_has(answer, "\r\nContent-Type: application/json\r\n");
	assert_has(answer, "\r\nCache-Control: no-store\r\n");
	json_t *doc = json_loads(strstr(answer, "\r\n\r\n") + 4, 0, NULL);
	assert_non_null(doc);
	return doc;
}

static const char *text_of(json_t *doc, const char *name)
{
	const char *text = json_string_value(json_object_get(doc, name));
	return text != NULL ? text : "";
}

/* Uploads the picture with a byte of its own at the end; *id gets what the answer says. */
static void upload(char byte, char id[IMAGE_ID_SIZE])
{
	char answer[ANSWER_MAX];

	gif[gif_len] = (uint8_t)byte;
	ask(HEAD("POST", "/api/v1/upload"), gif, gif_len + 1, answer);
	assert_has(answer, "HTTP/1.1 200 ");
	assert_int_equal(sv_copy(sv_from(strstr(answer, "\"id\":\"") + 6, IMAGE_ID_CHARS), id, IMAGE_ID_SIZE), ERR_OK);
}

static void test_pages(void **state)
{
	char id[IMAGE_ID_SIZE];
	char head[512];
	char last[IMAGE_ID_SIZE] = "";
	(void)state;

	json_t *doc = document(HEAD("GET", "/api/v1/images"));
	assert_int_equal(json_array_size(json_object_get(doc, "images")), 0);
	assert_true(json_is_null(json_object_get(doc, "next")));
	json_decref(doc);
	for (int i = 0; i < 5; i++)
		upload((char)i, id);
	doc = document(HEAD("GET", "/api/v1/images?limit=5"));
	assert_int_equal(json_array_size(json_object_get(doc, "images")), 5);
	assert_true(json_is_null(json_object_get(doc, "next")));
	json_decref(doc);
	size_t seen = 0;
	for (int page = 0; page < 3; page++) {
		snprintf(head, sizeof(head), "GET /api/v1/images?limit=2&after=%s HTTP/1.1\r\n" PROXY, last);
		doc = document(head);
		json_t *images = json_object_get(doc, "images");
		for (size_t i = 0; i < json_array_size(images); i++, seen++) {
			json_t *one = json_array_get(images, i);
			assert_true(strcmp(text_of(one, "id"), last) > 0);
			memcpy(last, text_of(one, "id"), IMAGE_ID_SIZE);
		}
		assert_string_equal(text_of(doc, "next"), page < 2 ? last : "");
		json_decref(doc);
	}
	assert_int_equal(seen, 5);
}

static void test_one(void **state)
{
	char id[IMAGE_ID_SIZE];
	char head[512];
	char want[128];
	(void)state;

	upload('a', id);
	snprintf(head, sizeof(head), "GET /api/v1/images/%s HTTP/1.1\r\n" PROXY, id);
	json_t *doc = document(head);
	assert_int_equal(json_object_size(doc), 8);
	assert_string_equal(text_of(doc, "id"), id);
	snprintf(want, sizeof(want), "local:///%s.gif", id);
	assert_string_equal(text_of(doc, "source"), want);
	snprintf(want, sizeof(want), "/img/unsafe/plain/local:///%s.gif", id);
	assert_string_equal(text_of(doc, "url"), want);
	assert_int_equal(json_integer_value(json_object_get(doc, "bytes")), gif_len + 1);
	assert_string_equal(text_of(doc, "content_type"), "image/gif");
	assert_int_equal(json_integer_value(json_object_get(doc, "width")), GIF_WIDTH);
	assert_int_equal(json_integer_value(json_object_get(doc, "height")), GIF_HEIGHT);
	assert_int_equal(strlen(text_of(doc, "created_at")), strlen("2026-07-06T12:00:00Z"));
	json_decref(doc);
}

static void test_delete(void **state)
{
	char id[IMAGE_ID_SIZE];
	char head[512];
	char answer[ANSWER_MAX];
	(void)state;

	upload('a', id);
	/* another user's */
	snprintf(head, sizeof(head),
	         "DELETE /api/v1/images/%s HTTP/1.1\r\nHost: x\r\nX-GW-User: 8\r\nX-GW-Scopes: "
	         "upload\r\nX-GW-Token: " TOKEN "\r\n",
	         id);
	ask(head, "", 0, answer);
	assert_has(answer, "HTTP/1.1 404 ");
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 1);
	snprintf(head, sizeof(head), "DELETE /api/v1/images/%s HTTP/1.1\r\n" PROXY, id);
	ask(head, "", 0, answer);
	assert_has(answer, "HTTP/1.1 204 ");
	assert_string_equal(strstr(answer, "\r\n\r\n") + 4, "");
	assert_null(strstr(answer, "Content-Type"));
	assert_int_equal(folder_count(&folder, USER_DIR, "", NULL), 0);
	ask(head, "", 0, answer);
	assert_has(answer, "HTTP/1.1 404 ");
	assert_has(answer, "\"code\":\"not_found\"");
	assert_has(answer, "\"request_id\":\"id-1\"");
}

#define ID "00112233445566778899aabbccddeeff"

static void test_refused(void **state)
{
	static const struct {
		const char *head;
		int status;
		const char *has;
	} rows[] = {
		{ HEAD("GET", "/api/v1/images/"), 404, "not_found" },
		{ HEAD("GET", "/api/v1/images/" ID "/"), 404, "not_found" },
		{ HEAD("GET", "/api/v1/images/" ID ".gif"), 404, "not_found" },
		{ HEAD("GET", "/api/v1/images/../7/" ID), 404, "not_found" },
		{ HEAD("GET", "/api/v1/images/%2e%2e%2f7%2f" ID), 404, "not_found" },
		{ HEAD("GET", "/api/v1/images/%300112233445566778899aabbccddeeff"), 404, "not_found" },
		{ HEAD("GET", "/api/v1/images/00112233445566778899AABBCCDDEEFF"), 404, "not_found" },
		{ HEAD("GET", "/api/v1/imagesx"), 404, "not_found" },
		{ HEAD("GET", "/api/v1/%69mages"), 404, "not_found" },
		{ HEAD("GET", "//api/v1/images"), 404, "not_found" },
		{ HEAD("DELETE", "/api/v1/images/.."), 404, "not_found" },
		{ HEAD("DELETE", "/api/v1/images/" ID), 404, "not_found" },
		{ HEAD("DELETE", "/api/v1/images"), 405, "\r\nAllow: GET, HEAD\r\n" },
		{ HEAD("POST", "/api/v1/images"), 405, "method_not_allowed" },
		{ HEAD("PUT", "/api/v1/images/" ID), 405, "\r\nAllow: GET, HEAD, DELETE\r\n" },
		{ HEAD("GET", "/api/v1/images?limit=0"), 400, "bad_request" },
		{ HEAD("GET", "/api/v1/images?limit=1001"), 400, "bad_request" },
		{ HEAD("GET", "/api/v1/images?limit=-1"), 400, "bad_request" },
		{ HEAD("GET", "/api/v1/images?limit="), 400, "bad_request" },
		{ HEAD("GET", "/api/v1/images?limit=10x"), 400, "bad_request" },
		{ HEAD("GET", "/api/v1/images?after=../../etc"), 400, "bad_request" },
		{ HEAD("GET", "/api/v1/images?after=" ID "0"), 400, "bad_request" },
		{ SCOPES("GET", "/api/v1/images", "upload"), 403, "scope_missing" },
		{ SCOPES("GET", "/api/v1/images/" ID, "upload,admin"), 403, "scope_missing" },
		{ SCOPES("DELETE", "/api/v1/images/" ID, "read"), 403, "scope_missing" },
		{ "GET /api/v1/images HTTP/1.1\r\nHost: x\r\nX-GW-User: 7\r\nX-GW-Scopes: read\r\n", 403,
		  "ip_not_allowed" },
	};
	char answer[ANSWER_MAX];
	char status[32];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ask(rows[i].head, "", 0, answer);
		snprintf(status, sizeof(status), "HTTP/1.1 %d ", rows[i].status);
		assert_has(answer, status);
		assert_has(answer, rows[i].has);
		assert_has(answer, "application/problem+json");
	}
}

/* A body where none is wanted is dropped. */
static void test_body_is_dropped(void **state)
{
	char answer[ANSWER_MAX];
	(void)state;

	ask(HEAD("GET", "/api/v1/images"), gif, gif_len, answer);
	assert_has(answer, "HTTP/1.1 200 ");
	ask(HEAD("DELETE", "/api/v1/images/" ID), gif, gif_len, answer);
	assert_has(answer, "HTTP/1.1 404 ");
}

static void test_query(void **state)
{
	struct images_query q;
	const char *detail = NULL;
	(void)state;

	assert_int_equal(images_query_parse(sv_str(NULL), sv_str(NULL), &q, &detail), ERR_OK);
	assert_int_equal(q.limit, 100);
	assert_int_equal(q.after.n, 0);
	assert_int_equal(images_query_parse(SV("1000"), SV(""), &q, &detail), ERR_OK);
	assert_int_equal(q.limit, 1000);
	assert_int_equal(images_query_parse(SV("1"), SV(ID), &q, &detail), ERR_OK);
	assert_true(sv_eq(q.after, SV(ID)));
	assert_null(detail);
	assert_int_equal(images_query_parse(SV("01"), SV(ID), &q, &detail), ERR_INVALID);
	assert_non_null(detail);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, service_setup, service_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_pages),   TEST(test_one),   TEST(test_delete),
		TEST(test_refused), TEST(test_query), TEST(test_body_is_dropped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
