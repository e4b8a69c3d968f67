/*
 * A usage record: what is kept of one request, and its text, which is what the spool holds and what the shipper copies.
 *
 * The text is one line without its end, of USAGE_FIELDS fields separated by tabs, in this order:
 *
 *     id  user  key  code  status  start_ms  active_ms  request_bytes  response_bytes  billed_bytes  kind  termination
 *     method  backend  server  address  path
 *
 * Numbers are decimal; what is not known is "-". No field is empty, and none holds a byte outside of 0x21 to 0x7e but
 * path, in which others stand as %XX. A path is at most USAGE_PATH_MAX bytes, and a signature in it is masked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

#define USAGE_FIELDS   17
#define USAGE_ID_MAX   128
#define USAGE_WORD_MAX 64 /* code, termination, method, backend, server, address */
#define USAGE_PATH_MAX 1024
#define USAGE_TEXT_MAX 2048

enum usage_kind { USAGE_IMAGE = 0, USAGE_UPLOAD, USAGE_API, USAGE_KIND_COUNT };

/* Whether all bytes are from 0x21 to 0x7e; so it is for an empty view. */
bool usage_printable(struct sv v);

/* "image", "upload", "api". */
const char *usage_kind_name(enum usage_kind kind);

/* The views belong to whoever made the record; an empty one is what is not known, and none is "-". */
struct usage_record {
	struct sv id;            /* the X-Request-ID; never empty */
	uint64_t user;           /* never 0; at most USAGE_NUMBER_MAX */
	uint64_t key;            /* 0: not known; at most USAGE_NUMBER_MAX */
	struct sv code;          /* "allow", or the verdict's code; never empty */
	int status;              /* of the answer, three digits; -1: none was sent */
	int64_t start_ms;        /* Unix time in ms; from 0 to USAGE_START_MAX_MS */
	int64_t active_ms;       /* how long it took, at most USAGE_ACTIVE_MAX_MS; -1: not known */
	uint64_t request_bytes;  /* of the request's body that were received */
	uint64_t response_bytes; /* of the answer's body that were sent */
	uint64_t billed_bytes;   /* charged to the month's bandwidth (usage/bill.h) */
	enum usage_kind kind;
	struct sv termination; /* HAProxy's termination state */
	struct sv method;
	struct sv backend;
	struct sv server;
	struct sv address; /* the client's, numeric */
	struct sv path;    /* the client's */
};

#define USAGE_START_MAX_MS  INT64_C(7258118400000) /* the year 2200 */
#define USAGE_ACTIVE_MAX_MS INT32_MAX              /* HAProxy's own times are no longer */
#define USAGE_NUMBER_MAX    INT64_MAX              /* of users and keys: PostgreSQL's bigint */
#define USAGE_BYTES_MAX     (UINT64_C(1) << 50)

/* Writes the text, without a line end and without NUL, and its length to *n. ERR_SPACE; ERR_INVALID for a record that
 * is none by the bounds above. */
MUST_CHECK enum err usage_record_format(const struct usage_record *r, char *buf, size_t size, size_t *n);

/* Reads it; the views point into text. ERR_INVALID for any text that usage_record_format() does not write. */
MUST_CHECK enum err usage_record_parse(struct sv text, struct usage_record *out);
