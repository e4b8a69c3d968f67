#include "api/image_probe.h"

#include <stdbool.h>

#include "api/image_avif.h"
#include "base/check.h"
#include "base/cursor.h"

static const struct {
	const char *content_type;
	const char *extension;
} types[IMAGE_TYPE_COUNT] = {
	[IMAGE_JPEG] = { "image/jpeg", "jpg" },  [IMAGE_PNG] = { "image/png", "png" },
	[IMAGE_WEBP] = { "image/webp", "webp" }, [IMAGE_GIF] = { "image/gif", "gif" },
	[IMAGE_AVIF] = { "image/avif", "avif" },
};

const char *image_content_type(enum image_type type)
{
	CHECK((unsigned)type < IMAGE_TYPE_COUNT);
	return types[type].content_type;
}

const char *image_extension(enum image_type type)
{
	CHECK((unsigned)type < IMAGE_TYPE_COUNT);
	return types[type].extension;
}

static uint32_t le16(struct rcur *c)
{
	uint32_t low = rcur_u8(c);
	return low | (uint32_t)rcur_u8(c) << 8;
}

static uint32_t le24(struct rcur *c)
{
	uint32_t low = le16(c);
	return low | (uint32_t)rcur_u8(c) << 16;
}

/* SOF0 to SOF15; 0xc4, 0xc8 and 0xcc of that range mean other things. */
static bool jpeg_is_frame(uint8_t marker)
{
	return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* Markers without a length: TEM, RSTn, SOI. */
static bool jpeg_is_bare(uint8_t marker)
{
	return marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8);
}

static enum err jpeg_size(struct rcur c, uint32_t *width, uint32_t *height)
{
	rcur_bytes(&c, 2);
	for (;;) {
		if (rcur_u8(&c) != 0xff)
			return ERR_INVALID;
		uint8_t marker = rcur_u8(&c);
		while (marker == 0xff)
			marker = rcur_u8(&c);
		if (jpeg_is_bare(marker))
			continue;
		/* Scan data or the end before any frame header: there is no size to find. */
		if (marker == 0x00 || marker == 0xda || marker == 0xd9)
			return ERR_INVALID;
		uint16_t length = rcur_be16(&c);
		if (c.err != ERR_OK || length < 2)
			return ERR_INVALID;
		struct sv segment = rcur_bytes(&c, length - 2u);
		if (c.err != ERR_OK)
			return ERR_INVALID;
		if (!jpeg_is_frame(marker))
			continue;
		struct rcur frame;
		rcur_init(&frame, segment.p, segment.n);
		rcur_u8(&frame);
		*height = rcur_be16(&frame);
		*width = rcur_be16(&frame);
		return rcur_u8(&frame) > 0 ? frame.err : ERR_INVALID;
	}
}

static enum err png_size(struct rcur c, uint32_t *width, uint32_t *height)
{
	rcur_bytes(&c, 8);
	if (rcur_be32(&c) != 13 || !sv_eq(rcur_bytes(&c, 4), SV("IHDR")))
		return ERR_INVALID;
	*width = rcur_be32(&c);
	*height = rcur_be32(&c);
	/* depth, colour, compression, filter, interlace, checksum */
	rcur_bytes(&c, 5 + 4);
	return *width <= INT32_MAX && *height <= INT32_MAX ? c.err : ERR_INVALID;
}

static enum err gif_size(struct rcur c, uint32_t *width, uint32_t *height)
{
	rcur_bytes(&c, 6);
	*width = le16(&c);
	*height = le16(&c);
	/* flags, background, aspect ratio */
	rcur_bytes(&c, 3);
	return c.err;
}

static enum err webp_size(struct rcur c, uint32_t *width, uint32_t *height)
{
	rcur_bytes(&c, 12);
	struct sv chunk = rcur_bytes(&c, 4);
	rcur_bytes(&c, 4);
	if (sv_eq(chunk, SV("VP8 "))) {
		/* A frame that is no key frame cannot come first. */
		uint32_t tag = le24(&c);
		if ((tag & 1) != 0 || !sv_eq(rcur_bytes(&c, 3), SV("\x9d\x01\x2a")))
			return ERR_INVALID;
		*width = le16(&c) & 0x3fff;
		*height = le16(&c) & 0x3fff;
		return c.err;
	}
	if (sv_eq(chunk, SV("VP8L"))) {
		if (rcur_u8(&c) != 0x2f)
			return ERR_INVALID;
		uint32_t low = le16(&c);
		uint32_t bits = low | le16(&c) << 16;
		*width = (bits & 0x3fff) + 1;
		*height = (bits >> 14 & 0x3fff) + 1;
		/* the three bits above the alpha flag are the version, 0 */
		return bits >> 29 == 0 ? c.err : ERR_INVALID;
	}
	if (sv_eq(chunk, SV("VP8X"))) {
		rcur_bytes(&c, 4);
		*width = le24(&c) + 1;
		*height = le24(&c) + 1;
		return c.err;
	}
	return ERR_INVALID;
}

enum err image_probe(const uint8_t *data, size_t len, struct image_info *out)
{
	struct sv v = sv_from(data, len);
	struct rcur c;
	struct image_info info = { 0 };
	enum err err;

	rcur_init(&c, data, len);
	if (sv_starts(v, SV("\xff\xd8\xff"))) {
		info.type = IMAGE_JPEG;
		err = jpeg_size(c, &info.width, &info.height);
	} else if (sv_starts(v, SV("\x89PNG\r\n\x1a\n"))) {
		info.type = IMAGE_PNG;
		err = png_size(c, &info.width, &info.height);
	} else if (sv_starts(v, SV("GIF87a")) || sv_starts(v, SV("GIF89a"))) {
		info.type = IMAGE_GIF;
		err = gif_size(c, &info.width, &info.height);
	} else if (sv_starts(v, SV("RIFF")) && sv_starts(sv_skip(v, 8), SV("WEBP"))) {
		info.type = IMAGE_WEBP;
		err = webp_size(c, &info.width, &info.height);
	} else if (image_avif_matches(c)) {
		info.type = IMAGE_AVIF;
		err = image_avif_size(c, &info.width, &info.height);
	} else {
		return ERR_UNSUPPORTED;
	}
	if (err != ERR_OK || info.width == 0 || info.height == 0)
		return ERR_INVALID;
	*out = info;
	return ERR_OK;
}
