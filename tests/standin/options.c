#include "options.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "signature.h"

#define ARGS_MAX       64
#define PRESET_NESTING 16

/* One option's arguments: argv[0..argc-1], at least one, empty strings for arguments left out. */
typedef bool (*apply_fn)(struct job *job, int argc, char **argv);

static const struct {
	const char *name;
	enum format format;
} formats[] = {
	{ "avif", FORMAT_AVIF },  { "bmp", FORMAT_UNMADE }, { "gif", FORMAT_GIF },   { "heic", FORMAT_UNMADE },
	{ "ico", FORMAT_UNMADE }, { "jpeg", FORMAT_JPEG },  { "jpg", FORMAT_JPEG },  { "jxl", FORMAT_UNMADE },
	{ "png", FORMAT_PNG },    { "svg", FORMAT_SVG },    { "tiff", FORMAT_TIFF }, { "webp", FORMAT_WEBP },
};

enum format format_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(name, formats[i].name) == 0)
			return formats[i].format;
	}
	return FORMAT_NONE;
}

static bool given(int argc, char **argv, int i)
{
	return i < argc && argv[i][0] != '\0';
}

static bool take_bool(int argc, char **argv, bool *out)
{
	*out = arg_bool(argv[0]);
	return argc == 1;
}

static bool apply_bool_ignored(struct job *job, int argc, char **argv)
{
	bool ignored;

	(void)job;
	return take_bool(argc, argv, &ignored);
}

static bool apply_width(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_side(argv[0], &job->width);
}

static bool apply_height(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_side(argv[0], &job->height);
}

static bool apply_min_width(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_side(argv[0], &job->min_width);
}

static bool apply_min_height(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_side(argv[0], &job->min_height);
}

static bool apply_enlarge(struct job *job, int argc, char **argv)
{
	return take_bool(argc, argv, &job->enlarge);
}

static bool apply_gravity(struct job *job, int argc, char **argv)
{
	return arg_gravity(argc, argv, GRAVITY_SMART | GRAVITY_FOCUS, &job->gravity);
}

static bool take_extend(int argc, char **argv, bool *on, struct gravity *gravity)
{
	*on = arg_bool(argv[0]);
	return argc <= 4 && (argc == 1 || arg_gravity(argc - 1, argv + 1, GRAVITY_FOCUS, gravity));
}

static bool apply_extend(struct job *job, int argc, char **argv)
{
	return take_extend(argc, argv, &job->extend, &job->extend_gravity);
}

static bool apply_extend_ratio(struct job *job, int argc, char **argv)
{
	return take_extend(argc, argv, &job->extend_ratio, &job->ratio_gravity);
}

/* w:h:enlarge:extend[:gravity…]; what is left out stays as it is */
static bool apply_size(struct job *job, int argc, char **argv)
{
	return argc <= 7 && (!given(argc, argv, 0) || apply_width(job, 1, argv)) &&
	       (!given(argc, argv, 1) || apply_height(job, 1, argv + 1)) &&
	       (!given(argc, argv, 2) || apply_enlarge(job, 1, argv + 2)) &&
	       (!given(argc, argv, 3) || apply_extend(job, argc - 3, argv + 3));
}

static bool apply_resizing_type(struct job *job, int argc, char **argv)
{
	static const char *const names[] = { "fit", "fill", "fill-down", "force", "auto" };

	for (size_t i = 0; argc == 1 && i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(argv[0], names[i]) == 0) {
			job->resizing = (enum resizing)i;
			return true;
		}
	}
	return false;
}

static bool apply_resize(struct job *job, int argc, char **argv)
{
	if (argc > 8 || (argv[0][0] != '\0' && !apply_resizing_type(job, 1, argv)))
		return false;
	return argc == 1 || apply_size(job, argc - 1, argv + 1);
}

static bool take_positive(const char *text, double *out)
{
	return arg_number(text, out) && *out > 0;
}

static bool apply_zoom(struct job *job, int argc, char **argv)
{
	if (argc > 2 || !take_positive(argv[0], &job->zoom_x))
		return false;
	job->zoom_y = job->zoom_x;
	return argc == 1 || take_positive(argv[1], &job->zoom_y);
}

static bool apply_dpr(struct job *job, int argc, char **argv)
{
	return argc == 1 && take_positive(argv[0], &job->dpr);
}

static bool apply_crop(struct job *job, int argc, char **argv)
{
	if (!arg_number(argv[0], &job->crop_width) || job->crop_width < 0)
		return false;
	if (argc > 1 && (!arg_number(argv[1], &job->crop_height) || job->crop_height < 0))
		return false;
	job->has_crop_gravity = argc > 2;
	return argc <= 2 || arg_gravity(argc - 2, argv + 2, GRAVITY_SMART | GRAVITY_FOCUS, &job->crop_gravity);
}

static bool apply_trim(struct job *job, int argc, char **argv)
{
	job->trim = argv[0][0] != '\0';
	job->trim_colour.given = false;
	return argc <= 4 && (!job->trim || arg_number(argv[0], &job->trim_threshold)) &&
	       (!given(argc, argv, 1) || arg_hex_colour(argv[1], &job->trim_colour));
}

/* top:right:bottom:left; what is left out is as its opposite, and the top's if there is none */
static bool apply_padding(struct job *job, int argc, char **argv)
{
	static const int as[] = { 0, 0, 0, 1 };

	if (argc > 4)
		return false;
	for (int i = 0; i < 4; i++) {
		if (!given(argc, argv, i) && i > 0)
			job->padding[i] = job->padding[as[i]];
		else if (given(argc, argv, i) && !arg_side(argv[i], &job->padding[i]))
			return false;
	}
	return true;
}

static bool apply_blur(struct job *job, int argc, char **argv)
{
	return argc == 1 && take_positive(argv[0], &job->blur);
}

static bool apply_sharpen(struct job *job, int argc, char **argv)
{
	return argc == 1 && take_positive(argv[0], &job->sharpen);
}

static bool apply_pixelate(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_side(argv[0], &job->pixelate);
}

static bool apply_background(struct job *job, int argc, char **argv)
{
	struct colour *c = &job->background;

	c->given = argc == 3;
	if (argc == 3)
		return arg_byte(argv[0], &c->rgb[0]) && arg_byte(argv[1], &c->rgb[1]) && arg_byte(argv[2], &c->rgb[2]);
	return argc == 1 && (argv[0][0] == '\0' || arg_hex_colour(argv[0], c));
}

static bool apply_rotate(struct job *job, int argc, char **argv)
{
	long v;

	if (argc != 1 || !arg_int(argv[0], LONG_MIN, LONG_MAX, &v) || v % 90 != 0)
		return false;
	job->rotate = (int)(v % 360);
	return true;
}

static bool apply_auto_rotate(struct job *job, int argc, char **argv)
{
	return take_bool(argc, argv, &job->auto_rotate);
}

static bool apply_flip(struct job *job, int argc, char **argv)
{
	if (argv[0][0] != '\0')
		job->flip_horizontal = arg_bool(argv[0]);
	if (given(argc, argv, 1))
		job->flip_vertical = arg_bool(argv[1]);
	return argc <= 2;
}

static bool take_quality(const char *text, int *out)
{
	long v;

	if (!arg_int(text, 1, 100, &v))
		return false;
	*out = (int)v;
	return true;
}

static bool apply_quality(struct job *job, int argc, char **argv)
{
	return argc == 1 && take_quality(argv[0], &job->quality);
}

static bool apply_format_quality(struct job *job, int argc, char **argv)
{
	if (argc % 2 != 0)
		return false;
	for (int i = 0; i < argc; i += 2) {
		enum format f = format_by_name(argv[i]);
		if (f == FORMAT_NONE || !take_quality(argv[i + 1], &job->format_quality[f]))
			return false;
	}
	return true;
}

static bool apply_max_bytes(struct job *job, int argc, char **argv)
{
	int ignored;

	(void)job;
	return argc == 1 && arg_side(argv[0], &ignored);
}

static bool apply_format(struct job *job, int argc, char **argv)
{
	if (argc != 1)
		return false;
	job->format = format_by_name(argv[0]);
	return job->format != FORMAT_NONE;
}

static bool apply_skip(struct job *job, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		enum format f = format_by_name(argv[i]);
		if (f == FORMAT_NONE)
			return false;
		if (job->skips < SKIP_FORMATS_MAX)
			job->skip[job->skips++] = f;
	}
	return true;
}

static bool apply_watermark(struct job *job, int argc, char **argv)
{
	struct gravity ignored;
	double v;

	(void)job;
	return argc <= 7 && arg_number(argv[0], &v) && v >= 0 && v <= 1 &&
	       (!given(argc, argv, 1) || arg_gravity(1, argv + 1, GRAVITY_REPLICATE, &ignored)) &&
	       (!given(argc, argv, 2) || arg_number(argv[2], &v)) && (!given(argc, argv, 3) || arg_number(argv[3], &v));
}

static bool apply_cachebuster(struct job *job, int argc, char **argv)
{
	(void)job;
	(void)argv;
	return argc == 1;
}

/* In a URL that names several, each must be good. */
static bool apply_expires(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_int(argv[0], LONG_MIN, LONG_MAX, &job->expires) &&
	       (job->expires <= 0 || job->expires >= (long)time(NULL));
}

static bool apply_filename(struct job *job, int argc, char **argv)
{
	uint8_t bytes[FILENAME_SIZE];
	size_t len = strlen(argv[0]);

	if (argc > 2)
		return false;
	if (!given(argc, argv, 1) || !arg_bool(argv[1])) {
		snprintf(job->filename, sizeof(job->filename), "%s", argv[0]);
		return true;
	}
	while (len > 0 && argv[0][len - 1] == '=')
		len--;
	if (len > sizeof(bytes))
		return false;
	long n = base64url_decode(argv[0], len, bytes);
	if (n < 0)
		return false;
	snprintf(job->filename, sizeof(job->filename), "%.*s", (int)n, (const char *)bytes);
	return true;
}

static bool apply_attachment(struct job *job, int argc, char **argv)
{
	return take_bool(argc, argv, &job->attachment);
}

static bool apply_raw(struct job *job, int argc, char **argv)
{
	return take_bool(argc, argv, &job->raw);
}

static bool apply_max_src_resolution(struct job *job, int argc, char **argv)
{
	double v;

	if (argc != 1 || !arg_number(argv[0], &v) || v < 0)
		return false;
	job->max_src_pixels = v * 1e6;
	return true;
}

static bool apply_max_src_file_size(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_int(argv[0], LONG_MIN, LONG_MAX, &job->max_src_size);
}

static bool apply_max_frames(struct job *job, int argc, char **argv)
{
	long v;

	(void)job;
	return argc == 1 && arg_int(argv[0], 1, LONG_MAX, &v);
}

static bool apply_max_frame_resolution(struct job *job, int argc, char **argv)
{
	double v;

	(void)job;
	return argc == 1 && arg_number(argv[0], &v) && v >= 0;
}

static bool apply_max_result_dimension(struct job *job, int argc, char **argv)
{
	return argc == 1 && arg_int(argv[0], LONG_MIN, LONG_MAX, &job->max_result_dimension);
}

static const struct {
	const char *names[3];
	apply_fn apply;
	bool security; /* only when the settings allow it */
} table[] = {
	{ { "auto_rotate", "ar" }, apply_auto_rotate, false },
	{ { "background", "bg" }, apply_background, false },
	{ { "blur", "bl" }, apply_blur, false },
	{ { "cachebuster", "cb" }, apply_cachebuster, false },
	{ { "crop", "c" }, apply_crop, false },
	{ { "dpr" }, apply_dpr, false },
	{ { "enforce_thumbnail", "eth" }, apply_bool_ignored, false },
	{ { "enlarge", "el" }, apply_enlarge, false },
	{ { "expires", "exp" }, apply_expires, false },
	{ { "extend", "ex" }, apply_extend, false },
	{ { "extend_aspect_ratio", "extend_ar", "exar" }, apply_extend_ratio, false },
	{ { "filename", "fn" }, apply_filename, false },
	{ { "flip", "fl" }, apply_flip, false },
	{ { "format", "f", "ext" }, apply_format, false },
	{ { "format_quality", "fq" }, apply_format_quality, false },
	{ { "gravity", "g" }, apply_gravity, false },
	{ { "height", "h" }, apply_height, false },
	{ { "keep_copyright", "kcr" }, apply_bool_ignored, false },
	{ { "max_animation_frame_resolution", "mafr" }, apply_max_frame_resolution, true },
	{ { "max_animation_frames", "maf" }, apply_max_frames, true },
	{ { "max_bytes", "mb" }, apply_max_bytes, false },
	{ { "max_result_dimension", "mrd" }, apply_max_result_dimension, true },
	{ { "max_src_file_size", "msfs" }, apply_max_src_file_size, true },
	{ { "max_src_resolution", "msr" }, apply_max_src_resolution, true },
	{ { "min-height", "mh" }, apply_min_height, false },
	{ { "min-width", "mw" }, apply_min_width, false },
	{ { "padding", "pd" }, apply_padding, false },
	{ { "pixelate", "pix" }, apply_pixelate, false },
	{ { "preserve_hdr", "ph" }, apply_bool_ignored, false },
	{ { "quality", "q" }, apply_quality, false },
	{ { "raw" }, apply_raw, false },
	{ { "resize", "rs" }, apply_resize, false },
	{ { "resizing_type", "rt" }, apply_resizing_type, false },
	{ { "return_attachment", "att" }, apply_attachment, false },
	{ { "rotate", "rot" }, apply_rotate, false },
	{ { "sharpen", "sh" }, apply_sharpen, false },
	{ { "size", "s" }, apply_size, false },
	{ { "skip_processing", "skp" }, apply_skip, false },
	{ { "strip_color_profile", "scp" }, apply_bool_ignored, false },
	{ { "strip_metadata", "sm" }, apply_bool_ignored, false },
	{ { "trim", "t" }, apply_trim, false },
	{ { "watermark", "wm" }, apply_watermark, false },
	{ { "width", "w" }, apply_width, false },
	{ { "zoom", "z" }, apply_zoom, false },
};

void options_init(const struct config *c, struct job *job)
{
	*job = (struct job){ .zoom_x = 1, .zoom_y = 1, .dpr = 1, .auto_rotate = true };
	job->gravity = job->extend_gravity = job->ratio_gravity = (struct gravity){ 0.5, 0.5, 0, 0 };
	job->max_src_pixels = c->max_src_pixels;
	job->max_src_size = c->max_src_size;
	job->max_result_dimension = c->max_result_dimension;
}

/* The presets on the way to where we are: one that comes again is passed over. */
struct nesting {
	const char *used[PRESET_NESTING];
	size_t count;
	bool all; /* options that the settings do not allow in URLs are allowed in presets */
};

static bool apply_presets(const struct config *c, struct job *job, int argc, char **argv, const struct nesting *above,
                          struct url_error *error);

static bool apply_segment(const struct config *c, struct job *job, char *segment, const struct nesting *above,
                          struct url_error *error)
{
	char *argv[ARGS_MAX];
	int argc = 0;
	char *rest = segment;
	char *name = strsep(&rest, ":");

	*error = (struct url_error){ 404, "Invalid URL" };
	while (rest != NULL && argc < ARGS_MAX)
		argv[argc++] = strsep(&rest, ":");
	if (rest != NULL || argc == 0)
		return false;
	if (!above->all && c->options.count > 0 && !words_have(&c->options, name, strlen(name)))
		return false;
	if (strcmp(name, "preset") == 0 || strcmp(name, "pr") == 0)
		return apply_presets(c, job, argc, argv, above, error);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (size_t n = 0; n < 3 && table[i].names[n] != NULL; n++) {
			if (strcmp(name, table[i].names[n]) != 0)
				continue;
			if (table[i].security && !c->security_options) {
				error->status = 403;
				return false;
			}
			return table[i].apply(job, argc, argv);
		}
	}
	return false;
}

/* The options of a preset: a view into the settings, its length in *n. NULL: there is no such preset. */
static const char *preset_find(const struct config *c, const char *name, size_t *n)
{
	for (const char *p = words_next(&c->presets, NULL); p != NULL; p = words_next(&c->presets, p)) {
		const char *equals = strchr(p, '=');
		size_t len = equals != NULL ? (size_t)(equals - p) : 0;
		while (len > 0 && p[len - 1] == ' ')
			len--;
		if (equals == NULL || p[0] == '#' || len != strlen(name) || memcmp(p, name, len) != 0)
			continue;
		equals += 1 + strspn(equals + 1, " ");
		*n = strlen(equals);
		return equals;
	}
	return NULL;
}

static bool apply_presets(const struct config *c, struct job *job, int argc, char **argv, const struct nesting *above,
                          struct url_error *error)
{
	for (int i = 0; i < argc; i++) {
		struct nesting inside = *above;
		bool again = false;
		size_t n = 0;
		const char *options = preset_find(c, argv[i], &n);
		*error = (struct url_error){ 404, "Invalid URL" };
		if (options == NULL)
			return false;
		for (size_t u = 0; u < above->count; u++)
			again = again || above->used[u] == options;
		if (again || above->count == PRESET_NESTING)
			continue;
		inside.used[inside.count++] = options;
		inside.all = true;
		char *copy = strndup(options, n);
		if (copy == NULL)
			return false;
		char *rest = copy;
		bool ok = true;
		while (ok && rest != NULL)
			ok = apply_segment(c, job, strsep(&rest, "/"), &inside, error);
		free(copy);
		if (!ok)
			return false;
	}
	return true;
}

bool options_apply(const struct config *c, struct job *job, char *segment, struct url_error *error)
{
	static const struct nesting top;
	return apply_segment(c, job, segment, &top, error);
}

bool options_presets(const struct config *c, struct job *job, char *names, struct url_error *error)
{
	static const struct nesting top;
	char *argv[ARGS_MAX];
	int argc = 0;

	while (names != NULL && argc < ARGS_MAX)
		argv[argc++] = strsep(&names, ":");
	*error = (struct url_error){ 404, "Invalid URL" };
	return names == NULL && apply_presets(c, job, argc, argv, &top, error);
}

bool options_default_preset(const struct config *c, struct job *job, struct url_error *error)
{
	char name[] = "default";
	size_t n;
	return preset_find(c, name, &n) == NULL || options_presets(c, job, name, error);
}

bool options_check_presets(const struct config *c)
{
	static const struct nesting all = { .all = true };
	struct url_error error;
	struct job job;

	for (const char *p = words_next(&c->presets, NULL); p != NULL; p = words_next(&c->presets, p)) {
		const char *equals = strchr(p, '=');
		if (p[0] == '#')
			continue;
		bool ok = equals != NULL && equals > p && equals[1] != '\0' && strchr(equals + 1, '=') == NULL;
		char *rest = ok ? strdup(equals + 1 + strspn(equals + 1, " ")) : NULL;
		char *copy = rest;
		options_init(c, &job);
		while (ok && rest != NULL)
			ok = apply_segment(c, &job, strsep(&rest, "/"), &all, &error);
		free(copy);
		if (!ok) {
			fprintf(stderr, "imgproxy-standin: IMGPROXY_PRESETS: cannot apply %s\n", p);
			return false;
		}
	}
	return true;
}
