/*
 * An ask and a give-back of leases (policy/lease.h) as commands of Redis, and the reply to an ask.
 *
 *   gw:l:{<user id>}              sorted set: members m and h, the TATs of minute and hour (us of Redis's clock)
 *   gw:m:{<user id>}:<period id>  sorted set: a member for each host (its id in hex), the requests of the month that it
 * has admitted since it started, or has out in leases
 *
 * `host` is the id of this agent: another one after each start, so that nobody counts on from what it has forgotten.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "io/redis.h"
#include "policy/lease.h"

void lease_wire_ask(struct redis_batch *b, uint64_t host, uint64_t user_id, const struct lease_ask *ask);

/* From EXEC's reply; ERR_CORRUPT when it is not what these commands give. */
MUST_CHECK enum err lease_wire_reply(uint64_t host, const struct lease_ask *ask, const struct redis_reply *exec,
                                     struct lease_reply *out);

/*
 * Gives back what is positive in the result; the batch has no command when nothing is. It makes no bucket and no count
 * where there is none (any more).
 */
void lease_wire_back(struct redis_batch *b, uint64_t host, uint64_t user_id, const struct lease_ask *ask,
                     const struct lease_result *result);
