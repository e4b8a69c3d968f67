/* The verdict: each rule's code, the contract's order between them, and what is told before the key is proved. */
#include "unit.h"

#include <string.h>

#include "policy/decide.h"

#define NOW 1800000000

/* A world of one key and one user; a test spoils some of it. */
struct world {
	char text[KEY_TEXT_MAX];
	struct policy_key key;
	struct policy_user user;
	bool has_key;
	bool has_user;
	enum verdict_code url;
	unsigned url_calls;
	uint64_t url_user;
	struct key_hasher *hasher;
	struct policy_request req;
};

static const struct policy_key *find_key(void *arg, uint64_t id)
{
	struct world *w = arg;
	return w->has_key && id == 12 ? &w->key : NULL;
}

static const struct policy_user *find_user(void *arg, uint64_t id)
{
	struct world *w = arg;
	return w->has_user && id == 34 ? &w->user : NULL;
}

static enum verdict_code judge(void *arg, const struct policy_request *req, uint64_t user_id)
{
	struct world *w = arg;
	(void)req;
	w->url_calls++;
	w->url_user = user_id;
	return w->url;
}

static int setup(void **state)
{
	static struct world w;
	struct key_parts parts;

	memset(&w, 0, sizeof(w));
	w.hasher = key_hasher_new("0123456789abcdef0123456789abcdef");
	assert_non_null(w.hasher);
	assert_int_equal(key_generate(12, w.text), ERR_OK);
	assert_int_equal(key_parse(sv_str(w.text), &parts), ERR_OK);
	w.key = (struct policy_key){ .version = POLICY_LAYOUT,
		                     .flags = KEY_ACTIVE | KEY_USABLE,
		                     .scopes = SCOPE_READ | SCOPE_UPLOAD,
		                     .user_id = 34 };
	assert_int_equal(key_hash(w.hasher, parts.body, w.key.hash), ERR_OK);
	w.user = (struct policy_user){ .version = POLICY_LAYOUT, .flags = USER_ACTIVE };
	w.has_key = true;
	w.has_user = true;
	w.req = (struct policy_request){ .method = SV("GET"),
		                         .path = SV("/img/unsafe/plain/local:///a.jpg"),
		                         .api_key = sv_str(w.text) };
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	key_hasher_free(w->hasher);
	return 0;
}

static struct policy_verdict decide(struct world *w)
{
	const struct policy_lookup lookup = { .key = find_key, .user = find_user, .url = judge, .arg = w };
	struct policy_verdict v;
	policy_decide(&w->req, &lookup, w->hasher, NOW, &v);
	return v;
}

static void test_allow(void **state)
{
	struct world *w = *state;
	struct policy_verdict v = decide(w);
	assert_int_equal(v.code, VERDICT_ALLOW);
	assert_int_equal(v.route, ROUTE_IMAGE);
	assert_int_equal(v.user_id, 34);
	assert_int_equal(v.key_id, 12);
	assert_int_equal(v.scopes, SCOPE_READ | SCOPE_UPLOAD);
	assert_int_equal(w->url_calls, 1);
	assert_int_equal(w->url_user, 34);
}

static void test_where_the_key_may_stand(void **state)
{
	struct world *w = *state;
	char bearer[KEY_TEXT_MAX + 16];

	w->req.api_key = sv_from(NULL, 0);
	assert_int_equal(decide(w).code, VERDICT_KEY_MISSING);
	w->req.authorization = SV("Bearer ");
	assert_int_equal(decide(w).code, VERDICT_KEY_MISSING);
	w->req.authorization = SV("Basic Zm9vOmJhcg==");
	assert_int_equal(decide(w).code, VERDICT_KEY_MISSING);
	strcpy(bearer, "bEARER   ");
	strcat(bearer, w->text);
	w->req.authorization = sv_str(bearer);
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	w->req.api_key = sv_str(w->text);
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	w->req.api_key = SV("igw_other");
	assert_int_equal(decide(w).code, VERDICT_BAD_REQUEST);
	w->req.api_key = SV("Bearer x");
	w->req.authorization = sv_from(NULL, 0);
	assert_int_equal(decide(w).code, VERDICT_KEY_INVALID);
}

static void test_nothing_is_known_before_the_key_is_proved(void **state)
{
	struct world *w = *state;
	w->key.hash[31] ^= 1;
	w->key.flags = KEY_USABLE;
	w->user.flags = 0;
	struct policy_verdict v = decide(w);
	assert_int_equal(v.code, VERDICT_KEY_INVALID);
	assert_int_equal(v.user_id, 0);
	assert_int_equal(v.key_id, 0);
	assert_int_equal(v.scopes, 0);
	w->has_key = false;
	assert_int_equal(decide(w).code, VERDICT_KEY_INVALID);
}

static void test_unusable_key_never_passes(void **state)
{
	struct world *w = *state;
	w->key.flags = KEY_ACTIVE;
	assert_int_equal(decide(w).code, VERDICT_KEY_INVALID);
}

static void test_expiry(void **state)
{
	struct world *w = *state;
	w->key.expires_at = NOW + 1;
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	w->key.expires_at = NOW;
	assert_int_equal(decide(w).code, VERDICT_KEY_EXPIRED);
	w->key.flags = KEY_USABLE;
	assert_int_equal(decide(w).code, VERDICT_KEY_REVOKED);
	assert_int_equal(decide(w).user_id, 34);
}

/* From a world in which everything is wrong, mending one thing after the other shows the codes in the contract's order.
 */
static void test_order(void **state)
{
	struct world *w = *state;
	w->req.api_key = sv_from(NULL, 0);
	w->key.flags = KEY_USABLE;
	w->user.flags = 0;
	w->key.scopes = SCOPE_UPLOAD;
	w->url = VERDICT_URL_INVALID;
	assert_int_equal(decide(w).code, VERDICT_KEY_MISSING);
	w->req.api_key = sv_str(w->text);
	assert_int_equal(decide(w).code, VERDICT_KEY_REVOKED);
	w->key.flags |= KEY_ACTIVE;
	assert_int_equal(decide(w).code, VERDICT_USER_INACTIVE);
	w->user.flags = USER_ACTIVE;
	assert_int_equal(decide(w).code, VERDICT_SCOPE_MISSING);
	w->key.scopes = SCOPE_READ;
	assert_int_equal(w->url_calls, 0);
	assert_int_equal(decide(w).code, VERDICT_URL_INVALID);
	w->url = VERDICT_SOURCE_FORBIDDEN;
	assert_int_equal(decide(w).code, VERDICT_SOURCE_FORBIDDEN);
	w->url = VERDICT_ALLOW;
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	w->has_user = false;
	assert_int_equal(decide(w).code, VERDICT_USER_INACTIVE);
}

static void test_routes_and_scopes(void **state)
{
	(void)state;
	static const struct {
		const char *method;
		const char *path;
		enum policy_route route;
		uint32_t scope;
	} rows[] = {
		{ "GET", "/img/unsafe/x", ROUTE_IMAGE, SCOPE_READ },
		{ "GET", "/img", ROUTE_NONE, 0 },
		{ "GET", "/imgx/", ROUTE_NONE, 0 },
		{ "GET", "/", ROUTE_NONE, 0 },
		{ "GET", "", ROUTE_NONE, 0 },
		{ "POST", "/api/v1/upload", ROUTE_API, SCOPE_UPLOAD },
		{ "GET", "/api/v1/images", ROUTE_API, SCOPE_READ },
		{ "DELETE", "/api/v1/images/1", ROUTE_API, SCOPE_UPLOAD },
		{ "GET", "/api/v1/users", ROUTE_API, SCOPE_ADMIN },
		{ "POST", "/api/v1/users/3/keys", ROUTE_API, SCOPE_ADMIN },
		{ "GET", "/api/v1/backends", ROUTE_API, SCOPE_ADMIN },
		{ "GET", "/api/v1/usersx", ROUTE_API, SCOPE_READ },
		{ "GET", "/api/v2/users", ROUTE_NONE, 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t scope = 0;
		assert_int_equal(policy_route(sv_str(rows[i].method), sv_str(rows[i].path), &scope), rows[i].route);
		if (rows[i].route != ROUTE_NONE)
			assert_int_equal(scope, rows[i].scope);
	}
}

static void test_api_asks_no_url(void **state)
{
	struct world *w = *state;
	w->req.method = SV("POST");
	w->req.path = SV("/api/v1/upload");
	w->url = VERDICT_URL_INVALID;
	struct policy_verdict v = decide(w);
	assert_int_equal(v.code, VERDICT_ALLOW);
	assert_int_equal(v.route, ROUTE_API);
	assert_int_equal(w->url_calls, 0);
	w->key.scopes = SCOPE_READ;
	assert_int_equal(decide(w).code, VERDICT_SCOPE_MISSING);
	w->req.path = SV("/nowhere");
	assert_int_equal(decide(w).code, VERDICT_NOT_FOUND);
}

/* Codes and status are the contract's. */
static void test_code_table(void **state)
{
	(void)state;
	static const struct {
		enum verdict_code code;
		const char *name;
		int status;
	} rows[] = {
		{ VERDICT_KEY_MISSING, "key_missing", 401 },           { VERDICT_KEY_INVALID, "key_invalid", 401 },
		{ VERDICT_KEY_EXPIRED, "key_expired", 401 },           { VERDICT_KEY_REVOKED, "key_revoked", 401 },
		{ VERDICT_USER_INACTIVE, "user_inactive", 403 },       { VERDICT_SCOPE_MISSING, "scope_missing", 403 },
		{ VERDICT_SOURCE_FORBIDDEN, "source_forbidden", 403 }, { VERDICT_URL_INVALID, "url_invalid", 400 },
		{ VERDICT_BAD_REQUEST, "bad_request", 400 },           { VERDICT_NOT_FOUND, "not_found", 404 },
		{ VERDICT_UNAVAILABLE, "unavailable", 503 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_string_equal(verdict_name(rows[i].code), rows[i].name);
		assert_int_equal(verdict_status(rows[i].code), rows[i].status);
		assert_true(strlen(verdict_detail(rows[i].code)) > 0);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_allow),
		T(test_where_the_key_may_stand),
		T(test_nothing_is_known_before_the_key_is_proved),
		T(test_unusable_key_never_passes),
		T(test_expiry),
		T(test_order),
		T(test_api_asks_no_url),
		cmocka_unit_test(test_routes_and_scopes),
		cmocka_unit_test(test_code_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
