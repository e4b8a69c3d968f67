#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/sv.h"
#include "cli/args.h"
#include "cli/changes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "policy/record.h"
#include "store/admin_effective.h"
#include "store/admin_image.h"
#include "store/admin_json.h"

/* `image set` */
enum {
	OPTION_MAX_DIMENSION = 0,
	OPTION_MAX_DPR,
	OPTION_MAX_ZOOM,
	OPTION_MAX_BLUR,
	OPTION_MAX_QUALITY,
	OPTION_REQUIRE_EXPIRES,
	OPTION_PRESETS,
};

#define DIMENSION_MAX 1000000
#define FACTOR_MAX    1000 /* of dpr, zoom and blur */
#define THOUSAND      1000

/* The numbers that hold, in the order in which they are shown. */
enum { DIMENSION = 0, DPR, ZOOM, BLUR, QUALITY, EXPIRES, BOUNDS };
static const char *const names[BOUNDS] = { "max_dimension", "max_dpr",     "max_zoom",
	                                   "max_blur",      "max_quality", "require_expires" };

struct effective {
	struct admin_number number[BOUNDS];
	uint64_t value[BOUNDS]; /* dpr, zoom and blur in thousandths */
};

static struct effective resolve(const struct settings *s, const struct admin_images *i)
{
	const int64_t settings[BOUNDS] = {
		[DIMENSION] = s->images_max_dimension,  [DPR] = s->images_max_dpr * THOUSAND,
		[ZOOM] = s->images_max_zoom * THOUSAND, [BLUR] = s->images_max_blur * THOUSAND,
		[QUALITY] = s->images_max_quality,      [EXPIRES] = s->images_require_expires ? 1 : 0,
	};
	struct effective e = { .number = { [DIMENSION] = i->max_dimension,
		                           [DPR] = i->max_dpr,
		                           [ZOOM] = i->max_zoom,
		                           [BLUR] = i->max_blur,
		                           [QUALITY] = i->max_quality,
		                           [EXPIRES] = i->require_expires } };

	for (size_t k = 0; k < BOUNDS; k++)
		e.value[k] = admin_effective(&e.number[k], settings[k]);
	return e;
}

static bool in_thousandths(size_t bound)
{
	return bound == DPR || bound == ZOOM || bound == BLUR;
}

static json_t *value_json(size_t bound, uint64_t value)
{
	if (bound == EXPIRES)
		return json_boolean(value != 0);
	if (!in_thousandths(bound))
		return json_integer((json_int_t)value);
	return value % THOUSAND == 0 ? json_integer((json_int_t)(value / THOUSAND))
	                             : json_real((double)value / THOUSAND);
}

static const char *value_text(size_t bound, uint64_t value, char buf[ROWS_TEXT_MAX])
{
	if (bound == EXPIRES)
		return value != 0 ? "yes" : "no";
	if (!in_thousandths(bound) || value % THOUSAND == 0) {
		snprintf(buf, ROWS_TEXT_MAX, "%" PRIu64, in_thousandths(bound) ? value / THOUSAND : value);
		return buf;
	}
	int n = snprintf(buf, ROWS_TEXT_MAX, "%" PRIu64 ".%03u", value / THOUSAND, (unsigned)(value % THOUSAND));
	while (buf[n - 1] == '0')
		buf[--n] = '\0';
	return buf;
}

static void show_json(struct cli_call *call, const struct admin_images *i, const struct effective *e)
{
	json_t *v = json_pack("{s:o, s:I}", "user", admin_json_text(i->username), "user_id", (json_int_t)i->user_id);
	json_t *presets = json_array();
	struct sv rest = sv_str(i->presets), name;
	unsigned defaults = 0;

	CHECK(v != NULL && presets != NULL);
	for (size_t k = 0; k < BOUNDS; k++) {
		json_object_set_new(v, names[k], value_json(k, e->value[k]));
		defaults |= e->number[k].own ? 0 : 1u << k;
	}
	while (sv_split(&rest, ',', &name))
		json_array_append_new(presets, json_stringn(name.p, name.n));
	json_object_set_new(v, "presets", presets);
	json_object_set_new(v, "defaults", admin_json_names(names, BOUNDS, defaults));
	output_json(call->io->out, v);
}

static void show_table(struct cli_call *call, const struct admin_images *i, const struct effective *e)
{
	static const char *const heads[] = { "BOUND", "VALUE", "FROM" };
	char text[BOUNDS][ROWS_TEXT_MAX];
	const char *cells[BOUNDS + 1][3];

	for (size_t k = 0; k < BOUNDS; k++) {
		cells[k][0] = names[k];
		cells[k][1] = value_text(k, e->value[k], text[k]);
		cells[k][2] = rows_from(&e->number[k], "setting");
	}
	cells[BOUNDS][0] = "presets";
	cells[BOUNDS][1] = i->presets != NULL ? i->presets : "none";
	cells[BOUNDS][2] = i->presets != NULL ? "user" : "default";
	fprintf(call->io->out, "user %" PRIu64 " (%s)\n", i->user_id, i->username);
	output_table(call->io->out, 3, heads, &cells[0][0], BOUNDS + 1);
}

static enum cli_exit show(struct cli_call *call, struct admin_images *i)
{
	struct effective e = resolve(call->settings, i);

	if (call->json)
		show_json(call, i, &e);
	else
		show_table(call, i, &e);
	admin_images_free(i);
	return CLI_DONE;
}

/* On false a refusal has been printed. */
static bool take_expires(struct cli_call *call, struct admin_change *out)
{
	const char *text = call->options[OPTION_REQUIRE_EXPIRES];

	*out = (struct admin_change){ .given = text != NULL };
	if (text == NULL || strcmp(text, "default") == 0)
		return true;
	out->to.own = true;
	out->to.value = strcmp(text, "on") == 0;
	if (out->to.value != 0 || strcmp(text, "off") == 0)
		return true;
	(void)cli_refuse(call, "--require-expires %s: on, off or `default`", text);
	return false;
}

static bool take_presets(struct cli_call *call, struct admin_images_wish *wish)
{
	const char *text = call->options[OPTION_PRESETS];

	wish->presets_given = text != NULL;
	if (text == NULL || strcmp(text, "none") == 0 || strcmp(text, "default") == 0)
		return true;
	wish->presets = text;
	if (args_presets(text) == ERR_OK)
		return true;
	(void)cli_refuse(
	        call,
	        "--presets %s: a comma list of at most %d names, each once, of 1 to %d of A-Z a-z 0-9 . _ -, or "
	        "`none`",
	        text, POLICY_PRESETS_MAX, POLICY_PRESET_MAX);
	return false;
}

enum cli_exit cmd_image_set(struct cli_call *call)
{
	struct admin_images_wish wish = { 0 };
	char error[ADMIN_ERROR_MAX];
	struct admin_images images;

	if (!changes_number(call, OPTION_MAX_DIMENSION, 1, DIMENSION_MAX, &wish.max_dimension) ||
	    !changes_thousandths(call, OPTION_MAX_DPR, 1, FACTOR_MAX, &wish.max_dpr) ||
	    !changes_thousandths(call, OPTION_MAX_ZOOM, 1, FACTOR_MAX, &wish.max_zoom) ||
	    !changes_thousandths(call, OPTION_MAX_BLUR, 0, FACTOR_MAX, &wish.max_blur) ||
	    !changes_number(call, OPTION_MAX_QUALITY, 1, 100, &wish.max_quality) ||
	    !take_expires(call, &wish.require_expires) || !take_presets(call, &wish))
		return CLI_REFUSED;
	if (admin_images_set(call->db, call->args[0], &wish, &images, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return show(call, &images);
}

enum cli_exit cmd_image_show(struct cli_call *call)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_images images;

	if (admin_images_find(call->db, call->args[0], &images, error) != ERR_OK)
		return cli_refuse(call, "%s", error);
	return show(call, &images);
}
