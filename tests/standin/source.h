/* Where an image comes from: a file below the root, or a web server. */
#pragma once

#include "config.h"
#include "options.h"

/* What the client's request says of the copy that it has, and of the part that it wants. NULL: nothing. */
struct conditions {
	const char *match; /* If-None-Match */
	const char *since; /* If-Modified-Since */
	const char *range; /* Range; asked for raw sources alone */
};

/* A source's answer, as imgproxy's transports give it: a file's is one, too. */
struct source {
	unsigned status; /* 200, 206, 304; of raw sources any */
	void *data;      /* of len bytes, 1 more than nothing is there: data[len] may not be read */
	size_t len;
	bool mapped;
	char type[128]; /* Content-Type, or "" */
	char etag[128];
	char modified[64];
	char range[96]; /* Content-Range, or "" */
};

/*
 * Gets job->source. False: *error says what imgproxy answers. With job->raw whatever the source answered is good. May
 * block. source_free() afterwards when it returned true.
 */
bool source_get(const struct config *c, int root_fd, const struct job *job, const struct conditions *conditions,
                struct source *out, struct url_error *error);
void source_free(struct source *s);

/* The last part of the source URL's path, without its extension: what a file is named when the URL does not say. */
void source_name(const char *url, char *out, size_t size);
