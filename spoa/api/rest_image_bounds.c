/* Bounds of a user's images and the presets that they may use: PATCH changes what is given, PUT sets everything, to
 * what the settings say (and to no presets) where nothing is given. */
#include <string.h>

#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "policy/record.h"
#include "store/admin_image.h"
#include "store/admin_json.h"
#include "store/admin_words.h"

/* All names with a comma behind each. */
#define PRESETS_TEXT (POLICY_PRESETS_MAX * (POLICY_PRESET_MAX + 1) + 1)

static void reply(struct rest_db_call *c, enum err err, struct admin_images *i, const char *error)
{
	if (err != ERR_OK) {
		rest_fail(c, err, error);
		return;
	}
	rest_reply(c, 200, admin_json_images(c->settings, i));
	admin_images_free(i);
}

void rest_image_bounds_get(struct rest_db_call *c)
{
	char error[ADMIN_ERROR_MAX];
	struct admin_images images;

	if (rest_connection(c) == NULL)
		return;
	enum err err = admin_images_find(c->db, c->params[0], &images, error);
	reply(c, err, &images, error);
}

/* The list as comma list in `text`. False: it is none, or holds what is no name. */
static bool join(const json_t *list, char text[PRESETS_TEXT])
{
	size_t n = 0;

	if (!json_is_array(list) || json_array_size(list) > POLICY_PRESETS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *name = json_array_get(list, i);
		const size_t len = json_string_length(name);

		if (len == 0 || len > POLICY_PRESET_MAX || memchr(json_string_value(name), ',', len) != NULL)
			return false;
		if (n > 0)
			text[n++] = ',';
		memcpy(text + n, json_string_value(name), len);
		n += len;
	}
	text[n] = '\0';
	return n == 0 || admin_presets(text) == ERR_OK;
}

static bool take_presets(struct rest_db_call *c, char text[PRESETS_TEXT], struct admin_images_wish *wish)
{
	const json_t *list = json_object_get(c->body, "presets");

	wish->presets_given = list != NULL;
	if (list == NULL || json_is_null(list))
		return true;
	if (!join(list, text)) {
		rest_deny(c, PROBLEM_BAD_REQUEST,
		          "presets: a list of at most %d names, each once, of 1 to %d of A-Z a-z 0-9 . _ -, or null: "
		          "none.",
		          POLICY_PRESETS_MAX, POLICY_PRESET_MAX);
		return false;
	}
	wish->presets = text[0] != '\0' ? text : NULL;
	return true;
}

static void set(struct rest_db_call *c, bool all)
{
	static const char *const fields[] = { "max_dimension", "max_dpr",         "max_zoom", "max_blur",
		                              "max_quality",   "require_expires", "presets",  NULL };
	struct admin_images_wish wish = { 0 };
	char error[ADMIN_ERROR_MAX], presets[PRESETS_TEXT];
	struct admin_images images;

	if (!rest_fields(c, fields) || !rest_change(c, fields[0], 1, ADMIN_DIMENSION_MAX, &wish.max_dimension) ||
	    !rest_change_thousandths(c, fields[1], 1, ADMIN_FACTOR_MAX, &wish.max_dpr) ||
	    !rest_change_thousandths(c, fields[2], 1, ADMIN_FACTOR_MAX, &wish.max_zoom) ||
	    !rest_change_thousandths(c, fields[3], 0, ADMIN_FACTOR_MAX, &wish.max_blur) ||
	    !rest_change(c, fields[4], 1, ADMIN_QUALITY_MAX, &wish.max_quality) ||
	    !rest_change_bool(c, fields[5], &wish.require_expires) || !take_presets(c, presets, &wish))
		return;
	if (!all && json_object_size(c->body) == 0) {
		rest_deny(c, PROBLEM_BAD_REQUEST, "The body changes nothing: at least one field is needed.");
		return;
	}
	if (rest_connection(c) == NULL)
		return;
	struct admin_change *const changes[] = { &wish.max_dimension, &wish.max_dpr,     &wish.max_zoom,
		                                 &wish.max_blur,      &wish.max_quality, &wish.require_expires };
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		changes[i]->given |= all;
	wish.presets_given |= all;
	enum err err = admin_images_set(c->db, c->params[0], &wish, &images, error);
	reply(c, err, &images, error);
}

void rest_image_bounds_put(struct rest_db_call *c)
{
	set(c, true);
}

void rest_image_bounds_patch(struct rest_db_call *c)
{
	set(c, false);
}
