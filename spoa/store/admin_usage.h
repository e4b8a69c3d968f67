/* What users have used, from the roll-ups, as an operator reads it. Errors as in store/admin_user.h. */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"

/*
 * The months of the user that begin in the calendar month of `month` (as 2026-01), added up, as the text of one JSON
 * object: requests, admitted, images, uploads (admitted ones), request_bytes, response_bytes, billed_bytes, active_ms;
 * refused, a number for each code; keys and backends, a list of {key_id, name | backend, requests, admitted,
 * request_bytes, response_bytes, billed_bytes} each (key_id and backend are null where none was known). *json belongs
 * to *rows, which the caller frees.
 */
MUST_CHECK enum err admin_usage_month(struct pg_sync *db, uint64_t user_id, const char *month, const char **json,
                                      struct pg_result **rows, char *error);
