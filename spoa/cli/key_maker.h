/* What keys are made with, from the settings. */
#pragma once

#include "base/settings.h"
#include "store/admin_key.h"

/*
 * NULL, and *maker, whose sealer is freed by the caller (it has none while auth.master_key is empty); or why keys
 * cannot be made, a static text.
 */
const char *key_maker_take(const struct settings *s, struct admin_key_maker *maker);
