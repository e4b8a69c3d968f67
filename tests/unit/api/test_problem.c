/* Problem documents: complete, of the contract's codes, and always JSON. */
#include "unit.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/problem.h"

static json_t *document(enum problem p, const char *detail, const char *request_id)
{
	char *text = problem_json(p, detail, request_id);

	assert_non_null(text);
	json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	assert_non_null(doc);
	return doc;
}

static void test_every_code(void **state)
{
	static const struct {
		enum problem problem;
		const char *code;
		int status;
	} want[PROBLEM_COUNT] = {
		{ PROBLEM_BAD_REQUEST, "bad_request", 400 },
		{ PROBLEM_IP_NOT_ALLOWED, "ip_not_allowed", 403 },
		{ PROBLEM_SCOPE_MISSING, "scope_missing", 403 },
		{ PROBLEM_NOT_FOUND, "not_found", 404 },
		{ PROBLEM_METHOD_NOT_ALLOWED, "method_not_allowed", 405 },
		{ PROBLEM_TOO_SLOW, "bad_request", 408 },
		{ PROBLEM_CONFLICT, "conflict", 409 },
		{ PROBLEM_TOO_LARGE, "too_large", 413 },
		{ PROBLEM_TYPE_UNSUPPORTED, "type_unsupported", 415 },
		{ PROBLEM_UNAVAILABLE, "unavailable", 503 },
		{ PROBLEM_QUOTA_STORAGE, "quota_storage", 507 },
	};
	(void)state;

	for (size_t i = 0; i < PROBLEM_COUNT; i++) {
		json_t *doc = document(want[i].problem, "why", "id-1");
		assert_int_equal(json_object_size(doc), 6);
		assert_string_equal(json_string_value(json_object_get(doc, "type")), "about:blank");
		assert_true(strlen(json_string_value(json_object_get(doc, "title"))) > 0);
		assert_int_equal(json_integer_value(json_object_get(doc, "status")), want[i].status);
		assert_string_equal(json_string_value(json_object_get(doc, "code")), want[i].code);
		assert_string_equal(json_string_value(json_object_get(doc, "detail")), "why");
		assert_string_equal(json_string_value(json_object_get(doc, "request_id")), "id-1");
		json_decref(doc);
		assert_int_equal(problem_status(want[i].problem), want[i].status);
		assert_string_equal(problem_code(want[i].problem), want[i].code);
	}
}

static void test_escapes(void **state)
{
	(void)state;
	json_t *doc = document(PROBLEM_NOT_FOUND, "a \"b\" \\ \n c", "x\"y");
	assert_string_equal(json_string_value(json_object_get(doc, "detail")), "a \"b\" \\ \n c");
	assert_string_equal(json_string_value(json_object_get(doc, "request_id")), "x\"y");
	json_decref(doc);
}

static void test_no_request_id(void **state)
{
	static const char *const none[] = { NULL, "" };
	(void)state;

	for (size_t i = 0; i < 2; i++) {
		json_t *doc = document(PROBLEM_NOT_FOUND, "why", none[i]);
		assert_true(json_is_null(json_object_get(doc, "request_id")));
		json_decref(doc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_no_request_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
