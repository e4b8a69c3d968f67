/* Options that change something of a user: a number, or which of several names are chosen. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"
#include "store/admin_limit.h"

/* Reads option `option` of the command. On false it was not as it must be, and a refusal has been printed. */
bool changes_number(struct cli_call *call, size_t option, uint64_t least, uint64_t most, struct admin_change *out);

/* Likewise a number as 1.5; what comes out is in thousandths. */
bool changes_thousandths(struct cli_call *call, size_t option, uint64_t least, uint64_t most, struct admin_change *out);

/* Likewise a list of names (bit i of *set: names[i]); *given: whether the option was there. */
bool changes_names(struct cli_call *call, size_t option, const char *const *names, size_t count, bool *given,
                   unsigned *set);
