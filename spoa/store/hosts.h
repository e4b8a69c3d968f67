/*
 * The hosts that share the limits: each announces itself in Redis, counts the others, and measures Redis's clock. For
 * the keeper; the verdict workers read the results in struct limits_cluster.
 *
 *   gw:hosts   sorted set: host id, and until when it counts as alive (Redis's clock, ms)
 *   gw:ready   sorted set: host id, and when it last shared limits, or could have (likewise)
 *
 * The number of hosts falls only after it was lower for some seconds, so that neither a flush nor a clock that jumped
 * lets each host take itself for the only one. While Redis is away the last number stays.
 *
 * Redis's clock is kept as an offset to this host's monotonic clock, so that a wrong clock of the host does not matter.
 * When the offset jumps, no leases are taken (cluster.clock_ns is 0) until measurements have agreed for as long as
 * every other host needs to notice the jump as well: of two that count in different times, one would refill the other's
 * buckets.
 *
 * A host that was cut off from Redis keeps to its share of the limits when it comes back, until it has seen all hosts
 * in gw:ready later than that (limits_apart()). So those that Redis left together begin together, within some 50 ms.
 */
#pragma once

#include <stdint.h>

#include "io/loop.h"
#include "io/redis.h"
#include "policy/limits.h"

#define HOSTS_ANNOUNCE_MS  250
#define HOSTS_APART_MS     25   /* between two announcements while others are waited for */
#define HOSTS_ALIVE_MS     5000 /* after the last announcement */
#define HOSTS_KEEP_MS      5000 /* for so long the number must be lower before it falls */
#define HOSTS_CLOCK_MS     2000 /* between two measurements */
#define HOSTS_RTT_MS       5    /* one with a longer round trip is repeated */
#define HOSTS_READY_RTT_MS 15
#define HOSTS_JUMP_MS      20
#define HOSTS_SETTLE_MS    3000 /* of agreement after a jump; more than HOSTS_CLOCK_MS */

struct hosts;

/*
 * Announces this host from now on over `redis`, which outlives the struct's use: hosts_stop(), then redis_free(), then
 * hosts_free(). The id is printable, at most 64 characters, and no other host's; it is copied. One that a restarted
 * keeper is given again keeps the number right. What the cluster struct holds from before stays until it is known anew.
 */
struct hosts *hosts_new(struct loop *loop, struct redis *redis, struct limits_cluster *cluster, const char *id);

/* Takes the announcement back, as far as Redis takes it at once, and stops. NULL is allowed, also below. */
void hosts_stop(struct hosts *h);
void hosts_free(struct hosts *h);
