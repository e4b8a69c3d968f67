/* ROOM: api */
/*
 * Any bytes as an uploaded file, whole and cut off at a byte that the input chooses: an answer has a type and a size,
 * and nothing past the end is read.
 */
#include <stdlib.h>
#include <string.h>

#include "api/image_probe.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err probe_copy(const uint8_t *data, size_t size, struct image_info *out)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);

	CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	enum err err = image_probe(copy, size, out);
	free(copy);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_info whole = { 0 };
	struct image_info part = { 0 };

	enum err err = image_probe(data, size, &whole);
	CHECK(err == ERR_OK || err == ERR_INVALID || err == ERR_UNSUPPORTED);
	if (err == ERR_OK) {
		CHECK(whole.width > 0 && whole.height > 0);
		CHECK(image_content_type(whole.type) != NULL);
	}
	size_t cut = size > 0 ? (size_t)data[size - 1] * size / 256 : 0;
	err = probe_copy(data, cut, &part);
	CHECK(err == ERR_OK || err == ERR_INVALID || err == ERR_UNSUPPORTED);
	return 0;
}
