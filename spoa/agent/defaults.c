#include "agent/defaults.h"

#include "policy/quota.h"

/* The table of settings bounds the numbers: none is negative, and none too large. */
struct limits_defaults agent_defaults(const struct settings *settings)
{
	return (struct limits_defaults){
		.per_minute = (uint64_t)settings->rate_limits_user_level_requests_per_minute,
		.per_hour = (uint64_t)settings->rate_limits_user_level_requests_per_hour,
		.month_requests = (uint64_t)settings->quotas_monthly_requests,
		.month_bytes = (uint64_t)settings->quotas_monthly_bandwidth_mb * QUOTA_BYTES_PER_MB,
	};
}
