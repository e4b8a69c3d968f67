/*
 * The images of a user: those files of the user's folder that have an id for a name, as uploads get (image_id.h). Other
 * files that an operator puts there are served under their names, and are none of these. Symbolic links are nothing.
 *
 * Calls block on the disk; any thread may call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/upload.h"
#include "base/err.h"
#include "base/sv.h"

#define IMAGES_LIST_MAX 1000

struct image_entry {
	char id[IMAGE_ID_SIZE];
	enum image_type type;
	uint64_t bytes;
	int64_t created_s; /* seconds since 1970: when its last byte came */
	uint32_t width;    /* 0: cannot be told */
	uint32_t height;
};

/* ERR_NOT_FOUND: no such image of this user, also when `id` is none: no file is looked for then. ERR_IO: errno. */
MUST_CHECK enum err images_find(const struct uploads *store, uint64_t user, struct sv id, struct image_entry *out);

/* Removes the image, and its bytes from the user's account; it is gone from the disk when this returns. As above. */
MUST_CHECK enum err images_delete(const struct uploads *store, uint64_t user, struct sv id);

/*
 * The images whose ids are above `after` ("": all), in the order of their ids, `limit` (1 to IMAGES_LIST_MAX) at most.
 * Whoever goes on with the last id of each page sees every image that is there all the time exactly once, whatever
 * comes and goes meanwhile. out has room for `limit`; *next gets the last id of this page when there are more, else "".
 * Where the sizes stand deep in the files, a page has fewer than `limit` with more to come.
 * A file that vanishes meanwhile is left out. ERR_IO: errno; ERR_NOMEM.
 */
MUST_CHECK enum err images_list(const struct uploads *store, uint64_t user, struct sv after, size_t limit,
                                struct image_entry *out, size_t *count, char next[IMAGE_ID_SIZE]);
