#include "api/rest_db.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/rest_call.h"
#include "api/rest_route.h"
#include "base/clock.h"
#include "base/log.h"
#include "policy/scope.h"

#define RETRY_AFTER "2"
#define AGAIN_NS    NS_PER_SEC

struct rest_db {
	struct pool_job job; /* first: a job is its request */
	const struct rest_db_env *env;
	struct MHD_Connection *conn;
	const char *path;
	struct rest_match match;
	struct rest_db_call call;
	char *body;
	size_t body_len;
	bool done; /* the handler has run, or never will */
};

static struct pg_sync *open_connection(void *arg)
{
	return pool_connection(arg);
}

/* For the names of settings, routes and scopes alone. */
static const char *scope_name(uint32_t scope)
{
	return scope == SCOPE_ADMIN ? "admin" : "read";
}

static struct sv header(const struct rest_db *r, const char *name)
{
	return sv_str(MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name));
}

/* One argument of the query, decoded; NULL for a value that is not there. */
static enum MHD_Result take_arg(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                const char *value, size_t size)
{
	struct rest_db *r = cls;
	struct rest_db_call *c = &r->call;
	size_t i = 0;
	(void)kind;

	while (i < REST_ARGS_MAX && c->route->args[i] != NULL &&
	       !sv_eq(sv_str(c->route->args[i]), sv_from(name, name_size)))
		i++;
	if (i == REST_ARGS_MAX || c->route->args[i] == NULL)
		rest_deny(c, PROBLEM_BAD_REQUEST, "%.*s: there is no such argument here.", 64, name);
	else if (c->given[i])
		rest_deny(c, PROBLEM_BAD_REQUEST, "%s: this argument was given twice.", name);
	else if (!rest_is_plain(sv_from(value, size)) ||
	         sv_copy(sv_from(value, size), c->args[i], REST_ARG_MAX) != ERR_OK)
		rest_deny(c, PROBLEM_BAD_REQUEST, "%s: this is no value for this argument.", name);
	else
		c->given[i] = true;
	return MHD_YES;
}

static bool is_json(struct sv content_type)
{
	struct sv word;

	return sv_split(&content_type, ';', &word) && sv_ieq(sv_trim(word), SV("application/json"));
}

/* A body comes, or has begun to. */
static void check_body_kind(struct rest_db *r)
{
	if (r->call.route->body == REST_NO_BODY)
		rest_deny(&r->call, PROBLEM_BAD_REQUEST, "This request takes no body.");
	else if (!is_json(header(r, "Content-Type")))
		rest_deny(&r->call, PROBLEM_TYPE_UNSUPPORTED, "The body is to be of the type application/json.");
}

static void refuse_large(struct rest_db *r)
{
	rest_deny(&r->call, PROBLEM_TOO_LARGE, "The body is larger than the %d bytes that are taken here.",
	          REST_BODY_MAX);
}

static void check_headers(struct rest_db *r, const struct rest_db_caller *caller)
{
	struct rest_db_call *c = &r->call;
	struct sv length_text = header(r, "Content-Length");
	uint64_t length = 0;
	uint32_t scopes;

	if (scopes_parse(caller->scopes, &scopes) != ERR_OK || (scopes & r->match.scope) != r->match.scope) {
		rest_deny(c, PROBLEM_SCOPE_MISSING, "The API key does not have the scope %s.",
		          scope_name(r->match.scope));
		return;
	}
	if (c->route == NULL) {
		rest_deny(c, PROBLEM_METHOD_NOT_ALLOWED, "This address takes %s.", r->match.allow);
		return;
	}
	if (length_text.n > 0 && (sv_to_u64(length_text, &length) != ERR_OK || length > REST_BODY_MAX))
		refuse_large(r);
	else if (length > 0)
		check_body_kind(r);
	if (MHD_get_connection_values_n(r->conn, MHD_GET_ARGUMENT_KIND, take_arg, r) < 0)
		rest_deny(c, PROBLEM_BAD_REQUEST, "The query cannot be read.");
}

enum err rest_db_new(struct rest_db **out, const struct rest_db_env *env, struct MHD_Connection *conn,
                     const char *method, const char *path, const struct rest_db_caller *caller)
{
	struct rest_match match;
	struct rest_db *r;

	*out = NULL;
	enum err err = rest_route_find(method, path, &match);
	if (err != ERR_OK)
		return err;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return ERR_NOMEM;
	r->env = env;
	r->conn = conn;
	r->path = path;
	r->call.request_id = caller->request_id;
	r->match = match;
	r->call.route = match.route;
	r->call.settings = env->settings;
	memcpy(r->call.params, match.params, sizeof(r->call.params));
	r->call.user = caller->user;
	if (sv_to_u64(caller->key, &r->call.key) != ERR_OK)
		r->call.key = 0;
	check_headers(r, caller);
	*out = r;
	return ERR_OK;
}

void rest_db_free(struct rest_db *r)
{
	if (r == NULL)
		return;
	json_decref(r->call.body);
	json_decref(r->call.json);
	free(r->body);
	free(r);
}

bool rest_db_is_refused(const struct rest_db *r, struct rest_db_refusal *out)
{
	const struct rest_db_call *c = &r->call;

	if (!c->refused)
		return false;
	*out = (struct rest_db_refusal){ .problem = c->problem, .detail = c->detail };
	if (c->problem == PROBLEM_METHOD_NOT_ALLOWED)
		out->allow = r->match.allow;
	return true;
}

void rest_db_body(struct rest_db *r, const char *data, size_t len)
{
	if (r->call.refused || len == 0)
		return;
	if (r->body_len == 0)
		check_body_kind(r);
	if (len > REST_BODY_MAX - r->body_len)
		refuse_large(r);
	if (r->call.refused)
		return;
	char *body = realloc(r->body, r->body_len + len);
	if (body == NULL) {
		rest_deny(&r->call, PROBLEM_UNAVAILABLE, "There is no memory at the moment.");
		return;
	}
	memcpy(body + r->body_len, data, len);
	r->body = body;
	r->body_len += len;
}

/* Reads the body; false when the call was refused. */
static bool parse_body(struct rest_db *r)
{
	struct rest_db_call *c = &r->call;
	json_error_t error;

	if (r->body_len == 0)
		return true;
	c->body = json_loadb(r->body, r->body_len, JSON_REJECT_DUPLICATES, &error);
	if (c->body == NULL)
		rest_deny(c, PROBLEM_BAD_REQUEST, "The body is no JSON: line %d, column %d: %s.", error.line,
		          error.column, error.text);
	else if (!json_is_object(c->body))
		rest_deny(c, PROBLEM_BAD_REQUEST, "The body is to be a JSON object.");
	return !c->refused;
}

/*
 * A read whose connection broke meanwhile (PostgreSQL was restarted) is done again on a new one, once. Not a change,
 * which may have been made; and not after a wait: then PostgreSQL hangs.
 */
static void call_handler(struct rest_db_call *c)
{
	uint64_t began_ns = clock_mono_ns();

	c->route->run(c);
	if (!c->lost || strcmp(c->route->method, "GET") != 0 || clock_mono_ns() - began_ns > AGAIN_NS)
		return;
	c->refused = c->lost = false;
	c->db = NULL;
	c->route->run(c);
}

/* In a thread of the pool. */
static void run(struct pool_job *job, struct pool_thread *thread, bool late)
{
	struct rest_db *r = (struct rest_db *)job;
	struct rest_db_call *c = &r->call;

	c->open = open_connection;
	c->open_arg = thread;
	if (late)
		rest_deny(c, PROBLEM_UNAVAILABLE, "The service is busy at the moment. Try again.");
	else if (parse_body(r))
		call_handler(c);
	if (strcmp(c->route->method, "GET") != 0)
		/* The path comes last: it is the client's, and a line that is too long is cut at its end. */
		log_info("rest: a change: method=%s status=%u user=%" PRIu64 " key=%" PRIu64 " request_id=%s path=%s",
		         c->route->method, c->refused ? problem_status(c->problem) : c->status, c->user, c->key,
		         c->request_id, r->path);
	r->done = true;
	/* From here on the request is the server's again. */
	MHD_resume_connection(r->conn);
}

bool rest_db_suspend(struct rest_db *r)
{
	if (r->call.refused || r->done)
		return false;
	if (r->call.route->body == REST_BODY && r->body_len == 0) {
		rest_deny(&r->call, PROBLEM_BAD_REQUEST, "This request needs a body of JSON.");
		return false;
	}
	r->job.run = run;
	MHD_suspend_connection(r->conn);
	if (!pool_push(r->env->pool, &r->job)) {
		rest_deny(&r->call, PROBLEM_UNAVAILABLE, "The service is busy at the moment. Try again.");
		MHD_resume_connection(r->conn);
	}
	return true;
}

/* An answer may hold a new key. */
static void wipe(void *text)
{
	explicit_bzero(text, strlen(text));
	free(text);
}

/* Takes the text, which may be NULL: there is none. */
static struct MHD_Response *response_of(char *text)
{
	static char none[] = "";

	if (text == NULL)
		return MHD_create_response_from_buffer(0, none, MHD_RESPMEM_PERSISTENT);
	struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(strlen(text), text, wipe);
	if (response == NULL)
		wipe(text);
	return response;
}

enum MHD_Result rest_db_answer(struct rest_db *r, bool closing)
{
	struct rest_db_call *c = &r->call;
	bool has_text = c->refused || c->json != NULL;
	char *text = c->refused ? problem_json(c->problem, c->detail, r->call.request_id) : NULL;

	if (!c->refused && c->json != NULL)
		text = json_dumps(c->json, JSON_COMPACT);
	struct MHD_Response *response = has_text && text == NULL ? NULL : response_of(text);
	if (response == NULL)
		return MHD_NO;
	if (has_text)
		MHD_add_response_header(response, "Content-Type",
		                        c->refused ? "application/problem+json" : "application/json");
	MHD_add_response_header(response, "Cache-Control", "no-store");
	if (c->refused && c->problem == PROBLEM_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, "Allow", r->match.allow);
	if (c->refused && c->problem == PROBLEM_UNAVAILABLE)
		MHD_add_response_header(response, "Retry-After", RETRY_AFTER);
	if (!c->refused && c->location[0] != '\0')
		MHD_add_response_header(response, "Location", c->location);
	if (closing)
		MHD_add_response_header(response, "Connection", "close");
	enum MHD_Result result = MHD_queue_response(r->conn, c->refused ? problem_status(c->problem) : c->status,
	                                            response);
	MHD_destroy_response(response);
	return result;
}
