/* The numbers that hold for a user: their own, or those of the settings. */
#pragma once

#include <stdint.h>

#include "base/settings.h"
#include "store/admin_image.h"
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

/* The bounds of a user's images, in the order in which they are shown. */
enum admin_image_bound {
	ADMIN_IMAGE_DIMENSION = 0,
	ADMIN_IMAGE_DPR,
	ADMIN_IMAGE_ZOOM,
	ADMIN_IMAGE_BLUR,
	ADMIN_IMAGE_QUALITY,
	ADMIN_IMAGE_EXPIRES, /* 0 or 1 */
	ADMIN_IMAGE_BOUNDS
};
extern const char *const admin_image_names[ADMIN_IMAGE_BOUNDS];

/* Whether a value is in thousandths: of dpr, zoom and blur. */
bool admin_image_in_thousandths(enum admin_image_bound bound);

struct admin_images_effective {
	struct admin_number number[ADMIN_IMAGE_BOUNDS];
	uint64_t value[ADMIN_IMAGE_BOUNDS];
};
void admin_images_effective(const struct settings *s, const struct admin_images *i, struct admin_images_effective *out);

/* A moment (seconds since 1970) in UTC, as 2026-01-31T12:00:00Z. Returns buf. */
const char *admin_time(int64_t seconds, char buf[ADMIN_TIME_MAX]);
