#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "base/check.h"
#include "base/log.h"
#include "policy/scope.h"
#include "store/admin_json.h"
#include "store/admin_words.h"

static const char *const scope_names[] = { "read", "upload", "admin" };
enum { SCOPE_NAMES = sizeof(scope_names) / sizeof(scope_names[0]) };
_Static_assert(SCOPE_READ == 1 && SCOPE_UPLOAD == 2 && SCOPE_ADMIN == 4, "bit i is scope_names[i]");

void rest_keys_list(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_keys list;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_key_list(c->db, c->params[0], &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, rest_list("keys", admin_json_keys(&list)));
	admin_keys_free(&list);
}

/* What keys are made with. Refuses without it; on success the sealer is freed by the caller. */
static bool take_maker(struct rest_db_call *c, struct admin_key_maker *maker)
{
	const char *master = c->settings->auth_master_key;

	*maker = (struct admin_key_maker){ .pepper = c->settings->auth_key_pepper };
	if (maker->pepper[0] == '\0') {
		log_error("rest: the setting auth.key_pepper (AUTH_KEY_PEPPER) is empty: keys cannot be hashed");
		rest_deny(c, PROBLEM_UNAVAILABLE,
		          "This service has no pepper (auth.key_pepper), so it cannot make keys.");
		return false;
	}
	if (master[0] != '\0' && sealer_new(master, &maker->sealer) != ERR_OK) {
		rest_deny(c, PROBLEM_UNAVAILABLE, "Signing keys cannot be sealed at the moment.");
		return false;
	}
	return true;
}

/* A list as ["read", "upload"], or the text that gatewayctl takes: "read,upload". */
static bool take_scopes(struct rest_db_call *c, uint32_t *scopes)
{
	const char *text = json_string_value(json_object_get(c->body, "scopes"));
	bool given = text != NULL;
	unsigned set = 0;

	if (text != NULL && scopes_parse(sv_str(text), scopes) == ERR_OK)
		return true;
	if (text == NULL && !rest_names(c, "scopes", scope_names, SCOPE_NAMES, &given, &set))
		return false;
	if (!given)
		return true;
	*scopes = set;
	if (set != 0)
		return true;
	rest_deny(c, PROBLEM_BAD_REQUEST, "scopes: a list of some of read, upload, admin, each at most once.");
	return false;
}

/* The key with what is shown this once, and where it is to be found. */
static json_t *new_key_json(struct rest_db_call *c, const struct admin_key *k, const struct admin_key_secrets *secrets)
{
	json_t *v = admin_json_key(k);

	json_object_set_new(v, "key", json_string(secrets->text));
	if (k->signing) {
		json_object_set_new(v, "signing_key", json_string(secrets->signing_key));
		json_object_set_new(v, "signing_salt", json_string(secrets->signing_salt));
	}
	snprintf(c->location, sizeof(c->location), "/api/v1/users/%" PRIu64 "/keys/%" PRIu64, k->user_id, k->id);
	return v;
}

void rest_keys_create(struct rest_db_call *c)
{
	static const char *const fields[] = { "name", "scopes", "expires", "signing", NULL };
	struct admin_key_wish wish = { .user = c->params[0], .scopes = SCOPE_READ | SCOPE_UPLOAD };
	char error[ADMIN_ERROR_MAX];
	struct admin_key_secrets secrets;
	struct admin_key_maker maker;
	struct admin_keys list;
	const char *expires;
	bool given;

	if (!rest_fields(c, fields) || !rest_text(c, "name", REST_OPTIONAL, &wish.name) ||
	    !take_scopes(c, &wish.scopes) || !rest_text(c, "expires", REST_OPTIONAL, &expires) ||
	    !rest_bool(c, "signing", &given, &wish.signing))
		return;
	if (expires != NULL && admin_duration(expires, &wish.lifetime_s) != ERR_OK) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "expires: a time as 30d, 12h, 45m or 90s, not 0, at most 36500d.");
		return;
	}
	if (wish.signing && c->settings->auth_master_key[0] == '\0') {
		rest_deny(c, PROBLEM_BAD_REQUEST,
		          "signing: this service has no master key (auth.master_key), so it makes no signing keys.");
		return;
	}
	if (rest_connection(c) == NULL || !take_maker(c, &maker))
		return;
	enum err err = admin_key_create(c->db, &maker, &wish, &secrets, &list, error);
	sealer_free(maker.sealer);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 201, new_key_json(c, &list.items[0], &secrets));
	explicit_bzero(&secrets, sizeof(secrets));
	admin_keys_free(&list);
}

/* The key of the path, if it is that user's. Refuses otherwise. */
static bool find_key(struct rest_db_call *c, struct admin_keys *list)
{
	char error[ADMIN_ERROR_MAX];
	uint64_t id = 0;

	CHECK(sv_to_u64(sv_str(c->params[1]), &id) == ERR_OK);
	enum err err = admin_key_find(c->db, c->params[0], id, list, error);
	if (err != ERR_OK)
		rest_fail(c, err, error);
	return err == ERR_OK;
}

void rest_keys_get(struct rest_db_call *c)
{
	struct admin_keys list;

	if (rest_connection(c) == NULL || !find_key(c, &list))
		return;
	rest_reply(c, 200, admin_json_key(&list.items[0]));
	admin_keys_free(&list);
}

void rest_keys_revoke(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_keys list;

	if (rest_connection(c) == NULL || !find_key(c, &list))
		return;
	uint64_t id = list.items[0].id;
	admin_keys_free(&list);
	enum err err = admin_key_revoke(c->db, id, &list, error);
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	admin_keys_free(&list);
	rest_reply(c, 204, NULL);
}

void rest_keys_rotate(struct rest_db_call *c)
{
	static const char *const fields[] = { "grace", NULL };
	char error[ADMIN_ERROR_MAX];
	struct admin_key_secrets secrets;
	struct admin_key_maker maker;
	struct admin_keys list;
	const char *grace;
	uint64_t grace_s;

	if (!rest_fields(c, fields) || !rest_text(c, "grace", REST_OPTIONAL, &grace))
		return;
	if (admin_grace(grace, &grace_s) != ERR_OK) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "grace: a time as 24h, 30d, 45m or 90s, at most 36500d; 0s is none.");
		return;
	}
	if (rest_connection(c) == NULL || !find_key(c, &list))
		return;
	uint64_t id = list.items[0].id;
	admin_keys_free(&list);
	if (!take_maker(c, &maker))
		return;
	enum err err = admin_key_rotate(c->db, &maker, id, grace_s, &secrets, &list, error);
	sealer_free(maker.sealer);
	/* Rotated or revoked before, or with a signing key while there is no master key: the key is not in the state.
	 */
	if (err == ERR_BAD_STATE || err == ERR_UNSUPPORTED)
		err = ERR_EXISTS;
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	const struct admin_key *made = &list.items[0], *old = &list.items[1];
	json_t *v = new_key_json(c, made, &secrets);
	json_object_set_new(v, "replaces", json_integer((json_int_t)old->id));
	json_object_set_new(v, "old_expires_at",
	                    old->revoked_at != NULL ? json_null() : admin_json_text(old->expires_at));
	rest_reply(c, 201, v);
	explicit_bzero(&secrets, sizeof(secrets));
	admin_keys_free(&list);
}
