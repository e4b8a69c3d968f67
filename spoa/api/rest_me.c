#include <inttypes.h>
#include <stdio.h>

#include "api/rest_handlers.h"
#include "base/check.h"
#include "store/admin_json.h"

/* Some fields of a document, which is released. */
static json_t *some_of(json_t *v, const char *const *names)
{
	json_t *some = json_object();

	CHECK(v != NULL && some != NULL);
	for (; *names != NULL; names++)
		json_object_set(some, *names, json_object_get(v, *names));
	json_decref(v);
	return some;
}

/* What stands beside the user already. */
static json_t *without_user(json_t *v)
{
	json_object_del(v, "user");
	json_object_del(v, "user_id");
	return v;
}

static enum err add_key(struct rest_db_call *c, const char *user, json_t *v, char *error)
{
	static const char *const names[] = { "id", "name", "scopes", "expires_at", NULL };
	struct admin_keys keys;

	enum err err = admin_key_find(c->db, user, c->key, &keys, error);
	if (err != ERR_OK)
		return err;
	json_object_set_new(v, "key", some_of(admin_json_key(&keys.items[0]), names));
	admin_keys_free(&keys);
	return ERR_OK;
}

static enum err add_numbers(struct rest_db_call *c, const char *user, json_t *v, char *error)
{
	struct admin_limits limits;
	struct admin_quotas quotas;

	enum err err = admin_limits_find(c->db, user, &limits, error);
	if (err != ERR_OK)
		return err;
	json_object_set_new(v, "limits", without_user(admin_json_limits(c->settings, &limits)));
	admin_limits_free(&limits);
	err = admin_quotas_find(c->db, user, &quotas, error);
	if (err != ERR_OK)
		return err;
	json_object_set_new(v, "quota", without_user(admin_json_quotas(c->settings, &quotas)));
	admin_quotas_free(&quotas);
	return ERR_OK;
}

void rest_me_get(struct rest_db_call *c)
{
	static const char *const names[] = { "id", "username", "email", "is_active", "created_at", NULL };
	char user[ADMIN_ID_MAX], error[ADMIN_ERROR_MAX];
	struct admin_users users;

	if (rest_connection(c) == NULL)
		return;
	snprintf(user, sizeof(user), "%" PRIu64, c->user);
	enum err err = admin_user_find(c->db, user, &users, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	json_t *v = some_of(admin_json_user(&users.items[0]), names);
	admin_users_free(&users);
	err = add_key(c, user, v, error);
	if (err == ERR_OK)
		err = add_numbers(c, user, v, error);
	if (err == ERR_OK) {
		rest_reply(c, 200, v);
		return;
	}
	json_decref(v);
	rest_fail(c, err, error);
}
