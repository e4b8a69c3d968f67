#include "options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 16

/* One option's arguments: argv[0..argc-1], empty strings for arguments left out. */
typedef bool (*apply_fn)(struct job *job, int argc, char **argv);

static bool parse_int(const char *text, int min, int max, int *out)
{
	char *end;

	errno = 0;
	long v = strtol(text, &end, 10);
	if (text[0] == '\0' || *end != '\0' || errno != 0 || v < min || v > max)
		return false;
	*out = (int)v;
	return true;
}

static bool parse_number(const char *text, double min, double max, double *out)
{
	char *end;

	double v = strtod(text, &end);
	if (text[0] == '\0' || *end != '\0' || !isfinite(v) || v < min || v > max)
		return false;
	*out = v;
	return true;
}

static bool parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*out = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

static bool apply_ignored(struct job *job, int argc, char **argv)
{
	(void)job;
	(void)argc;
	(void)argv;
	return true;
}

static bool apply_width(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_int(argv[0], 0, INT_MAX, &job->width);
}

static bool apply_height(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_int(argv[0], 0, INT_MAX, &job->height);
}

static bool apply_min_width(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_int(argv[0], 0, INT_MAX, &job->min_width);
}

static bool apply_min_height(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_int(argv[0], 0, INT_MAX, &job->min_height);
}

static bool apply_enlarge(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_bool(argv[0], &job->enlarge);
}

static bool apply_gravity(struct job *job, int argc, char **argv)
{
	static const struct {
		const char *name;
		double x;
		double y;
	} table[] = {
		{ "ce", 0.5, 0.5 }, { "sm", 0.5, 0.5 }, { "no", 0.5, 0 }, { "so", 0.5, 1 }, { "ea", 1, 0.5 },
		{ "we", 0, 0.5 },   { "noea", 1, 0 },   { "nowe", 0, 0 }, { "soea", 1, 1 }, { "sowe", 0, 1 },
	};
	double offset;

	if (argc < 1 || argc > 3)
		return false;
	if (strcmp(argv[0], "fp") == 0)
		return argc == 3 && parse_number(argv[1], 0, 1, &job->gravity_x) &&
		       parse_number(argv[2], 0, 1, &job->gravity_y);
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '\0' && !parse_number(argv[i], -1e9, 1e9, &offset))
			return false;
	}
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(argv[0], table[i].name) == 0) {
			job->gravity_x = table[i].x;
			job->gravity_y = table[i].y;
			return true;
		}
	}
	return false;
}

static bool apply_extend(struct job *job, int argc, char **argv)
{
	if (argc < 1 || argc > 4 || !parse_bool(argv[0], &job->extend))
		return false;
	return argc == 1 || apply_gravity(job, argc - 1, argv + 1);
}

/* w:h:enlarge:extend[:gravity…]; what is left out stays as it is */
static bool apply_size(struct job *job, int argc, char **argv)
{
	if (argc > 7)
		return false;
	return (argc < 1 || argv[0][0] == '\0' || apply_width(job, 1, argv)) &&
	       (argc < 2 || argv[1][0] == '\0' || apply_height(job, 1, argv + 1)) &&
	       (argc < 3 || argv[2][0] == '\0' || apply_enlarge(job, 1, argv + 2)) &&
	       (argc < 4 || argv[3][0] == '\0' || apply_extend(job, argc - 3, argv + 3));
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
	if (argc > 8 || (argc >= 1 && argv[0][0] != '\0' && !apply_resizing_type(job, 1, argv)))
		return false;
	return argc <= 1 || apply_size(job, argc - 1, argv + 1);
}

static bool apply_zoom(struct job *job, int argc, char **argv)
{
	if (argc < 1 || argc > 2 || !parse_number(argv[0], 1e-6, 1e6, &job->zoom_x))
		return false;
	job->zoom_y = job->zoom_x;
	return argc == 1 || parse_number(argv[1], 1e-6, 1e6, &job->zoom_y);
}

static bool apply_dpr(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_number(argv[0], 1e-6, 1e6, &job->dpr);
}

static bool apply_blur(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_number(argv[0], 0, 1000, &job->blur);
}

static bool apply_rotate(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_int(argv[0], INT_MIN, INT_MAX, &job->rotate) && job->rotate % 90 == 0;
}

static bool apply_auto_rotate(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_bool(argv[0], &job->auto_rotate);
}

static bool apply_quality(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_int(argv[0], 0, 100, &job->quality);
}

static bool apply_format(struct job *job, int argc, char **argv)
{
	if (argc != 1)
		return false;
	job->format = format_by_name(argv[0]);
	return job->format != FORMAT_NONE;
}

static bool apply_expires(struct job *job, int argc, char **argv)
{
	char *end;

	if (argc != 1 || argv[0][0] == '\0')
		return false;
	job->expires = strtol(argv[0], &end, 10);
	return *end == '\0';
}

static bool apply_attachment(struct job *job, int argc, char **argv)
{
	return argc == 1 && parse_bool(argv[0], &job->attachment);
}

static const struct {
	const char *name;
	const char *alias;
	apply_fn apply; /* NULL: a security option, which is switched off */
} table[] = {
	{ "auto_rotate", "ar", apply_auto_rotate },
	{ "blur", "bl", apply_blur },
	{ "cachebuster", "cb", apply_ignored },
	{ "dpr", "dpr", apply_dpr },
	{ "enlarge", "el", apply_enlarge },
	{ "expires", "exp", apply_expires },
	{ "extend", "ex", apply_extend },
	{ "format", "f", apply_format },
	{ "format", "ext", apply_format },
	{ "gravity", "g", apply_gravity },
	{ "height", "h", apply_height },
	{ "keep_copyright", "kcr", apply_ignored },
	{ "max_animation_frame_resolution", "mafr", NULL },
	{ "max_animation_frames", "maf", NULL },
	{ "max_result_dimension", "mrd", NULL },
	{ "max_src_file_size", "msfs", NULL },
	{ "max_src_resolution", "msr", NULL },
	{ "min-height", "mh", apply_min_height },
	{ "min-width", "mw", apply_min_width },
	{ "quality", "q", apply_quality },
	{ "resize", "rs", apply_resize },
	{ "resizing_type", "rt", apply_resizing_type },
	{ "return_attachment", "att", apply_attachment },
	{ "rotate", "rot", apply_rotate },
	{ "size", "s", apply_size },
	{ "strip_color_profile", "scp", apply_ignored },
	{ "strip_metadata", "sm", apply_ignored },
	{ "width", "w", apply_width },
	{ "zoom", "z", apply_zoom },
};

void options_init(struct job *job)
{
	*job = (struct job){
		.zoom_x = 1, .zoom_y = 1, .dpr = 1, .gravity_x = 0.5, .gravity_y = 0.5, .auto_rotate = true
	};
}

bool options_apply(struct job *job, char *segment, struct url_error *error)
{
	char *argv[ARGS_MAX];
	int argc = 0;
	char *rest = segment;
	char *name = strsep(&rest, ":");

	*error = (struct url_error){ 404, "Invalid URL" };
	while (rest != NULL && argc < ARGS_MAX)
		argv[argc++] = strsep(&rest, ":");
	if (rest != NULL)
		return false;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(name, table[i].name) != 0 && strcmp(name, table[i].alias) != 0)
			continue;
		if (table[i].apply == NULL) {
			*error = (struct url_error){ 403, "Forbidden" };
			return false;
		}
		return table[i].apply(job, argc, argv);
	}
	return false;
}
