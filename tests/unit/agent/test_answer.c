/* From a NOTIFY to its ACK, with a real policy.mdb: the variables that HAProxy gets for each kind of verdict. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/answer.h"
#include "base/clock.h"
#include "policy/scope.h"
#include "policy/sealed.h"
#include "spop/ack.h"
#include "spop/frame.h"
#include "spop/notify.h"

static const char pepper[] = "0123456789abcdef0123456789abcdef";

struct world {
	char dir[64];
	char key[KEY_TEXT_MAX];
	struct settings settings;
	struct agent_shared *shared;
	int shared_fd;
	struct answerer a;
	struct spop_conn conn;
	uint8_t in[8192];
	uint8_t out[ANSWER_MAX];
	size_t out_len;
};

static void set(char **slot, const char *value)
{
	free(*slot);
	*slot = strdup(value);
	assert_non_null(*slot);
}

static void fill_policy(struct world *w)
{
	struct policy_user user = { .version = POLICY_LAYOUT,
		                    .flags = USER_ACTIVE,
		                    .per_minute = POLICY_DEFAULT,
		                    .per_hour = POLICY_DEFAULT,
		                    .month_requests = POLICY_DEFAULT,
		                    .month_bytes = POLICY_DEFAULT,
		                    .max_dimension = POLICY_BOUND_DEFAULT,
		                    .max_dpr = POLICY_BOUND_DEFAULT,
		                    .max_zoom = POLICY_BOUND_DEFAULT,
		                    .max_blur = POLICY_BOUND_DEFAULT,
		                    .max_quality = POLICY_BOUND_DEFAULT,
		                    .storage_bytes = POLICY_DEFAULT };
	struct policy_key key = {
		.version = POLICY_LAYOUT, .flags = KEY_ACTIVE | KEY_USABLE, .scopes = SCOPE_READ, .user_id = 34
	};
	struct key_parts parts;
	struct policy_db *db;
	char error[256];

	assert_int_equal(key_generate(12, w->key), ERR_OK);
	assert_int_equal(key_parse(sv_str(w->key), &parts), ERR_OK);
	assert_int_equal(key_hash(w->a.hasher, parts.body, key.hash), ERR_OK);
	assert_int_equal(policy_db_open(w->dir, true, &db, error), ERR_OK);
	assert_int_equal(policy_db_begin(db), ERR_OK);
	assert_int_equal(policy_db_put(db, POLICY_KEYS, 12, &key, sizeof(key)), ERR_OK);
	assert_int_equal(policy_db_put(db, POLICY_USERS, 34, &user, sizeof(user)), ERR_OK);
	assert_int_equal(policy_db_set_generation(db, 1, "x"), ERR_OK);
	assert_int_equal(policy_db_commit(db), ERR_OK);
	policy_db_close(db);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	char error[SETTINGS_ERROR_MAX];
	struct spop_event ev;
	struct wcur wire;
	struct wcur out;
	size_t consumed;

	assert_non_null(w);
	strcpy(w->dir, "/tmp/test-answer-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(settings_load_text(&w->settings, "t", "", 0, NULL, error), ERR_OK);
	set(&w->settings.auth_key_pepper, pepper);
	set(&w->settings.imgproxy_key, "736563726574");
	set(&w->settings.imgproxy_salt, "68656C6C6F");
	set(&w->settings.agent_state_dir, w->dir);
	assert_int_equal(agent_shared_make(&w->shared_fd, &w->shared), ERR_OK);
	assert_int_equal(answer_init(&w->a, &w->settings, w->shared, NULL, NULL), ERR_OK);
	const struct spop_hello h = { .versions = SV("2.0"),
		                      .max_frame_size = 16380,
		                      .capabilities = SV("pipelining") };
	spop_conn_init(&w->conn, 16380);
	wcur_init(&wire, w->in, sizeof(w->in));
	assert_int_equal(spop_hello_write(&wire, &h), ERR_OK);
	wcur_init(&out, w->out, sizeof(w->out));
	assert_int_equal(spop_conn_next(&w->conn, w->in, wcur_len(&wire), &consumed, &out, &ev), SPOP_EVENT_HELLO);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char path[128];

	answer_fini(&w->a);
	agent_shared_unmap(w->shared);
	close(w->shared_fd);
	settings_free(&w->settings);
	snprintf(path, sizeof(path), "%s/policy.mdb", w->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/policy.mdb-lock", w->dir);
	unlink(path);
	rmdir(w->dir);
	free(w);
	return 0;
}

struct request {
	const char *message;
	int64_t version;
	const char *method;
	const char *path;
	const char *key; /* NULL: a NULL value, as HAProxy sends for a missing header */
};

static void text(struct wcur *w, const char *name, const char *value)
{
	const struct spop_value v = value != NULL ? spop_string(sv_str(value)) : spop_null();
	spop_kv_write(w, sv_str(name), &v);
}

/* Sends the request through a connection and keeps the answer in w->out. */
static enum err ask(struct world *w, const struct request *r)
{
	const uint8_t ip[4] = { 127, 0, 0, 1 };
	const struct spop_value version = spop_int64(r->version);
	const struct spop_value address = spop_ipv4(ip);
	struct spop_event ev;
	struct wcur wire;
	struct wcur out;
	size_t consumed;

	wcur_init(&wire, w->in, sizeof(w->in));
	size_t mark = spop_frame_begin(&wire, SPOP_FRAME_NOTIFY, SPOP_FLAG_FIN, 0, 1);
	spop_message_write(&wire, sv_str(r->message), 6);
	spop_kv_write(&wire, SV("v"), &version);
	spop_kv_write(&wire, SV("ip"), &address);
	text(&wire, "method", r->method);
	text(&wire, "path", r->path);
	text(&wire, "key", r->key);
	text(&wire, "auth", NULL);
	assert_int_equal(spop_frame_end(&wire, mark, 16380), ERR_OK);
	wcur_init(&out, w->out, sizeof(w->out));
	assert_int_equal(spop_conn_next(&w->conn, w->in, wcur_len(&wire), &consumed, &out, &ev), SPOP_EVENT_NOTIFY);
	answer_turn(&w->a, clock_mono_ns());
	answer_renew(&w->a, w->dir);
	enum err err = answer_notify(&w->a, &w->conn, &ev, &out, w);
	answer_release(&w->a);
	w->out_len = wcur_len(&out);
	return err;
}

/* The variable of the last answer; NULL type when it is not set. */
static struct spop_value var(const struct world *w, const char *name)
{
	struct spop_frame frame;
	struct spop_action action;
	struct rcur c;
	size_t consumed;

	assert_int_equal(spop_frame_decode(w->out, w->out_len, 16380, &frame, &consumed), ERR_OK);
	assert_int_equal(frame.type, SPOP_FRAME_ACK);
	assert_int_equal(frame.stream_id, 0);
	assert_int_equal(frame.frame_id, 1);
	rcur_init(&c, frame.payload.p, frame.payload.n);
	while (spop_ack_next(&c, &action) == ERR_OK) {
		assert_int_equal(action.scope, SPOP_SCOPE_TXN);
		if (sv_eq(action.name, sv_str(name)))
			return action.value;
	}
	return spop_null();
}

static void assert_text(const struct world *w, const char *name, const char *expected)
{
	struct spop_value v = var(w, name);
	struct sv got = spop_value_text(&v);
	if (!sv_eq(got, sv_str(expected)))
		fail_msg("%s: wanted \"%s\", got \"%.*s\"", name, expected, SV_ARG(got));
}

/* For texts whose end depends on the clock. */
static void assert_starts(const struct world *w, const char *name, const char *expected)
{
	struct spop_value v = var(w, name);
	struct sv got = spop_value_text(&v);
	if (!sv_starts(got, sv_str(expected)))
		fail_msg("%s: wanted \"%s…\", got \"%.*s\"", name, expected, SV_ARG(got));
}

static void assert_int(const struct world *w, const char *name, int64_t expected)
{
	struct spop_value v = var(w, name);
	int64_t got = 0;
	assert_true(spop_value_int(&v, &got));
	assert_int_equal(got, expected);
}

static void put_record(struct world *w, enum policy_table table, uint64_t id, const void *record, size_t n)
{
	struct policy_db *db;
	char error[256];

	assert_int_equal(policy_db_open(w->dir, true, &db, error), ERR_OK);
	assert_int_equal(policy_db_begin(db), ERR_OK);
	assert_int_equal(policy_db_put(db, table, id, record, n), ERR_OK);
	assert_int_equal(policy_db_set_generation(db, 2, "x"), ERR_OK);
	assert_int_equal(policy_db_commit(db), ERR_OK);
	policy_db_close(db);
}

/* A list of one entry; returns its size. */
static size_t put_entry(uint8_t *p, const char *entry)
{
	const uint16_t n = (uint16_t)strlen(entry);
	memcpy(p, &n, sizeof(n));
	memcpy(p + sizeof(n), entry, n);
	return sizeof(n) + n;
}

static const char image[] = "/img/unsafe/rs:fit:300:200/plain/local:///cat.jpg@png";

static void test_without_policy_unavailable(void **state)
{
	struct world *w = *state;
	const struct request r = { "check", 1, "GET", image, NULL };
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_text(w, "verdict", "deny");
	assert_text(w, "code", "unavailable");
	assert_int(w, "status", 503);
}

static void test_image_allowed(void **state)
{
	struct world *w = *state;
	fill_policy(w);
	const struct request r = { "check", 1, "GET", image, w->key };
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_text(w, "verdict", "allow");
	assert_int_equal(var(w, "code").type, SPOP_TYPE_NULL);
	assert_int_equal(var(w, "route").type, SPOP_TYPE_NULL);
	assert_starts(w, "limits",
	              "1000|999|1|\"minute\";r=999;t=1, \"hour\";r=9999;t=1, \"month-bytes\";r=10737418240;t=");
	assert_int(w, "user", 34);
	assert_int(w, "key", 12);
	assert_int_equal(var(w, "status").type, SPOP_TYPE_NULL);
	struct spop_value target = var(w, "target");
	struct sv t = spop_value_text(&target);
	/* "local:///34/cat.jpg" in base64url, behind a signature of 43 characters. */
	const char tail[] = "/rs:fit:300:200/bG9jYWw6Ly8vMzQvY2F0LmpwZw.png";
	assert_int_equal(t.n, 1 + 43 + sizeof(tail) - 1);
	assert_memory_equal(t.p + 44, tail, sizeof(tail) - 1);
	assert_int_equal(atomic_load(&w->shared->metrics.verdicts[VERDICT_ALLOW]), 1);
	assert_int_equal(atomic_load(&w->shared->metrics.frames[AGENT_FRAME_ACK]), 1);
}

static void test_refusals(void **state)
{
	struct world *w = *state;
	fill_policy(w);
	const struct {
		struct request r;
		const char *code;
		int64_t status;
		bool known;
	} rows[] = {
		{ { "check", 1, "GET", image, NULL }, "key_missing", 401, false },
		{ { "check", 1, "GET", image, "igw_12_x_y" }, "key_invalid", 401, false },
		{ { "check", 1, "GET", "/img/unsafe/plain/http://x/y", w->key }, "source_forbidden", 403, true },
		{ { "check", 1, "GET", "/img/unsafe/raw:1/plain/local:///a", w->key }, "option_forbidden", 403, true },
		{ { "check", 1, "GET", "/img/unsafe/dpr:5/plain/local:///a", w->key }, "option_forbidden", 403, true },
		{ { "check", 1, "GET", "/img/unsafe/w:x/plain/local:///a", w->key }, "url_invalid", 400, true },
		{ { "check", 1, "GET", "/img/unsafe/nonsense", w->key }, "url_invalid", 400, true },
		{ { "check", 1, "GET", "/img/unsafe/exp:1/plain/local:///a", w->key }, "not_found", 404, true },
		{ { "check", 1, "POST", "/api/v1/upload", w->key }, "scope_missing", 403, true },
		{ { "check", 1, "GET", "/", w->key }, "not_found", 404, false },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(ask(w, &rows[i].r), ERR_OK);
		assert_text(w, "verdict", "deny");
		assert_text(w, "code", rows[i].code);
		assert_int(w, "status", rows[i].status);
		assert_int_equal(var(w, "target").type, SPOP_TYPE_NULL);
		if (rows[i].known)
			assert_int(w, "user", 34);
		else
			assert_int_equal(var(w, "user").type, SPOP_TYPE_NULL);
	}
}

/* What is wrong with a URL is told, and only with the refusal of that URL. */
static void test_details(void **state)
{
	struct world *w = *state;
	fill_policy(w);
	const struct {
		const char *path;
		const char *key;
		const char *detail;
	} rows[] = {
		{ "/img/unsafe/raw:1/plain/local:///a", w->key, "The option raw is not allowed." },
		{ "/img/unsafe/w:4097/plain/local:///a", w->key,
		  "The option w goes beyond its bound: at most 4096 pixels, zoom and dpr included." },
		{ "/img/unsafe/exp:1/plain/local:///a", w->key, "The time of this URL is over." },
		{ "/img/unsafe/plain/ftp://x/y", w->key,
		  "The source is not allowed: the scheme must be http, https, s3, gs or abs." },
		{ "/img/unsafe/", w->key, verdict_detail(VERDICT_URL_INVALID) },
		{ "/img/unsafe/raw:1/plain/local:///a", NULL, verdict_detail(VERDICT_KEY_MISSING) },
		{ "/", w->key, verdict_detail(VERDICT_NOT_FOUND) },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct request r = { "check", 1, "GET", rows[i].path, rows[i].key };
		assert_int_equal(ask(w, &r), ERR_OK);
		assert_text(w, "detail", rows[i].detail);
	}
}

/* The limit of the address, and what its answer says. */
static void test_address_limit(void **state)
{
	struct world *w = *state;
	const struct request r = { "check", 1, "GET", image, NULL };
	fill_policy(w);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(ask(w, &r), ERR_OK);
		assert_text(w, "code", "key_missing");
	}
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_text(w, "code", "ip_rate_limited");
	assert_int(w, "status", 429);
	assert_int(w, "retry_after", 1);
	assert_text(w, "limits", "100|0|1|\"address\";r=0;t=1|\"address\";q=100;w=60");
}

static void test_rate_limited(void **state)
{
	struct world *w = *state;
	const struct request r = { "check", 1, "GET", image, w->key };
	fill_policy(w);
	w->a.env.defaults = (struct limits_defaults){ .per_minute = 2 };
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask(w, &r), ERR_OK);
		assert_text(w, "verdict", "allow");
		assert_int_equal(var(w, "retry_after").type, SPOP_TYPE_NULL);
	}
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_text(w, "verdict", "deny");
	assert_text(w, "code", "rate_limited");
	assert_int(w, "retry_after", 30);
	assert_text(w, "limits", "2|0|30|\"minute\";r=0;t=30|\"minute\";q=2;w=60");
	/* Nobody who has no limit is told of one. */
	w->a.env.defaults = (struct limits_defaults){ 0 };
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_int_equal(var(w, "limits").type, SPOP_TYPE_NULL);
}

/* What was read after a pause longer than HAProxy waits gets no verdict, and has spent nothing. */
static void test_stale_requests_spend_nothing(void **state)
{
	struct world *w = *state;
	const struct request r = { "check", 1, "GET", image, w->key };
	fill_policy(w);
	assert_int_equal(ask(w, &r), ERR_OK);
	/* ask() begins a turn: the one before it lies this far back. */
	w->a.turn_ns -= ANSWER_STALE_NS;
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_int_equal(var(w, "verdict").type, SPOP_TYPE_NULL);
	assert_int(w, "status", 0);
	assert_int_equal(var(w, "code").type, SPOP_TYPE_NULL);
	assert_int_equal(atomic_load(&w->shared->metrics.stale), 1);
	struct limit_slot *slot = limits_find(&w->shared->counters.limits, 34);
	assert_non_null(slot);
	assert_int_equal(slot->requests & 0xffff, 1);
	/* The next turn is the one that reads the sockets. */
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_int(w, "status", 0);
	assert_int_equal(var(w, "code").type, SPOP_TYPE_NULL);
	w->a.resumed_ns -= ANSWER_RESUME_NS;
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_text(w, "verdict", "allow");
	/* Stopped within a turn. */
	w->a.before_ns = w->a.turn_ns - ANSWER_STALE_NS;
	assert_int_equal(slot->requests & 0xffff, 2);
}

/* A configuration of another version must not be answered by guessing. */
static void test_foreign_messages(void **state)
{
	struct world *w = *state;
	fill_policy(w);
	const struct request other_version = { "check", 2, "GET", image, w->key };
	const struct request other_message = { "hello", 1, "GET", image, w->key };
	assert_int_equal(ask(w, &other_version), ERR_OK);
	assert_text(w, "code", "unavailable");
	assert_int_equal(ask(w, &other_message), ERR_OK);
	assert_text(w, "code", "unavailable");
	assert_int_equal(atomic_load(&w->shared->metrics.errors[AGENT_ERROR_MESSAGE]), 2);
}

/* A user's own bounds, sources and presets go before the settings'. */
static void test_own_bounds(void **state)
{
	struct world *w = *state;
	_Alignas(struct policy_user) uint8_t record[sizeof(struct policy_user) + 256];
	struct policy_user *u = (struct policy_user *)record;
	fill_policy(w);
	*u = (struct policy_user){ .version = POLICY_LAYOUT,
		                   .flags = USER_ACTIVE,
		                   .image_flags = USER_IMAGE_REQUIRE_EXPIRES,
		                   .per_minute = POLICY_DEFAULT,
		                   .per_hour = POLICY_DEFAULT,
		                   .month_requests = POLICY_DEFAULT,
		                   .month_bytes = POLICY_DEFAULT,
		                   .max_dimension = 5000,
		                   .max_dpr = 1500,
		                   .max_zoom = 5000,
		                   .max_blur = 0,
		                   .max_quality = 80 };
	u->sources_bytes = (uint32_t)put_entry(u->lists, "https://cdn.example.com/a/");
	u->presets_bytes = (uint32_t)put_entry(u->lists + u->sources_bytes, "thumb");
	put_record(w, POLICY_USERS, 34, u, sizeof(*u) + u->sources_bytes + u->presets_bytes);
	static const struct {
		const char *path;
		const char *code; /* NULL: allowed */
	} rows[] = {
		{ "/img/unsafe/w:5000/exp:0/plain/local:///a", "option_forbidden" }, /* no end */
		{ "/img/unsafe/w:5000/exp:9999999999/plain/local:///a", NULL },
		{ "/img/unsafe/w:5001/exp:9999999999/plain/local:///a", "option_forbidden" },
		{ "/img/unsafe/w:10/dpr:1.5/exp:9999999999/plain/local:///a", NULL },
		{ "/img/unsafe/w:10/dpr:1.6/exp:9999999999/plain/local:///a", "option_forbidden" },
		{ "/img/unsafe/w:10/z:5/exp:9999999999/plain/local:///a", NULL },
		{ "/img/unsafe/bl:1/exp:9999999999/plain/local:///a", "option_forbidden" },
		{ "/img/unsafe/q:80/exp:9999999999/plain/local:///a", NULL },
		{ "/img/unsafe/q:81/exp:9999999999/plain/local:///a", "option_forbidden" },
		{ "/img/unsafe/pr:thumb/exp:9999999999/plain/local:///a", NULL },
		{ "/img/unsafe/pr:other/exp:9999999999/plain/local:///a", "option_forbidden" },
		{ "/img/unsafe/exp:9999999999/plain/https://CDN.example.com:443/a/b.jpg", NULL },
		{ "/img/unsafe/exp:9999999999/plain/https://cdn.example.com/a/%2E%2E/b.jpg", "source_forbidden" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct request r = { "check", 1, "GET", rows[i].path, w->key };
		assert_int_equal(ask(w, &r), ERR_OK);
		if (rows[i].code == NULL)
			assert_text(w, "verdict", "allow");
		else
			assert_text(w, "code", rows[i].code);
	}
}

/* What uploads may take: the user's own limit, or the settings'. */
static void test_storage(void **state)
{
	struct world *w = *state;
	const struct {
		uint64_t own, common;
		int64_t wanted; /* 0: no variable */
	} rows[] = {
		{ POLICY_DEFAULT, 0, 0 },         { POLICY_DEFAULT, 7, 7 }, { 5, 7, 5 }, { 0, 7, 0 },
		{ UINT64_MAX - 1, 0, INT64_MAX },
	};
	fill_policy(w);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct policy_user user = { .version = POLICY_LAYOUT,
			                          .flags = USER_ACTIVE,
			                          .month_requests = POLICY_DEFAULT,
			                          .month_bytes = POLICY_DEFAULT,
			                          .storage_bytes = rows[i].own };
		const struct request r = { "check", 1, "GET", "/api/v1/images", w->key };
		put_record(w, POLICY_USERS, 34, &user, sizeof(user));
		w->a.env.storage_bytes = rows[i].common;
		assert_int_equal(ask(w, &r), ERR_OK);
		assert_text(w, "verdict", "allow");
		assert_text(w, "route", "api");
		if (rows[i].wanted == 0)
			assert_int_equal(var(w, "storage").type, SPOP_TYPE_NULL);
		else
			assert_int(w, "storage", rows[i].wanted);
	}
}

#define MASTER "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* A signed path needs no key, and its target is the same as an unsigned one's. */
static void test_signed(void **state)
{
	struct world *w = *state;
	_Alignas(struct policy_key) uint8_t record[sizeof(struct policy_key) + SEALED_SIZE];
	struct policy_key *key = (struct policy_key *)record;
	const char *path = "/rs:fit:300:200/plain/local:///cat.jpg@png";
	struct signing_key plain;
	struct imgurl_key signing;
	struct sealer *sealer;
	char url[256], target[256];

	fill_policy(w);
	w->a.per_address = 0;
	w->a.env.address = (struct gcra){ 0 };
	signers_free(w->a.signers);
	assert_int_equal(signers_new(MASTER, &w->a.signers), ERR_OK);
	assert_int_equal(sealer_new(MASTER, &sealer), ERR_OK);
	assert_int_equal(signing_key_make(&plain), ERR_OK);
	*key = (struct policy_key){ .version = POLICY_LAYOUT,
		                    .flags = KEY_ACTIVE,
		                    .scopes = SCOPE_READ,
		                    .signing_bytes = SEALED_SIZE,
		                    .user_id = 34 };
	assert_int_equal(sealer_seal(sealer, 13, &plain, key->signing), ERR_OK);
	sealer_free(sealer);
	put_record(w, POLICY_KEYS, 13, key, sizeof(record));
	assert_int_equal(imgurl_key_init(&signing, plain.key, SIGNING_SIZE, plain.salt, SIGNING_SIZE), ERR_OK);
	strcpy(url, "/signed/13/");
	const size_t head = strlen(url);
	assert_int_equal(imgurl_sign(&signing, sv_str(path), url + head), ERR_OK);
	strcpy(url + head + IMGURL_SIGNATURE_CHARS, path);

	const struct request unsigned_one = { "check", 1, "GET", image, w->key };
	assert_int_equal(ask(w, &unsigned_one), ERR_OK);
	struct spop_value v = var(w, "target");
	assert_int_equal(sv_copy(spop_value_text(&v), target, sizeof(target)), ERR_OK);
	const struct request r = { "check", 1, "GET", url, NULL };
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_text(w, "verdict", "allow");
	assert_text(w, "target", target);
	assert_int(w, "user", 34);
	assert_int(w, "key", 13);

	/* Each bit of it counts, and nobody is named. */
	const size_t n = strlen(url);
	for (size_t i = head; i < n; i++) {
		for (unsigned bit = 0; bit < 7; bit++) {
			url[i] ^= (char)(1 << bit);
			if (url[i] != '\0') {
				assert_int_equal(ask(w, &r), ERR_OK);
				assert_text(w, "code", "signature_invalid");
				assert_int_equal(var(w, "user").type, SPOP_TYPE_NULL);
			}
			url[i] ^= (char)(1 << bit);
		}
	}
	/* A key without a signing key, and one that is not there. */
	for (size_t i = 0; i < 2; i++) {
		url[head - 2] = "29"[i];
		assert_int_equal(ask(w, &r), ERR_OK);
		assert_text(w, "code", "signature_invalid");
	}
	url[head - 2] = '3';
	key->flags = 0;
	put_record(w, POLICY_KEYS, 13, key, sizeof(record));
	assert_int_equal(ask(w, &r), ERR_OK);
	assert_text(w, "code", "key_revoked");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_without_policy_unavailable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_image_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_details, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_messages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_address_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rate_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_requests_spend_nothing, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
