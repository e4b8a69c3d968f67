#include "policy/decide.h"

#include <openssl/crypto.h>

/* What the steps share. */
struct decision {
	const struct policy_request *req;
	const struct policy_lookup *lookup;
	struct key_hasher *hasher;
	int64_t now;
	uint32_t scope_needed;
	struct policy_verdict *out;
};

enum policy_route policy_route(struct sv method, struct sv path, uint32_t *scope)
{
	*scope = SCOPE_READ;
	if (sv_starts(path, SV("/img/")))
		return ROUTE_IMAGE;
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

static enum verdict_code step_route(struct decision *d)
{
	d->out->route = policy_route(d->req->method, d->req->path, &d->scope_needed);
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

static enum verdict_code step_key(struct decision *d)
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
	if (key_hash(d->hasher, parts.body, hash) != ERR_OK)
		return VERDICT_UNAVAILABLE;
	if (CRYPTO_memcmp(hash, key->hash, sizeof(hash)) != 0)
		return VERDICT_KEY_INVALID;
	/* Only now is it proved who asks; what follows may be told to them and counted for them. */
	d->out->key_id = parts.id;
	d->out->user_id = key->user_id;
	d->out->scopes = key->scopes;
	if ((key->flags & KEY_ACTIVE) == 0)
		return VERDICT_KEY_REVOKED;
	if (key->expires_at != 0 && key->expires_at <= d->now)
		return VERDICT_KEY_EXPIRED;
	return VERDICT_ALLOW;
}

static enum verdict_code step_user(struct decision *d)
{
	const struct policy_user *user = d->lookup->user(d->lookup->arg, d->out->user_id);

	return user != NULL && (user->flags & USER_ACTIVE) != 0 ? VERDICT_ALLOW : VERDICT_USER_INACTIVE;
}

static enum verdict_code step_scope(struct decision *d)
{
	return (d->out->scopes & d->scope_needed) == d->scope_needed ? VERDICT_ALLOW : VERDICT_SCOPE_MISSING;
}

static enum verdict_code step_url(struct decision *d)
{
	if (d->out->route != ROUTE_IMAGE)
		return VERDICT_ALLOW;
	return d->lookup->url(d->lookup->arg, d->req, d->out->user_id);
}

/* The contract's order. */
static enum verdict_code (*const steps[])(struct decision *) = {
	step_route, step_key, step_user, step_scope, step_url,
};

void policy_decide(const struct policy_request *req, const struct policy_lookup *lookup, struct key_hasher *hasher,
                   int64_t now, struct policy_verdict *out)
{
	struct decision d = { .req = req, .lookup = lookup, .hasher = hasher, .now = now, .out = out };

	*out = (struct policy_verdict){ .code = VERDICT_ALLOW };
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && out->code == VERDICT_ALLOW; i++)
		out->code = steps[i](&d);
}
