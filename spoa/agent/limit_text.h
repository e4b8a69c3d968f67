/*
 * What an answer's headers say about the limits, as one text for haproxy.cfg, which takes it apart with field(n,|):
 *
 *     1 X-RateLimit-Limit    2 X-RateLimit-Remaining    3 X-RateLimit-Reset    4 RateLimit    5 RateLimit-Policy
 *
 * The long ones stand last, since HAProxy looks for a field from the front each time. 4 and 5 are structured fields as
 * draft-ietf-httpapi-ratelimit-headers-10 has them: "minute";r=999;t=1 and "minute";q=1000;w=60. t, and 3, are seconds
 * until all of it is there again, or, with nothing left, until one more request passes. 1 to 3 are those of the limit
 * with the least left.
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
