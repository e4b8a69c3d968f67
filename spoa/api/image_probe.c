#include "api/image_probe.h"

#include "api/image_avif.h"
#include "base/check.h"
#include "base/cursor.h"

static const struct {
	const char *content_type;
	const char *extension;
} types[IMAGE_TYPE_COUNT] = {
	[IMAGE_JPEG] = { "image/jpeg", "jpg" },  [IMAGE_PNG] = { "image/png", "png" },
	[IMAGE_WEBP] = { "image/webp", "webp" }, [IMAGE_GIF] = { "image/gif", "gif" },
	[IMAGE_AVIF] = { "image/avif", "avif" }, [IMAGE_SVG] = { "image/svg+xml", "svg" },
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

/* num_frames of the acTL chunk, which stands before the first IDAT; 1 without one. */
static uint32_t png_frames(struct rcur c, bool *cut)
{
	for (;;) {
		uint32_t length = rcur_be32(&c);
		struct sv type = rcur_bytes(&c, 4);
		if (c.err == ERR_OK && sv_eq(type, SV("acTL"))) {
			uint32_t frames = rcur_be32(&c);
			*cut = c.err != ERR_OK;
			return frames > 0 ? frames : 1;
		}
		if (c.err == ERR_OK && sv_eq(type, SV("IDAT")))
			return 1;
		rcur_bytes(&c, (uint64_t)length + 4);
		if (c.err != ERR_OK) {
			*cut = true;
			return 1;
		}
	}
}

static enum err png_size(struct rcur c, struct image_info *out)
{
	rcur_bytes(&c, 8);
	if (rcur_be32(&c) != 13 || !sv_eq(rcur_bytes(&c, 4), SV("IHDR")))
		return ERR_INVALID;
	out->width = rcur_be32(&c);
	out->height = rcur_be32(&c);
	/* depth, colour, compression, filter, interlace, checksum */
	rcur_bytes(&c, 5 + 4);
	if (c.err != ERR_OK || out->width > INT32_MAX || out->height > INT32_MAX)
		return ERR_INVALID;
	out->frames = png_frames(c, &out->cut);
	return ERR_OK;
}

/* The colours of a table, when the flags say that there is one. */
static void gif_skip_colours(struct rcur *c, uint8_t flags)
{
	if ((flags & 0x80) != 0)
		rcur_bytes(c, UINT64_C(3) << ((flags & 7) + 1));
}

static void gif_skip_blocks(struct rcur *c)
{
	uint8_t n;

	while ((n = rcur_u8(c)) > 0)
		rcur_bytes(c, n);
}

static enum err gif_size(struct rcur c, struct image_info *out)
{
	uint32_t frames = 0;

	rcur_bytes(&c, 6);
	out->width = le16(&c);
	out->height = le16(&c);
	uint8_t flags = rcur_u8(&c);
	/* background, aspect ratio */
	rcur_bytes(&c, 2);
	if (c.err != ERR_OK || out->width == 0 || out->height == 0)
		return ERR_INVALID;
	gif_skip_colours(&c, flags);
	for (;;) {
		uint8_t kind = rcur_u8(&c);
		if (kind == 0x21) {
			rcur_u8(&c);
			gif_skip_blocks(&c);
		} else if (kind == 0x2c) {
			uint32_t right = le16(&c);
			uint32_t bottom = le16(&c);
			right += le16(&c);
			bottom += le16(&c);
			flags = rcur_u8(&c);
			if (c.err != ERR_OK)
				break;
			if (frames++ == 0) {
				out->width = right > out->width ? right : out->width;
				out->height = bottom > out->height ? bottom : out->height;
			}
			gif_skip_colours(&c, flags);
			rcur_u8(&c);
			gif_skip_blocks(&c);
		} else {
			/* The trailer, bytes that are no GIF, or the end of what there is. */
			break;
		}
	}
	out->cut = c.err != ERR_OK;
	out->frames = frames > 0 ? frames : 1;
	/* What hides its first frame behind megabytes of comments has a reason. */
	return out->cut && frames == 0 && rcur_left(&c) == 0 ? ERR_INCOMPLETE : ERR_OK;
}

static uint64_t le32(struct rcur *c)
{
	uint64_t low = le16(c);
	return low | (uint64_t)le16(c) << 16;
}

/* The ANMF chunks among those in c. */
static uint32_t webp_frames(struct rcur c, bool *cut)
{
	uint32_t frames = 0;

	while (rcur_left(&c) > 0) {
		struct sv type = rcur_bytes(&c, 4);
		uint64_t size = le32(&c);
		if (c.err == ERR_OK && sv_eq(type, SV("ANMF")))
			frames++;
		rcur_bytes(&c, size + (size & 1));
	}
	*cut = c.err != ERR_OK;
	return frames > 0 ? frames : 1;
}

static enum err webp_size(struct rcur c, struct image_info *out)
{
	rcur_bytes(&c, 12);
	struct sv chunk = rcur_bytes(&c, 4);
	rcur_bytes(&c, 4);
	if (sv_eq(chunk, SV("VP8 "))) {
		/* A frame that is no key frame cannot come first. */
		uint32_t tag = le24(&c);
		if ((tag & 1) != 0 || !sv_eq(rcur_bytes(&c, 3), SV("\x9d\x01\x2a")))
			return ERR_INVALID;
		out->width = le16(&c) & 0x3fff;
		out->height = le16(&c) & 0x3fff;
		return c.err;
	}
	if (sv_eq(chunk, SV("VP8L"))) {
		if (rcur_u8(&c) != 0x2f)
			return ERR_INVALID;
		uint32_t low = le16(&c);
		uint32_t bits = low | le16(&c) << 16;
		out->width = (bits & 0x3fff) + 1;
		out->height = (bits >> 14 & 0x3fff) + 1;
		/* the three bits above the alpha flag are the version, 0 */
		return bits >> 29 == 0 ? c.err : ERR_INVALID;
	}
	if (sv_eq(chunk, SV("VP8X"))) {
		bool animated = (rcur_u8(&c) & 2) != 0;
		rcur_bytes(&c, 3);
		out->width = le24(&c) + 1;
		out->height = le24(&c) + 1;
		if (c.err == ERR_OK && animated)
			out->frames = webp_frames(c, &out->cut);
		return c.err;
	}
	return ERR_INVALID;
}

enum err image_probe(const uint8_t *data, size_t len, uint64_t total, struct image_info *out)
{
	struct sv v = sv_from(data, len);
	struct rcur c;
	struct image_info info = { .frames = 1 };
	enum err err;

	rcur_init(&c, data, len);
	if (sv_starts(v, SV("\xff\xd8\xff"))) {
		info.type = IMAGE_JPEG;
		err = jpeg_size(c, &info.width, &info.height);
	} else if (sv_starts(v, SV("\x89PNG\r\n\x1a\n"))) {
		info.type = IMAGE_PNG;
		err = png_size(c, &info);
	} else if (sv_starts(v, SV("GIF87a")) || sv_starts(v, SV("GIF89a"))) {
		info.type = IMAGE_GIF;
		err = gif_size(c, &info);
	} else if (sv_starts(v, SV("RIFF")) && sv_starts(sv_skip(v, 8), SV("WEBP"))) {
		info.type = IMAGE_WEBP;
		err = webp_size(c, &info);
	} else if (image_avif_matches(c)) {
		info.type = IMAGE_AVIF;
		err = image_avif_size(c, &info.width, &info.height);
	} else {
		return ERR_UNSUPPORTED;
	}
	/* A GIF that ends before its first frame is broken, but harmless, and has a size. */
	if (err == ERR_INCOMPLETE && info.type == IMAGE_GIF && total <= len)
		err = ERR_OK;
	if (err != ERR_OK || info.width == 0 || info.height == 0)
		return ERR_INVALID;
	info.cut = info.cut && total > len;
	*out = info;
	return ERR_OK;
}

uint64_t image_pixels(const struct image_info *image)
{
	uint64_t pixels;

	if (__builtin_mul_overflow((uint64_t)image->width * image->height, image->frames, &pixels))
		return UINT64_MAX;
	return pixels;
}
