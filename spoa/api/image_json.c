#include "api/image_json.h"

#include <stdio.h>

#include "api/image_id.h"

json_t *image_json(const char *id, enum image_type type, uint64_t bytes)
{
	char name[IMAGE_NAME_SIZE];
	char source[IMAGE_NAME_SIZE + 16];
	char url[IMAGE_NAME_SIZE + 40];

	image_name(id, type, name);
	snprintf(source, sizeof(source), "local:///%s", name);
	snprintf(url, sizeof(url), "/img/unsafe/plain/%s", source);
	return json_pack("{s:s, s:s, s:s, s:I, s:s}", "id", id, "source", source, "url", url, "bytes",
	                 (json_int_t)bytes, "content_type", image_content_type(type));
}

bool image_json_size(json_t *doc, uint32_t width, uint32_t height)
{
	if (doc == NULL)
		return false;
	json_t *w = width > 0 ? json_integer(width) : json_null();
	json_t *h = height > 0 ? json_integer(height) : json_null();
	/* Both are taken in any case; NULL is refused. */
	int bad = json_object_set_new(doc, "width", w);
	bad |= json_object_set_new(doc, "height", h);
	return bad == 0;
}

char *image_json_text(json_t *doc)
{
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;

	json_decref(doc);
	return text;
}
