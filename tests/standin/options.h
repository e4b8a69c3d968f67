/* imgproxy's processing options. */
#pragma once

#include "url.h"

/* The defaults of a URL without options. */
void options_init(struct job *job);

/*
 * Applies one option segment "name:arg:…" (changed in place). False: *error says what imgproxy answers: 404 for an
 * unknown name or a bad argument, 403 for a security option.
 */
bool options_apply(struct job *job, char *segment, struct url_error *error);
