#include <stdio.h>

#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "store/admin_json.h"

void rest_backends_list(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_backend_list(c->db, &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, rest_list("backends", admin_json_backends(&list)));
	admin_backends_free(&list);
}

/* Answers with the one backend of the list. */
static void reply_backend(struct rest_db_call *c, unsigned status, enum err err, struct admin_backends *list,
                          const char *error)
{
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	if (status == 201)
		snprintf(c->location, sizeof(c->location), "/api/v1/backends/%s", list->items[0].name);
	rest_reply(c, status, status == 204 ? NULL : admin_json_backend(&list->items[0]));
	admin_backends_free(list);
}

void rest_backends_add(struct rest_db_call *c)
{
	static const char *const fields[] = { "name", "url", "weight", NULL };
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;
	const char *name, *url;
	uint64_t weight;
	bool given;

	if (!rest_fields(c, fields) || !rest_text(c, "name", REST_REQUIRED, &name) ||
	    !rest_text(c, "url", REST_REQUIRED, &url) ||
	    !rest_number(c, "weight", REST_REQUIRED, 0, ADMIN_WEIGHT_MAX, &given, &weight) ||
	    rest_connection(c) == NULL)
		return;
	enum err err = admin_backend_add(c->db, name, url, weight, &list, error);
	reply_backend(c, 201, err, &list, error);
}

void rest_backends_get(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_backend_find(c->db, c->params[0], &list, error);
	reply_backend(c, 200, err, &list, error);
}

void rest_backends_patch(struct rest_db_call *c)
{
	static const char *const fields[] = { "url", "weight", NULL };
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;
	uint64_t weight;
	const char *url;
	bool given;

	if (!rest_fields(c, fields) || !rest_text(c, "url", REST_OPTIONAL, &url) ||
	    !rest_number(c, "weight", REST_OPTIONAL, 0, ADMIN_WEIGHT_MAX, &given, &weight))
		return;
	if (url == NULL && !given) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "url, weight: at least one of them is needed.");
		return;
	}
	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_backend_set(c->db, c->params[0], url, given ? &weight : NULL, &list, error);
	reply_backend(c, 200, err, &list, error);
}

void rest_backends_remove(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_backends list;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_backend_remove(c->db, c->params[0], &list, error);
	reply_backend(c, 204, err, &list, error);
}
