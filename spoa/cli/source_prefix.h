/* Prefixes of remote sources, as an operator writes them. */
#pragma once

#include "base/err.h"

#define SOURCE_PREFIX_MAX 1024

/*
 * The canonical form of a prefix: scheme (http, https, s3, gs, abs), host or bucket, and at least "/". ERR_INVALID,
 * with *why a static text, for what is none.
 */
MUST_CHECK enum err source_prefix(const char *text, char buf[SOURCE_PREFIX_MAX], const char **why);
