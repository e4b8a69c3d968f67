#include "image.h"

#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

#include "plan.h"

/* What AVIF cannot be smaller than. */
#define AVIF_SIDE_MIN 16
/* imgproxy's default, IMGPROXY_AVIF_SPEED=8: libvips counts the other way, from 9. */
#define AVIF_EFFORT 1

static const struct {
	const char *extension;
	const char *content_type;
} kinds[] = {
	[FORMAT_JPEG] = { "jpg", "image/jpeg" },   [FORMAT_PNG] = { "png", "image/png" },
	[FORMAT_WEBP] = { "webp", "image/webp" },  [FORMAT_GIF] = { "gif", "image/gif" },
	[FORMAT_AVIF] = { "avif", "image/avif" },  [FORMAT_TIFF] = { "tiff", "image/tiff" },
	[FORMAT_SVG] = { "svg", "image/svg+xml" },
};

/* The loaders that may see a source. */
static const struct {
	const char *loader;
	enum format format;
} loaders[] = {
	{ "VipsForeignLoadJpegBuffer", FORMAT_JPEG }, { "VipsForeignLoadPngBuffer", FORMAT_PNG },
	{ "VipsForeignLoadWebpBuffer", FORMAT_WEBP }, { "VipsForeignLoadNsgifBuffer", FORMAT_GIF },
	{ "VipsForeignLoadHeifBuffer", FORMAT_AVIF }, { "VipsForeignLoadTiffBuffer", FORMAT_TIFF },
	{ "VipsForeignLoadSvgBuffer", FORMAT_SVG },
};

static bool fail(struct url_error *error, unsigned status, const char *body)
{
	*error = (struct url_error){ status, body };
	return false;
}

static enum format source_format(const void *data, size_t len)
{
	const char *loader = vips_foreign_find_load_buffer(data, len);

	for (size_t i = 0; loader != NULL && i < sizeof(loaders) / sizeof(loaders[0]); i++) {
		if (strcmp(loader, loaders[i].loader) == 0)
			return loaders[i].format;
	}
	return FORMAT_NONE;
}

/* Puts `next` in the place of *image when the step went well. */
static bool step(VipsImage **image, int rc, VipsImage **next)
{
	if (rc != 0)
		return false;
	g_object_unref(*image);
	*image = *next;
	return true;
}

/* The colour that the image gets behind it, or in places where it is not; white for flattening without one. */
static VipsArrayDouble *background(const struct job *job, bool opaque)
{
	static const double white[] = { 255, 255, 255 };
	static const double none[] = { 0 };

	if (job->background.given)
		return vips_array_double_new(job->background.rgb, 3);
	return opaque ? vips_array_double_new(white, 3) : vips_array_double_new(none, 1);
}

static bool flatten(VipsImage **image, const struct job *job)
{
	VipsImage *next = NULL;

	if (!vips_image_hasalpha(*image))
		return true;
	VipsArrayDouble *colour = background(job, true);
	int rc = vips_flatten(*image, &next, "background", colour, NULL);
	vips_area_unref(VIPS_AREA(colour));
	return step(image, rc, &next);
}

static bool cut(VipsImage **image, int width, int height, const struct gravity *g)
{
	VipsImage *next = NULL;
	int whole_width = (*image)->Xsize;
	int whole_height = (*image)->Ysize;

	width = width < whole_width ? width : whole_width;
	height = height < whole_height ? height : whole_height;
	if (width == whole_width && height == whole_height)
		return true;
	int left = plan_position(whole_width, width, g->x, g->offset_x);
	int top = plan_position(whole_height, height, g->y, g->offset_y);
	return step(image, vips_extract_area(*image, &next, left, top, width, height, NULL), &next);
}

static bool embed(VipsImage **image, const struct job *job, int left, int top, int width, int height)
{
	VipsImage *next = NULL;

	if (width == (*image)->Xsize && height == (*image)->Ysize)
		return true;
	if (width > SIDE_MAX || height > SIDE_MAX || (job->background.given && !flatten(image, job)))
		return false;
	VipsArrayDouble *colour = background(job, false);
	int rc = vips_embed(*image, &next, left, top, width, height, "extend", VIPS_EXTEND_BACKGROUND, "background",
	                    colour, NULL);
	vips_area_unref(VIPS_AREA(colour));
	return step(image, rc, &next);
}

/* Like imgproxy: all of it is in memory before it is turned, whatever is cut off it then. */
static bool turn(VipsImage **image, const struct job *job)
{
	VipsImage *next = NULL;
	int turns = ((job->rotate / 90) % 4 + 4) % 4;

	if (turns == 0 && !job->flip_horizontal && !job->flip_vertical)
		return true;
	next = vips_image_copy_memory(*image);
	if (!step(image, next != NULL ? 0 : -1, &next))
		return false;
	next = NULL;
	if (turns > 0 && !step(image, vips_rot(*image, &next, (VipsAngle)turns, NULL), &next))
		return false;
	if (job->flip_horizontal && !step(image, vips_flip(*image, &next, VIPS_DIRECTION_HORIZONTAL, NULL), &next))
		return false;
	return !job->flip_vertical || step(image, vips_flip(*image, &next, VIPS_DIRECTION_VERTICAL, NULL), &next);
}

static bool pixelate(VipsImage **image, int size)
{
	VipsImage *next = NULL;
	int width = (*image)->Xsize;
	int height = (*image)->Ysize;
	int least = width < height ? width : height;

	size = size < least ? size : least;
	return size <= 1 || (step(image, vips_shrink(*image, &next, size, size, "ceil", TRUE, NULL), &next) &&
	                     step(image, vips_zoom(*image, &next, size, size, NULL), &next) &&
	                     step(image, vips_extract_area(*image, &next, 0, 0, width, height, NULL), &next));
}

static bool filter(VipsImage **image, const struct job *job)
{
	VipsImage *next = NULL;

	if (job->blur > 0 && !step(image, vips_gaussblur(*image, &next, job->blur, NULL), &next))
		return false;
	if (job->sharpen > 0 && !step(image, vips_sharpen(*image, &next, "sigma", job->sharpen, NULL), &next))
		return false;
	return pixelate(image, job->pixelate);
}

static bool transform(VipsImage **image, const struct job *job, const struct plan *p)
{
	const struct gravity *g = job->extend ? &job->extend_gravity : &job->ratio_gravity;

	if (!turn(image, job) || !cut(image, p->crop_width, p->crop_height, &job->gravity) || !filter(image, job))
		return false;
	int width = p->extended_width > (*image)->Xsize ? p->extended_width : (*image)->Xsize;
	int height = p->extended_height > (*image)->Ysize ? p->extended_height : (*image)->Ysize;
	if (!embed(image, job, plan_position(width, (*image)->Xsize, g->x, g->offset_x),
	           plan_position(height, (*image)->Ysize, g->y, g->offset_y), width, height))
		return false;
	return embed(image, job, p->padding[3], p->padding[0], width + p->padding[1] + p->padding[3],
	             height + p->padding[0] + p->padding[2]);
}

/* Trims and crops the whole source, before it is scaled. */
static bool prepare(VipsImage **image, const struct job *job)
{
	VipsImage *next = NULL;
	int left;
	int top;
	int width;
	int height;

	if (job->auto_rotate && !step(image, vips_autorot(*image, &next, NULL), &next))
		return false;
	if (job->trim) {
		VipsArrayDouble *colour = vips_array_double_new(job->trim_colour.rgb, 3);
		int rc = job->trim_colour.given ? vips_find_trim(*image, &left, &top, &width, &height, "threshold",
		                                                 job->trim_threshold, "background", colour, NULL)
		                                : vips_find_trim(*image, &left, &top, &width, &height, "threshold",
		                                                 job->trim_threshold, NULL);
		vips_area_unref(VIPS_AREA(colour));
		if (rc != 0)
			return false;
		if (width > 0 && height > 0 &&
		    !step(image, vips_extract_area(*image, &next, left, top, width, height, NULL), &next))
			return false;
	}
	return cut(image, plan_crop_side((*image)->Xsize, job->crop_width),
	           plan_crop_side((*image)->Ysize, job->crop_height),
	           job->has_crop_gravity ? &job->crop_gravity : &job->gravity);
}

static bool save(VipsImage *image, enum format format, int quality, struct image_result *out)
{
	int rc = -1;

	switch (format) {
	case FORMAT_JPEG:
		rc = vips_jpegsave_buffer(image, &out->data, &out->len, "Q", quality, "strip", TRUE, NULL);
		break;
	case FORMAT_PNG:
		rc = vips_pngsave_buffer(image, &out->data, &out->len, "strip", TRUE, NULL);
		break;
	case FORMAT_WEBP:
		rc = vips_webpsave_buffer(image, &out->data, &out->len, "Q", quality, "strip", TRUE, NULL);
		break;
	case FORMAT_GIF:
		rc = vips_gifsave_buffer(image, &out->data, &out->len, "strip", TRUE, NULL);
		break;
	case FORMAT_AVIF:
		rc = vips_heifsave_buffer(image, &out->data, &out->len, "Q", quality, "strip", TRUE, "compression",
		                          VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "effort", AVIF_EFFORT, NULL);
		break;
	case FORMAT_TIFF:
		rc = vips_tiffsave_buffer(image, &out->data, &out->len, "Q", quality, "strip", TRUE, NULL);
		break;
	default:
		return false;
	}
	out->content_type = kinds[format].content_type;
	out->extension = kinds[format].extension;
	return rc == 0;
}

/* Whether the source goes out as it is: a format that the URL says not to process, and SVG for which it says no other.
 */
static bool is_left_alone(const struct job *job, enum format source)
{
	if (job->format != FORMAT_NONE && job->format != source)
		return false;
	for (size_t i = 0; i < job->skips; i++) {
		if (job->skip[i] == source)
			return true;
	}
	return source == FORMAT_SVG;
}

static bool leave_alone(const void *data, size_t len, enum format format, struct image_result *out)
{
	out->data = g_malloc(len);
	memcpy(out->data, data, len);
	out->len = len;
	out->content_type = kinds[format].content_type;
	out->extension = kinds[format].extension;
	return true;
}

/* The source scaled as planned; NULL when libvips cannot. `header` was opened from data, and is used up. */
static VipsImage *scaled(const struct job *job, VipsImage *header, const void *data, size_t len, struct plan *p,
                         bool *too_large)
{
	VipsImage *image = header;
	VipsImage *next = NULL;
	bool whole = job->trim || job->crop_width > 0 || job->crop_height > 0;
	bool ok = !whole || prepare(&image, job);
	bool swapped = !whole && job->auto_rotate && vips_image_get_orientation_swap(image);
	bool sideways = (job->rotate / 90) % 2 != 0;
	int width = swapped ? image->Ysize : image->Xsize;
	int height = swapped ? image->Xsize : image->Ysize;

	*p = sideways ? plan_make(job, height, width) : plan_make(job, width, height);
	int to_width = sideways ? p->scaled_height : p->scaled_width;
	int to_height = sideways ? p->scaled_width : p->scaled_height;
	*too_large = to_width > SIDE_MAX || to_height > SIDE_MAX;
	if (!ok || *too_large) {
		g_object_unref(image);
		return NULL;
	}
	if (whole) {
		ok = step(&image,
		          vips_thumbnail_image(image, &next, to_width, "height", to_height, "size", VIPS_SIZE_FORCE,
		                               "no_rotate", TRUE, NULL),
		          &next);
	} else {
		/* The buffer is only read; libvips has no const here. */
		void *bytes;
		memcpy(&bytes, &data, sizeof(bytes));
		ok = step(&image,
		          vips_thumbnail_buffer(bytes, len, &next, to_width, "height", to_height, "size",
		                                VIPS_SIZE_FORCE, "no_rotate", !job->auto_rotate, NULL),
		          &next);
	}
	if (ok)
		return image;
	g_object_unref(image);
	return NULL;
}

static enum format result_format(const struct job *job, enum format source, VipsImage *image)
{
	if (job->format != FORMAT_NONE)
		source = job->format;
	if (source == FORMAT_AVIF && (image->Xsize < AVIF_SIDE_MIN || image->Ysize < AVIF_SIDE_MIN))
		return vips_image_hasalpha(image) ? FORMAT_PNG : FORMAT_JPEG;
	return source;
}

static int quality_of(const struct config *c, const struct job *job, enum format format)
{
	if (job->quality > 0)
		return job->quality;
	if (job->format_quality[format] > 0)
		return job->format_quality[format];
	return format == FORMAT_AVIF ? 63 : (int)c->quality;
}

static bool process(const struct config *c, const struct job *job, const void *data, size_t len,
                    struct image_result *out, struct url_error *error)
{
	const char *invalid = "Invalid source image";
	enum format source = source_format(data, len);
	struct plan plan;
	bool too_large = false;

	if (source == FORMAT_NONE)
		return fail(error, 422, invalid);
	VipsImage *image = vips_image_new_from_buffer(data, len, "", NULL);
	if (image == NULL)
		return fail(error, 422, invalid);
	if (source != FORMAT_SVG && (double)image->Xsize * image->Ysize > job->max_src_pixels) {
		g_object_unref(image);
		return fail(error, 422, invalid);
	}
	if (is_left_alone(job, source)) {
		g_object_unref(image);
		return leave_alone(data, len, source, out);
	}
	if (job->format == FORMAT_UNMADE || job->format == FORMAT_SVG) {
		g_object_unref(image);
		return fail(error, 422, "Invalid URL");
	}
	image = scaled(job, image, data, len, &plan, &too_large);
	if (image == NULL)
		return fail(error, 422, invalid);
	bool ok = transform(&image, job, &plan);
	enum format format = result_format(job, source, image);
	if (ok && (format == FORMAT_JPEG || job->background.given))
		ok = flatten(&image, job);
	ok = ok && save(image, format, quality_of(c, job, format), out);
	g_object_unref(image);
	return ok || fail(error, 422, invalid);
}

bool image_process(const struct config *c, const struct job *job, const void *data, size_t len,
                   struct image_result *out, struct url_error *error)
{
	*out = (struct image_result){ 0 };
	if (len == 0)
		return fail(error, 422, "Invalid source image");
	bool ok = process(c, job, data, len, out, error);
	vips_error_clear();
	vips_thread_shutdown();
	return ok;
}
