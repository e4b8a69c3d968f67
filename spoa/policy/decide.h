/*
 * The verdict: may this request pass?
 *
 * policy_decide() is pure: the request, the records, the clock and the key hasher are arguments, and the same arguments
 * give the same verdict. It does no I/O, takes no lock and allocates nothing.
 *
 * The order of the checks is a contract with users; the first that refuses answers:
 *
 *     IP rate → key → user → scope → IP whitelist → URL → per minute → per hour → month requests → month bandwidth
 *
 * What this version decides are the steps of the table in decide.c, in that order.
 */
#pragma once

#include <stdint.h>

#include "base/sv.h"
#include "policy/key.h"
#include "policy/record.h"
#include "policy/scope.h"
#include "policy/verdict.h"

/* Where a path leads. */
enum policy_route {
	ROUTE_NONE = 0, /* nowhere: 404 */
	ROUTE_IMAGE,    /* /img/…: the image servers */
	ROUTE_API,      /* /api/v1/…: gateway-api */
};

/* One request as HAProxy describes it; all views belong to the caller. An absent value has n == 0. */
struct policy_request {
	struct sv method;
	struct sv path;          /* as the client wrote it, not decoded, without the query */
	struct sv api_key;       /* header X-API-Key */
	struct sv authorization; /* header Authorization */
};

/*
 * What the verdict looks things up in. A record is NULL when there is none, and valid until the verdict is given.
 * `url` is asked only when all before it passed: it judges the source and options of an image URL for the user and
 * makes the upstream target; what it returns is the verdict of that step.
 */
struct policy_lookup {
	const struct policy_key *(*key)(void *arg, uint64_t id);
	const struct policy_user *(*user)(void *arg, uint64_t id);
	enum verdict_code (*url)(void *arg, const struct policy_request *req, uint64_t user_id);
	void *arg;
};

struct policy_verdict {
	enum verdict_code code;
	enum policy_route route;
	uint64_t user_id; /* 0 until the key has proved it */
	uint64_t key_id;  /* likewise */
	uint32_t scopes;  /* of the key, likewise */
};

/* now is in seconds since 1970 UTC. */
void policy_decide(const struct policy_request *req, const struct policy_lookup *lookup, struct key_hasher *hasher,
                   int64_t now, struct policy_verdict *out);

/* Where the path leads, and in *scope the one that the method needs there. */
enum policy_route policy_route(struct sv method, struct sv path, uint32_t *scope);
