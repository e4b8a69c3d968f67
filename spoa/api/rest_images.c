#include "api/rest_images.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "api/image_json.h"
#include "api/images.h"
#include "base/log.h"

#define LIMIT_DEFAULT 100

enum err images_query_parse(struct sv limit, struct sv after, struct images_query *out, const char **detail)
{
	uint64_t n = LIMIT_DEFAULT;

	*out = (struct images_query){ 0 };
	if (limit.p != NULL && (sv_to_u64(limit, &n) != ERR_OK || n < 1 || n > IMAGES_LIST_MAX)) {
		*detail = "The argument limit must be a number from 1 to 1000.";
		return ERR_INVALID;
	}
	if (after.n > 0 && !image_id_ok(after)) {
		*detail = "The argument after must be what an earlier page had in its field next.";
		return ERR_INVALID;
	}
	out->limit = (size_t)n;
	out->after = after;
	return ERR_OK;
}

static void failed(const struct rest_call *call, struct rest_answer *answer, enum err err)
{
	log_error("images: %s: user=%" PRIu64 " request_id=%s", err == ERR_IO ? strerror(errno) : err_str(err),
	          call->user, call->request_id);
	rest_refuse(answer, PROBLEM_UNAVAILABLE, "The images cannot be read at the moment.");
}

static void no_memory(struct rest_answer *answer)
{
	rest_refuse(answer, PROBLEM_UNAVAILABLE, "The service is short of memory at the moment.");
}

static json_t *entry_json(const struct image_entry *entry)
{
	char created[40];
	struct tm tm;
	time_t seconds = entry->created_s;

	if (gmtime_r(&seconds, &tm) == NULL || strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		created[0] = '\0';
	json_t *doc = image_json(entry->id, entry->type, entry->bytes);
	if (image_json_size(doc, entry->width, entry->height) &&
	    json_object_set_new(doc, "created_at", json_string(created)) == 0)
		return doc;
	json_decref(doc);
	return NULL;
}

/* {"images": […], "next": an id or null} */
static char *page_json(const struct image_entry *entries, size_t count, const char *next)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		/* NULL is refused by jansson: the list is then shorter than it should be. */
		if (json_array_append_new(list, entry_json(&entries[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return image_json_text(json_pack("{s:o, s:s?}", "images", list, "next", next[0] != '\0' ? next : NULL));
}

void rest_images(const struct rest_call *call, struct rest_answer *answer)
{
	struct images_query query;
	const char *detail;
	char next[IMAGE_ID_SIZE];
	size_t count;

	if (strcmp(call->method, "GET") != 0) {
		rest_refuse_method(answer, "GET, HEAD");
		return;
	}
	if (!rest_has_scope(call, SV("read"))) {
		rest_refuse(answer, PROBLEM_SCOPE_MISSING, "The API key does not have the scope read.");
		return;
	}
	if (images_query_parse(rest_argument(call, "limit"), rest_argument(call, "after"), &query, &detail) != ERR_OK) {
		rest_refuse(answer, PROBLEM_BAD_REQUEST, detail);
		return;
	}
	struct image_entry *entries = calloc(query.limit, sizeof(*entries));
	if (entries == NULL) {
		no_memory(answer);
		return;
	}
	enum err err = images_list(call->uploads, call->user, query.after, query.limit, entries, &count, next);
	if (err == ERR_OK) {
		answer->status = MHD_HTTP_OK;
		answer->text = page_json(entries, count, next);
		if (answer->text == NULL)
			no_memory(answer);
	} else {
		failed(call, answer, err);
	}
	free(entries);
}

static void get(const struct rest_call *call, struct rest_answer *answer)
{
	struct image_entry entry;

	enum err err = images_find(call->uploads, call->user, call->rest, &entry);
	if (err == ERR_NOT_FOUND) {
		rest_refuse(answer, PROBLEM_NOT_FOUND, "There is no such image.");
	} else if (err != ERR_OK) {
		failed(call, answer, err);
	} else {
		answer->status = MHD_HTTP_OK;
		answer->text = image_json_text(entry_json(&entry));
		if (answer->text == NULL)
			no_memory(answer);
	}
}

static void delete (const struct rest_call *call, struct rest_answer *answer)
{
	enum err err = images_delete(call->uploads, call->user, call->rest);

	if (err == ERR_NOT_FOUND)
		rest_refuse(answer, PROBLEM_NOT_FOUND, "There is no such image.");
	else if (err != ERR_OK)
		failed(call, answer, err);
	else
		answer->status = MHD_HTTP_NO_CONTENT;
}

void rest_image(const struct rest_call *call, struct rest_answer *answer)
{
	bool deletes = strcmp(call->method, "DELETE") == 0;

	/* What can be no image has no methods either. */
	if (!image_id_ok(call->rest))
		rest_refuse(answer, PROBLEM_NOT_FOUND, "There is no such image.");
	else if (!deletes && strcmp(call->method, "GET") != 0)
		rest_refuse_method(answer, "GET, HEAD, DELETE");
	else if (!rest_has_scope(call, deletes ? SV("upload") : SV("read")))
		rest_refuse(answer, PROBLEM_SCOPE_MISSING,
		            deletes ? "The API key does not have the scope upload."
		                    : "The API key does not have the scope read.");
	else if (deletes)
		delete (call, answer);
	else
		get(call, answer);
}
