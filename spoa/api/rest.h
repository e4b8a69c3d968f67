/*
 * The routes of the API beside the upload: a table of paths and functions. Paths are compared as they came, with
 * nothing decoded: an escape makes another path, as it does for the verdict.
 *
 * A function is called once, when the request's body has been read and dropped (a large one is not read), on one of the
 * server's threads, and blocks as long as it needs.
 */
#pragma once

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/problem.h"
#include "api/upload.h"
#include "base/sv.h"

#define REST_DETAIL_SIZE 256

struct rest_call {
	const struct uploads *uploads;
	struct MHD_Connection *conn; /* for arguments and headers */
	const char *method;          /* HEAD comes as GET */
	struct sv rest;              /* of the path, behind what the table says */
	uint64_t user;
	const char *request_id;
};

/* Start with {0}. */
struct rest_answer {
	unsigned status; /* 0: the problem */
	char *text;      /* JSON, taken and freed by the caller; NULL: no body */
	enum problem problem;
	const char *detail;
	const char *allow; /* with PROBLEM_METHOD_NOT_ALLOWED: the methods */
	char buffer[REST_DETAIL_SIZE];
};

typedef void rest_function(const struct rest_call *call, struct rest_answer *answer);

/* The function of a path, and what is behind the table's part of it; NULL: there is none. */
rest_function *rest_find(struct sv path, struct sv *rest);

bool rest_has_scope(const struct rest_call *call, struct sv scope);

/* A query argument; {NULL, 0} when it is not there. */
struct sv rest_argument(const struct rest_call *call, const char *name);

/* `detail` is static, or in the answer's buffer. */
void rest_refuse(struct rest_answer *answer, enum problem problem, const char *detail);
void rest_refuse_method(struct rest_answer *answer, const char *allow);

/* The word in a comma list, blanks around it allowed. */
bool rest_list_has(struct sv list, struct sv word);
