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
