/* The limits of users without some of their own, as the settings have them. */
#pragma once

#include "base/settings.h"
#include "policy/limits.h"

struct limits_defaults agent_defaults(const struct settings *settings);
