/* image_probe(): real files of every type, each cut off at every byte and with every early byte changed. */
#include "unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/image_probe.h"

#define FILE_MAX  4096
#define WIDTH     37u
#define HEIGHT    23u
#define BYTES(s)  (const uint8_t *)(s), sizeof(s) - 1
#define IMAGE(f)  TEST_DATA "/images/" f
#define UNTOUCHED 99u

static const struct {
	const char *path;
	enum image_type type;
} files[] = {
	{ IMAGE("alpha.avif"), IMAGE_AVIF },      { IMAGE("alpha.webp"), IMAGE_WEBP },
	{ IMAGE("baseline.jpg"), IMAGE_JPEG },    { IMAGE("exif.jpg"), IMAGE_JPEG },
	{ IMAGE("indexed.gif"), IMAGE_GIF },      { IMAGE("lossless.webp"), IMAGE_WEBP },
	{ IMAGE("lossy.webp"), IMAGE_WEBP },      { IMAGE("plain.avif"), IMAGE_AVIF },
	{ IMAGE("progressive.jpg"), IMAGE_JPEG }, { IMAGE("rgb.png"), IMAGE_PNG },
};

#define FILES (sizeof(files) / sizeof(files[0]))

static size_t load(const char *path, uint8_t *buf)
{
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	size_t n = fread(buf, 1, FILE_MAX, f);
	assert_true(n > 0 && n < FILE_MAX);
	fclose(f);
	return n;
}

/* Probes a copy in a block of exactly that size, so that a sanitizer sees a read past it. */
static enum err probe(const uint8_t *data, size_t len, struct image_info *out)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	*out = (struct image_info){ .width = UNTOUCHED };
	enum err err = image_probe(copy, len, len, out);
	free(copy);
	return err;
}

static void assert_fails(enum err want, const uint8_t *data, size_t len)
{
	struct image_info info;

	assert_int_equal(probe(data, len, &info), want);
	assert_int_equal(info.width, UNTOUCHED);
}

static void assert_size(uint32_t width, uint32_t height, const uint8_t *data, size_t len)
{
	struct image_info info;

	assert_int_equal(probe(data, len, &info), ERR_OK);
	assert_int_equal(info.width, width);
	assert_int_equal(info.height, height);
}

static void test_files(void **state)
{
	uint8_t data[FILE_MAX];
	struct image_info info;
	(void)state;

	for (size_t i = 0; i < FILES; i++) {
		size_t len = load(files[i].path, data);
		assert_int_equal(probe(data, len, &info), ERR_OK);
		assert_int_equal(info.type, files[i].type);
		assert_int_equal(info.width, WIDTH);
		assert_int_equal(info.height, HEIGHT);
	}
}

/* Once the size can be read it is right, and more bytes never take it away. */
static void test_every_truncation(void **state)
{
	uint8_t data[FILE_MAX];
	struct image_info info;
	(void)state;

	for (size_t i = 0; i < FILES; i++) {
		size_t len = load(files[i].path, data);
		bool was_ok = false;
		for (size_t n = 0; n <= len; n++) {
			enum err err = probe(data, n, &info);
			assert_true(err == ERR_OK || err == ERR_INVALID || err == ERR_UNSUPPORTED);
			assert_true(err == ERR_OK || !was_ok);
			if (err != ERR_OK)
				continue;
			assert_true(n >= 13);
			assert_int_equal(info.width, WIDTH);
			assert_int_equal(info.height, HEIGHT);
			was_ok = true;
		}
		assert_true(was_ok);
	}
}

static void test_every_changed_byte(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
	uint8_t data[FILE_MAX];
	struct image_info info;
	(void)state;

	for (size_t i = 0; i < FILES; i++) {
		size_t len = load(files[i].path, data);
		for (size_t at = 0; at < len; at++) {
			uint8_t was = data[at];
			for (size_t v = 0; v < sizeof(values); v++) {
				data[at] = values[v];
				if (probe(data, len, &info) == ERR_OK)
					assert_true(info.width > 0 && info.height > 0);
			}
			data[at] = was;
		}
	}
}

static void test_other_types(void **state)
{
	(void)state;
	assert_fails(ERR_UNSUPPORTED, BYTES(""));
	assert_fails(ERR_UNSUPPORTED, BYTES("<svg width=\"1\" height=\"1\"/>"));
	assert_fails(ERR_UNSUPPORTED, BYTES("%PDF-1.4"));
	assert_fails(ERR_UNSUPPORTED, BYTES("II*\0\x08\0\0\0"));
	assert_fails(ERR_UNSUPPORTED, BYTES("RIFF\x24\0\0\0WAVEfmt "));
	assert_fails(ERR_UNSUPPORTED, BYTES("\0\0\0\x18"
	                                    "ftypheic\0\0\0\0heicmif1"));
}

static void test_jpeg(void **state)
{
	(void)state;
	/* fill bytes and a bare marker before the frame; SOF2 */
	assert_size(2, 1, BYTES("\xff\xd8\xff\xff\xff\x01\xff\xc2\0\x0b\x08\0\x01\0\x02\x01\x01\x11\0"));
	/* a Huffman table (0xc4) is no frame */
	assert_size(4, 3, BYTES("\xff\xd8\xff\xc4\0\x04\0\0\xff\xc0\0\x0b\x08\0\x03\0\x04\x01\x01\x11\0"));
	/* height 0 means "told later", which this does not read */
	assert_fails(ERR_INVALID, BYTES("\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\x04\x01\x01\x11\0"));
	/* a segment shorter than its own length field */
	assert_fails(ERR_INVALID, BYTES("\xff\xd8\xff\xe0\0\x01\xff\xc0\0\x0b\x08\0\x03\0\x04\x01\x01\x11\0"));
	/* a scan before any frame */
	assert_fails(ERR_INVALID, BYTES("\xff\xd8\xff\xda\0\x02\xff\xc0\0\x0b\x08\0\x03\0\x04\x01\x01\x11\0"));
	/* a frame too short for its fields */
	assert_fails(ERR_INVALID, BYTES("\xff\xd8\xff\xc0\0\x06\x08\0\x03\0\x04"));
}

static void test_png_gif_webp(void **state)
{
	(void)state;
	assert_fails(ERR_INVALID, BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\x01\x08\x02\0\0\0abcd"));
	assert_fails(ERR_INVALID, BYTES("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x80\0\0\0\0\0\0\x01\x08\x02\0\0\0abcd"));
	assert_fails(ERR_INVALID, BYTES("\x89PNG\r\n\x1a\n\0\0\0\rtEXt\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0abcd"));
	assert_size(258, 1, BYTES("GIF87a\x02\x01\x01\0\0\0\0"));
	assert_fails(ERR_INVALID, BYTES("GIF89a\0\0\x01\0\0\0\0"));
	/* 24-bit sizes */
	assert_size(0x1000000, 2, BYTES("RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\x01\0\0"));
	/* no key frame; a wrong start code; an unknown first chunk */
	assert_fails(ERR_INVALID, BYTES("RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\x01\0\0\x9d\x01\x2a\x01\0\x01\0"));
	assert_fails(ERR_INVALID, BYTES("RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2b\x01\0\x01\0"));
	assert_fails(ERR_INVALID, BYTES("RIFF\0\0\0\0WEBPEXIF\x0a\0\0\0\0\0\0\x9d\x01\x2a\x01\0\x01\0"));
}

#define FTYP         \
	"\0\0\0\x14" \
	"ftypavif\0\0\0\0mif1"
#define PITM         \
	"\0\0\0\x0e" \
	"pitm\0\0\0\0\0\x07"
#define IPCO                               \
	"\0\0\0\x30"                       \
	"ipco"                             \
	"\0\0\0\x14"                       \
	"ispe\0\0\0\0\0\0\0\x09\0\0\0\x09" \
	"\0\0\0\x14"                       \
	"ispe\0\0\0\0\0\0\x02\x80\0\0\x01\xe0"
/* item 1 has property 1; item 7 (the primary) has property 2, marked essential */
#define IPMA                     \
	"\0\0\0\x18"             \
	"ipma\0\0\0\0\0\0\0\x02" \
	"\0\x01\x01\x01"         \
	"\0\x07\x01\x82"

static void test_avif(void **state)
{
	(void)state;
	/* the size of the primary item, not of the first property, as in images made of tiles */
	assert_size(640, 480,
	            BYTES(FTYP "\0\0\0\x6a"
	                       "meta\0\0\0\0" PITM "\0\0\0\x50"
	                       "iprp" IPCO IPMA));
	/* a brand in the list alone */
	assert_size(640, 480,
	            BYTES("\0\0\0\x14"
	                  "ftypmif1\0\0\0\0avif"
	                  "\0\0\0\x6a"
	                  "meta\0\0\0\0" PITM "\0\0\0\x50"
	                  "iprp" IPCO IPMA));
	/* a box before, and lengths of 0 (to the end) and 64 bits */
	assert_size(640, 480,
	            BYTES(FTYP "\0\0\0\x09"
	                       "free!"
	                       "\0\0\0\x01"
	                       "meta\0\0\0\0\0\0\0\x72"
	                       "\0\0\0\0" PITM "\0\0\0\0"
	                       "iprp" IPCO IPMA));
	/* no properties of the primary item */
	assert_fails(ERR_INVALID, BYTES(FTYP "\0\0\0\x52"
	                                     "meta\0\0\0\0" PITM "\0\0\0\x38"
	                                     "iprp" IPCO));
	/* a child longer than its parent; a box shorter than its header */
	assert_fails(ERR_INVALID, BYTES(FTYP "\0\0\0\x6a"
	                                     "meta\0\0\0\0" PITM "\0\0\0\x51"
	                                     "iprp" IPCO IPMA));
	assert_fails(ERR_INVALID, BYTES(FTYP "\0\0\0\x07"
	                                     "meta\0\0\0\0" PITM "\0\0\0\x50"
	                                     "iprp" IPCO IPMA));
	/* a 64-bit length that would wrap */
	assert_fails(ERR_INVALID, BYTES(FTYP "\0\0\0\x01"
	                                     "meta\xff\xff\xff\xff\xff\xff\xff\xff"
	                                     "\0\0\0\0" PITM));
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(image_content_type(IMAGE_JPEG), "image/jpeg");
	assert_string_equal(image_extension(IMAGE_JPEG), "jpg");
	for (int i = 0; i < IMAGE_TYPE_COUNT; i++) {
		assert_memory_equal(image_content_type((enum image_type)i), "image/", 6);
		assert_true(strlen(image_extension((enum image_type)i)) >= 3);
	}
}

/* A PNG's chunk, with a checksum that nobody looks at. */
#define ACTL                     \
	"\0\0\0\x08"             \
	"acTL\0\0\0\x07\0\0\0\0" \
	"crc!"
#define PNG                                      \
	"\x89PNG\r\n\x1a\n\0\0\0\x0d"            \
	"IHDR\0\0\x40\0\0\0\x20\0\x08\x02\0\0\0" \
	"crc!"
#define IDAT         \
	"\0\0\0\x01" \
	"IDAT"       \
	"xcrc!"
#define WEBP(flags)  "RIFF....WEBPVP8X\x0a\0\0\0" flags "\0\0\0\xff\x3f\0\xff\x3f\0"
#define ANMF         "ANMF\x03\0\0\0abc\0"
#define GIF(w, h)    "GIF89a" w h "\x80\0\0rgbrgb"
#define GIF_EXT      "\x21\xff\x02xx\0"
#define GIF_AT(size) "\x2c\x01\0\x02\0" size "\x80rgbrgb\x02\x01x\0"

static void test_frames(void **state)
{
	static const struct {
		const uint8_t *data;
		size_t len;
		uint32_t frames, width, height;
	} rows[] = {
		{ BYTES(PNG IDAT), 1, 0x4000, 0x2000 },
		{ BYTES(PNG "\0\0\0\0tEXtcrc!" ACTL IDAT), 7, 0x4000, 0x2000 },
		/* behind the picture it is none */
		{ BYTES(PNG IDAT ACTL), 1, 0x4000, 0x2000 },
		{ BYTES(PNG "\xff\xff\xff\xfftEXt" ACTL), 1, 0x4000, 0x2000 },
		{ BYTES(WEBP("\x02") ANMF "EXIF\0\0\0\0" ANMF ANMF), 3, 0x4000, 0x4000 },
		{ BYTES(WEBP("\x10") ANMF ANMF), 1, 0x4000, 0x4000 },
		{ BYTES(WEBP("\x02") "ANIM\xff\xff\xff\xff" ANMF), 1, 0x4000, 0x4000 },
		{ BYTES(GIF("\x0a\0", "\x0a\0") GIF_EXT GIF_AT("\x05\0\x05\0") ";"), 1, 10, 10 },
		{ BYTES(GIF("\x0a\0", "\x0a\0") GIF_AT("\0\x10\x05\0") GIF_EXT GIF_AT("\0\xff\0\xff") ";"), 2, 0x1001,
		  10 },
		{ BYTES(GIF("\x0a\0", "\x0a\0") GIF_AT("\x05\0\0\x10") "junk"), 1, 10, 0x1002 },
	};
	struct image_info info;
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(probe(rows[i].data, rows[i].len, &info), ERR_OK);
		assert_int_equal(info.frames, rows[i].frames);
		assert_int_equal(info.width, rows[i].width);
		assert_int_equal(info.height, rows[i].height);
		assert_false(info.cut);
	}
	/* of a larger file: what is counted may not be all */
	assert_int_equal(image_probe(BYTES(WEBP("\x02") ANMF "ANMF\xff\0\0\0"), 1000, &info), ERR_OK);
	assert_int_equal(info.frames, 2);
	assert_true(info.cut);
}

static void test_pixels(void **state)
{
	struct image_info info = { .width = UINT32_MAX, .height = UINT32_MAX, .frames = 1 };
	(void)state;

	assert_true(image_pixels(&info) == (uint64_t)UINT32_MAX * UINT32_MAX);
	info.frames = 2;
	assert_true(image_pixels(&info) == UINT64_MAX);
	info = (struct image_info){ .width = 2, .height = 3, .frames = 5 };
	assert_int_equal(image_pixels(&info), 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_pixels),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_every_changed_byte),
		cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_jpeg),
		cmocka_unit_test(test_png_gif_webp),
		cmocka_unit_test(test_avif),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
