/*
 * imgproxy's URL grammar, as version 4 reads it: signature, options, source. Written apart from the gateway's own
 * grammar on purpose, so that each is a check of the other. It confines nothing: what imgproxy serves, this serves.
 */
#pragma once

#include "config.h"
#include "options.h"

/*
 * Reads the raw request target ("/SIGNATURE/…"). On success *job is filled and the caller frees job->source, the source
 * URL as imgproxy would fetch it. On an error *error says what imgproxy would answer.
 */
bool url_parse(const struct config *c, const char *target, struct job *job, struct url_error *error);

/* Whether the target has escapes or bytes that no HTTP server of Go lets through. */
bool url_is_malformed(const char *target);

/* Decodes %XX of the path part (before "?") into a new string; the caller frees it. */
char *url_decoded_path(const char *target);
