/* What the API says of an image, in one form for all answers. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "api/image_probe.h"

/* {id, source, url, bytes, content_type}; NULL without memory. */
json_t *image_json(const char *id, enum image_type type, uint64_t bytes);

/* Adds width and height, null when they are 0. False without memory; NULL is allowed. */
bool image_json_size(json_t *doc, uint32_t width, uint32_t height);

/* The text, which the caller frees; the document is gone afterwards. NULL without memory; NULL is allowed. */
char *image_json_text(json_t *doc);
