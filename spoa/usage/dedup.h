/*
 * The last N request ids, to tell a record that came over the other transport before from a new one. Memory is fixed:
 * the oldest id makes room for the newest. An id is kept as 128 bits of a
 * keyed hash (base/hash.h with two seeds of this process), so that two ids are never taken for one in practice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/sv.h"

struct usage_dedup;

/* `capacity` ids, a power of two. NULL when there is no memory. */
struct usage_dedup *usage_dedup_new(size_t capacity);
void usage_dedup_free(struct usage_dedup *d);

/* Whether the id is among the last ones. */
bool usage_dedup_seen(const struct usage_dedup *d, struct sv id);
/* Adds it; false when it is there already. */
bool usage_dedup_add(struct usage_dedup *d, struct sv id);
