/*
 * The file quarantine.usage: records that PostgreSQL does not take, and texts that are no record, a line each:
 *
 *     segment:offset TAB why TAB text
 *
 * The place in the spool is the one behind the record (usage/spool.h). `why` is "form" for a text that is no record,
 * else PostgreSQL's SQLSTATE. In the text each byte outside of 0x20 to 0x7e but the tab stands as \xHH.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/sv.h"
#include "usage/spool.h"

/*
 * Appends the line and brings it to the disk. A line of the same place that is among the last ones is not written again
 * (*added is false then): the program may have ended before the place in the spool was moved. ERR_IO with errno.
 */
MUST_CHECK enum err usage_quarantine(const char *dir, struct usage_position after, const char *why, struct sv text,
                                     bool *added);
