/*
 * What kind of image an open file is. At most IMAGE_FILE_WINDOW bytes of it are read, and most often 4 KiB, so that a
 * strange file of any size costs neither memory nor time.
 */
#pragma once

#include "api/image_probe.h"

/* A header must end within these bytes; an SVG must be no larger. */
#define IMAGE_FILE_WINDOW (UINT64_C(4) * 1024 * 1024)

enum image_file_flag {
	IMAGE_FILE_COUNT = 1, /* frames are counted as far as the window goes */
	IMAGE_FILE_SVG = 2,   /* an SVG may be stored: it is checked whole */
	IMAGE_FILE_KNOWN = 4, /* out->type says what it is; of an SVG only the size is read */
};

/* Of most images these are enough. */
#define IMAGE_FILE_FIRST 4096

/*
 * `size` is that of the file, and `first` its first IMAGE_FILE_FIRST bytes (or all of them, when it is shorter); NULL:
 * they are read. As image_probe(), and ERR_RANGE: an SVG that is too large; ERR_IO: errno says why. For a
 * refused SVG *why gets a static text for the client, else NULL. *looked_at grows by the bytes that were read, or read
 * again.
 */
MUST_CHECK enum err image_file_probe(int fd, uint64_t size, const uint8_t *first, unsigned flags,
                                     struct image_info *out, const char **why, uint64_t *looked_at);
