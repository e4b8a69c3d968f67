#include "policy/decide.h"

#include <openssl/crypto.h>

#define SIGNED "/signed/"

/* What the steps share. */
struct decision {
	const struct policy_request *req;
	const struct policy_lookup *lookup;
	struct key_hasher *hasher;
	const struct policy_env *env;
	const struct policy_user *user;
	uint32_t scope_needed;
	bool spends;
	struct policy_verdict *out;
};

enum policy_route policy_route(struct sv method, struct sv path, uint32_t *scope, bool *spends)
{
	*scope = SCOPE_READ;
	*spends = true;
	if (sv_starts(path, SV("/img/")) || sv_starts(path, SV(SIGNED)))
		return ROUTE_IMAGE;
	*spends = sv_eq(method, SV("POST")) && sv_eq(path, SV("/api/v1/upload"));
	if (!sv_starts(path, SV("/api/v1/")))
		return ROUTE_NONE;
	struct sv rest = sv_skip(path, sizeof("/api/v1/") - 1);
	if (sv_eq(rest, SV("users")) || sv_starts(rest, SV("users/")) || sv_eq(rest, SV("backends")) ||
	    sv_starts(rest, SV("backends/")))
		*scope = SCOPE_ADMIN;
	else if (!sv_eq(method, SV("GET")) && !sv_eq(method, SV("HEAD")))
		*scope = SCOPE_UPLOAD;
	return ROUTE_API;
}

/*
 * A request without an address cannot be counted, and HAProxy always sends one. The id is noted before the token is
 * taken, and taken back when there was none.
 */
static enum verdict_code step_address(struct decision *d)
{
	const struct policy_env *env = d->env;

	request_id_find(&env->counters->ids, d->req->id, env->now_ns, &d->out->id);
	if (env->address.interval == 0 || !d->req->has_address || (d->out->id.spent & REQUEST_SPENT_ADDRESS) != 0 ||
	    !request_id_mark(&d->out->id, REQUEST_SPENT_ADDRESS, env->now_ns))
		return VERDICT_ALLOW;
	if (addresses_take(&env->counters->addresses, d->req->address, gcra_now(env->now_ns), env->address,
	                   &d->out->retry_ns))
		return VERDICT_ALLOW;
	request_id_unmark(&d->out->id, REQUEST_SPENT_ADDRESS);
	return VERDICT_IP_RATE_LIMITED;
}

static enum verdict_code step_route(struct decision *d)
{
	d->out->route = policy_route(d->req->method, d->req->path, &d->scope_needed, &d->spends);
	return d->out->route == ROUTE_NONE ? VERDICT_NOT_FOUND : VERDICT_ALLOW;
}

/* The token of "Bearer <token>"; the scheme's case does not matter (RFC 9110 section 11.1). Other schemes give none. */
static struct sv bearer_token(struct sv authorization)
{
	struct sv scheme = SV("Bearer");

	if (authorization.n <= scheme.n || authorization.p[scheme.n] != ' ' ||
	    !sv_ieq(sv_from(authorization.p, scheme.n), scheme))
		return sv_from(NULL, 0);
	return sv_trim(sv_skip(authorization, scheme.n));
}

/* The key of a header, when it is the one that was given out. */
static enum verdict_code header_key(struct decision *d, uint64_t *id, const struct policy_key **found)
{
	struct sv text = sv_trim(d->req->api_key);
	struct sv bearer = bearer_token(d->req->authorization);
	struct key_parts parts;
	uint8_t hash[KEY_HASH_SIZE];

	if (text.n > 0 && bearer.n > 0 && !sv_eq(text, bearer))
		return VERDICT_BAD_REQUEST;
	if (text.n == 0)
		text = bearer;
	if (text.n == 0)
		return VERDICT_KEY_MISSING;
	if (key_parse(text, &parts) != ERR_OK)
		return VERDICT_KEY_INVALID;
	const struct policy_key *key = d->lookup->key(d->lookup->arg, parts.id);
	if (key == NULL || (key->flags & KEY_USABLE) == 0)
		return VERDICT_KEY_INVALID;
	limits_prefetch_index(&d->env->counters->limits, key->user_id);
	if (key_hash(d->hasher, parts.body, hash) != ERR_OK)
		return VERDICT_UNAVAILABLE;
	if (CRYPTO_memcmp(hash, key->hash, sizeof(hash)) != 0)
		return VERDICT_KEY_INVALID;
	*id = parts.id;
	*found = key;
	return VERDICT_ALLOW;
}

/* A signed URL works without any header, as in a page's <img>: what a client sends besides does not matter to it. */
static enum verdict_code step_key(struct decision *d)
{
	const bool is_signed = d->out->route == ROUTE_IMAGE && sv_starts(d->req->path, SV(SIGNED));
	const struct policy_key *key = NULL;
	uint64_t id = 0;
	enum verdict_code code = is_signed ? d->lookup->signer(d->lookup->arg, d->req, &id, &key)
	                                   : header_key(d, &id, &key);

	if (code != VERDICT_ALLOW)
		return code;
	/* Only now is it proved who asks; what follows may be told to them and counted for them. */
	d->out->key_id = id;
	d->out->user_id = key->user_id;
	d->out->scopes = key->scopes;
	if ((key->flags & KEY_ACTIVE) == 0)
		return VERDICT_KEY_REVOKED;
	if (key->expires_at != 0 && key->expires_at <= d->env->now)
		return VERDICT_KEY_EXPIRED;
	return VERDICT_ALLOW;
}

static enum verdict_code step_user(struct decision *d)
{
	limits_prefetch_slot(&d->env->counters->limits, d->out->user_id);
	d->user = d->lookup->user(d->lookup->arg, d->out->user_id);
	if (d->user == NULL || (d->user->flags & USER_ACTIVE) == 0)
		return VERDICT_USER_INACTIVE;
	d->out->storage_bytes = d->user->storage_bytes != POLICY_DEFAULT ? d->user->storage_bytes
	                                                                 : d->env->storage_bytes;
	return VERDICT_ALLOW;
}

static enum verdict_code step_scope(struct decision *d)
{
	return (d->out->scopes & d->scope_needed) == d->scope_needed ? VERDICT_ALLOW : VERDICT_SCOPE_MISSING;
}

static enum verdict_code step_whitelist(struct decision *d)
{
	struct sv allow = policy_user_allow(d->user);

	if (allow.n == 0)
		return VERDICT_ALLOW;
	return d->req->has_address && cidr_set_contains(allow.p, allow.n, d->req->address) ? VERDICT_ALLOW
	                                                                                   : VERDICT_IP_NOT_ALLOWED;
}

static enum verdict_code step_url(struct decision *d)
{
	if (d->out->route != ROUTE_IMAGE)
		return VERDICT_ALLOW;
	return d->lookup->url(d->lookup->arg, d->req, d->out->user_id, d->user);
}

/* Spends, unless the request has spent before. The id is noted first, as in step_address(). */
static enum verdict_code take(const struct policy_env *env, struct policy_verdict *v)
{
	struct limits_memory *m = &env->counters->limits;
	struct limits_take t = { .mode = env->mode, .hosts = env->hosts, .now_ns = env->now_ns, .now = env->now };

	v->waits = false;
	v->want_more = false;
	if ((v->id.spent & REQUEST_SPENT_USER) == 0 && request_id_mark(&v->id, REQUEST_SPENT_USER, env->now_ns)) {
		enum limits_result result = limits_take(m, v->slot, &v->limits, &t);
		if (result != LIMITS_TAKEN)
			request_id_unmark(&v->id, REQUEST_SPENT_USER);
		v->waits = result == LIMITS_ASK;
		v->want_more = t.want_more;
		v->shadow = t.shadow;
		v->retry_ns = t.wait_ns;
	}
	if (!v->waits)
		limits_look(v->slot, &v->limits, &t, &v->view);
	return t.code;
}

static enum verdict_code step_limits(struct decision *d)
{
	struct policy_verdict *v = d->out;
	struct limits_memory *m = &d->env->counters->limits;

	v->slot = limits_find(m, v->user_id);
	if (v->slot == NULL)
		v->slot = limits_slot(m, v->user_id, d->lookup->usage(d->lookup->arg, v->user_id));
	if (v->slot == NULL)
		return VERDICT_UNAVAILABLE;
	user_limits_make(d->user, &d->env->defaults, d->env->now, &v->limits);
	v->limited = true;
	if (d->spends)
		return take(d->env, v);
	/* Who is over a limit can still read why. */
	const struct limits_take t = {
		.mode = d->env->mode, .hosts = d->env->hosts, .now_ns = d->env->now_ns, .now = d->env->now
	};
	limits_look(v->slot, &v->limits, &t, &v->view);
	return VERDICT_ALLOW;
}

/* The contract's order; the limits of the user are one step, which keeps it among them. */
static enum verdict_code (*const steps[])(struct decision *) = {
	step_address, step_route, step_key, step_user, step_scope, step_whitelist, step_url, step_limits,
};

void policy_decide(const struct policy_request *req, const struct policy_lookup *lookup, struct key_hasher *hasher,
                   const struct policy_env *env, struct policy_verdict *out)
{
	struct decision d = { .req = req, .lookup = lookup, .hasher = hasher, .env = env, .out = out };

	out->code = VERDICT_ALLOW;
	out->route = ROUTE_NONE;
	out->user_id = 0;
	out->key_id = 0;
	out->scopes = 0;
	out->storage_bytes = 0;
	out->retry_ns = 0;
	out->shadow = 0;
	out->waits = false;
	out->want_more = false;
	out->limited = false;
	out->slot = NULL;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && out->code == VERDICT_ALLOW; i++)
		out->code = steps[i](&d);
}

void policy_finish(const struct policy_env *env, struct policy_verdict *v)
{
	v->code = take(env, v);
}
