#include "agent/answer.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/decide.h"
#include "spop/ack.h"
#include "spop/notify.h"

#define MESSAGE         "check"
#define MESSAGE_VERSION 1

enum err answer_init(struct answerer *a, const struct settings *settings, struct agent_metrics *metrics)
{
	memset(a, 0, sizeof(*a));
	a->metrics = metrics;
	a->hasher = key_hasher_new(settings->auth_key_pepper);
	if (a->hasher == NULL) {
		log_error("cannot prepare HMAC-SHA-256");
		return ERR_CRYPTO;
	}
	enum err err = imgurl_signer_new(settings->imgproxy_key, settings->imgproxy_salt, &a->signer);
	if (err != ERR_OK)
		log_error("imgproxy.key and imgproxy.salt: must both be set, in hex: %s", err_str(err));
	return err;
}

void answer_fini(struct answerer *a)
{
	policy_db_close(a->db);
	imgurl_signer_free(a->signer);
	key_hasher_free(a->hasher);
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

static enum verdict_code judge_url(void *arg, const struct policy_request *req, uint64_t user_id)
{
	struct answerer *a = arg;

	switch (imgurl_target(a->signer, req->path, user_id, a->target_buf, sizeof(a->target_buf), &a->target)) {
	case ERR_OK:
		return VERDICT_ALLOW;
	case ERR_REFUSED:
		return VERDICT_SOURCE_FORBIDDEN;
	case ERR_CRYPTO:
		return VERDICT_UNAVAILABLE;
	default:
		return VERDICT_URL_INVALID;
	}
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

static void write_verdict(struct spop_ack *ack, const struct answerer *a, const struct policy_verdict *v)
{
	char scopes[SCOPES_TEXT_MAX];

	if (v->user_id != 0)
		set_int(ack, "user", v->user_id);
	if (v->key_id != 0)
		set_int(ack, "key", v->key_id);
	set_text(ack, "code", sv_str(verdict_name(v->code)));
	if (v->code != VERDICT_ALLOW) {
		set_int(ack, "status", (uint64_t)verdict_status(v->code));
		set_text(ack, "detail", sv_str(verdict_detail(v->code)));
		set_text(ack, "verdict", SV("deny"));
		return;
	}
	set_text(ack, "scopes", sv_str(scopes_format(v->scopes, scopes, sizeof(scopes))));
	set_text(ack, "route", v->route == ROUTE_IMAGE ? SV("image") : SV("api"));
	if (v->route == ROUTE_IMAGE)
		set_text(ack, "target", a->target);
	set_text(ack, "verdict", SV("allow"));
}

enum err answer_notify(struct answerer *a, const struct spop_conn *conn, struct spop_event *ev, struct wcur *out)
{
	const struct policy_lookup lookup = { .key = find_key, .user = find_user, .url = judge_url, .arg = a };
	struct policy_verdict verdict = { .code = VERDICT_UNAVAILABLE };
	struct policy_request req;
	struct spop_ack ack;
	uint64_t start = clock_mono_ns();

	a->target = sv_from(NULL, 0);
	if (!find_message(&ev->notify) || !read_args(&ev->notify, &req))
		agent_count(&a->metrics->errors[AGENT_ERROR_MESSAGE]);
	else if (a->view_ok)
		policy_decide(&req, &lookup, a->hasher, clock_real_s(), &verdict);
	spop_conn_ack_begin(conn, &ack, out, ev->stream_id, ev->frame_id);
	write_verdict(&ack, a, &verdict);
	enum err err = spop_conn_ack_end(conn, &ack);
	if (err != ERR_OK)
		return err;
	agent_count_verdict(a->metrics, verdict.code, clock_mono_ns() - start);
	agent_count(&a->metrics->frames[AGENT_FRAME_ACK]);
	return ERR_OK;
}
