/* Resizing with libvips. */
#pragma once

#include "options.h"

struct image_result {
	void *data; /* g_free() */
	size_t len;
	const char *content_type;
	const char *extension;
};

/*
 * Makes the image of `job` from data (len bytes). On an error *error says what imgproxy answers. Any thread may call
 * this.
 */
bool image_process(const struct config *c, const struct job *job, const void *data, size_t len,
                   struct image_result *out, struct url_error *error);
