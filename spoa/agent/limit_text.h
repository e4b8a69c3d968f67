/*
 * What an answer's headers say about the limits, as one text for haproxy.cfg, which takes it apart with field(n,|):
 *
 *     1 RateLimit-Policy    2 RateLimit    3 X-RateLimit-Limit    4 X-RateLimit-Remaining    5 X-RateLimit-Reset
 *
 * 1 and 2 are structured fields as draft-ietf-httpapi-ratelimit-headers-10 has them: "minute";q=1000;w=60 and
 * "minute";r=999;t=1. t, and 5, are seconds until all of it is there again, or, with nothing left, until one more
 * request passes. 3 to 5 are those of the limit with the least left.
 */
#pragma once

#include "base/cursor.h"
#include "policy/gcra.h"
#include "policy/limits.h"
#include "policy/verdict.h"

#define LIMIT_TEXT_MAX 512

/* Of a user; writes nothing for one without any limit. `code` is the verdict's. */
void limit_text_user(struct wcur *out, const struct user_limits *u, const struct limits_view *view,
                     enum verdict_code code);

/* Of an address that was refused. */
void limit_text_address(struct wcur *out, uint64_t per_minute, uint64_t retry_s);
