/* The AVIF part of image_probe(): boxes of ISO/IEC 14496-12, item properties of ISO/IEC 23008-12. */
#pragma once

#include <stdbool.h>

#include "base/cursor.h"

/* Whether the file starts with an ftyp box that names AVIF among its brands. */
bool image_avif_matches(struct rcur file);

/* The size of the primary item: its first associated ispe property. ERR_INVALID when it cannot be found. */
MUST_CHECK enum err image_avif_size(struct rcur file, uint32_t *width, uint32_t *height);
