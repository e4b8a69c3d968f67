/* Resizing with libvips. */
#pragma once

#include <sys/types.h>

#include "url.h"

struct image_result {
	void *data; /* g_free() */
	size_t len;
	const char *content_type;
	const char *extension;
};

/*
 * Makes the image of `job` from the open file fd (size bytes). On an error *error says what imgproxy answers. Any
 * thread may call this.
 */
bool image_process(const struct config *c, const struct job *job, int fd, off_t size, struct image_result *out,
                   struct url_error *error);
