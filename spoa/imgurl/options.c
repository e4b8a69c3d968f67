#include "imgurl/options.h"

#include "imgurl/args.h"
#include "imgurl/options_int.h"

#define NAME_SHOWN_MAX 40

/* ---- sentences ---- */

static bool is_name(struct sv name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!sv_alnum(name.p[i]) && name.p[i] != '_' && name.p[i] != '-')
			return false;
	return name.n > 0 && name.n <= NAME_SHOWN_MAX;
}

void imgurl_option_say(struct imgurl_options *o, struct sv name, const char *what, const uint64_t *milli,
                       const char *unit)
{
	struct wcur w;

	wcur_init(&w, o->out->detail_buf, sizeof(o->out->detail_buf));
	wcur_sv(&w, is_name(name) ? SV("The option ") : SV("One option"));
	if (is_name(name))
		wcur_sv(&w, name);
	wcur_sv(&w, sv_str(what));
	if (milli != NULL) {
		wcur_u64(&w, *milli / IMGURL_MILLI);
		if (*milli % IMGURL_MILLI != 0) {
			wcur_u8(&w, '.');
			for (uint64_t rest = *milli % IMGURL_MILLI, unit_of = IMGURL_MILLI / 10; rest > 0;
			     rest %= unit_of, unit_of /= 10)
				wcur_u8(&w, (uint8_t)('0' + rest / unit_of));
		}
		wcur_sv(&w, sv_str(unit));
	}
	wcur_u8(&w, '.');
	if (w.err == ERR_OK)
		o->out->detail = sv_from(o->out->detail_buf, wcur_len(&w));
}

enum imgurl_result imgurl_option_malformed(struct imgurl_options *o)
{
	imgurl_option_say(o, o->name, " has arguments that are not valid", NULL, "");
	return IMGURL_INVALID;
}

enum imgurl_result imgurl_option_beyond(struct imgurl_options *o, struct sv name, uint64_t most_milli, const char *unit)
{
	imgurl_option_say(o, name, " goes beyond its bound: at most ", &most_milli, unit);
	return IMGURL_OPTION;
}

enum imgurl_result imgurl_options_refuse(struct imgurl_options *o, struct sv name)
{
	imgurl_option_say(o, name, " is not allowed", NULL, "");
	return IMGURL_OPTION;
}

void imgurl_options_begin(struct imgurl_options *o, const struct imgurl_tenant *tenant, int64_t now, struct wcur *w,
                          struct imgurl_out *out)
{
	*o = (struct imgurl_options){ .tenant = tenant,
		                      .now = now,
		                      .w = w,
		                      .out = out,
		                      .zoom = { IMGURL_MILLI, IMGURL_MILLI },
		                      .dpr = IMGURL_MILLI };
}

enum imgurl_result imgurl_options_add(struct imgurl_options *o, struct sv name, struct sv *rest)
{
	struct imgurl_args args;
	const struct imgurl_option *option = imgurl_option_find(name);

	if (option == NULL)
		return imgurl_options_refuse(o, name);
	o->name = name;
	wcur_u8(o->w, '/');
	wcur_sv(o->w, option->brief);
	if (!imgurl_args_split(&args, rest, o->w) || args.n > option->most)
		return imgurl_option_malformed(o);
	return option->apply(o, &args);
}

/* ---- bounds ---- */

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

enum imgurl_result imgurl_options_end(struct imgurl_options *o)
{
	enum imgurl_result result = check_side(o, SIDE_WIDTH, SIDE_MIN_WIDTH, o->zoom[0], o->padding[0]);

	if (result == IMGURL_OK)
		result = check_side(o, SIDE_HEIGHT, SIDE_MIN_HEIGHT, o->zoom[1], o->padding[1]);
	if (result != IMGURL_OK)
		return result;
	bool sized = o->sides[SIDE_WIDTH].pixels > 0 || o->sides[SIDE_HEIGHT].pixels > 0;
	bool grows = o->zoom[0] * o->dpr > IMGURL_MILLI * IMGURL_MILLI ||
	             o->zoom[1] * o->dpr > IMGURL_MILLI * IMGURL_MILLI;
	/* The source's own size, so many times. */
	if (o->enlarge && !sized && grows) {
		imgurl_option_say(o, o->enlarge_by, " needs a width or a height beside zoom and dpr", NULL, "");
		return IMGURL_OPTION;
	}
	/* A narrow ratio of a side that has a minimum makes the other side as long as one likes. */
	if (o->extend_aspect_ratio && (o->sides[SIDE_MIN_WIDTH].pixels > 0 || o->sides[SIDE_MIN_HEIGHT].pixels > 0)) {
		imgurl_option_say(o, o->aspect_by, " is not allowed beside a minimal size", NULL, "");
		return IMGURL_OPTION;
	}
	if (o->tenant->bounds.require_expires && !o->expires) {
		imgurl_option_say(o, SV("exp"), " is needed for this account, with the time at which the URL ends",
		                  NULL, "");
		return IMGURL_OPTION;
	}
	return IMGURL_OK;
}
