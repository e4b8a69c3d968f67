#include "store/policy_ids.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/cursor.h"

/* What a full list must have free after it was made compact, so that this does not come with every further id. */
#define KEEP_FREE (POLICY_IDS_MAX / 4)

static int compare(const void *a, const void *b)
{
	const uint64_t *left = a;
	const uint64_t *right = b;
	return (*left > *right) - (*left < *right);
}

void policy_ids_compact(struct policy_ids *list)
{
	size_t kept = 0;

	qsort(list->ids, list->count, sizeof(list->ids[0]), compare);
	for (size_t i = 0; i < list->count; i++)
		if (kept == 0 || list->ids[kept - 1] != list->ids[i])
			list->ids[kept++] = list->ids[i];
	list->count = kept;
}

enum err policy_ids_add(struct policy_ids *list, struct sv text)
{
	struct sv item;
	uint64_t id;

	while (sv_split(&text, ',', &item)) {
		if (sv_to_u64(item, &id) != ERR_OK)
			return ERR_INVALID;
		if (list->count == POLICY_IDS_MAX) {
			policy_ids_compact(list);
			if (list->count > POLICY_IDS_MAX - KEEP_FREE) {
				list->count = 0;
				return ERR_SPACE;
			}
		}
		list->ids[list->count++] = id;
	}
	return ERR_OK;
}

const char *policy_ids_format(const uint64_t *ids, size_t n, char *buf)
{
	struct wcur c;

	wcur_init(&c, buf, POLICY_IDS_TEXT(n));
	wcur_u8(&c, '{');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			wcur_u8(&c, ',');
		wcur_u64(&c, ids[i]);
	}
	wcur_u8(&c, '}');
	wcur_u8(&c, '\0');
	CHECK(c.err == ERR_OK);
	return buf;
}
