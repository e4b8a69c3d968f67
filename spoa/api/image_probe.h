/*
 * Which kind of image a file is, and how large: told from its own header, never from its name or from a client's word.
 *
 * The parsers read the least that gives the size and are pure: bytes in, answer out, nothing allocated. Their time is
 * linear in the length of the file and every offset is checked, because the bytes come from strangers. Sources:
 * ITU-T T.81 B.1 and B.2 (JPEG), W3C PNG 11.2.2 and 11.3.4 (APNG), GIF89a 17 to 20, RFC 9649 (WebP), ISO/IEC 14496-12
 * and 23008-12 with the AVIF 1.1 specification. SVG has a file of its own (image_svg.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum image_type { IMAGE_JPEG = 0, IMAGE_PNG, IMAGE_WEBP, IMAGE_GIF, IMAGE_AVIF, IMAGE_SVG, IMAGE_TYPE_COUNT };

struct image_info {
	enum image_type type;
	uint32_t width; /* pixels as stored, before any rotation that the metadata ask for; never 0 */
	uint32_t height;
	/*
	 * Of an animated PNG, WebP or GIF, else 1. A PNG says the number in its header; of the others the frames that
	 * begin within `data` are counted, and cut says that the file goes on behind it.
	 */
	uint32_t frames;
	bool cut;
};

/*
 * Reads the header from the first len bytes of a file of `total` bytes. ERR_UNSUPPORTED: none of the types.
 * ERR_INVALID: one of them by its first bytes, but its header is broken, or does not end within data. *out is set on
 * success alone. The size of a GIF is that of its screen or what its first frame needs, whichever is larger: decoders
 * believe both.
 */
MUST_CHECK enum err image_probe(const uint8_t *data, size_t len, uint64_t total, struct image_info *out);

/* width x height x frames, no overflow. */
uint64_t image_pixels(const struct image_info *image);

/* "image/jpeg" and so on. */
const char *image_content_type(enum image_type type);

/* "jpg" and so on: the end of a stored file's name. */
const char *image_extension(enum image_type type);
