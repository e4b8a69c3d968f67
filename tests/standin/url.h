/*
 * imgproxy's URL grammar, as version 4 reads it: signature, options, source. Written apart from the gateway's own
 * grammar on purpose, so that each is a check of the other.
 */
#pragma once

#include "config.h"

enum resizing { RESIZE_FIT = 0, RESIZE_FILL, RESIZE_FILL_DOWN, RESIZE_FORCE, RESIZE_AUTO };
enum format { FORMAT_NONE = 0, FORMAT_JPEG, FORMAT_PNG, FORMAT_WEBP, FORMAT_GIF, FORMAT_AVIF, FORMAT_OTHER };

struct job {
	enum resizing resizing;
	int width; /* 0: not given */
	int height;
	int min_width;
	int min_height;
	double zoom_x;
	double zoom_y;
	double dpr;
	bool enlarge;
	bool extend;
	double gravity_x; /* 0 left, 1 right */
	double gravity_y;
	double blur;
	int rotate; /* degrees */
	bool auto_rotate;
	int quality; /* 0: the format's default */
	enum format format;
	bool attachment;
	long expires; /* seconds since 1970; 0: never */
	char *path;   /* of the source, below the root, cleaned, no leading "/" */
};

struct url_error {
	unsigned status;
	const char *body;
};

/*
 * Reads the raw request target ("/SIGNATURE/…"). On success *job is filled and the caller frees job->path. On an error
 * *error says what imgproxy would answer.
 */
bool url_parse(const struct config *c, const char *target, struct job *job, struct url_error *error);

/* Whether the target has escapes that no HTTP server of Go lets through. */
bool url_is_malformed(const char *target);

/* Decodes %XX of the path part (before "?") into a new string; the caller frees it. */
char *url_decoded_path(const char *target);

/* "png" and so on to a format; FORMAT_NONE for unknown words, FORMAT_OTHER for those that are known but not made. */
enum format format_by_name(const char *name);
