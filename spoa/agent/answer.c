#include "agent/answer.h"

#include <stdlib.h>
#include <string.h>

#include "agent/defaults.h"
#include "agent/limit_text.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "policy/quota.h"
#include "spop/ack.h"
#include "spop/notify.h"

#define MESSAGE         "check"
#define MESSAGE_VERSION 1
/* A parked request whose lease others have spent asks once more when it has waited no longer than this. */
#define AGAIN_NS (1500 * UINT64_C(1000))

static void init_env(struct answerer *a, const struct settings *s, struct agent_shared *shared)
{
	a->env = (struct policy_env){
		.counters = &shared->counters,
		.defaults = agent_defaults(s),
		.mode = LIMITS_ALONE,
		.hosts = 1,
	};
	a->bounds = (struct imgurl_bounds){
		.max_dimension = (uint32_t)s->images_max_dimension,
		.max_ratio = (uint32_t)s->images_max_ratio,
		.vectors = s->uploads_allow_svg,
		.max_dpr = (uint32_t)s->images_max_dpr * 1000,
		.max_zoom = (uint32_t)s->images_max_zoom * 1000,
		.max_blur = (uint32_t)s->images_max_blur * 1000,
		.max_quality = (uint32_t)s->images_max_quality,
		.require_expires = s->images_require_expires,
		.max_lifetime = (uint32_t)((s->images_max_lifetime + 999) / 1000),
	};
	a->env.storage_bytes = (uint64_t)s->quotas_storage_mb * QUOTA_BYTES_PER_MB;
	a->per_address = (uint64_t)s->rate_limits_ip_level_requests_per_minute;
	a->env.address = gcra_make(a->per_address, 60, 0);
}

enum err answer_init(struct answerer *a, const struct settings *settings, struct agent_shared *shared,
                     struct leases *leases, void (*on_ready)(void *owner, struct answer_parked *p))
{
	memset(a, 0, sizeof(*a));
	a->metrics = &shared->metrics;
	a->leases = leases;
	a->on_ready = on_ready;
	init_env(a, settings, shared);
	a->parked = check_calloc(ANSWER_PARKED_MAX, sizeof(*a->parked));
	for (size_t i = 0; i < ANSWER_PARKED_MAX; i++) {
		a->parked[i].next = a->free;
		a->free = &a->parked[i];
	}
	a->hasher = key_hasher_new(settings->auth_key_pepper);
	if (a->hasher == NULL) {
		log_error("cannot prepare HMAC-SHA-256");
		return ERR_CRYPTO;
	}
	enum err err = signers_new(settings->auth_master_key, &a->signers);
	if (err != ERR_OK) {
		log_error("auth.master_key: cannot be used: %s", err_str(err));
		return err;
	}
	err = imgurl_key_hex(&a->upstream, settings->imgproxy_key, settings->imgproxy_salt);
	if (err != ERR_OK)
		log_error("imgproxy.key and imgproxy.salt: must both be set, in hex: %s", err_str(err));
	return err;
}

void answer_fini(struct answerer *a)
{
	policy_db_close(a->db);
	imgurl_key_clear(&a->upstream);
	signers_free(a->signers);
	key_hasher_free(a->hasher);
	free(a->parked);
}

void answer_check_file(struct answerer *a, const char *state_dir)
{
	struct policy_db *fresh;
	char error[256];

	if (a->db == NULL || !policy_db_replaced(a->db) || policy_db_open(state_dir, false, &fresh, error) != ERR_OK)
		return;
	/* Until the new one is loaded, the old content is the best that there is. */
	if (policy_db_renew(fresh) != ERR_OK) {
		policy_db_close(fresh);
		return;
	}
	policy_db_release(fresh);
	log_warn("policy.mdb was replaced: the new one is used from now on");
	policy_db_close(a->db);
	a->db = fresh;
}

void answer_renew(struct answerer *a, const char *state_dir)
{
	char error[256];

	a->env.now = clock_real_s();
	if (a->leases != NULL) {
		a->env.mode = leases_mode(a->leases);
		a->env.hosts = leases_hosts(a->leases);
		/* Hosts do not tell each other of addresses: each has its share. */
		a->env.address = gcra_share(gcra_make(a->per_address, 60, 0), a->env.hosts);
	}
	a->view_ok = false;
	if (a->db == NULL && policy_db_open(state_dir, false, &a->db, error) != ERR_OK) {
		a->db = NULL;
		return;
	}
	enum err err = policy_db_renew(a->db);
	a->view_ok = err == ERR_OK;
	if (err == ERR_OK || err == ERR_UNAVAILABLE || err == ERR_VERSION)
		return;
	/* LMDB refuses the view itself: the next turn opens the file anew. */
	policy_db_close(a->db);
	a->db = NULL;
}

void answer_release(struct answerer *a)
{
	a->view_ok = false;
	if (a->db != NULL)
		policy_db_release(a->db);
}

static const struct policy_key *find_key(void *arg, uint64_t id)
{
	struct answerer *a = arg;
	return policy_db_key(a->db, id);
}

static const struct policy_user *find_user(void *arg, uint64_t id)
{
	struct answerer *a = arg;
	return policy_db_user(a->db, id);
}

static const struct policy_usage *find_usage(void *arg, uint64_t user_id)
{
	struct answerer *a = arg;
	return policy_db_usage(a->db, user_id);
}

static const enum verdict_code image_codes[] = {
	[IMGURL_OK] = VERDICT_ALLOW,
	[IMGURL_INVALID] = VERDICT_URL_INVALID,
	[IMGURL_SIGNATURE] = VERDICT_SIGNATURE_INVALID,
	[IMGURL_SOURCE] = VERDICT_SOURCE_FORBIDDEN,
	[IMGURL_OPTION] = VERDICT_OPTION_FORBIDDEN,
	[IMGURL_EXPIRED] = VERDICT_NOT_FOUND,
	[IMGURL_INTERNAL] = VERDICT_UNAVAILABLE,
};

/* Whatever is wrong has one answer: nobody learns which keys there are, and which of them sign. */
static enum verdict_code find_signer(void *arg, const struct policy_request *req, uint64_t *id,
                                     const struct policy_key **key)
{
	struct answerer *a = arg;

	if (imgurl_signed_key_id(req->path, id) != ERR_OK)
		return VERDICT_SIGNATURE_INVALID;
	*key = policy_db_key(a->db, *id);
	const struct imgurl_key *signing = *key != NULL ? signers_get(a->signers, *id, *key) : NULL;
	if (signing == NULL)
		return VERDICT_SIGNATURE_INVALID;
	enum imgurl_result result = imgurl_open(signing, req->path, &a->opened);
	return result == IMGURL_INVALID ? VERDICT_SIGNATURE_INVALID : image_codes[result];
}

static uint32_t own_bound(uint32_t own, uint32_t common)
{
	return own != POLICY_BOUND_DEFAULT ? own : common;
}

static struct imgurl_list list_of(struct sv entries)
{
	return (struct imgurl_list){ .p = (const uint8_t *)entries.p, .n = entries.n };
}

static struct imgurl_tenant tenant_of(const struct answerer *a, uint64_t user_id, const struct policy_user *user)
{
	const struct imgurl_bounds *common = &a->bounds;

	return (struct imgurl_tenant){
		.user_id = user_id,
		.bounds = { .max_dimension = own_bound(user->max_dimension, common->max_dimension),
		            .max_ratio = common->max_ratio,
		            .vectors = common->vectors,
		            .max_dpr = own_bound(user->max_dpr, common->max_dpr),
		            .max_zoom = own_bound(user->max_zoom, common->max_zoom),
		            .max_blur = own_bound(user->max_blur, common->max_blur),
		            .max_quality = own_bound(user->max_quality, common->max_quality),
		            .max_lifetime = common->max_lifetime,
		            .require_expires = (user->image_flags & USER_IMAGE_REQUIRE_EXPIRES) != 0 ||
		                               (common->require_expires &&
		                                (user->image_flags & USER_IMAGE_NO_EXPIRES_REQUIRED) == 0) },
		.sources = list_of(policy_user_sources(user)),
		.presets = list_of(policy_user_presets(user)),
	};
}

static enum verdict_code judge_url(void *arg, const struct policy_request *req, uint64_t user_id,
                                   const struct policy_user *user)
{
	struct answerer *a = arg;
	const struct imgurl_tenant tenant = tenant_of(a, user_id, user);
	/* A signed path is open since its signature was verified. */
	enum imgurl_result result = sv_starts(req->path, SV("/signed/")) ? IMGURL_OK
	                                                                 : imgurl_open(NULL, req->path, &a->opened);

	if (result == IMGURL_OK)
		result = imgurl_make(&a->upstream, &a->opened, &tenant, a->env.now, &a->image);
	return image_codes[result];
}

/* Fills *req from the arguments of the present message; false when its version is another. Unknown ones are skipped. */
static bool read_args(struct spop_notify *notify, struct policy_request *req)
{
	struct spop_value value;
	struct sv name;
	int64_t version = 0;

	memset(req, 0, sizeof(*req));
	while (spop_notify_arg(notify, &name, &value) == ERR_OK) {
		if (sv_eq(name, SV("v"))) {
			if (!spop_value_int(&value, &version))
				version = 0;
		} else if (sv_eq(name, SV("id"))) {
			req->id = spop_value_text(&value);
		} else if (sv_eq(name, SV("ip"))) {
			if (value.type == SPOP_TYPE_IPV4 || value.type == SPOP_TYPE_IPV6)
				req->has_address = cidr_addr(value.view, req->address) == ERR_OK;
		} else if (sv_eq(name, SV("method"))) {
			req->method = spop_value_text(&value);
		} else if (sv_eq(name, SV("path"))) {
			req->path = spop_value_text(&value);
		} else if (sv_eq(name, SV("key"))) {
			req->api_key = spop_value_text(&value);
		} else if (sv_eq(name, SV("auth"))) {
			req->authorization = spop_value_text(&value);
		}
	}
	return version == MESSAGE_VERSION;
}

static bool find_message(struct spop_notify *notify)
{
	struct sv name;
	unsigned args;

	while (spop_notify_message(notify, &name, &args) == ERR_OK)
		if (sv_eq(name, SV(MESSAGE)))
			return true;
	return false;
}

static void set_text(struct spop_ack *ack, const char *name, struct sv text)
{
	spop_ack_set(ack, SPOP_SCOPE_TXN, sv_str(name), spop_string(text));
}

static void set_int(struct spop_ack *ack, const char *name, uint64_t number)
{
	spop_ack_set(ack, SPOP_SCOPE_TXN, sv_str(name), spop_int64((int64_t)number));
}

static uint64_t retry_seconds(const struct policy_verdict *v)
{
	uint64_t s = (v->retry_ns + NS_PER_SEC - 1) / NS_PER_SEC;
	return s > 0 ? s : 1;
}

static void write_limits(struct spop_ack *ack, const struct answerer *a, const struct policy_verdict *v)
{
	char buf[LIMIT_TEXT_MAX];
	struct wcur text;

	wcur_init(&text, buf, sizeof(buf));
	if (v->limited)
		limit_text_user(&text, &v->limits, &v->view, v->code);
	else if (v->code == VERDICT_IP_RATE_LIMITED)
		limit_text_address(&text, a->per_address, retry_seconds(v));
	if (text.err == ERR_OK && wcur_len(&text) > 0)
		set_text(ack, "limits", sv_from(buf, wcur_len(&text)));
	if (verdict_status(v->code) == 429)
		set_int(ack, "retry_after", retry_seconds(v));
}

/* detail: what is to be said of a refusal instead of the code's own sentence, unless it is empty. */
static void write_verdict(struct spop_ack *ack, const struct answerer *a, const struct policy_verdict *v,
                          struct sv target, struct sv detail)
{
	char scopes[SCOPES_TEXT_MAX];

	if (v->user_id != 0)
		set_int(ack, "user", v->user_id);
	if (v->key_id != 0)
		set_int(ack, "key", v->key_id);
	write_limits(ack, a, v);
	if (v->code != VERDICT_ALLOW) {
		set_text(ack, "code", sv_str(verdict_name(v->code)));
		set_int(ack, "status", (uint64_t)verdict_status(v->code));
		set_text(ack, "detail", detail.n > 0 ? detail : sv_str(verdict_detail(v->code)));
		set_text(ack, "verdict", SV("deny"));
		return;
	}
	/* Each variable costs HAProxy: an image's answer has what it needs, and no more. */
	if (v->route == ROUTE_API) {
		set_text(ack, "route", SV("api"));
		if (v->storage_bytes > 0)
			set_int(ack, "storage", v->storage_bytes < INT64_MAX ? v->storage_bytes : INT64_MAX);
		set_text(ack, "scopes", sv_str(scopes_format(v->scopes, scopes, sizeof(scopes))));
	} else {
		set_text(ack, "target", target);
	}
	set_text(ack, "verdict", SV("allow"));
}

static void count_shadow(struct agent_metrics *m, uint8_t shadow)
{
	static const uint8_t flags[AGENT_SHADOW_COUNT] = { USER_SHADOW_MINUTE, USER_SHADOW_HOUR, USER_SHADOW_REQUESTS,
		                                           USER_SHADOW_BANDWIDTH };

	for (int i = 0; i < AGENT_SHADOW_COUNT && shadow != 0; i++)
		if ((shadow & flags[i]) != 0)
			agent_count(&m->shadow[i]);
}

/* Writes the ACK of a verdict that is final. */
static enum err write_answer(struct answerer *a, const struct spop_conn *conn, struct wcur *out, uint64_t stream_id,
                             uint64_t frame_id, const struct policy_verdict *v, struct sv target, struct sv detail,
                             uint64_t start_ns)
{
	struct spop_ack ack;

	spop_conn_ack_begin(conn, &ack, out, stream_id, frame_id);
	write_verdict(&ack, a, v, target, detail);
	enum err err = spop_conn_ack_end(conn, &ack);
	if (err != ERR_OK)
		return err;
	count_shadow(a->metrics, v->shadow);
	agent_count_verdict(a->metrics, v->code, clock_mono_ns() - start_ns);
	agent_count(&a->metrics->frames[AGENT_FRAME_ACK]);
	return ERR_OK;
}

/* HAProxy has given this one up, or may have. An ACK needs one variable at least. */
static enum err answer_stale(struct answerer *a, const struct spop_conn *conn, uint64_t stream_id, uint64_t frame_id,
                             struct wcur *out)
{
	struct spop_ack ack;

	agent_count(&a->metrics->stale);
	spop_conn_ack_begin(conn, &ack, out, stream_id, frame_id);
	set_int(&ack, "status", 0);
	enum err err = spop_conn_ack_end(conn, &ack);
	if (err == ERR_OK)
		agent_count(&a->metrics->frames[AGENT_FRAME_ACK]);
	return err;
}

/* ---- parked requests ---- */

static void unpark(struct answer_parked *p)
{
	struct answerer *a = p->a;

	p->owner = NULL;
	p->next = a->free;
	a->free = p;
	a->waiting--;
}

static void on_lease(struct lease_waiter *w)
{
	struct answer_parked *p = (struct answer_parked *)w; /* its first field */
	struct answerer *a = p->a;
	uint64_t now = clock_mono_ns();

	/* This process was stopped meanwhile: like what it reads late, this spends nothing. */
	if (now - p->start_ns > ANSWER_STALE_NS) {
		p->stale = true;
		a->on_ready(p->owner, p);
		return;
	}
	a->env.now_ns = now;
	a->env.now = clock_real_s();
	a->env.mode = leases_mode(a->leases);
	a->env.hosts = leases_hosts(a->leases);
	policy_finish(&a->env, &p->verdict);
	if (p->verdict.waits && now - p->start_ns < AGAIN_NS &&
	    leases_wait(a->leases, p->verdict.slot, &p->verdict.limits, &p->waiter))
		return;
	if (p->verdict.waits) {
		a->env.mode = LIMITS_CUT_OFF;
		policy_finish(&a->env, &p->verdict);
		a->env.mode = leases_mode(a->leases); /* for what is still read in this turn */
	}
	if (p->verdict.want_more)
		leases_prefetch(a->leases, p->verdict.slot, &p->verdict.limits);
	a->on_ready(p->owner, p);
}

/* False when there is no place, or Redis is not to be waited for. */
static bool park(struct answerer *a, const struct spop_event *ev, const struct policy_verdict *v, uint64_t start_ns,
                 void *owner)
{
	struct answer_parked *p = a->free;

	if (p == NULL)
		return false;
	p->a = a;
	p->waiter.cb = on_lease;
	if (!leases_wait(a->leases, v->slot, &v->limits, &p->waiter))
		return false;
	a->free = p->next;
	a->waiting++;
	p->owner = owner;
	p->stream_id = ev->stream_id;
	p->frame_id = ev->frame_id;
	p->start_ns = start_ns;
	p->stale = false;
	p->verdict = *v;
	if (a->image.target.n > 0)
		memcpy(p->target_buf, a->image.target.p, a->image.target.n);
	p->target = sv_from(p->target_buf, a->image.target.n);
	return true;
}

enum err answer_parked_write(struct answer_parked *p, const struct spop_conn *conn, struct wcur *out)
{
	enum err err = p->stale ? answer_stale(p->a, conn, p->stream_id, p->frame_id, out)
	                        : write_answer(p->a, conn, out, p->stream_id, p->frame_id, &p->verdict, p->target,
	                                       sv_from(NULL, 0), p->start_ns);

	unpark(p);
	return err;
}

void answer_forget(struct answerer *a, const void *owner)
{
	for (size_t i = 0; i < ANSWER_PARKED_MAX && a->waiting > 0; i++) {
		if (a->parked[i].owner != owner)
			continue;
		leases_cancel(a->leases, &a->parked[i].waiter);
		unpark(&a->parked[i]);
	}
}

/* ---- requests ---- */

void answer_turn(struct answerer *a, uint64_t now_ns)
{
	if (now_ns == a->turn_ns)
		return;
	a->before_ns = a->turn_ns != 0 ? a->turn_ns : now_ns;
	a->turn_ns = now_ns;
	if (now_ns - a->before_ns > ANSWER_STALE_NS)
		a->resumed_ns = now_ns;
}

/* The present turn may itself have been stopped since it began. */
static bool is_stale(const struct answerer *a, uint64_t now_ns)
{
	return now_ns - a->before_ns > ANSWER_STALE_NS ||
	       (a->resumed_ns != 0 && now_ns - a->resumed_ns < ANSWER_RESUME_NS);
}

static void decide(struct answerer *a, const struct policy_request *req, struct policy_verdict *v)
{
	const struct policy_lookup lookup = {
		.key = find_key,
		.user = find_user,
		.usage = find_usage,
		.signer = find_signer,
		.url = judge_url,
		.arg = a,
	};

	policy_decide(req, &lookup, a->hasher, &a->env, v);
}

enum err answer_notify(struct answerer *a, const struct spop_conn *conn, struct spop_event *ev, struct wcur *out,
                       void *owner)
{
	struct policy_verdict v;
	struct policy_request req;
	uint64_t start = clock_mono_ns();

	if (is_stale(a, start))
		return answer_stale(a, conn, ev->stream_id, ev->frame_id, out);
	a->image.target = sv_from(NULL, 0);
	a->image.detail = sv_from(NULL, 0);
	a->env.now_ns = start;
	if (!find_message(&ev->notify) || !read_args(&ev->notify, &req)) {
		agent_count(&a->metrics->errors[AGENT_ERROR_MESSAGE]);
		v = (struct policy_verdict){ .code = VERDICT_UNAVAILABLE };
	} else if (!a->view_ok) {
		v = (struct policy_verdict){ .code = VERDICT_UNAVAILABLE };
	} else {
		decide(a, &req, &v);
		/* Those that would have asked are counted where they are turned away. */
		if (a->env.mode == LIMITS_CUT_OFF && v.limited && user_limits_shared(&v.limits))
			agent_count(&a->metrics->leases[LEASES_BYPASSED]);
		if (v.waits) {
			if (park(a, ev, &v, start, owner))
				return ERR_OK;
			a->env.mode = LIMITS_CUT_OFF;
			policy_finish(&a->env, &v);
			a->env.mode = leases_mode(a->leases);
		}
		if (v.want_more)
			leases_prefetch(a->leases, v.slot, &v.limits);
	}
	return write_answer(a, conn, out, ev->stream_id, ev->frame_id, &v, a->image.target, a->image.detail, start);
}
