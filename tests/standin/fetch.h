/* Sources on web servers, with libcurl. */
#pragma once

#include "source.h"

/* Once, before the first thread. */
bool fetch_init(void);

/*
 * One request, no redirect followed; *location is a new string when the answer is one, else NULL. False: no answer, and
 * *error says what imgproxy makes of that. out->data is malloc()ed.
 */
bool fetch_once(const struct config *c, const char *url, long max_size, long timeout_ms,
                const struct conditions *conditions, struct source *out, char **location, struct url_error *error);
