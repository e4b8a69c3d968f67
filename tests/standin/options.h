/* imgproxy's processing options: the whole table of the open version, by long and short name. */
#pragma once

#include "config.h"

#define SKIP_FORMATS_MAX 16
#define FILENAME_SIZE    256

enum resizing { RESIZE_FIT = 0, RESIZE_FILL, RESIZE_FILL_DOWN, RESIZE_FORCE, RESIZE_AUTO };

/* FORMAT_UNMADE and beyond are known words that this program does not save. */
enum format {
	FORMAT_NONE = 0,
	FORMAT_JPEG,
	FORMAT_PNG,
	FORMAT_WEBP,
	FORMAT_GIF,
	FORMAT_AVIF,
	FORMAT_TIFF,
	FORMAT_SVG,
	FORMAT_UNMADE,
	FORMAT_COUNT
};

struct gravity {
	double x; /* 0 left, 1 right */
	double y;
	double offset_x; /* beyond 1: pixels, else a share of the image; ignored for a focus point */
	double offset_y;
};

struct colour {
	bool given;
	double rgb[3];
};

/* What a URL asks for. Watermarks, thumbnails and metadata are read, and have no effect here. */
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
	bool extend_ratio;
	struct gravity gravity;
	struct gravity extend_gravity;
	struct gravity ratio_gravity;
	double crop_width; /* below 1: a share of the source; 0: all of it */
	double crop_height;
	bool has_crop_gravity;
	struct gravity crop_gravity;
	bool trim;
	double trim_threshold;
	struct colour trim_colour;
	int padding[4]; /* top, right, bottom, left */
	double blur;
	double sharpen;
	int pixelate;
	struct colour background;
	int rotate; /* degrees */
	bool auto_rotate;
	bool flip_horizontal;
	bool flip_vertical;
	int quality; /* 0: the format's default */
	int format_quality[FORMAT_COUNT];
	enum format format;
	enum format skip[SKIP_FORMATS_MAX];
	size_t skips;
	bool raw;
	bool attachment;
	char filename[FILENAME_SIZE]; /* "": the source's */
	long expires;                 /* seconds since 1970; 0 and less: never */
	double max_src_pixels;        /* from the settings, or from a URL that may say so */
	long max_src_size;
	long max_result_dimension;
	char *source; /* the source URL, decoded */
};

struct url_error {
	unsigned status;
	const char *body;
};

/* The defaults of a URL without options. */
void options_init(const struct config *c, struct job *job);

/*
 * Applies one option segment "name:arg:…" (changed in place). False: *error says what imgproxy answers: 404 for an
 * unknown name or a bad argument, 403 for a security option that is switched off.
 */
bool options_apply(const struct config *c, struct job *job, char *segment, struct url_error *error);

/* Applies "name:name:…", presets of the settings. */
bool options_presets(const struct config *c, struct job *job, char *names, struct url_error *error);

/* Applies the preset `default` when there is one. */
bool options_default_preset(const struct config *c, struct job *job, struct url_error *error);

/* Whether all presets of the settings can be applied; if not, a line on stderr says which cannot. */
bool options_check_presets(const struct config *c);

/* "png" and so on to a format; FORMAT_NONE for unknown words. */
enum format format_by_name(const char *name);
