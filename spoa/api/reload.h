/* What SIGHUP does to gateway-api: the settings are read again, log.level and log.format hold from then on. */
#pragma once

#include "base/settings.h"

/*
 * Reads the settings as the start did; `config` is the --config option, or NULL. Of what else gateway-api reads, each
 * setting that has another value than in `running` is named in the log: it needs a restart. Settings that are wrong
 * change nothing, and the log says what is wrong.
 */
void reload_log(const char *config, const struct settings *running);
