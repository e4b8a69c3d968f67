/* One function for each kind of option, and the table of options.def. */
#include "imgurl/args.h"
#include "imgurl/options.h"
#include "imgurl/options_int.h"
#include "imgurl/text.h"

#define DEGREES            90
#define MAX_BYTES_MOST     INT32_MAX
#define FILENAME_MAX_BYTES 255

/* ---- parts of options ---- */

static enum imgurl_result take(struct imgurl_options *o, bool ok)
{
	return ok ? IMGURL_OK : imgurl_option_malformed(o);
}

static bool take_side(struct imgurl_options *o, struct imgurl_args *a, unsigned i, enum imgurl_side side)
{
	o->sides[side].by = o->name;
	o->width_given = o->width_given || side == SIDE_WIDTH;
	o->height_given = o->height_given || side == SIDE_HEIGHT;
	return imgurl_arg_integer(a, i, &o->sides[side].pixels);
}

static bool take_enlarge(struct imgurl_options *o, struct imgurl_args *a, unsigned i)
{
	o->enlarge_by = o->name;
	bool ok = imgurl_arg_bool(a, i, &o->enlarge);
	o->enlarge_asked = o->enlarge;
	return ok;
}

static bool take_bool(struct imgurl_args *a, unsigned i)
{
	bool value;

	return imgurl_arg_bool(a, i, &value);
}

/* The same, or left out. */
static bool take_bool_or_none(struct imgurl_args *a, unsigned i)
{
	return i >= a->n || imgurl_arg_blank(a, i) || take_bool(a, i);
}

/* A number without a bound of its own has a sane size nevertheless. */
static bool take_number(struct imgurl_args *a, unsigned i, bool sign)
{
	uint64_t milli;

	return imgurl_arg_number(a, i, sign, &milli) && milli < IMGURL_NUMBER_MAX * IMGURL_MILLI;
}

/* From argument i on: a type and two offsets, which `fp` must have and `sm` has not. */
static bool take_gravity(struct imgurl_args *a, unsigned i, bool smart)
{
	static const char *const sides[] = { "ce", "no", "so", "ea", "we", "noea", "nowe", "soea", "sowe", NULL };
	static const char *const focus[] = { "fp", NULL };
	static const char *const sm[] = { "sm", NULL };
	unsigned n = a->n - i;
	uint64_t milli = 0;

	if (smart && imgurl_arg_one_of(a, i, sm))
		return n == 1;
	if (imgurl_arg_one_of(a, i, focus)) {
		for (unsigned k = i + 1; k < i + 3; k++)
			if (!imgurl_arg_number(a, k, false, &milli) || milli > IMGURL_MILLI)
				return false;
		return n == 3;
	}
	if (!imgurl_arg_one_of(a, i, sides) || n > 3)
		return false;
	for (unsigned k = i + 1; k < a->n; k++)
		if (!take_number(a, k, true))
			return false;
	return true;
}

static bool take_extend(struct imgurl_args *a, unsigned i, bool *value)
{
	bool ignored;

	if (a->n - i > 4 || !imgurl_arg_bool(a, i, value != NULL ? value : &ignored))
		return false;
	return a->n == i + 1 || take_gravity(a, i + 1, false);
}

/* width:height:enlarge:extend and what belongs to that, from argument i on. */
static bool take_size(struct imgurl_options *o, struct imgurl_args *a, unsigned i)
{
	if (i < a->n && !imgurl_arg_blank(a, i) && !take_side(o, a, i, SIDE_WIDTH))
		return false;
	if (i + 1 < a->n && !imgurl_arg_blank(a, i + 1) && !take_side(o, a, i + 1, SIDE_HEIGHT))
		return false;
	if (i + 2 < a->n && !imgurl_arg_blank(a, i + 2) && !take_enlarge(o, a, i + 2))
		return false;
	if (i + 3 >= a->n)
		return true;
	/* Without `extend` itself imgproxy looks at nothing behind it. */
	return a->v[i + 3].n > 0 && take_extend(a, i + 3, NULL);
}

/* A decimal up to a bound in thousandths. */
static enum imgurl_result take_bounded(struct imgurl_options *o, struct imgurl_args *a, unsigned i, uint64_t most,
                                       const char *unit, uint64_t *milli)
{
	if (!imgurl_arg_number(a, i, false, milli))
		return imgurl_option_malformed(o);
	return *milli <= most ? IMGURL_OK : imgurl_option_beyond(o, o->name, most, unit);
}

/* ---- one function an option ---- */

static enum imgurl_result apply_bool(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_bool(a, 0));
}

static enum imgurl_result apply_word(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, imgurl_arg_word(a, 0));
}

static enum imgurl_result apply_width(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_side(o, a, 0, SIDE_WIDTH));
}

static enum imgurl_result apply_height(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_side(o, a, 0, SIDE_HEIGHT));
}

static enum imgurl_result apply_min_width(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_side(o, a, 0, SIDE_MIN_WIDTH));
}

static enum imgurl_result apply_min_height(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_side(o, a, 0, SIDE_MIN_HEIGHT));
}

static enum imgurl_result apply_enlarge(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_enlarge(o, a, 0));
}

static enum imgurl_result apply_extend(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_extend(a, 0, NULL));
}

static enum imgurl_result apply_extend_aspect_ratio(struct imgurl_options *o, struct imgurl_args *a)
{
	o->aspect_by = o->name;
	return take(o, take_extend(a, 0, &o->extend_aspect_ratio));
}

static enum imgurl_result apply_size(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_size(o, a, 0));
}

static bool take_resizing_type(struct imgurl_options *o, struct imgurl_args *a)
{
	static const char *const types[] = { "fit", "fill", "fill-down", "force", "auto", NULL };

	o->resizing = sv_eq(a->v[0], SV("fit"))     ? RESIZING_FIT
	              : sv_eq(a->v[0], SV("force")) ? RESIZING_FORCE
	                                            : RESIZING_FILL;
	return imgurl_arg_one_of(a, 0, types);
}

static enum imgurl_result apply_resizing_type(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_resizing_type(o, a));
}

static enum imgurl_result apply_resize(struct imgurl_options *o, struct imgurl_args *a)
{
	if (!imgurl_arg_blank(a, 0) && !take_resizing_type(o, a))
		return imgurl_option_malformed(o);
	return take(o, take_size(o, a, 1));
}

static enum imgurl_result apply_gravity(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_gravity(a, 0, true));
}

static enum imgurl_result apply_quality(struct imgurl_options *o, struct imgurl_args *a)
{
	uint32_t most = o->tenant->bounds.max_quality;
	uint64_t quality;

	if (!imgurl_arg_integer(a, 0, &quality))
		return imgurl_option_malformed(o);
	return quality <= most ? IMGURL_OK : imgurl_option_beyond(o, o->name, (uint64_t)most * IMGURL_MILLI, "");
}

static enum imgurl_result apply_format_quality(struct imgurl_options *o, struct imgurl_args *a)
{
	uint32_t most = o->tenant->bounds.max_quality;
	uint64_t quality;

	for (unsigned i = 0; i < a->n; i += 2) {
		if (!imgurl_arg_format(a, i) || !imgurl_arg_integer(a, i + 1, &quality))
			return imgurl_option_malformed(o);
		if (quality > most)
			return imgurl_option_beyond(o, o->name, (uint64_t)most * IMGURL_MILLI, "");
	}
	return IMGURL_OK;
}

static enum imgurl_result apply_format(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, imgurl_arg_format(a, 0));
}

static enum imgurl_result apply_zoom(struct imgurl_options *o, struct imgurl_args *a)
{
	uint64_t most = o->tenant->bounds.max_zoom;

	enum imgurl_result result = take_bounded(o, a, 0, most, "", &o->zoom[0]);
	o->zoom[1] = o->zoom[0];
	if (result == IMGURL_OK && a->n > 1)
		result = take_bounded(o, a, 1, most, "", &o->zoom[1]);
	if (result == IMGURL_OK && (o->zoom[0] == 0 || o->zoom[1] == 0))
		return imgurl_option_malformed(o);
	return result;
}

static enum imgurl_result apply_dpr(struct imgurl_options *o, struct imgurl_args *a)
{
	enum imgurl_result result = take_bounded(o, a, 0, o->tenant->bounds.max_dpr, "", &o->dpr);
	return result == IMGURL_OK && o->dpr == 0 ? imgurl_option_malformed(o) : result;
}

static enum imgurl_result take_sigma(struct imgurl_options *o, struct imgurl_args *a, enum imgurl_filter filter)
{
	o->sigma_by[filter] = o->name;
	return take_bounded(o, a, 0, o->tenant->bounds.max_blur, "", &o->sigma[filter]);
}

static enum imgurl_result apply_blur(struct imgurl_options *o, struct imgurl_args *a)
{
	return take_sigma(o, a, FILTER_BLUR);
}

static enum imgurl_result apply_sharpen(struct imgurl_options *o, struct imgurl_args *a)
{
	return take_sigma(o, a, FILTER_SHARPEN);
}

/* Blocks of so many pixels: the image grows to whole ones. */
static enum imgurl_result apply_pixelate(struct imgurl_options *o, struct imgurl_args *a)
{
	uint64_t pixels;

	if (!imgurl_arg_integer(a, 0, &pixels))
		return imgurl_option_malformed(o);
	return pixels * IMGURL_MILLI <= imgurl_most_pixels(o)
	               ? IMGURL_OK
	               : imgurl_option_beyond(o, o->name, imgurl_most_pixels(o), " pixels");
}

/* A share of nearly the whole is rounded up to what would be one pixel. */
static uint64_t crop_side(struct sv text, uint64_t milli)
{
	while (text.n > 0 && text.p[0] == '0')
		text = sv_skip(text, 1);
	return milli == IMGURL_MILLI && sv_starts(text, SV(".")) ? IMGURL_MILLI - 1 : milli;
}

static enum imgurl_result apply_crop(struct imgurl_options *o, struct imgurl_args *a)
{
	enum imgurl_result result = IMGURL_OK;

	o->crop_by = o->name;
	for (unsigned i = 0; i < 2 && i < a->n && result == IMGURL_OK; i++) {
		result = take_bounded(o, a, i, imgurl_most_pixels(o), " pixels", &o->crop[i]);
		o->crop[i] = crop_side(a->v[i], o->crop[i]);
		o->crop_given[i] = true;
	}
	if (result == IMGURL_OK && a->n > 2)
		return take(o, take_gravity(a, 2, true));
	return result;
}

static enum imgurl_result apply_trim(struct imgurl_options *o, struct imgurl_args *a)
{
	o->trims = true;
	o->trim_by = o->name;
	bool ok = imgurl_arg_blank(a, 0) || take_number(a, 0, false);

	ok = ok && (a->n < 2 || imgurl_arg_blank(a, 1) || imgurl_arg_color(a, 1));
	return take(o, ok && take_bool_or_none(a, 2) && take_bool_or_none(a, 3));
}

/*
 * top:right:bottom:left; what is left out at the end is as its opposite, or as the first. A blank one would be what an
 * option before this one, or a preset, has made it: which is not known here, so there are none.
 */
static enum imgurl_result apply_padding(struct imgurl_options *o, struct imgurl_args *a)
{
	uint64_t v[4] = { 0 };

	for (unsigned i = 0; i < 4; i++) {
		v[i] = i == 0 ? 0 : i == 3 ? v[1] : v[0];
		if (i < a->n && (imgurl_arg_blank(a, i) || !imgurl_arg_integer(a, i, &v[i])))
			return imgurl_option_malformed(o);
	}
	o->padding_by = o->name;
	o->padding[0] = v[1] + v[3];
	o->padding[1] = v[0] + v[2];
	if (o->padding[0] * IMGURL_MILLI > imgurl_most_pixels(o) ||
	    o->padding[1] * IMGURL_MILLI > imgurl_most_pixels(o))
		return imgurl_option_beyond(o, o->name, imgurl_most_pixels(o), " pixels");
	return IMGURL_OK;
}

/* Written as 0, 90, 180 or 270. */
static enum imgurl_result apply_rotate(struct imgurl_options *o, struct imgurl_args *a)
{
	struct sv text = a->v[0];
	bool negative = text.n > 1 && text.p[0] == '-';
	uint64_t angle;

	if (sv_to_u64(negative ? sv_skip(text, 1) : text, &angle) != ERR_OK || angle % DEGREES != 0)
		return imgurl_option_malformed(o);
	angle %= 4 * DEGREES;
	wcur_u8(a->w, ':');
	wcur_u64(a->w, negative && angle > 0 ? 4 * DEGREES - angle : angle);
	return IMGURL_OK;
}

static enum imgurl_result apply_flip(struct imgurl_options *o, struct imgurl_args *a)
{
	return take(o, take_bool_or_none(a, 0) && take_bool_or_none(a, 1));
}

/* Hex, or red:green:blue, or nothing for none. */
static enum imgurl_result apply_background(struct imgurl_options *o, struct imgurl_args *a)
{
	uint64_t part;

	if (a->n == 1)
		return take(o, imgurl_arg_blank(a, 0) || imgurl_arg_color(a, 0));
	for (unsigned i = 0; i < 3; i++)
		if (!imgurl_arg_integer(a, i, &part) || part > UINT8_MAX)
			return imgurl_option_malformed(o);
	return IMGURL_OK;
}

/* opacity:position:x:y:scale. Offsets of a repeated watermark are padding, and it is never larger than the image. */
static enum imgurl_result apply_watermark(struct imgurl_options *o, struct imgurl_args *a)
{
	static const char *const positions[] = { "ce",   "no",   "so",   "ea", "we", "noea",
		                                 "nowe", "soea", "sowe", "re", NULL };
	uint64_t milli;

	if (!imgurl_arg_number(a, 0, false, &milli) || milli > IMGURL_MILLI)
		return imgurl_option_malformed(o);
	if (a->n > 1 && !imgurl_arg_blank(a, 1) && !imgurl_arg_one_of(a, 1, positions))
		return imgurl_option_malformed(o);
	for (unsigned i = 2; i < 4 && i < a->n; i++) {
		if (imgurl_arg_blank(a, i))
			continue;
		if (!imgurl_arg_number(a, i, true, &milli))
			return imgurl_option_malformed(o);
		if (milli > imgurl_most_pixels(o))
			return imgurl_option_beyond(o, o->name, imgurl_most_pixels(o), " pixels");
	}
	return a->n < 5 ? IMGURL_OK : take_bounded(o, a, 4, IMGURL_MILLI, " as its scale", &milli);
}

static enum imgurl_result apply_max_bytes(struct imgurl_options *o, struct imgurl_args *a)
{
	uint64_t bytes;

	return take(o, imgurl_arg_integer(a, 0, &bytes) && bytes <= MAX_BYTES_MOST);
}

/* An SVG that is not processed keeps its scripts. */
static enum imgurl_result apply_skip_processing(struct imgurl_options *o, struct imgurl_args *a)
{
	for (unsigned i = 0; i < a->n; i++) {
		if (sv_eq(a->v[i], SV("svg"))) {
			imgurl_option_say(o, o->name, " is not allowed for svg", NULL, "");
			return IMGURL_OPTION;
		}
		if (!imgurl_arg_format(a, i))
			return imgurl_option_malformed(o);
	}
	return IMGURL_OK;
}

/* Seconds since 1970; 0 and negative ones never pass. */
static enum imgurl_result apply_expires(struct imgurl_options *o, struct imgurl_args *a)
{
	struct sv text = a->v[0];
	bool negative = text.n > 1 && text.p[0] == '-';
	uint64_t time;

	if (sv_to_u64(negative ? sv_skip(text, 1) : text, &time) != ERR_OK || time > INT64_MAX)
		return imgurl_option_malformed(o);
	wcur_u8(a->w, ':');
	wcur_sv(a->w, time > 0 ? text : SV("0"));
	/* As imgproxy: each is looked at, and the last one holds. */
	o->expires = negative ? 0 : (int64_t)time;
	if (o->expires > 0 && o->expires <= o->now) {
		o->out->detail = SV("The time of this URL is over.");
		return IMGURL_EXPIRED;
	}
	return IMGURL_OK;
}

/* The name in a header of the answer; written as base64, so that all names go one way. */
static enum imgurl_result apply_filename(struct imgurl_options *o, struct imgurl_args *a)
{
	uint8_t buf[FILENAME_MAX_BYTES];
	struct sv name = a->v[0];
	bool encoded = false;
	struct wcur w;

	if (a->n > 1 && !imgurl_bool_value(a->v[1], &encoded))
		return imgurl_option_malformed(o);
	if (encoded) {
		while (name.n > 0 && name.p[name.n - 1] == '=')
			name.n--;
		wcur_init(&w, buf, sizeof(buf));
		if (!imgurl_base64_decode(&w, name))
			return imgurl_option_malformed(o);
		name = sv_from(buf, wcur_len(&w));
	}
	if (name.n == 0 || name.n > FILENAME_MAX_BYTES)
		return imgurl_option_malformed(o);
	for (size_t i = 0, n; i < name.n; i += n) {
		n = imgurl_printable(sv_skip(name, i));
		char c = name.p[i];
		if (n == 0 || c == '"' || c == '\\' || c == '/' || (c == '%' && !encoded))
			return imgurl_option_malformed(o);
	}
	wcur_u8(a->w, ':');
	wcur_base64url(a->w, name.p, name.n);
	wcur_sv(a->w, SV(":1"));
	return IMGURL_OK;
}

static enum imgurl_result apply_preset(struct imgurl_options *o, struct imgurl_args *a)
{
	for (unsigned i = 0; i < a->n; i++) {
		if (!imgurl_list_has(o->tenant->presets, a->v[i])) {
			imgurl_option_say(o, o->name, " names a preset that this account may not use", NULL, "");
			return IMGURL_OPTION;
		}
		if (!imgurl_arg_word(a, i))
			return imgurl_option_malformed(o);
	}
	/* It stands for options of its own, in its place. */
	o->preset = true;
	o->resizing = RESIZING_ANY;
	o->enlarge = true;
	o->width_given = o->height_given = false;
	return IMGURL_OK;
}

/* ---- the table ---- */

/* clang-format off */
#define OPTION(brief, full, most, apply) { { brief, sizeof(brief) - 1 }, { full, sizeof(full) - 1 }, most, apply },
/* clang-format on */
static const struct imgurl_option options[] = {
#include "imgurl/options.def"
};
#undef OPTION

static bool is_named(struct sv name, struct sv text)
{
	return name.n == text.n && name.p[0] == text.p[0] && memcmp(name.p, text.p, text.n) == 0;
}

const struct imgurl_option *imgurl_option_find(struct sv name)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && name.n > 0; i++)
		if (is_named(options[i].brief, name) || is_named(options[i].full, name))
			return &options[i];
	return NULL;
}
