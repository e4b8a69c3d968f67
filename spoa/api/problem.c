#include "api/problem.h"

#include <jansson.h>

#include "base/check.h"

static const struct {
	unsigned status;
	const char *code;
	const char *title;
} table[PROBLEM_COUNT] = {
	[PROBLEM_BAD_REQUEST] = { 400, "bad_request", "Bad Request" },
	[PROBLEM_IP_NOT_ALLOWED] = { 403, "ip_not_allowed", "Forbidden" },
	[PROBLEM_SCOPE_MISSING] = { 403, "scope_missing", "Forbidden" },
	[PROBLEM_NOT_FOUND] = { 404, "not_found", "Not Found" },
	[PROBLEM_METHOD_NOT_ALLOWED] = { 405, "method_not_allowed", "Method Not Allowed" },
	[PROBLEM_TOO_SLOW] = { 408, "bad_request", "Request Timeout" },
	[PROBLEM_CONFLICT] = { 409, "conflict", "Conflict" },
	[PROBLEM_TOO_LARGE] = { 413, "too_large", "Content Too Large" },
	[PROBLEM_TYPE_UNSUPPORTED] = { 415, "type_unsupported", "Unsupported Media Type" },
	[PROBLEM_UNAVAILABLE] = { 503, "unavailable", "Service Unavailable" },
	[PROBLEM_QUOTA_STORAGE] = { 507, "quota_storage", "Insufficient Storage" },
};

unsigned problem_status(enum problem p)
{
	CHECK((unsigned)p < PROBLEM_COUNT);
	return table[p].status;
}

const char *problem_code(enum problem p)
{
	CHECK((unsigned)p < PROBLEM_COUNT);
	return table[p].code;
}

char *problem_json(enum problem p, const char *detail, const char *request_id)
{
	CHECK((unsigned)p < PROBLEM_COUNT);
	if (request_id != NULL && request_id[0] == '\0')
		request_id = NULL;
	json_t *doc = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s?}", "type", "about:blank", "title", table[p].title,
	                        "status", (int)table[p].status, "code", table[p].code, "detail", detail, "request_id",
	                        request_id);
	if (doc == NULL)
		return NULL;
	char *text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	return text;
}
