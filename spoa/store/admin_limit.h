/*
 * Limits and quotas of users, as an operator handles them. Errors as in store/admin_user.h. What a user has no number
 * of their own for is a setting's; this file does not know the settings.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"

/* The user's own number, or (own is false, SQL NULL) the default's. 0: no limit. */
struct admin_number {
	bool own;
	uint64_t value;
};

#define ADMIN_RATE_MAX UINT64_C(1000000000)
/* A counter (policy/quota.h) holds more requests, and just as many bytes. */
#define ADMIN_REQUESTS_MAX     UINT64_C(1000000000000000)
#define ADMIN_BANDWIDTH_MB_MAX ((UINT64_C(1) << 30) - 1)
#define ADMIN_STORAGE_MB_MAX   ((UINT64_C(1) << 43) - 1)

/* The names of what may be in shadow; the bit 1 << i stands for name i. */
enum { ADMIN_SHADOW_MINUTE = 1, ADMIN_SHADOW_HOUR = 2, ADMIN_SHADOW_REQUESTS = 1, ADMIN_SHADOW_BANDWIDTH = 2 };
#define ADMIN_SHADOWS 2
extern const char *const admin_limits_shadows[ADMIN_SHADOWS];
extern const char *const admin_quotas_shadows[ADMIN_SHADOWS];

/* What to do with a number: nothing, unless it was given. */
struct admin_change {
	bool given;
	struct admin_number to;
};

/* The username belongs to this struct, which is freed. */
struct admin_limits {
	uint64_t user_id;
	const char *username;
	struct admin_number per_minute;
	struct admin_number per_hour;
	struct admin_number burst; /* default: per_minute */
	bool shadow_minute;
	bool shadow_hour;
	struct pg_result *rows;
};

struct admin_limits_wish {
	struct admin_change per_minute; /* at most ADMIN_RATE_MAX, as per_hour */
	struct admin_change per_hour;
	struct admin_change burst; /* 1 to ADMIN_RATE_MAX */
	bool shadow_given;
	bool shadow_minute;
	bool shadow_hour;
};

void admin_limits_free(struct admin_limits *l);
MUST_CHECK enum err admin_limits_find(struct pg_sync *db, const char *user, struct admin_limits *out, char *error);
/* Changes what was given; gives all of it, as it is then. */
MUST_CHECK enum err admin_limits_set(struct pg_sync *db, const char *user, const struct admin_limits_wish *wish,
                                     struct admin_limits *out, char *error);

/* Likewise. The counters are those of the running month, 0 when what is stored belongs to one that has ended. */
struct admin_quotas {
	uint64_t user_id;
	const char *username;
	struct admin_number requests;     /* a month */
	struct admin_number bandwidth_mb; /* a month */
	struct admin_number storage_mb;
	struct admin_number reset_day; /* 1 to 31; default: 1 */
	bool shadow_requests;
	bool shadow_bandwidth;
	uint64_t current_requests;
	uint64_t current_bandwidth_mb; /* whole ones of current_bandwidth_bytes */
	uint64_t current_bandwidth_bytes;
	uint64_t now; /* the database's clock, seconds since 1970 UTC */
	struct pg_result *rows;
};

struct admin_quotas_wish {
	struct admin_change requests; /* at most ADMIN_REQUESTS_MAX, and so on */
	struct admin_change bandwidth_mb;
	struct admin_change storage_mb;
	struct admin_change reset_day;
	bool shadow_given;
	bool shadow_requests;
	bool shadow_bandwidth;
};

void admin_quotas_free(struct admin_quotas *q);
MUST_CHECK enum err admin_quotas_find(struct pg_sync *db, const char *user, struct admin_quotas *out, char *error);
MUST_CHECK enum err admin_quotas_set(struct pg_sync *db, const char *user, const struct admin_quotas_wish *wish,
                                     struct admin_quotas *out, char *error);
