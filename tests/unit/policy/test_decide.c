/* The verdict: each rule's code, the contract's order between them, and what is told before the key is proved. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "policy/decide.h"
#include "policy/quota.h"

#define NOW 1800000000

/* A world of one key and one user; a test spoils some of it. */
struct world {
	char text[KEY_TEXT_MAX];
	struct policy_key key;
	struct policy_user user; /* with an allow list behind it */
	uint8_t allow[256];
	struct policy_usage usage;
	bool has_usage;
	struct policy_env env;
	bool has_key;
	bool has_user;
	enum verdict_code url;
	unsigned url_calls;
	uint64_t url_user;
	const struct policy_user *url_record;
	enum verdict_code signature;
	unsigned signer_calls;
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

static const struct policy_usage *find_usage(void *arg, uint64_t id)
{
	struct world *w = arg;
	return w->has_usage && id == 34 ? &w->usage : NULL;
}

static enum verdict_code judge(void *arg, const struct policy_request *req, uint64_t user_id,
                               const struct policy_user *user)
{
	struct world *w = arg;
	(void)req;
	w->url_calls++;
	w->url_user = user_id;
	w->url_record = user;
	return w->url;
}

static enum verdict_code find_signer(void *arg, const struct policy_request *req, uint64_t *id,
                                     const struct policy_key **key)
{
	struct world *w = arg;
	(void)req;
	w->signer_calls++;
	if (w->signature == VERDICT_ALLOW) {
		*id = 12;
		*key = &w->key;
	}
	return w->signature;
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
	w.env = (struct policy_env){ .counters = aligned_alloc(_Alignof(struct policy_counters),
		                                               sizeof(struct policy_counters)),
		                     .hosts = 1,
		                     .now_ns = UINT64_C(1000000000000),
		                     .now = NOW };
	assert_non_null(w.env.counters);
	/* Only what tests touch: all of it is large. */
	memset(&w.env.counters->addresses, 0, sizeof(w.env.counters->addresses));
	memset(&w.env.counters->ids, 0, sizeof(w.env.counters->ids));
	memset(&w.env.counters->limits, 0, offsetof(struct limits_memory, slots) + 4 * sizeof(struct limit_slot));
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
	free(w->env.counters);
	return 0;
}

static struct policy_verdict decide(struct world *w)
{
	const struct policy_lookup lookup = {
		.key = find_key, .user = find_user, .usage = find_usage, .signer = find_signer, .url = judge, .arg = w
	};
	struct policy_verdict v;
	policy_decide(&w->req, &lookup, w->hasher, &w->env, &v);
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
	assert_ptr_equal(w->url_record, &w->user);
	assert_int_equal(w->signer_calls, 0);
}

static void test_a_signed_path_is_its_own_proof(void **state)
{
	struct world *w = *state;
	const struct sv header = w->req.api_key;

	w->req.path = SV("/signed/12/x/plain/local:///a.jpg");
	w->req.api_key = sv_from(NULL, 0);
	struct policy_verdict v = decide(w);
	assert_int_equal(v.code, VERDICT_ALLOW);
	assert_int_equal(v.route, ROUTE_IMAGE);
	assert_int_equal(v.user_id, 34);
	assert_int_equal(v.key_id, 12);
	assert_int_equal(v.scopes, SCOPE_READ | SCOPE_UPLOAD);
	/* A header does not matter: neither a wrong one, nor two that differ. */
	w->req.api_key = SV("igw_other");
	w->req.authorization = SV("Bearer x");
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	/* Nor does it help. */
	w->req.api_key = header;
	w->req.authorization = sv_from(NULL, 0);
	const enum verdict_code bad[] = { VERDICT_SIGNATURE_INVALID, VERDICT_UNAVAILABLE };
	for (size_t i = 0; i < 2; i++) {
		w->signature = bad[i];
		v = decide(w);
		assert_int_equal(v.code, bad[i]);
		assert_int_equal(v.user_id, 0);
		assert_int_equal(v.key_id, 0);
	}
	assert_int_equal(w->signer_calls, 4);
	assert_int_equal(w->url_calls, 2);
}

static void test_a_signed_path_meets_the_same_checks(void **state)
{
	struct world *w = *state;

	w->req.path = SV("/signed/12/x/plain/local:///a.jpg");
	w->key.flags = KEY_USABLE;
	assert_int_equal(decide(w).code, VERDICT_KEY_REVOKED);
	w->key.flags = KEY_ACTIVE;
	w->key.expires_at = NOW;
	assert_int_equal(decide(w).code, VERDICT_KEY_EXPIRED);
	w->key.expires_at = 0;
	w->user.flags = 0;
	assert_int_equal(decide(w).code, VERDICT_USER_INACTIVE);
	w->user.flags = USER_ACTIVE;
	w->key.scopes = SCOPE_UPLOAD;
	assert_int_equal(decide(w).code, VERDICT_SCOPE_MISSING);
	w->key.scopes = SCOPE_READ;
	w->url = VERDICT_SOURCE_FORBIDDEN;
	assert_int_equal(decide(w).code, VERDICT_SOURCE_FORBIDDEN);
	w->url = VERDICT_ALLOW;
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
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

static void set_address(struct world *w, uint8_t last)
{
	const uint8_t addr[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, last };

	memcpy(w->req.address, addr, sizeof(addr));
	w->req.has_address = true;
}

/* The same for the limits: all are used up, and raised one after the other. */
static void test_order_of_limits(void **state)
{
	struct world *w = *state;
	struct cidr block;
	size_t size;

	set_address(w, 7);
	w->env.address = gcra_make(60, 60, 1);
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	w->req.api_key = sv_from(NULL, 0);
	assert_int_equal(decide(w).code, VERDICT_IP_RATE_LIMITED);
	assert_in_range(decide(w).retry_ns, 1, 1000000000);
	w->env.address.interval = 0;
	assert_int_equal(decide(w).code, VERDICT_KEY_MISSING);
	w->req.api_key = sv_str(w->text);

	assert_int_equal(cidr_parse(SV("198.51.100.0/24"), &block), ERR_OK);
	cidr_set_build(&block, 1, w->user.lists, &size);
	w->user.allow_bytes = (uint32_t)size;
	w->url = VERDICT_URL_INVALID;
	w->user.per_minute = w->user.per_hour = w->user.month_requests = w->user.month_bytes = 1;
	struct limits_memory *m = &w->env.counters->limits;
	struct limit_slot *slot = limits_slot(m, 34, NULL);
	const uint64_t far = gcra_now(w->env.now_ns + UINT64_C(7200) * 1000000000);
	struct period p;
	period_at(NOW, 0, &p);
	slot->minute = slot->hour = far;
	slot->requests = slot->bytes = quota_word(p.id, 1);

	assert_int_equal(decide(w).code, VERDICT_IP_NOT_ALLOWED);
	w->user.allow_bytes = 0;
	assert_int_equal(decide(w).code, VERDICT_URL_INVALID);
	w->url = VERDICT_ALLOW;
	assert_int_equal(decide(w).code, VERDICT_RATE_LIMITED);
	/* The minute is full again, the hour is not, and the longest wait counts. */
	slot->minute = 0;
	assert_int_equal(decide(w).code, VERDICT_RATE_LIMITED);
	assert_in_range(decide(w).retry_ns, (uint64_t)(p.end - NOW) * 1000000000, UINT64_MAX);
	slot->hour = 0;
	assert_int_equal(decide(w).code, VERDICT_QUOTA_REQUESTS);
	w->user.month_requests = 2;
	assert_int_equal(decide(w).code, VERDICT_QUOTA_BANDWIDTH);
	assert_int_equal(slot->minute, 0);
	assert_int_equal(slot->hour, 0);
	assert_int_equal(quota_count(slot->requests), 1);
	w->user.month_bytes = 2;
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	assert_int_equal(quota_count(slot->requests), 2);
	assert_int_equal(quota_count(slot->admitted), 2);
}

/* A client without address is in no allow list. */
static void test_whitelist(void **state)
{
	struct world *w = *state;
	struct cidr blocks[2];
	size_t size;

	assert_int_equal(cidr_parse(SV("192.0.2.0/29"), &blocks[0]), ERR_OK);
	assert_int_equal(cidr_parse(SV("2001:db8::/32"), &blocks[1]), ERR_OK);
	cidr_set_build(blocks, 2, w->user.lists, &size);
	w->user.allow_bytes = (uint32_t)size;
	assert_int_equal(decide(w).code, VERDICT_IP_NOT_ALLOWED);
	set_address(w, 7);
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	set_address(w, 8);
	assert_int_equal(decide(w).code, VERDICT_IP_NOT_ALLOWED);
}

/* Whoever guesses keys runs dry, and what is refused later has spent nothing of the user's. */
static void test_the_address_counts_all(void **state)
{
	struct world *w = *state;

	set_address(w, 7);
	w->env.address = gcra_make(60, 60, 3);
	w->user.per_minute = 10;
	w->req.api_key = SV("igw_wrong");
	assert_int_equal(decide(w).code, VERDICT_KEY_INVALID);
	w->req.api_key = sv_str(w->text);
	w->url = VERDICT_URL_INVALID;
	assert_int_equal(decide(w).code, VERDICT_URL_INVALID);
	w->url = VERDICT_ALLOW;
	assert_int_equal(decide(w).view.minute.left, 9);
	assert_int_equal(decide(w).code, VERDICT_IP_RATE_LIMITED);
	set_address(w, 8);
	assert_int_equal(decide(w).view.minute.left, 8);
}

/* The retry of a request, also one that another worker decides. */
static void test_an_id_spends_once(void **state)
{
	struct world *w = *state;

	set_address(w, 7);
	w->env.address = gcra_make(60, 60, 2);
	w->user.per_minute = 10;
	w->req.id = SV("f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
	assert_int_equal(decide(w).view.minute.left, 9);
	w->env.now_ns += 400000000;
	for (int i = 0; i < 5; i++) {
		struct policy_verdict v = decide(w);
		assert_int_equal(v.code, VERDICT_ALLOW);
		assert_int_equal(v.view.minute.left, 9);
	}
	/* Only the spending is spared. */
	w->user.flags = 0;
	assert_int_equal(decide(w).code, VERDICT_USER_INACTIVE);
	w->user.flags = USER_ACTIVE;
	w->req.id = SV("f81d4fae-7dec-11d0-a765-00a0c91e6bf7");
	assert_int_equal(decide(w).view.minute.left, 8);
	/* A refused one has not spent, and may be tried again under its id. */
	w->user.month_requests = 2;
	w->req.id = SV("f81d4fae-7dec-11d0-a765-00a0c91e6bf8");
	w->env.address.interval = 0;
	assert_int_equal(decide(w).code, VERDICT_QUOTA_REQUESTS);
	w->user.month_requests = 3;
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	w->req.id = SV("f81d4fae-7dec-11d0-a765-00a0c91e6bf9");
	assert_int_equal(decide(w).code, VERDICT_QUOTA_REQUESTS);
}

static void test_only_images_and_uploads_spend(void **state)
{
	struct world *w = *state;

	w->user.per_minute = 2;
	w->req.path = SV("/api/v1/usage");
	for (int i = 0; i < 3; i++) {
		struct policy_verdict v = decide(w);
		assert_int_equal(v.code, VERDICT_ALLOW);
		assert_int_equal(v.view.minute.left, 2);
	}
	w->req.method = SV("POST");
	w->req.path = SV("/api/v1/upload");
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	assert_int_equal(decide(w).view.minute.left, 0);
	assert_int_equal(decide(w).code, VERDICT_RATE_LIMITED);
	w->req.method = SV("GET");
	w->req.path = SV("/api/v1/me");
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
}

/* An agent that starts again goes on from what was stored. */
static void test_stored_usage(void **state)
{
	struct world *w = *state;
	struct period p;

	period_at(NOW, 0, &p);
	w->has_usage = true;
	w->usage = (struct policy_usage){ .version = POLICY_LAYOUT,
		                          .requests = quota_word(p.id, 8),
		                          .unflushed = quota_word(p.id, 2),
		                          .bytes = quota_word(p.id, 5000) };
	w->user.month_requests = 10;
	w->user.month_bytes = 6000;
	struct policy_verdict v = decide(w);
	assert_int_equal(v.view.requests.left, 1);
	assert_int_equal(v.view.bytes.left, 1000);
	assert_int_equal(quota_count(v.slot->admitted), 3);
	assert_int_equal(quota_count(v.slot->stored), 6);
	assert_int_equal(decide(w).code, VERDICT_ALLOW);
	assert_int_equal(decide(w).code, VERDICT_QUOTA_REQUESTS);
}

static void test_shadow(void **state)
{
	struct world *w = *state;

	w->user.per_minute = w->user.per_hour = w->user.month_requests = 1;
	w->user.flags |= USER_SHADOW_MINUTE | USER_SHADOW_HOUR | USER_SHADOW_REQUESTS | USER_SHADOW_BANDWIDTH;
	w->user.month_bytes = 1;
	assert_int_equal(decide(w).shadow, 0);
	struct policy_verdict v = decide(w);
	assert_int_equal(v.code, VERDICT_ALLOW);
	assert_int_equal(v.shadow, USER_SHADOW_MINUTE | USER_SHADOW_HOUR | USER_SHADOW_REQUESTS);
	w->user.flags &= (uint8_t)~USER_SHADOW_HOUR;
	assert_int_equal(decide(w).code, VERDICT_RATE_LIMITED);
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
		{ "GET", "/signed/7/s/x", ROUTE_IMAGE, SCOPE_READ },
		{ "GET", "/signed", ROUTE_NONE, 0 },
		{ "GET", "/signedx/", ROUTE_NONE, 0 },
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
		bool spends = false;
		assert_int_equal(policy_route(sv_str(rows[i].method), sv_str(rows[i].path), &scope, &spends),
		                 rows[i].route);
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
		{ VERDICT_KEY_MISSING, "key_missing", 401 },
		{ VERDICT_KEY_INVALID, "key_invalid", 401 },
		{ VERDICT_KEY_EXPIRED, "key_expired", 401 },
		{ VERDICT_KEY_REVOKED, "key_revoked", 401 },
		{ VERDICT_USER_INACTIVE, "user_inactive", 403 },
		{ VERDICT_SCOPE_MISSING, "scope_missing", 403 },
		{ VERDICT_SOURCE_FORBIDDEN, "source_forbidden", 403 },
		{ VERDICT_OPTION_FORBIDDEN, "option_forbidden", 403 },
		{ VERDICT_SIGNATURE_INVALID, "signature_invalid", 403 },
		{ VERDICT_URL_INVALID, "url_invalid", 400 },
		{ VERDICT_BAD_REQUEST, "bad_request", 400 },
		{ VERDICT_NOT_FOUND, "not_found", 404 },
		{ VERDICT_UNAVAILABLE, "unavailable", 503 },
		{ VERDICT_IP_NOT_ALLOWED, "ip_not_allowed", 403 },
		{ VERDICT_IP_RATE_LIMITED, "ip_rate_limited", 429 },
		{ VERDICT_RATE_LIMITED, "rate_limited", 429 },
		{ VERDICT_QUOTA_REQUESTS, "quota_requests", 429 },
		{ VERDICT_QUOTA_BANDWIDTH, "quota_bandwidth", 429 },
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
		T(test_order_of_limits),
		T(test_whitelist),
		T(test_the_address_counts_all),
		T(test_an_id_spends_once),
		T(test_only_images_and_uploads_spend),
		T(test_stored_usage),
		T(test_shadow),
		T(test_a_signed_path_is_its_own_proof),
		T(test_a_signed_path_meets_the_same_checks),
		T(test_api_asks_no_url),
		cmocka_unit_test(test_routes_and_scopes),
		cmocka_unit_test(test_code_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
