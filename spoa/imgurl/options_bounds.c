/*
 * The bounds that options have together: of the result's sides, and of the picture that imgproxy makes on the way to
 * it.
 *
 * imgproxy crops, scales, turns, and cuts to width and height only then (processing/ of imgproxy 4). `fill` scales
 * until the shorter side is as long as it should be, a minimal size likewise; what the other side comes to is the
 * source's ratio, and for turned or smartly cropped images all of it lies in memory. imgproxy's own bound
 * (IMGPROXY_MAX_RESULT_DIMENSION) looks at what is left after the cut. So with the longest side L that is asked for,
 * zoom and dpr included, and sources of at most 1 to R, the picture on the way has up to L x L x R pixels
 * (docs/decisions/0009-what-lies-between-source-and-result.md).
 */
#include "imgurl/options.h"
#include "imgurl/options_int.h"

/* On the way there may be so many times the pixels of the largest result, or as many as a large source has anyway. */
#define WAY_TIMES     6
#define SOURCE_PIXELS 50e6 /* IMGPROXY_MAX_SRC_RESOLUTION, and the default of uploads.max_pixels */

/* Blur and sharpen may cost what a sigma of 50 (or the bound, where that is more) costs on so many pixels. */
#define FILTER_SIGMA  50e3 /* thousandths */
#define FILTER_PIXELS (2048.0 * 2048.0)
#define SIDE_UNKNOWN  4096 /* IMGPROXY_MAX_RESULT_DIMENSION, and the default of images.max_dimension */

/* ---- sides of the result ---- */

static uint64_t at_least_one(uint64_t milli)
{
	return milli > IMGURL_MILLI ? milli : IMGURL_MILLI;
}

/* Whether pixels times zoom, and the padding with it, times dpr are within the bound. */
static bool fits(const struct imgurl_options *o, uint64_t pixels, uint64_t zoom, uint64_t padding, uint64_t dpr)
{
	__extension__ typedef unsigned __int128 wide;

	if (pixels == 0 && padding == 0)
		return true;
	return ((wide)pixels * zoom + (wide)padding * IMGURL_MILLI) * dpr <= (wide)imgurl_most_pixels(o) * IMGURL_MILLI;
}

/* For each side of the image. The minimum is imgproxy's last word on a size, so zoom and dpr do not make it smaller. */
static enum imgurl_result check_side(struct imgurl_options *o, enum imgurl_side side, enum imgurl_side least,
                                     uint64_t zoom, uint64_t padding)
{
	uint64_t pixels = o->sides[side].pixels;
	uint64_t minimum = o->sides[least].pixels;
	uint64_t more_zoom = at_least_one(zoom);
	uint64_t more_dpr = at_least_one(o->dpr);

	if (!fits(o, pixels, zoom, 0, o->dpr))
		return imgurl_option_beyond(o, o->sides[side].by, imgurl_most_pixels(o),
		                            " pixels, zoom and dpr included");
	if (!fits(o, minimum, more_zoom, 0, more_dpr))
		return imgurl_option_beyond(o, o->sides[least].by, imgurl_most_pixels(o),
		                            " pixels, zoom and dpr included");
	if (padding > 0 &&
	    (!fits(o, pixels, zoom, padding, more_dpr) || !fits(o, minimum, more_zoom, padding, more_dpr)))
		return imgurl_option_beyond(o, o->padding_by, imgurl_most_pixels(o),
		                            " pixels together with the image, dpr included");
	return IMGURL_OK;
}

static enum imgurl_result refuse(struct imgurl_options *o, struct sv name, const char *what)
{
	imgurl_option_say(o, name, what, NULL, "");
	return IMGURL_OPTION;
}

/* ---- the picture on the way ---- */

static double most_of(double a, double b)
{
	return a > b ? a : b;
}

/* By Newton's method, from above until it falls no more: no libm for two square roots that are seldom needed. */
static double square_root(double v)
{
	double x = most_of(v, 1);

	for (int i = 0; i < 100; i++) {
		double next = (x + v / x) / 2;
		if (next >= x)
			break;
		x = next;
	}
	return x;
}

/* A crop's side is pixels from 1 on, a share of the source below it, and the whole of it as 0. */
static bool is_share(uint64_t milli)
{
	return milli > 1 && milli < IMGURL_MILLI;
}

/* The share, or 1; thousandths were rounded up, and may be one too many. */
static double share_of(uint64_t milli)
{
	return is_share(milli) ? (double)(milli - 1) / IMGURL_MILLI : 1;
}

/* A share so small that it is one pixel at worst counts as that. */
static double pixels_of(uint64_t milli)
{
	uint64_t whole = milli / IMGURL_MILLI;

	return milli == 0 || is_share(milli) ? 0 : most_of(1, (double)whole);
}

/* Of a source of that ratio. */
static double longest_side(double ratio)
{
	return square_root(SOURCE_PIXELS * ratio);
}

/* How many times one side of what is scaled can be as long as the other, once the crop is taken out of the source. */
static double ratio_of(const struct imgurl_options *o)
{
	double source = most_of(1, o->tenant->bounds.max_ratio);
	double share[] = { share_of(o->crop[0]), share_of(o->crop[1]) };
	double ratio = source * most_of(share[0] / share[1], share[1] / share[0]);

	for (int i = 0; i < 2; i++) {
		double pixels = pixels_of(o->crop[i]);
		double other = pixels_of(o->crop[1 - i]);
		if (pixels > 0)
			ratio = most_of(ratio, (other > 0 ? other : longest_side(source) * share[1 - i]) / pixels);
	}
	return ratio;
}

static double most_on_the_way(const struct imgurl_options *o)
{
	double side = o->tenant->bounds.max_dimension;

	return most_of(SOURCE_PIXELS, WAY_TIMES * side * side);
}

/* The side of `by`, so many pixels long before it is multiplied `times` in both directions together. */
static enum imgurl_result check_way(struct imgurl_options *o, uint64_t pixels, struct sv by, double times)
{
	double ratio = ratio_of(o);
	double most = most_on_the_way(o) / ratio;
	double side = (double)pixels;

	if (side * side * times <= most)
		return IMGURL_OK;
	return imgurl_option_beyond(o, by, (uint64_t)(square_root(most) + 0.001) * IMGURL_MILLI,
	                            " pixels where the image is enlarged and then cut, zoom and dpr included");
}

static double square_milli(uint64_t a, uint64_t b)
{
	return (double)a * (double)b / ((double)IMGURL_MILLI * IMGURL_MILLI);
}

static bool longer_side(const struct imgurl_options *o, enum imgurl_side a, enum imgurl_side b, enum imgurl_side *side)
{
	*side = o->sides[a].pixels >= o->sides[b].pixels ? a : b;
	return o->sides[*side].pixels > 0;
}

/* `fill` and what is like it: enlarged until it covers width and height, and cut to them. */
static enum imgurl_result check_fill(struct imgurl_options *o)
{
	enum imgurl_side side;
	bool vector = o->tenant->bounds.vectors && !o->trims; /* imgproxy enlarges an SVG always */

	if (o->resizing == RESIZING_FIT || o->resizing == RESIZING_FORCE || !(o->enlarge || vector))
		return IMGURL_OK;
	/* With one side alone nothing is cut, unless a preset gave the other. */
	if (!longer_side(o, SIDE_WIDTH, SIDE_HEIGHT, &side) ||
	    (!o->preset && (o->sides[SIDE_WIDTH].pixels == 0 || o->sides[SIDE_HEIGHT].pixels == 0)))
		return IMGURL_OK;
	if (o->trims)
		return refuse(o, o->trim_by, " is not allowed where the image is enlarged and then cut (fill, auto)");
	return check_way(o, o->sides[side].pixels, o->sides[side].by,
	                 square_milli(o->zoom[0], o->zoom[1]) * square_milli(o->dpr, o->dpr));
}

/* A minimal size enlarges whatever else is said, and beside a width or a height the rest is cut off. */
static enum imgurl_result check_minimum(struct imgurl_options *o)
{
	enum imgurl_side side;
	uint64_t dpr = at_least_one(o->dpr);

	if (!longer_side(o, SIDE_MIN_WIDTH, SIDE_MIN_HEIGHT, &side))
		return IMGURL_OK;
	struct sv by = o->sides[side].by;
	/* Both keep a ratio of the options' own making, which may be thousands to one. */
	if (o->resizing == RESIZING_FORCE)
		return refuse(o, by, " is not allowed beside the resizing type force");
	if (o->zoom[0] != o->zoom[1])
		return refuse(o, by, " is not allowed beside a zoom of two factors");
	if (o->sides[SIDE_WIDTH].pixels == 0 && o->sides[SIDE_HEIGHT].pixels == 0)
		return IMGURL_OK;
	if (o->trims)
		return refuse(o, o->trim_by, " is not allowed beside a minimal size with a width or a height");
	return check_way(o, o->sides[side].pixels, by, square_milli(dpr, dpr));
}

/*
 * What a preset holds is the operator's to say, and not known here: so nothing may multiply it. With width, height and
 * resizing type behind it the URL itself says all that counts.
 */
static enum imgurl_result check_preset(struct imgurl_options *o)
{
	static const char what[] = " is not allowed beside a preset, unless width, height and resizing type follow it";
	enum imgurl_side side;

	if (!o->preset)
		return IMGURL_OK;
	/* Whose one side would be the preset's. */
	if ((o->crop[0] > 0 || o->crop[1] > 0) && !(o->crop_given[0] && o->crop_given[1]))
		return refuse(o, o->crop_by, " needs a width and a height beside a preset");
	if (o->width_given && o->height_given && o->resizing != RESIZING_ANY)
		return IMGURL_OK;
	if (o->dpr > IMGURL_MILLI)
		return refuse(o, SV("dpr"), what);
	if (o->zoom[0] > IMGURL_MILLI || o->zoom[1] > IMGURL_MILLI || o->zoom[0] != o->zoom[1])
		return refuse(o, SV("zoom"), what);
	if (longer_side(o, SIDE_MIN_WIDTH, SIDE_MIN_HEIGHT, &side))
		return refuse(o, o->sides[side].by, what);
	if (o->enlarge_asked)
		return refuse(o, o->enlarge_by, what);
	if (o->trims)
		return refuse(o, o->trim_by, what);
	if (ratio_of(o) > most_of(1, o->tenant->bounds.max_ratio))
		return refuse(o, o->crop_by, what);
	return IMGURL_OK;
}

/* ---- blur and sharpen ---- */

/* Of the result, in pixels. What neither the URL nor this user's bound says is as long as a result may be by default.
 */
static double longest_result(const struct imgurl_options *o, enum imgurl_side side, enum imgurl_side least,
                             bool behind_preset, uint64_t zoom)
{
	double thousandths = (double)IMGURL_MILLI * IMGURL_MILLI;
	double asked = (double)o->sides[side].pixels * (double)zoom * (double)o->dpr / thousandths;
	double minimum = (double)o->sides[least].pixels * (double)at_least_one(zoom) * (double)at_least_one(o->dpr) /
	                 thousandths;

	if (asked <= 0 || (o->preset && !behind_preset))
		return most_of(SIDE_UNKNOWN, o->tenant->bounds.max_dimension);
	return most_of(asked, minimum);
}

/* libvips adds up so many neighbours of each pixel as the sigma is large: with 50 a result of 4096 x 4096 takes 20 s.
 */
static enum imgurl_result check_filters(struct imgurl_options *o)
{
	enum imgurl_filter stronger = o->sigma[FILTER_BLUR] >= o->sigma[FILTER_SHARPEN] ? FILTER_BLUR : FILTER_SHARPEN;
	uint64_t sum = o->sigma[FILTER_BLUR] + o->sigma[FILTER_SHARPEN];

	if (sum == 0)
		return IMGURL_OK;
	double pixels = longest_result(o, SIDE_WIDTH, SIDE_MIN_WIDTH, o->width_given, o->zoom[0]) *
	                longest_result(o, SIDE_HEIGHT, SIDE_MIN_HEIGHT, o->height_given, o->zoom[1]);
	double most = most_of(FILTER_SIGMA, o->tenant->bounds.max_blur) * FILTER_PIXELS;
	if ((double)sum * pixels <= most)
		return IMGURL_OK;
	return imgurl_option_beyond(o, o->sigma_by[stronger], (uint64_t)(most / pixels),
	                            ", blur and sharpen together, for a result that may be this large: a smaller "
	                            "width and height let more");
}

static enum imgurl_result check_alone(struct imgurl_options *o)
{
	bool sized = o->sides[SIDE_WIDTH].pixels > 0 || o->sides[SIDE_HEIGHT].pixels > 0;
	bool grows = o->zoom[0] * o->dpr > IMGURL_MILLI * IMGURL_MILLI ||
	             o->zoom[1] * o->dpr > IMGURL_MILLI * IMGURL_MILLI;

	/* The source's own size, so many times. */
	if (o->enlarge_asked && !sized && grows)
		return refuse(o, o->enlarge_by, " needs a width or a height beside zoom and dpr");
	/* A narrow ratio of a side that has a minimum makes the other side as long as one likes. */
	if (o->extend_aspect_ratio && (o->sides[SIDE_MIN_WIDTH].pixels > 0 || o->sides[SIDE_MIN_HEIGHT].pixels > 0))
		return refuse(o, o->aspect_by, " is not allowed beside a minimal size");
	return IMGURL_OK;
}

static enum imgurl_result check_expires(struct imgurl_options *o)
{
	const struct imgurl_bounds *b = &o->tenant->bounds;

	if (!b->require_expires)
		return IMGURL_OK;
	if (o->expires == 0)
		return refuse(o, SV("exp"), " is needed for this account, with the time at which the URL ends");
	if (b->max_lifetime > 0 && o->expires - o->now > (int64_t)b->max_lifetime)
		return imgurl_option_beyond(o, SV("exp"), (uint64_t)b->max_lifetime * IMGURL_MILLI,
		                            " seconds from now");
	return IMGURL_OK;
}

enum imgurl_result imgurl_options_end(struct imgurl_options *o)
{
	static enum imgurl_result (*const checks[])(struct imgurl_options * o) = {
		check_preset, check_alone, check_fill, check_minimum, check_filters, check_expires,
	};
	enum imgurl_result result = check_side(o, SIDE_WIDTH, SIDE_MIN_WIDTH, o->zoom[0], o->padding[0]);

	if (result == IMGURL_OK)
		result = check_side(o, SIDE_HEIGHT, SIDE_MIN_HEIGHT, o->zoom[1], o->padding[1]);
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && result == IMGURL_OK; i++)
		result = checks[i](o);
	return result;
}
