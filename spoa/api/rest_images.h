/* The user's images over HTTP: /api/v1/images and /api/v1/images/{id}. docs/uploads.md says what they answer. */
#pragma once

#include "api/rest.h"

/* GET: a page. */
rest_function rest_images;

/* GET and DELETE of one image. */
rest_function rest_image;

struct images_query {
	size_t limit;    /* 1 to IMAGES_LIST_MAX */
	struct sv after; /* an id, or empty */
};

/* Arguments as they came, {NULL, 0} when they did not. ERR_INVALID: *detail says what is wrong, as static text. */
MUST_CHECK enum err images_query_parse(struct sv limit, struct sv after, struct images_query *out, const char **detail);
