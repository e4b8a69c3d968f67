/* Refusals as RFC 9457 problem documents: one table of the contract's codes that this program answers with. */
#pragma once

#include "base/err.h"

enum problem {
	PROBLEM_BAD_REQUEST = 0,
	PROBLEM_IP_NOT_ALLOWED,
	PROBLEM_SCOPE_MISSING,
	PROBLEM_NOT_FOUND,
	PROBLEM_METHOD_NOT_ALLOWED,
	PROBLEM_TOO_SLOW,
	PROBLEM_CONFLICT,
	PROBLEM_TOO_LARGE,
	PROBLEM_TYPE_UNSUPPORTED,
	PROBLEM_UNAVAILABLE,
	PROBLEM_QUOTA_STORAGE,
	PROBLEM_COUNT
};

/* The HTTP status. */
unsigned problem_status(enum problem p);

/* The contract's word, as "too_large". */
const char *problem_code(enum problem p);

/*
 * The document {type, title, status, code, detail, request_id} as a string that the caller frees with free(); NULL when
 * memory is short. detail and request_id must be UTF-8; a request_id of NULL or "" is written as null.
 */
char *problem_json(enum problem p, const char *detail, const char *request_id);
