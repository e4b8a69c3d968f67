/* The billing rule: a table of what HAProxy tells of a request, and what comes of it. */
#include "unit.h"

#include <stdio.h>

#include "usage/bill.h"

#define MAX USAGE_BYTES_MAX

struct row {
	const char *what;
	enum usage_kind kind;
	bool refused;
	const char *method;
	const char *termination;
	int status;
	int64_t bytes_read, bytes_uploaded, length, head, request_length;
	uint64_t request, response, billed;
};

static void check(const struct row *row)
{
	struct usage_measured m = {
		.kind = row->kind,
		.admitted = !row->refused,
		.method = sv_str(row->method),
		.termination = sv_str(row->termination),
		.status = row->status,
		.bytes_read = row->bytes_read,
		.bytes_uploaded = row->bytes_uploaded,
		.length = row->length,
		.head = row->head,
		.request_length = row->request_length,
	};
	struct usage_bytes got = usage_bill(&m);

	if (got.request != row->request || got.response != row->response || got.billed != row->billed)
		fail_msg("%s: request %llu, response %llu, billed %llu", row->what, (unsigned long long)got.request,
		         (unsigned long long)got.response, (unsigned long long)got.billed);
}

#define CHECK_ROWS(rows)                                                       \
	do {                                                                   \
		for (size_t i_ = 0; i_ < sizeof(rows) / sizeof(*(rows)); i_++) \
			check(&(rows)[i_]);                                    \
	} while (0)

/* clang-format off */
static void test_complete(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "image", USAGE_IMAGE, false, "GET", "----", 200, 1150, 97, 1000, 150, -1, 0, 1000, 1000 },
		{ "two flags", USAGE_IMAGE, false, "GET", "--", 200, 1150, 97, 1000, 150, -1, 0, 1000, 1000 },
		{ "of no bytes", USAGE_IMAGE, false, "GET", "----", 200, 150, 97, 0, 150, -1, 0, 0, 0 },
		{ "chunked", USAGE_IMAGE, false, "GET", "----", 200, 1150, 97, -1, 150, -1, 0, 1000, 1000 },
		{ "chunked, head alone", USAGE_IMAGE, false, "GET", "----", 200, 150, 97, -1, 150, -1, 0, 0, 0 },
		{ "chunked, less than the head", USAGE_IMAGE, false, "GET", "----", 200, 100, 97, -1, 150, -1, 0, 0, 0 },
		{ "server's head is 0", USAGE_IMAGE, false, "GET", "----", 200, 1000, 97, -1, 0, -1, 0, 1000, 1000 },
		{ "HEAD", USAGE_IMAGE, false, "HEAD", "----", 200, 1150, 97, 1000, 150, -1, 0, 0, 0 },
		{ "heads are upper case", USAGE_IMAGE, false, "head", "----", 200, 1150, 97, 1000, 150, -1, 0, 1000, 1000 },
		{ "103", USAGE_IMAGE, false, "GET", "----", 103, 1150, 97, 1000, 150, -1, 0, 0, 0 },
		{ "199", USAGE_IMAGE, false, "GET", "----", 199, 1150, 97, 1000, 150, -1, 0, 0, 0 },
		{ "204", USAGE_IMAGE, false, "GET", "----", 204, 1150, 97, 1000, 150, -1, 0, 0, 0 },
		{ "304 with a length", USAGE_IMAGE, false, "GET", "----", 304, 150, 97, 1000, 150, -1, 0, 0, 0 },
		{ "205 is like another", USAGE_IMAGE, false, "GET", "----", 205, 151, 97, 1, 150, -1, 0, 1, 1 },
		{ "no answer", USAGE_IMAGE, false, "GET", "----", -1, 0, 97, 1000, 150, -1, 0, 0, 0 },
	};
	CHECK_ROWS(rows);
}

static void test_aborted(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "less than the length", USAGE_IMAGE, false, "GET", "CD--", 200, 650, 97, 1000, 150, -1, 0, 500, 500 },
		{ "more than the length", USAGE_IMAGE, false, "GET", "CD--", 200, 9999, 97, 1000, 150, -1, 0, 1000, 1000 },
		{ "in the head", USAGE_IMAGE, false, "GET", "SH--", 200, 100, 97, 1000, 150, -1, 0, 0, 0 },
		{ "without a length", USAGE_IMAGE, false, "GET", "CD", 200, 650, 97, -1, 150, -1, 0, 500, 500 },
		{ "without a head", USAGE_IMAGE, false, "GET", "CD--", 200, 650, 97, -1, -1, -1, 0, 394, 0 },
		{ "neither, short", USAGE_IMAGE, false, "GET", "CD--", 200, 256, 97, -1, -1, -1, 0, 0, 0 },
		{ "of a HEAD", USAGE_IMAGE, false, "HEAD", "CD--", 200, 650, 97, 1000, 150, -1, 0, 0, 0 },
		{ "before an answer", USAGE_IMAGE, false, "GET", "CH--", -1, 0, 97, -1, -1, -1, 0, 0, 0 },
		{ "nothing known", USAGE_IMAGE, false, "GET", "CD--", 200, -1, -1, 1000, 150, -1, 0, 0, 0 },
		{ "one dash is none", USAGE_IMAGE, false, "GET", "-D--", 200, 650, 97, 1000, 150, -1, 0, 500, 500 },
		{ "no state", USAGE_IMAGE, false, "GET", "", 200, 650, 97, 1000, 150, -1, 0, 500, 500 },
	};
	CHECK_ROWS(rows);
}

static void test_haproxys_own(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "with a length", USAGE_IMAGE, false, "GET", "----", 503, 349, 97, 200, -1, -1, 0, 200, 0 },
		{ "bytes are not counted from 3.3 on", USAGE_IMAGE, false, "GET", "----", 503, 0, 97, 200, -1, -1, 0, 200, 0 },
		{ "without one", USAGE_IMAGE, false, "GET", "----", 503, 1000, 97, -1, -1, -1, 0, 0, 0 },
		{ "aborted", USAGE_IMAGE, false, "GET", "CR--", 503, 349, 97, 200, -1, -1, 0, 93, 0 },
		{ "aborted, none counted", USAGE_IMAGE, false, "GET", "CR--", 503, 0, 97, 200, -1, -1, 0, 0, 0 },
		{ "of a termination", USAGE_IMAGE, false, "GET", "SC--", 503, 9999, 97, 200, -1, -1, 0, 200, 0 },
		{ "of a rule", USAGE_IMAGE, true, "GET", "LR--", 429, 76, 59, 5, -1, -1, 0, 5, 0 },
		{ "of a rule, HEAD", USAGE_IMAGE, true, "HEAD", "LR--", 429, 76, 59, 5, -1, -1, 0, 0, 0 },
		{ "of a rule, without a length", USAGE_IMAGE, true, "GET", "LR--", 429, 999, 59, -1, -1, -1, 0, 0, 0 },
		{ "server timed out", USAGE_IMAGE, false, "GET", "sH--", 504, 0, 59, 200, -1, -1, 0, 200, 0 },
		{ "client timed out", USAGE_IMAGE, false, "GET", "cR--", 408, 349, 59, 200, -1, -1, 0, 93, 0 },
		{ "without a state", USAGE_IMAGE, false, "GET", "", 503, 349, 97, 200, -1, -1, 0, 93, 0 },
		{ "a server's answer is not", USAGE_IMAGE, false, "GET", "LR--", 200, 650, 59, 1000, 150, -1, 0, 500, 500 },
		{ "a refusal", USAGE_IMAGE, true, "GET", "PR--", 429, 9999, 97, 200, -1, -1, 0, 200, 0 },
	};
	CHECK_ROWS(rows);
}

static void test_who_pays(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "image, refused", USAGE_IMAGE, true, "GET", "----", 200, 1150, 97, 1000, 150, -1, 0, 1000, 0 },
		{ "image, 404 of the server", USAGE_IMAGE, false, "GET", "----", 404, 1150, 97, 1000, 150, -1, 0, 1000, 1000 },
		{ "api", USAGE_API, false, "GET", "----", 200, 1150, 97, 1000, 150, -1, 0, 1000, 0 },
		{ "api with a body", USAGE_API, false, "PATCH", "----", 200, 1150, 597, 1000, 150, 400, 400, 1000, 0 },
		{ "image with a body", USAGE_IMAGE, false, "GET", "----", 200, 1150, 597, 1000, 150, 400, 400, 1000, 1000 },
		{ "upload", USAGE_UPLOAD, false, "POST", "----", 200, 350, 7000, 200, 150, 6800, 6800, 200, 6800 },
		{ "upload, of HAProxy", USAGE_UPLOAD, false, "POST", "----", 200, 350, 7000, 200, -1, 6800, 6800, 200, 6800 },
		{ "upload, refused", USAGE_UPLOAD, true, "POST", "PR--", 403, 350, 7000, 200, -1, 6800, 6744, 200, 0 },
	};
	CHECK_ROWS(rows);
}

static void test_uploads(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "counted short, but complete", USAGE_UPLOAD, false, "POST", "----", 201, 350, 5, 200, 150, 6800, 6800, 200, 6800 },
		{ "299", USAGE_UPLOAD, false, "POST", "----", 299, 350, 5, 200, 150, 6800, 6800, 200, 6800 },
		{ "300", USAGE_UPLOAD, false, "POST", "----", 300, 350, 5, 200, 150, 6800, 0, 200, 0 },
		{ "too large, most not read", USAGE_UPLOAD, false, "POST", "----", 413, 350, 1256, 200, 150, 6800, 1000, 200, 1000 },
		{ "too large, all of it read", USAGE_UPLOAD, false, "POST", "----", 413, 350, 99999, 200, 150, 6800, 6800, 200, 6800 },
		{ "gone away", USAGE_UPLOAD, false, "POST", "CD--", -1, 0, 3256, -1, -1, 6800, 3000, 0, 3000 },
		{ "gone away after 200", USAGE_UPLOAD, false, "POST", "CD--", 200, 350, 3256, 200, 150, 6800, 3000, 200, 3000 },
		{ "gone away in the head", USAGE_UPLOAD, false, "POST", "CR--", -1, 0, 200, -1, -1, 6800, 0, 0, 0 },
		{ "no length", USAGE_UPLOAD, false, "POST", "----", 200, 350, 9999, 200, 150, -1, 0, 200, 0 },
		{ "an empty one", USAGE_UPLOAD, false, "POST", "----", 200, 350, 256, 200, 150, 0, 0, 200, 0 },
	};
	CHECK_ROWS(rows);
}

static void test_nothing_wraps(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "largest", USAGE_IMAGE, false, "GET", "----", 200, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, MAX, MAX, MAX },
		{ "largest, cut off", USAGE_IMAGE, false, "GET", "CD", 200, INT64_MAX, INT64_MAX, -1, 0, INT64_MAX, MAX, MAX, MAX },
		{ "smallest", USAGE_IMAGE, false, "GET", "----", 200, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, 0, 0, 0 },
		{ "smallest, cut off", USAGE_UPLOAD, false, "POST", "CD", 200, INT64_MIN, INT64_MIN, INT64_MAX, INT64_MAX, INT64_MAX, 0, 0, 0 },
		{ "all of the bytes are head", USAGE_IMAGE, false, "GET", "----", 200, INT64_MIN, 0, -1, INT64_MAX, -1, 0, 0, 0 },
		{ "smallest status", USAGE_IMAGE, false, "GET", "----", INT32_MIN, 5, 5, 5, 0, -1, 0, 0, 0 },
		{ "just the most", USAGE_UPLOAD, false, "POST", "----", 200, 350, 5, 200, 150, MAX, MAX, 200, MAX },
		{ "one less", USAGE_UPLOAD, false, "POST", "----", 200, 350, 5, 200, 150, MAX - 1, MAX - 1, 200, MAX - 1 },
		{ "one more", USAGE_UPLOAD, false, "POST", "----", 200, 350, 5, 200, 150, MAX + 1, MAX, 200, MAX },
	};
	CHECK_ROWS(rows);
}
/* clang-format on */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_complete), cmocka_unit_test(test_aborted), cmocka_unit_test(test_haproxys_own),
		cmocka_unit_test(test_who_pays), cmocka_unit_test(test_uploads), cmocka_unit_test(test_nothing_wraps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
