/*
 * A user's month as `gatewayctl usage` and GET /api/v1/usage tell it: the sums of the roll-ups, and what counts against
 * the quotas. A month is named after the calendar's in which it starts, since a user's may start on any day.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/settings.h"
#include "io/pg_sync.h"
#include "store/admin_effective.h"
#include "store/admin_limit.h"

#define ADMIN_MONTH_MAX 8 /* 2026-01 and its NUL */

struct admin_month {
	struct admin_quotas quotas;
	char name[ADMIN_MONTH_MAX];
	char start[ADMIN_TIME_MAX];
	char end[ADMIN_TIME_MAX];
	json_t *sums; /* as admin_usage_month() says */
	/* Against the quotas: the counters of the running month, else the roll-ups. */
	uint64_t used_requests;
	uint64_t used_bytes;
	uint64_t requests;     /* quota; 0: none */
	uint64_t bandwidth_mb; /* quota; 0: none */
};

/*
 * The month `wanted` (admin_month() took it; NULL: the running one) of the user. Errors as in store/admin_user.h;
 * ERR_INVALID is also a month that has not begun. On success the caller frees *out.
 */
MUST_CHECK enum err admin_month_find(struct pg_sync *db, const struct settings *s, const char *user, const char *wanted,
                                     struct admin_month *out, char *error);
void admin_month_free(struct admin_month *m);

/* docs/gatewayctl.md says what is in it. The caller owns it. */
json_t *admin_month_json(const struct admin_month *m);
