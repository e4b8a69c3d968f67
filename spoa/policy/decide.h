/*
 * The verdict: may this request pass?
 *
 * policy_decide() is pure but for the counters: the request, the records, the clocks, the counters and the key hasher
 * are arguments. It does no I/O, takes no lock and allocates nothing.
 *
 * The order of the checks is a contract with users; the first that refuses answers:
 *
 *     IP rate → key → user → scope → IP whitelist → URL → per minute → per hour → month requests → month bandwidth
 *
 * The bucket of the address counts every request. The limits of the user are spent by admitted requests for images and
 * by uploads alone; other requests of the API pass the checks before them, and spend nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cidr.h"
#include "base/sv.h"
#include "policy/counters.h"
#include "policy/key.h"
#include "policy/record.h"
#include "policy/scope.h"
#include "policy/verdict.h"

/* Where a path leads. */
enum policy_route {
	ROUTE_NONE = 0, /* nowhere: 404 */
	ROUTE_IMAGE,    /* /img/… and /signed/…: the image servers */
	ROUTE_API,      /* /api/v1/…: gateway-api */
};

/* One request as HAProxy describes it; all views belong to the caller. An absent value has n == 0. */
struct policy_request {
	struct sv id; /* names the request, also when it is asked for again */
	struct sv method;
	struct sv path;                  /* as the client wrote it, not decoded, without the query */
	struct sv api_key;               /* header X-API-Key */
	struct sv authorization;         /* header Authorization */
	uint8_t address[CIDR_ADDR_SIZE]; /* of the client */
	bool has_address;
};

/*
 * What the verdict looks things up in. A record is NULL when there is none, and valid until the verdict is given.
 * `url` is asked only when all before it passed: it judges the source and options of an image URL for the user and
 * makes the upstream target; what it returns is the verdict of that step.
 *
 * `signer` is asked for a path that is its own proof, /signed/<key id>/<signature>/…: when the signature is made with
 * the signing key of that API key it sets *id and *key, and returns VERDICT_ALLOW; else nothing is proved, and it
 * returns VERDICT_SIGNATURE_INVALID, or VERDICT_UNAVAILABLE when that cannot be known.
 */
struct policy_lookup {
	const struct policy_key *(*key)(void *arg, uint64_t id);
	const struct policy_user *(*user)(void *arg, uint64_t id);
	const struct policy_usage *(*usage)(void *arg, uint64_t user_id);
	enum verdict_code (*signer)(void *arg, const struct policy_request *req, uint64_t *id,
	                            const struct policy_key **key);
	enum verdict_code (*url)(void *arg, const struct policy_request *req, uint64_t user_id,
	                         const struct policy_user *user);
	void *arg;
};

/* What is the same for all requests of a moment. */
struct policy_env {
	struct policy_counters *counters;
	struct limits_defaults defaults;
	uint64_t storage_bytes; /* of uploads, likewise; 0: no limit */
	struct gcra address;    /* the limit of one address; interval 0: none */
	enum limits_mode mode;  /* and hosts: how users' limits are shared at this moment */
	unsigned hosts;
	uint64_t now_ns; /* monotonic */
	int64_t now;     /* seconds since 1970 UTC */
};

struct policy_verdict {
	enum verdict_code code;
	enum policy_route route;
	uint64_t user_id;       /* 0 until the key has proved it */
	uint64_t key_id;        /* likewise */
	uint32_t scopes;        /* of the key, likewise */
	uint64_t storage_bytes; /* what the user's uploads may take; 0: no limit, or not known */
	uint64_t retry_ns;      /* of a refusal by a limit: until one request would pass */
	uint8_t shadow;         /* USER_SHADOW_ of the limits that would have refused */
	bool waits;             /* undecided: Redis is to be asked for `slot`, then policy_finish() */
	bool want_more;         /* Redis is to be asked for `slot` ahead of need */
	bool limited;           /* the user's limits were looked at: limits and view are set */
	struct limit_slot *slot;
	struct user_limits limits;
	struct limits_view view;
	struct request_id id;
};

void policy_decide(const struct policy_request *req, const struct policy_lookup *lookup, struct key_hasher *hasher,
                   const struct policy_env *env, struct policy_verdict *out);

/*
 * Decides a verdict that waits, once Redis has answered (or env->mode is CUT_OFF because it did not). It may wait again
 * when others were faster to spend the lease.
 */
void policy_finish(const struct policy_env *env, struct policy_verdict *v);

/* Where the path leads, and in *scope the one that the method needs there; *spends: it counts against the limits. */
enum policy_route policy_route(struct sv method, struct sv path, uint32_t *scope, bool *spends);
