#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "store/admin_json.h"

#define VALUE_MAX  4200
#define ORIGIN_MAX 32

/* Every setting's value as text, where it came from, and whether it is what the table gives when nothing is set. */
struct shown {
	const struct setting_info *table;
	size_t count;
	char (*values)[VALUE_MAX];
	char (*origins)[ORIGIN_MAX];
	bool *is_default;
};

static void collect(const struct settings *s, struct shown *shown)
{
	struct settings defaults;
	char error[SETTINGS_ERROR_MAX], text[VALUE_MAX];

	shown->table = settings_table(&shown->count);
	shown->values = check_calloc(shown->count, sizeof(*shown->values));
	shown->origins = check_calloc(shown->count, sizeof(*shown->origins));
	shown->is_default = check_calloc(shown->count, sizeof(*shown->is_default));
	CHECK(settings_load_text(&defaults, "(defaults)", "", 0, NULL, error) == ERR_OK);
	for (size_t i = 0; i < shown->count; i++) {
		settings_value(s, i, shown->values[i], VALUE_MAX);
		settings_origin(s, i, shown->origins[i], ORIGIN_MAX);
		shown->is_default[i] = strcmp(shown->values[i], settings_value(&defaults, i, text, sizeof(text))) == 0;
	}
	settings_free(&defaults);
}

static void show_json(struct cli_call *call, const struct shown *shown)
{
	const struct settings *s = call->settings;
	json_t *list = json_object(), *backends = json_array();

	for (size_t i = 0; i < shown->count; i++)
		json_object_set_new(list, shown->table[i].name,
		                    json_pack("{s:o, s:s, s:b, s:s}", "value", admin_json_text(shown->values[i]),
		                              "origin", shown->origins[i], "default", (int)shown->is_default[i],
		                              "environment", shown->table[i].env));
	for (size_t i = 0; i < s->backends_count; i++)
		json_array_append_new(backends, json_pack("{s:o, s:I}", "url", admin_json_text(s->backends[i].url),
		                                          "weight", (json_int_t)s->backends[i].weight));
	output_json(call->io->out, json_pack("{s:o, s:o, s:o}", "source", admin_json_text(s->source), "settings", list,
	                                     "backends", backends));
}

static void show_table(struct cli_call *call, const struct shown *shown)
{
	static const char *const heads[] = { "SETTING", "FROM", "VALUE" };
	const struct settings *s = call->settings;
	const char **cells = check_calloc(shown->count, 3 * sizeof(char *));
	FILE *f = call->io->out;

	for (size_t i = 0; i < shown->count; i++) {
		cells[i * 3] = shown->table[i].name;
		cells[i * 3 + 1] = shown->origins[i];
		cells[i * 3 + 2] = shown->values[i];
	}
	fprintf(f, "file: %s\n", s->source != NULL ? s->source : "none");
	output_table(f, 3, heads, cells, shown->count);
	for (size_t i = 0; i < s->backends_count; i++)
		fprintf(f, "backend: %s weight %" PRIu32 "\n", s->backends[i].url, s->backends[i].weight);
	free(cells);
}

enum cli_exit cmd_config_show(struct cli_call *call)
{
	struct shown shown;

	collect(call->settings, &shown);
	if (call->json)
		show_json(call, &shown);
	else
		show_table(call, &shown);
	free(shown.values);
	free(shown.origins);
	free(shown.is_default);
	return CLI_DONE;
}
