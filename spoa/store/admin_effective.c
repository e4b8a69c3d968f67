#include "store/admin_effective.h"

#include <time.h>

#include "base/check.h"
#include "policy/period.h"

#define THOUSAND 1000

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

const char *const admin_image_names[ADMIN_IMAGE_BOUNDS] = {
	[ADMIN_IMAGE_DIMENSION] = "max_dimension", [ADMIN_IMAGE_DPR] = "max_dpr",
	[ADMIN_IMAGE_ZOOM] = "max_zoom",           [ADMIN_IMAGE_BLUR] = "max_blur",
	[ADMIN_IMAGE_QUALITY] = "max_quality",     [ADMIN_IMAGE_EXPIRES] = "require_expires",
};

bool admin_image_in_thousandths(enum admin_image_bound bound)
{
	return bound == ADMIN_IMAGE_DPR || bound == ADMIN_IMAGE_ZOOM || bound == ADMIN_IMAGE_BLUR;
}

void admin_images_effective(const struct settings *s, const struct admin_images *i, struct admin_images_effective *out)
{
	const int64_t settings[ADMIN_IMAGE_BOUNDS] = {
		[ADMIN_IMAGE_DIMENSION] = s->images_max_dimension,
		[ADMIN_IMAGE_DPR] = s->images_max_dpr * THOUSAND,
		[ADMIN_IMAGE_ZOOM] = s->images_max_zoom * THOUSAND,
		[ADMIN_IMAGE_BLUR] = s->images_max_blur * THOUSAND,
		[ADMIN_IMAGE_QUALITY] = s->images_max_quality,
		[ADMIN_IMAGE_EXPIRES] = s->images_require_expires ? 1 : 0,
	};

	*out = (struct admin_images_effective){ .number = {
		                                        [ADMIN_IMAGE_DIMENSION] = i->max_dimension,
		                                        [ADMIN_IMAGE_DPR] = i->max_dpr,
		                                        [ADMIN_IMAGE_ZOOM] = i->max_zoom,
		                                        [ADMIN_IMAGE_BLUR] = i->max_blur,
		                                        [ADMIN_IMAGE_QUALITY] = i->max_quality,
		                                        [ADMIN_IMAGE_EXPIRES] = i->require_expires,
		                                } };
	for (size_t k = 0; k < ADMIN_IMAGE_BOUNDS; k++)
		out->value[k] = admin_effective(&out->number[k], settings[k]);
}

const char *admin_time(int64_t seconds, char buf[ADMIN_TIME_MAX])
{
	time_t t = seconds;
	struct tm tm;

	CHECK(gmtime_r(&t, &tm) != NULL && strftime(buf, ADMIN_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
	return buf;
}
