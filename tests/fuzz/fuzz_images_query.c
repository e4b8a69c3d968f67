/* ROOM: api */
/*
 * A limit and a cursor (the input's first line and the rest) as a client may send them, and the cursor as an id and as
 * a file's name: what is taken is exactly an id, and a name is put together as it was taken apart.
 */
#include <stdlib.h>
#include <string.h>

#include "api/images.h"
#include "api/rest_images.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_id(struct sv id)
{
	CHECK(id.n == IMAGE_ID_CHARS);
	for (size_t i = 0; i < id.n; i++)
		CHECK(strchr("0123456789abcdef", id.p[i]) != NULL && id.p[i] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct images_query query;
	const char *detail = NULL;
	enum image_type type;
	char name[IMAGE_NAME_SIZE];
	struct sv limit, rest = sv_from(data, size);

	if (!sv_split(&rest, '\n', &limit))
		return 0;
	if (images_query_parse(limit, rest, &query, &detail) == ERR_OK) {
		CHECK(query.limit >= 1 && query.limit <= IMAGES_LIST_MAX);
		if (query.after.n > 0)
			check_id(query.after);
	} else {
		CHECK(detail != NULL);
	}
	if (image_id_ok(rest))
		check_id(rest);
	if (image_name_ok(rest, &type)) {
		check_id(sv_from(rest.p, IMAGE_ID_CHARS));
		image_name(rest.p, type, name);
		CHECK(sv_eq(sv_str(name), rest));
	}
	return 0;
}
