/* Inside of imgurl: the two parts of a source's URL that have rules of their own. */
#pragma once

#include <stdbool.h>

#include "base/cursor.h"
#include "base/sv.h"

/*
 * Whether `path` names a file: segments of 1 to 255 bytes between slashes, none of them beginning with a dot, of
 * printable UTF-8 but `\ ? # %`. It has neither a leading nor a trailing slash; with `folder` it may end in one, or be
 * empty.
 */
bool imgurl_path_is_plain(struct sv path, bool folder);

/* Writes the canonical form of a host with its port, if any; default_port is left out. NULL, or what is wrong. */
const char *imgurl_host_write(struct wcur *w, struct sv authority, unsigned default_port);

/* Writes the canonical form of path and query: all that follows the host, perhaps nothing. NULL, or what is wrong. */
const char *imgurl_path_write(struct wcur *w, struct sv rest);
