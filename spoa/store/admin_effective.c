#include "store/admin_effective.h"

#include <time.h>

#include "base/check.h"
#include "policy/period.h"

uint64_t admin_effective(const struct admin_number *n, int64_t setting)
{
	return n->own ? n->value : (uint64_t)setting;
}

void admin_limits_effective(const struct settings *s, const struct admin_limits *l, struct admin_limits_effective *out)
{
	out->per_minute = admin_effective(&l->per_minute, s->rate_limits_user_level_requests_per_minute);
	out->per_hour = admin_effective(&l->per_hour, s->rate_limits_user_level_requests_per_hour);
	out->burst = l->burst.own ? l->burst.value : out->per_minute;
}

void admin_quotas_effective(const struct settings *s, const struct admin_quotas *q, struct admin_quotas_effective *out)
{
	struct period month;

	out->requests = admin_effective(&q->requests, s->quotas_monthly_requests);
	out->bandwidth_mb = admin_effective(&q->bandwidth_mb, s->quotas_monthly_bandwidth_mb);
	out->storage_mb = admin_effective(&q->storage_mb, s->quotas_storage_mb);
	out->reset_day = admin_effective(&q->reset_day, 1);
	period_at((int64_t)q->now, (unsigned)out->reset_day, &month);
	admin_time(month.end, out->reset_at);
}

const char *admin_time(int64_t seconds, char buf[ADMIN_TIME_MAX])
{
	time_t t = seconds;
	struct tm tm;

	CHECK(gmtime_r(&t, &tm) != NULL && strftime(buf, ADMIN_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
	return buf;
}
