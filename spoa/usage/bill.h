/*
 * How many bytes of a request and of its answer were sent, and how many of them are billed, from what HAProxy knows
 * when both have ended (docs/usage.md explains it to users).
 *
 * The answer's body: none for HEAD, 1xx, 204, 304, and when no answer was sent. The Content-Length, when the answer
 * was complete: the termination state begins with "--", or for an answer of HAProxy's own not with "C" or "c". Else
 * what HAProxy has taken from the server, less its headers, and at most the Content-Length: more than the client got of
 * an aborted answer, since no version of HAProxy tells that.
 *
 * Billed are the body of an admitted image from an image server, and the body of an admitted upload. HAProxy's own
 * answers, refusals, and other requests of the API are not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/sv.h"
#include "usage/record.h"

/* Numbers that are not known are -1. */
struct usage_measured {
	enum usage_kind kind;
	bool admitted; /* the code is "allow" */
	struct sv method;
	struct sv termination;
	int status;
	int64_t bytes_read;     /* %B */
	int64_t bytes_uploaded; /* %U */
	int64_t length;         /* Content-Length of the answer */
	int64_t head;           /* of bytes_read, the server's headers; -1: HAProxy's own answer */
	int64_t request_length; /* Content-Length of the request */
};

struct usage_bytes {
	uint64_t request;
	uint64_t response;
	uint64_t billed;
};

struct usage_bytes usage_bill(const struct usage_measured *m);
