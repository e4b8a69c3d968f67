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
#include "store/admin_words.h"

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

#define THOUSAND 1000

static const char *value_text(enum admin_image_bound bound, uint64_t value, char buf[ROWS_TEXT_MAX])
{
	if (bound == ADMIN_IMAGE_EXPIRES)
		return value != 0 ? "yes" : "no";
	if (!admin_image_in_thousandths(bound) || value % THOUSAND == 0) {
		snprintf(buf, ROWS_TEXT_MAX, "%" PRIu64, admin_image_in_thousandths(bound) ? value / THOUSAND : value);
		return buf;
	}
	int n = snprintf(buf, ROWS_TEXT_MAX, "%" PRIu64 ".%03u", value / THOUSAND, (unsigned)(value % THOUSAND));
	while (buf[n - 1] == '0')
		buf[--n] = '\0';
	return buf;
}

static void show_table(struct cli_call *call, const struct admin_images *i)
{
	static const char *const heads[] = { "BOUND", "VALUE", "FROM" };
	char text[ADMIN_IMAGE_BOUNDS][ROWS_TEXT_MAX];
	const char *cells[ADMIN_IMAGE_BOUNDS + 1][3];
	struct admin_images_effective e;

	admin_images_effective(call->settings, i, &e);
	for (size_t k = 0; k < ADMIN_IMAGE_BOUNDS; k++) {
		cells[k][0] = admin_image_names[k];
		cells[k][1] = value_text((enum admin_image_bound)k, e.value[k], text[k]);
		cells[k][2] = rows_from(&e.number[k], "setting");
	}
	cells[ADMIN_IMAGE_BOUNDS][0] = "presets";
	cells[ADMIN_IMAGE_BOUNDS][1] = i->presets != NULL ? i->presets : "none";
	cells[ADMIN_IMAGE_BOUNDS][2] = i->presets != NULL ? "user" : "default";
	fprintf(call->io->out, "user %" PRIu64 " (%s)\n", i->user_id, i->username);
	output_table(call->io->out, 3, heads, &cells[0][0], ADMIN_IMAGE_BOUNDS + 1);
}

static enum cli_exit show(struct cli_call *call, struct admin_images *i)
{
	if (call->json)
		output_json(call->io->out, admin_json_images(call->settings, i));
	else
		show_table(call, i);
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
	if (admin_presets(text) == ERR_OK)
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

	if (!changes_number(call, OPTION_MAX_DIMENSION, 1, ADMIN_DIMENSION_MAX, &wish.max_dimension) ||
	    !changes_thousandths(call, OPTION_MAX_DPR, 1, ADMIN_FACTOR_MAX, &wish.max_dpr) ||
	    !changes_thousandths(call, OPTION_MAX_ZOOM, 1, ADMIN_FACTOR_MAX, &wish.max_zoom) ||
	    !changes_thousandths(call, OPTION_MAX_BLUR, 0, ADMIN_FACTOR_MAX, &wish.max_blur) ||
	    !changes_number(call, OPTION_MAX_QUALITY, 1, ADMIN_QUALITY_MAX, &wish.max_quality) ||
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
