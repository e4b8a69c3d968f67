/* image_file_probe(): how far it looks, and what it does with what lies behind that. */
#include "api/folder.h"

#include "api/image_file.h"

#define KB 1024u

static FILE *file;
static uint64_t size;
static uint64_t looked_at; /* by the last probe */

static int setup(void **state)
{
	(void)state;
	file = tmpfile();
	assert_non_null(file);
	size = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fclose(file);
	return 0;
}

static void add(const void *data, size_t n)
{
	assert_int_equal(fwrite(data, 1, n, file), n);
	size += n;
}

static enum err probe(unsigned flags, struct image_info *out)
{
	const char *why;

	assert_int_equal(fflush(file), 0);
	looked_at = 0;
	return image_file_probe(fileno(file), size, NULL, flags, out, &why, &looked_at);
}

/* JPEG: so many segments of 64 KB before the frame. */
static void jpeg(unsigned segments)
{
	static const uint8_t frame[] = { 0xff, 0xc0, 0, 11, 8, 0, 20, 0, 30, 1, 1, 0x11, 0, 0xff, 0xda };
	static uint8_t segment[65535 + 2] = { 0xff, 0xe2, 0xff, 0xff };

	add("\xff\xd8", 2);
	for (unsigned i = 0; i < segments; i++)
		add(segment, sizeof(segment));
	add(frame, sizeof(frame));
}

static void test_far_header(void **state)
{
	struct image_info info;
	(void)state;

	/* within the first window, behind it */
	jpeg(0);
	assert_int_equal(probe(0, &info), ERR_OK);
	assert_int_equal(looked_at, size);
	rewind(file);
	size = 0;
	jpeg(60);
	assert_int_equal(probe(0, &info), ERR_OK);
	assert_int_equal(looked_at, (uint64_t)(4 + 64) * KB + size);
	assert_int_equal(info.width, 30);
	assert_int_equal(info.height, 20);
}

static void test_too_far_header(void **state)
{
	struct image_info info;
	(void)state;

	jpeg(70);
	assert_int_equal(probe(0, &info), ERR_INVALID);
}

static void gif_head(void)
{
	add("GIF89a\x0a\0\x0a\0\0\0\0", 13);
}

static void gif_comment(unsigned blocks)
{
	static uint8_t block[256] = { 255 };

	add("\x21\xfe", 2);
	for (unsigned i = 0; i < blocks; i++)
		add(block, sizeof(block));
	add("", 1);
}

static void gif_frame(uint16_t side)
{
	uint8_t frame[] = { 0x2c, 0, 0, 0, 0, (uint8_t)side, (uint8_t)(side >> 8), (uint8_t)side, (uint8_t)(side >> 8),
		            0,    2, 0 };

	add(frame, sizeof(frame));
}

static void test_frames_behind_the_first_window(void **state)
{
	struct image_info info;
	(void)state;

	gif_head();
	for (int i = 0; i < 10; i++) {
		gif_frame(10);
		gif_comment(100);
	}
	add(";", 1);
	assert_true(size > 128 * KB);
	assert_int_equal(probe(IMAGE_FILE_COUNT, &info), ERR_OK);
	assert_int_equal(info.frames, 10);
	assert_false(info.cut);
	assert_int_equal(probe(0, &info), ERR_OK);
	assert_int_equal(info.width, 10);
}

/* A first frame that hides, and one that is larger than the screen. */
static void test_hidden_frame(void **state)
{
	struct image_info info;
	(void)state;

	gif_head();
	gif_comment(1000);
	gif_frame(65535);
	assert_int_equal(probe(IMAGE_FILE_COUNT, &info), ERR_OK);
	assert_int_equal(info.width, 65535);
	assert_int_equal(info.height, 65535);
	rewind(file);
	size = 0;
	gif_head();
	gif_comment(20000);
	gif_frame(65535);
	assert_true(size > IMAGE_FILE_WINDOW);
	assert_int_equal(probe(IMAGE_FILE_COUNT, &info), ERR_INVALID);
}

static void test_svg(void **state)
{
	static char blank[64 * KB];
	struct image_info info = { .type = IMAGE_SVG };
	(void)state;

	memset(blank, ' ', sizeof(blank));
	add("<svg width='5' height='6'>", 26);
	for (int i = 0; i < 10; i++)
		add(blank, sizeof(blank));
	add("</svg>", 6);
	assert_int_equal(probe(IMAGE_FILE_COUNT, &info), ERR_UNSUPPORTED);
	assert_int_equal(probe(IMAGE_FILE_KNOWN, &info), ERR_OK);
	assert_int_equal(probe(IMAGE_FILE_COUNT | IMAGE_FILE_SVG, &info), ERR_OK);
	assert_int_equal(info.height, 6);
	/* something behind the first window is seen */
	add("<script/>", 9);
	assert_int_equal(probe(IMAGE_FILE_COUNT | IMAGE_FILE_SVG, &info), ERR_INVALID);
	for (int i = 0; i < 64; i++)
		add(blank, sizeof(blank));
	assert_int_equal(probe(IMAGE_FILE_COUNT | IMAGE_FILE_SVG, &info), ERR_RANGE);
}

static void test_odd_files(void **state)
{
	struct image_info info;
	(void)state;

	assert_int_equal(probe(0, &info), ERR_UNSUPPORTED);
	/* shorter than it was said to be */
	add("GIF89a", 6);
	size = 100;
	assert_int_equal(probe(0, &info), ERR_IO);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_far_header),
		TEST(test_too_far_header),
		TEST(test_frames_behind_the_first_window),
		TEST(test_hidden_frame),
		TEST(test_svg),
		TEST(test_odd_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
