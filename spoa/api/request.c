#include "api/request.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "api/problem.h"
#include "base/log.h"
#include "base/sv.h"

#define REQUEST_ID_MAX 128
/* What a form may have beside the file: other fields, headers of parts. */
#define FORM_EXTRA (UINT64_C(1024) * 1024)
/* How much of a refused body is read. */
#define DRAIN_MAX        (UINT64_C(256) * 1024 * 1024)
#define FORM_BUFFER_SIZE (UINT64_C(64) * 1024)
#define RETRY_AFTER      "5"

enum route { ROUTE_NONE = 0, ROUTE_HEALTH, ROUTE_UPLOAD };

struct request {
	const struct request_env *env;
	struct MHD_Connection *conn;
	enum route route;
	bool early;

	bool refused;
	enum problem problem;
	const char *detail;

	uint64_t user;
	uint64_t received; /* bytes of the body */
	struct upload upload;
	struct MHD_PostProcessor *form; /* NULL: the body is the image */
	unsigned file_parts;
	char id[REQUEST_ID_MAX + 1];
};

/* The first refusal is the one that is answered. */
static void refuse(struct request *r, enum problem problem, const char *detail)
{
	if (r->refused)
		return;
	r->refused = true;
	r->problem = problem;
	r->detail = detail;
	upload_abort(&r->upload);
}

/* The value as a view; {NULL, 0} when the header is missing. It lives as long as the request. */
static struct sv header(const struct request *r, const char *name)
{
	return sv_str(MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name));
}

static void take_id(struct request *r)
{
	struct sv id = header(r, "X-Request-ID");

	for (size_t i = 0; i < id.n; i++) {
		if (id.p[i] <= 0x20 || id.p[i] >= 0x7f)
			return;
	}
	/* Too long: it stays empty. */
	enum err err = sv_copy(id, r->id, sizeof(r->id));
	(void)err;
}

/* Whether the proxy sent this: only it knows the token, and only it writes X-GW- headers. */
static bool is_from_proxy(struct request *r)
{
	struct sv want = sv_str(r->env->token);
	struct sv got = header(r, "X-GW-Token");

	if (want.n > 0 && (got.n != want.n || CRYPTO_memcmp(got.p, want.p, want.n) != 0))
		return false;
	return sv_to_u64(header(r, "X-GW-User"), &r->user) == ERR_OK && r->user > 0;
}

static bool has_scope(const struct request *r, struct sv scope)
{
	struct sv rest = header(r, "X-GW-Scopes");
	struct sv word;

	while (sv_split(&rest, ',', &word)) {
		if (sv_eq(sv_trim(word), scope))
			return true;
	}
	return false;
}

static bool is_form(struct sv content_type)
{
	struct sv word = content_type;

	return sv_split(&content_type, ';', &word) && sv_ieq(sv_trim(word), SV("multipart/form-data"));
}

static void store_bytes(struct request *r, const char *data, size_t len)
{
	enum err err = ERR_OK;

	if (!upload_is_open(&r->upload))
		err = upload_begin(&r->upload, r->env->uploads, r->user);
	if (err == ERR_OK)
		err = upload_write(&r->upload, data, len);
	if (err == ERR_RANGE) {
		refuse(r, PROBLEM_TOO_LARGE, "The file is larger than an upload may be.");
	} else if (err != ERR_OK) {
		log_error("upload: user=%" PRIu64 " request=%s cannot be stored: %s", r->user, r->id,
		          err == ERR_IO ? strerror(errno) : err_str(err));
		refuse(r, PROBLEM_UNAVAILABLE, "The upload cannot be stored at the moment.");
	}
}

/* The post processor's callback. A part comes in pieces; the one at offset 0 may come empty and then again. */
static enum MHD_Result form_piece(void *cls, enum MHD_ValueKind kind, const char *name, const char *filename,
                                  const char *content_type, const char *encoding, const char *data, uint64_t offset,
                                  size_t len)
{
	struct request *r = cls;
	(void)kind;
	(void)filename;
	(void)content_type;
	(void)encoding;

	if (r->refused || name == NULL || strcmp(name, "file") != 0)
		return MHD_YES;
	if (offset == 0 && (r->file_parts == 0 || r->upload.bytes > 0)) {
		r->file_parts++;
		if (r->file_parts > 1) {
			refuse(r, PROBLEM_BAD_REQUEST, "The form has more than one file; send one in each request.");
			return MHD_YES;
		}
	}
	if (len > 0)
		store_bytes(r, data, len);
	return MHD_YES;
}

static void start_upload(struct request *r, const char *method)
{
	uint64_t length;
	uint64_t max = r->env->uploads->max_size;

	if (strcmp(method, MHD_HTTP_METHOD_POST) != 0) {
		refuse(r, PROBLEM_METHOD_NOT_ALLOWED, "This address takes POST alone.");
		return;
	}
	if (!has_scope(r, SV("upload"))) {
		refuse(r, PROBLEM_SCOPE_MISSING, "The API key does not have the scope upload.");
		return;
	}
	bool form = is_form(header(r, "Content-Type"));
	if (sv_to_u64(header(r, "Content-Length"), &length) == ERR_OK && length > max + (form ? FORM_EXTRA : 0)) {
		refuse(r, PROBLEM_TOO_LARGE, "The file is larger than an upload may be.");
		return;
	}
	if (form) {
		r->form = MHD_create_post_processor(r->conn, FORM_BUFFER_SIZE, form_piece, r);
		if (r->form == NULL)
			refuse(r, PROBLEM_BAD_REQUEST, "The Content-Type of the form has no valid boundary.");
	}
}

static void start(struct request *r, const char *method, const char *path)
{
	bool is_read = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;

	take_id(r);
	if (is_read && strcmp(path, "/healthz") == 0) {
		r->route = ROUTE_HEALTH;
	} else if (!is_from_proxy(r)) {
		refuse(r, PROBLEM_IP_NOT_ALLOWED, "Only the gateway's proxy may call this service.");
	} else if (strcmp(path, "/api/v1/upload") == 0) {
		r->route = ROUTE_UPLOAD;
		start_upload(r, method);
	} else {
		refuse(r, PROBLEM_NOT_FOUND, "There is nothing at this address.");
	}
}

struct request *request_new(const struct request_env *env, struct MHD_Connection *conn, const char *method,
                            const char *path)
{
	uint64_t length = 0;
	struct request *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->env = env;
	r->conn = conn;
	upload_init(&r->upload);
	start(r, method, path);
	bool huge = sv_to_u64(header(r, "Content-Length"), &length) == ERR_OK && length > DRAIN_MAX;
	r->early = r->refused && (huge || sv_ieq(header(r, "Expect"), SV("100-continue")));
	return r;
}

void request_free(struct request *r)
{
	if (r == NULL)
		return;
	if (r->form != NULL)
		MHD_destroy_post_processor(r->form);
	upload_abort(&r->upload);
	free(r);
}

bool request_answers_early(const struct request *r)
{
	return r->early;
}

bool request_body(struct request *r, const char *data, size_t len)
{
	r->received += len;
	if (r->refused || r->route != ROUTE_UPLOAD) {
		/* An upload that was refused for its size has been read up to its limit already. */
		uint64_t max = r->route == ROUTE_UPLOAD ? r->env->uploads->max_size + FORM_EXTRA : 0;
		return r->received <= max || r->received - max <= DRAIN_MAX;
	}
	if (r->form == NULL) {
		store_bytes(r, data, len);
		return true;
	}
	if (r->received > r->env->uploads->max_size + FORM_EXTRA)
		refuse(r, PROBLEM_TOO_LARGE, "The form is larger than an upload may be.");
	else if (MHD_post_process(r->form, data, len) == MHD_NO)
		refuse(r, PROBLEM_BAD_REQUEST, "The multipart body is broken.");
	return true;
}

/* The body is complete: the answer's text, or NULL and a refusal. */
static char *finish_upload(struct request *r)
{
	struct upload_result result;

	if (r->refused)
		return NULL;
	if (r->form != NULL) {
		enum MHD_Result whole = MHD_destroy_post_processor(r->form);
		r->form = NULL;
		if (whole == MHD_NO)
			refuse(r, PROBLEM_BAD_REQUEST, "The multipart body is broken or cut off.");
		else if (r->file_parts == 0)
			refuse(r, PROBLEM_BAD_REQUEST, "The form has no part with the name file.");
	}
	if (!r->refused && !upload_is_open(&r->upload))
		refuse(r, PROBLEM_BAD_REQUEST, r->received == 0 ? "The body is empty." : "The file is empty.");
	if (r->refused)
		return NULL;
	enum err err = upload_commit(&r->upload, &result);
	if (err == ERR_OK) {
		char *text = upload_result_json(&result);
		if (text != NULL)
			return text;
		err = ERR_NOMEM;
	}
	if (err == ERR_UNSUPPORTED) {
		refuse(r, PROBLEM_TYPE_UNSUPPORTED, "The file is not a JPEG, PNG, WebP, GIF or AVIF image.");
	} else if (err == ERR_INVALID) {
		refuse(r, PROBLEM_TYPE_UNSUPPORTED, "The header of the image cannot be read.");
	} else {
		log_error("upload: user=%" PRIu64 " request=%s cannot be stored: %s", r->user, r->id,
		          err == ERR_IO ? strerror(errno) : err_str(err));
		refuse(r, PROBLEM_UNAVAILABLE, "The upload cannot be stored at the moment.");
	}
	return NULL;
}

/* Takes the text, which may be NULL. */
static enum MHD_Result send_text(struct request *r, unsigned status, const char *type, char *text, bool closing)
{
	if (text == NULL)
		return MHD_NO;
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	if (r->refused && r->problem == PROBLEM_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, "Allow", MHD_HTTP_METHOD_POST);
	if (r->refused && r->problem == PROBLEM_UNAVAILABLE)
		MHD_add_response_header(response, "Retry-After", RETRY_AFTER);
	if (closing)
		MHD_add_response_header(response, "Connection", "close");
	enum MHD_Result result = MHD_queue_response(r->conn, status, response);
	MHD_destroy_response(response);
	return result;
}

enum MHD_Result request_answer(struct request *r, bool closing)
{
	char *text = NULL;

	if (!r->refused && r->route == ROUTE_HEALTH)
		text = strdup("{\"status\":\"ok\"}");
	else
		text = finish_upload(r);
	if (r->refused) {
		text = problem_json(r->problem, r->detail, r->id);
		return send_text(r, problem_status(r->problem), "application/problem+json", text, closing);
	}
	return send_text(r, MHD_HTTP_OK, "application/json", text, closing);
}
