/* Clocks, in integers. Monotonic time measures spans; real time (UTC) names moments. */
#pragma once

#include <stdint.h>
#include <time.h>

#define NS_PER_SEC UINT64_C(1000000000)
#define NS_PER_MS  UINT64_C(1000000)

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Nanoseconds of CLOCK_MONOTONIC: the same for all processes of a host, until it boots. */
static inline uint64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* Seconds since 1970-01-01 UTC. */
static inline int64_t clock_real_s(void)
{
	return (int64_t)(clock_ns(CLOCK_REALTIME) / NS_PER_SEC);
}
