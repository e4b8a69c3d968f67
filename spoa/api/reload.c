#include "api/reload.h"

#include "base/log.h"
#include "base/sv.h"

/* Sections, and single settings, that gateway-api reads at its start. */
static const char *const read_at_start[] = {
	"agent.drain_timeout",
	"agent.user",
	"api.bind",
	"api.token",
	"auth.",
	"database.",
	"images.max_blur",
	"images.max_dimension",
	"images.max_dpr",
	"images.max_quality",
	"images.max_ratio",
	"images.max_zoom",
	"images.require_expires",
	"quotas.",
	"rate_limits.user_level.",
	"server.read_timeout",
	"uploads.",
};

static bool is_read(const char *name)
{
	for (size_t i = 0; i < sizeof(read_at_start) / sizeof(read_at_start[0]); i++)
		if (sv_starts(sv_str(name), sv_str(read_at_start[i])))
			return true;
	return false;
}

void reload_log(const char *config, const struct settings *running)
{
	struct settings now;
	char error[SETTINGS_ERROR_MAX];
	size_t count;
	const struct setting_info *table = settings_table(&count);

	if (settings_load(&now, config, error) != ERR_OK) {
		log_error("reload: %s: the old settings stay", error);
		return;
	}
	for (size_t i = 0; i < count; i++)
		if (is_read(table[i].name) && !settings_equal(&now, running, i))
			log_warn("reload: %s was changed, and needs a restart", table[i].name);
	log_init("gateway-api", (enum log_level)now.log_level, settings_log_format(&now));
	log_info("reload: done");
	settings_free(&now);
}
