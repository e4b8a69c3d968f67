#include "image.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vips/vips.h>

/* libvips's own bound; imgproxy has none but memory. */
#define SIDE_MAX 65500

static const struct {
	const char *extension;
	const char *content_type;
} kinds[] = {
	[FORMAT_JPEG] = { "jpg", "image/jpeg" },  [FORMAT_PNG] = { "png", "image/png" },
	[FORMAT_WEBP] = { "webp", "image/webp" }, [FORMAT_GIF] = { "gif", "image/gif" },
	[FORMAT_AVIF] = { "avif", "image/avif" },
};

/* The loaders that may see a source. */
static const struct {
	const char *loader;
	enum format format;
} loaders[] = {
	{ "VipsForeignLoadJpegBuffer", FORMAT_JPEG }, { "VipsForeignLoadPngBuffer", FORMAT_PNG },
	{ "VipsForeignLoadWebpBuffer", FORMAT_WEBP }, { "VipsForeignLoadNsgifBuffer", FORMAT_GIF },
	{ "VipsForeignLoadHeifBuffer", FORMAT_AVIF },
};

/* Sizes on the way from the source to the result. */
struct geometry {
	int scaled_width;
	int scaled_height;
	int crop_width;
	int crop_height;
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

/* For numbers that are not negative. */
static int round_side(double v)
{
	return (int)(v + 0.5);
}

static double least_of(double a, double b)
{
	return a < b ? a : b;
}

static double most_of(double a, double b)
{
	return a > b ? a : b;
}

static int to_side(double v)
{
	return v < 1 ? 1 : v > 1e9 ? 1000000000 : round_side(v);
}

/* How imgproxy scales: shrink factors of both sides, then no enlargement unless asked for. */
static struct geometry plan(const struct job *job, int src_width, int src_height)
{
	double w = job->width * job->dpr;
	double h = job->height * job->dpr;
	double x = w > 0 ? w / src_width : 0;
	double y = h > 0 ? h / src_height : 0;
	enum resizing resizing = job->resizing;

	if (resizing == RESIZE_AUTO)
		resizing = (src_width >= src_height) == (w >= h) ? RESIZE_FILL : RESIZE_FIT;
	if (x <= 0)
		x = y;
	if (y <= 0)
		y = x;
	if (x <= 0)
		x = y = 1;
	if (resizing == RESIZE_FIT)
		x = y = least_of(x, y);
	else if (resizing != RESIZE_FORCE)
		x = y = most_of(x, y);
	x *= job->zoom_x;
	y *= job->zoom_y;
	if (!job->enlarge && most_of(x, y) > 1) {
		double most = most_of(x, y);
		x /= most;
		y /= most;
	}
	double least = most_of(job->min_width * job->dpr / (src_width * x),
	                       job->min_height * job->dpr / (src_height * y));
	if (least > 1) {
		x *= least;
		y *= least;
	}
	struct geometry g = { to_side(src_width * x), to_side(src_height * y), 0, 0 };
	g.crop_width = g.scaled_width;
	g.crop_height = g.scaled_height;
	if (resizing == RESIZE_FILL || resizing == RESIZE_FILL_DOWN) {
		double cut_w = w > 0 ? w : g.scaled_width;
		double cut_h = h > 0 ? h : g.scaled_height;
		double over = most_of(cut_w / g.scaled_width, cut_h / g.scaled_height);
		if (resizing == RESIZE_FILL_DOWN && over > 1) {
			cut_w /= over;
			cut_h /= over;
		}
		g.crop_width = (int)least_of(to_side(cut_w), g.scaled_width);
		g.crop_height = (int)least_of(to_side(cut_h), g.scaled_height);
	}
	return g;
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

static bool flatten(VipsImage **image)
{
	VipsImage *next = NULL;
	double white[] = { 255, 255, 255 };

	if (!vips_image_hasalpha(*image))
		return true;
	VipsArrayDouble *background = vips_array_double_new(white, 3);
	int rc = vips_flatten(*image, &next, "background", background, NULL);
	vips_area_unref(VIPS_AREA(background));
	return step(image, rc, &next);
}

static bool transform(VipsImage **image, const struct job *job, const struct geometry *g)
{
	VipsImage *next = NULL;

	if (g->crop_width < (*image)->Xsize || g->crop_height < (*image)->Ysize) {
		int left = round_side(((*image)->Xsize - g->crop_width) * job->gravity_x);
		int top = round_side(((*image)->Ysize - g->crop_height) * job->gravity_y);
		int rc = vips_extract_area(*image, &next, left, top, g->crop_width, g->crop_height, NULL);
		if (!step(image, rc, &next))
			return false;
	}
	int turns = ((job->rotate / 90) % 4 + 4) % 4;
	if (turns > 0 && !step(image, vips_rot(*image, &next, (VipsAngle)turns, NULL), &next))
		return false;
	if (job->blur > 0 && !step(image, vips_gaussblur(*image, &next, job->blur, NULL), &next))
		return false;
	if (job->extend) {
		int w = to_side(most_of(job->width * job->dpr, (*image)->Xsize));
		int h = to_side(most_of(job->height * job->dpr, (*image)->Ysize));
		int left = round_side((w - (*image)->Xsize) * job->gravity_x);
		int top = round_side((h - (*image)->Ysize) * job->gravity_y);
		if (w > SIDE_MAX || h > SIDE_MAX ||
		    !step(image, vips_embed(*image, &next, left, top, w, h, NULL), &next))
			return false;
	}
	return true;
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
		                          VIPS_FOREIGN_HEIF_COMPRESSION_AV1, NULL);
		break;
	default:
		return false;
	}
	out->content_type = kinds[format].content_type;
	out->extension = kinds[format].extension;
	return rc == 0;
}

static bool process(const struct config *c, const struct job *job, const void *data, size_t len,
                    struct image_result *out, struct url_error *error)
{
	const char *invalid = "Invalid source image";
	enum format format = source_format(data, len);

	if (format == FORMAT_NONE)
		return fail(error, 422, invalid);
	VipsImage *header = vips_image_new_from_buffer(data, len, "", NULL);
	if (header == NULL)
		return fail(error, 422, invalid);
	int width = header->Xsize;
	int height = header->Ysize;
	if (job->auto_rotate && vips_image_get_orientation_swap(header)) {
		width = header->Ysize;
		height = header->Xsize;
	}
	g_object_unref(header);
	if ((double)width * height > c->max_src_pixels)
		return fail(error, 422, invalid);

	struct geometry g = plan(job, width, height);
	if (g.scaled_width > SIDE_MAX || g.scaled_height > SIDE_MAX)
		return fail(error, 422, invalid);
	/* The buffer is only read; libvips has no const here. */
	VipsImage *image = NULL;
	void *bytes;
	memcpy(&bytes, &data, sizeof(bytes));
	if (vips_thumbnail_buffer(bytes, len, &image, g.scaled_width, "height", g.scaled_height, "size",
	                          VIPS_SIZE_FORCE, "no_rotate", !job->auto_rotate, NULL) != 0)
		return fail(error, 422, invalid);
	if (job->format != FORMAT_NONE)
		format = job->format;
	if (format == FORMAT_OTHER) {
		g_object_unref(image);
		return fail(error, 422, "Invalid URL");
	}
	int quality = job->quality > 0 ? job->quality : format == FORMAT_AVIF ? 63 : (int)c->quality;
	bool ok = (format != FORMAT_JPEG || flatten(&image)) && transform(&image, job, &g) &&
	          save(image, format, quality, out);
	g_object_unref(image);
	return ok || fail(error, 422, invalid);
}

bool image_process(const struct config *c, const struct job *job, int fd, off_t size, struct image_result *out,
                   struct url_error *error)
{
	*out = (struct image_result){ 0 };
	if (size <= 0)
		return fail(error, 422, "Invalid source image");
	void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return fail(error, 500, "Internal error");
	bool ok = process(c, job, map, (size_t)size, out, error);
	munmap(map, (size_t)size);
	vips_error_clear();
	vips_thread_shutdown();
	return ok;
}
