/* Ids of rows that changed, as they gather from notifications until they are read. A fixed room: no burst needs more.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

#define POLICY_IDS_MAX 32768

struct policy_ids {
	size_t count;
	uint64_t ids[POLICY_IDS_MAX];
};

/*
 * Adds those of "ID,ID,…". ERR_INVALID when it is no such list; ERR_SPACE when more than three quarters of the room
 * hold different ids. Some of them may be in the list then.
 */
MUST_CHECK enum err policy_ids_add(struct policy_ids *list, struct sv text);

/* Sorts the ids, and keeps each of them once. */
void policy_ids_compact(struct policy_ids *list);

/* The text of a PostgreSQL array of n ids, "{ID,ID,…}"; buf has POLICY_IDS_TEXT(n) bytes. Returns buf. */
#define POLICY_IDS_TEXT(n) ((n)*21 + 3)
const char *policy_ids_format(const uint64_t *ids, size_t n, char *buf);
