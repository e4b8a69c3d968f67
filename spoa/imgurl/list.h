/* Lists of texts as they lie in a record: for each entry its length as uint16_t of this host, unaligned, then its
 * bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sv.h"

struct imgurl_list {
	const uint8_t *p;
	size_t n; /* bytes */
};

/* Takes the first entry off the front. False at the end, and at an entry that is cut. */
bool imgurl_list_next(struct imgurl_list *rest, struct sv *entry);

bool imgurl_list_has(struct imgurl_list list, struct sv text);
