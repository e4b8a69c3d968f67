/* Words that gatewayctl and the REST interface take alike: spans of time, months, and names of presets. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

/*
 * A span of time as `90s`, `45m`, `12h` or `30d`, in seconds. ERR_INVALID for another form, ERR_RANGE for zero and for
 * more than 36500 days.
 */
MUST_CHECK enum err admin_duration(const char *text, uint64_t *seconds);

/* The same for the time in which a key that was rotated still passes: NULL and `0s` are none. */
MUST_CHECK enum err admin_grace(const char *text, uint64_t *seconds);

/* A month as 2026-01. ERR_INVALID for another form, and for years before 1000. */
MUST_CHECK enum err admin_month(const char *text);

/* Whether it can name a preset: policy/record.h bounds it, and `none` says that there are none. */
bool admin_is_preset(struct sv name);

/* A comma list of names of presets, each at most once. ERR_INVALID for everything else. */
MUST_CHECK enum err admin_presets(const char *text);
