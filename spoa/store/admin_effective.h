/* The numbers that hold for a user: their own, or those of the settings. */
#pragma once

#include <stdint.h>

#include "base/settings.h"
#include "store/admin_limit.h"

#define ADMIN_TIME_MAX 32 /* a moment as text, with its NUL */

uint64_t admin_effective(const struct admin_number *n, int64_t setting);

struct admin_limits_effective {
	uint64_t per_minute;
	uint64_t per_hour;
	uint64_t burst;
};
void admin_limits_effective(const struct settings *s, const struct admin_limits *l, struct admin_limits_effective *out);

struct admin_quotas_effective {
	uint64_t requests;
	uint64_t bandwidth_mb;
	uint64_t storage_mb;
	uint64_t reset_day;
	char reset_at[ADMIN_TIME_MAX]; /* the end of the running month */
};
void admin_quotas_effective(const struct settings *s, const struct admin_quotas *q, struct admin_quotas_effective *out);

/* A moment (seconds since 1970) in UTC, as 2026-01-31T12:00:00Z. Returns buf. */
const char *admin_time(int64_t seconds, char buf[ADMIN_TIME_MAX]);
