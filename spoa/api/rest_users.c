#include <inttypes.h>
#include <stdio.h>

#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "base/check.h"
#include "store/admin_json.h"

void rest_users_list(struct rest_db_call *c)
{
	uint64_t limit = REST_PAGE, after = 0;
	char error[ADMIN_ERROR_MAX];
	struct admin_users page;

	if (!rest_arg_number(c, 0, 1, REST_PAGE_MAX, &limit) || !rest_arg_number(c, 1, 0, INT64_MAX, &after) ||
	    rest_connection(c) == NULL)
		return;
	/* One more than asked tells whether there are more. */
	enum err err = admin_user_page(c->db, after, limit + 1, &page, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	bool more = page.count > limit;
	json_t *list = json_array();
	for (size_t i = 0; i < page.count && i < limit; i++)
		json_array_append_new(list, admin_json_user(&page.items[i]));
	json_t *v = rest_list("users", list);
	json_object_set_new(v, "next", more ? json_integer((json_int_t)page.items[limit - 1].id) : json_null());
	admin_users_free(&page);
	rest_reply(c, 200, v);
}

/* Answers with the one user of the list, and frees it. */
static void reply_user(struct rest_db_call *c, unsigned status, struct admin_users *list)
{
	rest_reply(c, status, admin_json_user(&list->items[0]));
	admin_users_free(list);
}

void rest_users_add(struct rest_db_call *c)
{
	static const char *const fields[] = { "username", "email", NULL };
	const char *username, *email;
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;

	if (!rest_fields(c, fields) || !rest_text(c, "username", REST_REQUIRED, &username) ||
	    !rest_text(c, "email", REST_REQUIRED, &email) || rest_connection(c) == NULL)
		return;
	enum err err = admin_user_add(c->db, username, email, &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	snprintf(c->location, sizeof(c->location), "/api/v1/users/%" PRIu64, list.items[0].id);
	reply_user(c, 201, &list);
}

void rest_users_get(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_user_find(c->db, c->params[0], &list, error);
	if (err != ERR_OK)
		rest_fail(c, err, error);
	else
		reply_user(c, 200, &list);
}

void rest_users_patch(struct rest_db_call *c)
{
	static const char *const fields[] = { "email", "is_active", NULL };
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;
	const char *email;
	bool given, active;

	if (!rest_fields(c, fields) || !rest_text(c, "email", REST_OPTIONAL, &email) ||
	    !rest_bool(c, "is_active", &given, &active))
		return;
	if (email == NULL && !given) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "email, is_active: at least one of them is needed.");
		return;
	}
	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_user_set(c->db, c->params[0], email, given ? &active : NULL, &list, error);
	if (err != ERR_OK)
		rest_fail(c, err, error);
	else
		reply_user(c, 200, &list);
}

void rest_users_delete(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_users list;
	uint64_t revoked;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_user_delete(c->db, c->params[0], &list, &revoked, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	admin_users_free(&list);
	rest_reply(c, 204, NULL);
}
