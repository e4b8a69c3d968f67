#include "api/request.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/problem.h"
#include "api/rest.h"
#include "api/rest_call.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/sv.h"

#define REQUEST_ID_MAX 128
/* What a form may have beside the file: other fields, headers of parts. */
#define FORM_EXTRA (UINT64_C(1024) * 1024)
/* How much of a refused upload is read, and of what any other route is sent. */
#define DRAIN_MAX        (UINT64_C(256) * 1024 * 1024)
#define DRAIN_MAX_REST   ((uint64_t)REST_BODY_MAX)
#define FORM_BUFFER_SIZE (UINT64_C(64) * 1024)
#define CUT_ANSWER_MAX   2048
#define CUT_LINGER_S     1u
#define RETRY_AFTER      "5"

enum route { ROUTE_NONE = 0, ROUTE_HEALTH, ROUTE_UPLOAD, ROUTE_REST };

struct request {
	const struct request_env *env;
	struct MHD_Connection *conn;
	enum route route;
	bool early;

	const char *method; /* as sent, but GET for HEAD */
	rest_function *function;
	struct sv rest; /* of the path, for the function */

	bool refused;
	enum problem problem;
	const char *detail;
	const char *allow; /* of PROBLEM_METHOD_NOT_ALLOWED */
	char text[REST_DETAIL_SIZE];

	uint64_t user;
	struct rest_db *db; /* NULL: it needs no database */
	uint64_t began_ns;
	uint64_t cut_ns;   /* when the answer was sent in the middle of the body; 0: not */
	uint64_t received; /* bytes of the body */
	struct upload upload;
	struct MHD_PostProcessor *form; /* NULL: the body is the image */
	unsigned file_parts;
	uint64_t file_head; /* of the form's file: what its headers say */
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

static bool is_form(struct sv content_type)
{
	struct sv word = content_type;

	return sv_split(&content_type, ';', &word) && sv_ieq(sv_trim(word), SV("multipart/form-data"));
}

/*
 * MHD takes everything behind "boundary=" for the boundary. Parameters behind it, which some clients send, are cut off:
 * the header lies in memory of the connection, and is ours to read.
 */
static void end_boundary(const char *content_type)
{
	char *at = content_type != NULL ? strstr(content_type, "boundary=") : NULL;

	if (at == NULL)
		return;
	at += sizeof("boundary=") - 1;
	char *end = *at == '"' ? strchr(at + 1, '"') : strchr(at, ';');
	if (end == NULL)
		return;
	if (*at == '"')
		end++;
	while (*at != '"' && end > at && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = '\0';
}

/* The answer to an upload that the store did not take. */
static void refuse_stored(struct request *r, enum err err, const struct storage_use *use)
{
	if (err == ERR_RANGE) {
		refuse(r, PROBLEM_TOO_LARGE, "The file is larger than an upload may be.");
		return;
	}
	if (err == ERR_REFUSED) {
		snprintf(r->text, sizeof(r->text),
		         "The upload does not fit into the storage limit: %" PRIu64 " of %" PRIu64 " bytes are used.",
		         use->used, use->limit);
		refuse(r, PROBLEM_QUOTA_STORAGE, r->text);
		return;
	}
	bool full = err == ERR_IO && (errno == ENOSPC || errno == EDQUOT);
	log_error("upload: cannot be stored: %s: user=%" PRIu64 " request_id=%s",
	          err == ERR_IO ? strerror(errno) : err_str(err), r->user, r->id);
	refuse(r, PROBLEM_UNAVAILABLE,
	       full ? "The server has no room for the upload at the moment."
	            : "The upload cannot be stored at the moment.");
}

static void store_bytes(struct request *r, const char *data, size_t len)
{
	struct storage_use use;

	enum err err = upload_write(&r->upload, data, len, &use);
	if (err != ERR_OK)
		refuse_stored(r, err, &use);
}

static uint64_t head_of(const char *filename, const char *content_type)
{
	uint64_t hash = filename != NULL ? hash_bytes(filename, strlen(filename), 1) : 0;

	return content_type != NULL ? hash_bytes(content_type, strlen(content_type), hash) : hash;
}

/*
 * The post processor's callback. A part comes in pieces; the one at offset 0 may come empty and then again, which is
 * told from another part behind an empty one by the headers.
 */
static enum MHD_Result form_piece(void *cls, enum MHD_ValueKind kind, const char *name, const char *filename,
                                  const char *content_type, const char *encoding, const char *data, uint64_t offset,
                                  size_t len)
{
	struct request *r = cls;
	(void)kind;
	(void)encoding;

	if (r->refused || name == NULL || strcmp(name, "file") != 0)
		return MHD_YES;
	uint64_t head = head_of(filename, content_type);
	if (offset == 0 && (r->file_parts == 0 || r->upload.bytes > 0 || head != r->file_head)) {
		r->file_parts++;
		r->file_head = head;
		if (r->file_parts > 1) {
			refuse(r, PROBLEM_BAD_REQUEST, "The form has more than one file; send one in each request.");
			return MHD_YES;
		}
	}
	if (len > 0)
		store_bytes(r, data, len);
	return MHD_YES;
}

/*
 * Reserves storage for the body, before any of it is read. Of a form the file is the larger part: when all of it does
 * not fit, what is left may still do, and the bytes decide as they come.
 */
static void begin_upload(struct request *r, uint64_t length, bool form)
{
	struct storage_use use;
	struct sv text = header(r, "X-GW-Storage-Limit");
	uint64_t limit = 0;
	uint64_t max = r->env->uploads->max_size;
	uint64_t want = length < max ? length : max;

	if (text.p != NULL && sv_to_u64(text, &limit) != ERR_OK) {
		log_error("upload: X-GW-Storage-Limit is no number: user=%" PRIu64 " request_id=%s", r->user, r->id);
		refuse(r, PROBLEM_UNAVAILABLE, "The upload cannot be stored at the moment.");
		return;
	}
	uint64_t least = form && length <= FORM_EXTRA ? 1 : form ? length - FORM_EXTRA : want;
	enum err err = upload_begin(&r->upload, r->env->uploads, r->user, limit, want, least < want ? least : want,
	                            &use);
	if (err != ERR_OK)
		refuse_stored(r, err, &use);
}

static void refuse_method(struct request *r, const char *allow)
{
	r->allow = allow;
	refuse(r, PROBLEM_METHOD_NOT_ALLOWED, "This address does not take the method.");
}

static void start_upload(struct request *r)
{
	uint64_t length = 0;
	uint64_t max = r->env->uploads->max_size;

	if (strcmp(r->method, MHD_HTTP_METHOD_POST) != 0) {
		refuse_method(r, MHD_HTTP_METHOD_POST);
		return;
	}
	if (!rest_list_has(header(r, "X-GW-Scopes"), SV("upload"))) {
		refuse(r, PROBLEM_SCOPE_MISSING, "The API key does not have the scope upload.");
		return;
	}
	struct sv type = header(r, "Content-Type");
	bool form = is_form(type);
	if (sv_to_u64(header(r, "Content-Length"), &length) != ERR_OK)
		length = 0;
	if (length > max + (form ? FORM_EXTRA : 0)) {
		refuse(r, PROBLEM_TOO_LARGE, "The file is larger than an upload may be.");
		return;
	}
	if (form) {
		end_boundary(type.p);
		r->form = MHD_create_post_processor(r->conn, FORM_BUFFER_SIZE, form_piece, r);
		if (r->form == NULL) {
			refuse(r, PROBLEM_BAD_REQUEST, "The Content-Type of the form has no valid boundary.");
			return;
		}
	}
	begin_upload(r, length, form);
}

static void start_db(struct request *r, const char *method, const char *path)
{
	const struct rest_db_caller caller = {
		.user = r->user,
		.key = header(r, "X-GW-Key"),
		.scopes = header(r, "X-GW-Scopes"),
		.request_id = r->id,
	};
	enum err err = ERR_NOT_FOUND;

	if (r->env->db != NULL)
		err = rest_db_new(&r->db, r->env->db, r->conn, method, path, &caller);
	if (err == ERR_NOT_FOUND)
		refuse(r, PROBLEM_NOT_FOUND, "There is nothing at this address.");
	else if (err != ERR_OK)
		refuse(r, PROBLEM_UNAVAILABLE, "There is no memory at the moment.");
}

/* The bytes of the body that the headers announce; 0: none, or not told. */
static uint64_t announced(const struct request *r)
{
	uint64_t length = 0;

	return sv_to_u64(header(r, "Content-Length"), &length) == ERR_OK ? length : 0;
}

/* More body than is dropped. Other methods are refused as such, by the function itself. */
static void check_no_body(struct request *r)
{
	bool known = strcmp(r->method, MHD_HTTP_METHOD_GET) == 0 || strcmp(r->method, MHD_HTTP_METHOD_DELETE) == 0;

	if (known && announced(r) > DRAIN_MAX_REST)
		refuse(r, PROBLEM_BAD_REQUEST, "This request takes no body.");
}

static void start(struct request *r, const char *method, const char *path, bool full)
{
	bool head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;

	r->method = head ? MHD_HTTP_METHOD_GET : method;
	take_id(r);
	if (strcmp(r->method, MHD_HTTP_METHOD_GET) == 0 && strcmp(path, "/healthz") == 0) {
		r->route = ROUTE_HEALTH;
	} else if (!is_from_proxy(r)) {
		refuse(r, PROBLEM_IP_NOT_ALLOWED, "Only the gateway's proxy may call this service.");
	} else if (full) {
		refuse(r, PROBLEM_UNAVAILABLE, "The service is busy at the moment. Try again.");
	} else if (strcmp(path, "/api/v1/upload") == 0) {
		r->route = ROUTE_UPLOAD;
		start_upload(r);
	} else if ((r->function = rest_find(sv_str(path), &r->rest)) != NULL) {
		r->route = ROUTE_REST;
		check_no_body(r);
	} else {
		start_db(r, method, path);
	}
}

/* The answer of a route; NULL: no body, or a refusal. */
static char *finish_rest(struct request *r, unsigned *status)
{
	struct rest_answer answer = { 0 };
	const struct rest_call call = { .uploads = r->env->uploads,
		                        .conn = r->conn,
		                        .method = r->method,
		                        .rest = r->rest,
		                        .user = r->user,
		                        .request_id = r->id };

	r->function(&call, &answer);
	*status = answer.status;
	if (answer.status != 0)
		return answer.text;
	snprintf(r->text, sizeof(r->text), "%s", answer.detail);
	r->allow = answer.allow;
	refuse(r, answer.problem, r->text);
	return NULL;
}

/*
 * MHD takes no answer in the middle of a body, and closes at once behind one that comes before it. So this one, which
 * is always a problem, goes past it to the socket: nothing else has been sent for this request, nor will be. Short
 * enough to be sent or lost at once.
 */
static void answer_cut(struct request *r)
{
	char head[CUT_ANSWER_MAX];
	unsigned status = problem_status(r->problem);
	char *text = problem_json(r->problem, r->detail, r->id);
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);

	r->cut_ns = clock_mono_ns();
	MHD_set_connection_option(r->conn, MHD_CONNECTION_OPTION_TIMEOUT, CUT_LINGER_S);
	if (text != NULL && info != NULL) {
		int n = snprintf(head, sizeof(head),
		                 "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
		                 "Cache-Control: no-store\r\n%s%s%s%sConnection: close\r\n\r\n%s",
		                 status, MHD_get_reason_phrase_for(status), strlen(text),
		                 r->allow != NULL ? "Allow: " : "", r->allow != NULL ? r->allow : "",
		                 r->allow != NULL ? "\r\n" : "",
		                 r->problem == PROBLEM_UNAVAILABLE ? "Retry-After: " RETRY_AFTER "\r\n" : "", text);
		if (n < 0 || (size_t)n >= sizeof(head) ||
		    send(info->connect_fd, head, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
			log_debug("http: a refusal in the middle of a body could not be sent: request_id=%s", r->id);
	}
	free(text);
}

/* The refusal of a route that has a body in front of it which is not read. */
static void refuse_unread(struct request *r)
{
	struct rest_db_refusal refusal;
	unsigned status = 0;

	if (r->db != NULL && rest_db_is_refused(r->db, &refusal)) {
		r->allow = refusal.allow;
		refuse(r, refusal.problem, refusal.detail);
	} else if (!r->refused && r->route == ROUTE_REST) {
		/* Only to hear its refusal of the method: with those that it knows a body is refused before. */
		free(finish_rest(r, &status));
	}
	refuse(r, PROBLEM_BAD_REQUEST, "This request takes no body.");
}

struct request *request_new(const struct request_env *env, struct MHD_Connection *conn, const char *method,
                            const char *path, bool full)
{
	struct request *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->env = env;
	r->conn = conn;
	r->began_ns = clock_mono_ns();
	upload_init(&r->upload);
	start(r, method, path, full);
	struct rest_db_refusal refusal;
	bool refused = r->refused || (r->db != NULL && rest_db_is_refused(r->db, &refusal)) || r->route == ROUTE_REST;
	uint64_t most = r->route == ROUTE_UPLOAD ? DRAIN_MAX : DRAIN_MAX_REST;
	/* Also when all is full: what comes then must not linger. */
	r->early = refused && (full || sv_ieq(header(r, "Expect"), SV("100-continue")));
	if (!r->early && refused && announced(r) > most) {
		refuse_unread(r);
		answer_cut(r);
	}
	return r;
}

void request_free(struct request *r)
{
	if (r == NULL)
		return;
	if (r->form != NULL)
		MHD_destroy_post_processor(r->form);
	upload_abort(&r->upload);
	rest_db_free(r->db);
	free(r);
}

bool request_answers_early(const struct request *r)
{
	return r->early;
}

static bool is_too_slow(const struct request *r)
{
	const struct request_env *env = r->env;
	uint64_t ms = (clock_mono_ns() - r->began_ns) / NS_PER_MS;

	return ms > env->body_grace_ms && r->received < (ms - env->body_grace_ms) * env->body_rate / 1000;
}

/* Whether the body goes on; else it has been refused. */
static bool may_go_on(struct request *r)
{
	/* An upload that was refused for its size has been read up to its limit already. */
	uint64_t most = r->route == ROUTE_UPLOAD ? r->env->uploads->max_size + FORM_EXTRA + DRAIN_MAX : DRAIN_MAX_REST;

	if (is_too_slow(r))
		refuse(r, PROBLEM_TOO_SLOW, "The body came too slowly.");
	else if (r->received > most)
		refuse(r, PROBLEM_TOO_LARGE, "The body is larger than what is read here.");
	else
		return true;
	return false;
}

bool request_is_cut(const struct request *r)
{
	return r->cut_ns > 0;
}

bool request_body(struct request *r, const char *data, size_t len)
{
	r->received += len;
	if (r->cut_ns > 0)
		return clock_mono_ns() - r->cut_ns < CUT_LINGER_S * NS_PER_SEC;
	if (!may_go_on(r)) {
		answer_cut(r);
		return true;
	}
	if (r->db != NULL)
		rest_db_body(r->db, data, len);
	if (r->refused || r->route != ROUTE_UPLOAD)
		return true;
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

/* The answer to a file that is not wanted. */
static void refuse_image(struct request *r, enum err err, const struct upload_result *result)
{
	const struct storage_use none = { 0 };

	if (err == ERR_UNSUPPORTED) {
		refuse(r, PROBLEM_TYPE_UNSUPPORTED,
		       result->why != NULL ? result->why : "The file is not a JPEG, PNG, WebP, GIF or AVIF image.");
	} else if (err == ERR_INVALID) {
		refuse(r, PROBLEM_TYPE_UNSUPPORTED,
		       result->why != NULL ? result->why : "The header of the image cannot be read.");
	} else if (err == ERR_RANGE && result->pixels > 0) {
		const struct image_info *image = &result->image;
		snprintf(r->text, sizeof(r->text),
		         "The image has %" PRIu32 " x %" PRIu32 " pixels in %" PRIu32 " frame%s; at most %" PRIu64
		         " pixels in all are taken.",
		         image->width, image->height, image->frames, image->frames == 1 ? "" : "s",
		         r->env->uploads->max_pixels);
		refuse(r, PROBLEM_TOO_LARGE, r->text);
	} else if (err == ERR_RANGE) {
		refuse(r, PROBLEM_TOO_LARGE, result->why);
	} else {
		refuse_stored(r, err, &none);
	}
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
	if (!r->refused && r->upload.bytes == 0)
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
	refuse_image(r, err, &result);
	return NULL;
}

/* Takes the text, which is NULL for an answer without a body. */
static enum MHD_Result send_text(struct request *r, unsigned status, const char *type, char *text, bool closing)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(text != NULL ? strlen(text) : 0, text,
	                                                                MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(text);
		return MHD_NO;
	}
	if (text != NULL)
		MHD_add_response_header(response, "Content-Type", type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	if (r->refused && r->problem == PROBLEM_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, "Allow", r->allow);
	if (r->refused && r->problem == PROBLEM_UNAVAILABLE)
		MHD_add_response_header(response, "Retry-After", RETRY_AFTER);
	if (closing)
		MHD_add_response_header(response, "Connection", "close");
	enum MHD_Result result = MHD_queue_response(r->conn, status, response);
	MHD_destroy_response(response);
	return result;
}

bool request_suspend(struct request *r)
{
	return r->db != NULL && rest_db_suspend(r->db);
}

enum MHD_Result request_answer(struct request *r, bool closing)
{
	unsigned status = MHD_HTTP_OK;
	char *text = NULL;

	if (r->db != NULL)
		return rest_db_answer(r->db, closing);
	if (!r->refused && r->route == ROUTE_HEALTH)
		text = strdup("{\"status\":\"ok\"}");
	else if (!r->refused && r->route == ROUTE_REST)
		text = finish_rest(r, &status);
	else
		text = finish_upload(r);
	const char *type = "application/json";
	if (r->refused) {
		text = problem_json(r->problem, r->detail, r->id);
		status = problem_status(r->problem);
		type = "application/problem+json";
	}
	if (text == NULL && status != MHD_HTTP_NO_CONTENT)
		return MHD_NO;
	return send_text(r, status, type, text, closing);
}
