/* ROOM: api */
/*
 * Any bytes as an uploaded file, whole and cut off at a byte that the input chooses: an answer has a type and a size,
 * and nothing past the end is read. And as an SVG.
 */
#include <stdlib.h>
#include <string.h>

#include "api/image_probe.h"
#include "api/image_svg.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err probe_copy(const uint8_t *data, size_t size, struct image_info *out)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);

	CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	enum err err = image_probe(copy, size, UINT64_MAX, out);
	free(copy);
	return err;
}

/* What is refused has a reason; the head alone is read as the whole is. */
static void check_svg(const uint8_t *data, size_t size)
{
	struct image_info whole = { 0 };
	struct image_info head = { 0 };
	const char *why;

	enum err err = image_svg_check(data, size, false, &whole, &why);
	CHECK(err == ERR_OK || (err == ERR_INVALID && why != NULL));
	if (err != ERR_OK)
		return;
	CHECK(image_svg_matches(data, size));
	CHECK(image_svg_check(data, size, true, &head, &why) == ERR_OK);
	CHECK(head.width == whole.width && head.height == whole.height && whole.width > 0 && whole.height > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_info whole = { 0 };
	struct image_info part = { 0 };

	enum err err = image_probe(data, size, size, &whole);
	CHECK(err == ERR_OK || err == ERR_INVALID || err == ERR_UNSUPPORTED);
	if (err == ERR_OK) {
		CHECK(whole.width > 0 && whole.height > 0);
		CHECK(whole.frames > 0 && !whole.cut && image_pixels(&whole) > 0);
		CHECK(image_content_type(whole.type) != NULL);
	}
	check_svg(data, size);
	size_t cut = size > 0 ? (size_t)data[size - 1] * size / 256 : 0;
	err = probe_copy(data, cut, &part);
	CHECK(err == ERR_OK || err == ERR_INVALID || err == ERR_UNSUPPORTED);
	return 0;
}
