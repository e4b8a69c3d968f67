#include "usage/dedup.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/hash.h"

/* What a slot of the table holds when it is free; else the index of an entry of the ring. */
#define SLOT_FREE UINT32_MAX

struct entry {
	uint64_t low;
	uint64_t high;
};

/*
 * A ring of the ids by age, and a table of twice its size by hash (open addressing, linear probing), so that it is
 * never more than half full.
 */
struct usage_dedup {
	uint64_t seed[2];
	size_t capacity;
	size_t slot_mask;
	size_t used; /* entries of the ring that hold an id */
	size_t next; /* where the next id goes; the oldest, when all are used */
	struct entry *ring;
	uint32_t *slots;
};

struct usage_dedup *usage_dedup_new(size_t capacity)
{
	CHECK(capacity > 0 && (capacity & (capacity - 1)) == 0 && capacity < SLOT_FREE / 2);
	struct usage_dedup *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->capacity = capacity;
	d->slot_mask = capacity * 2 - 1;
	d->ring = calloc(capacity, sizeof(*d->ring));
	d->slots = malloc(capacity * 2 * sizeof(*d->slots));
	if (d->ring == NULL || d->slots == NULL) {
		usage_dedup_free(d);
		return NULL;
	}
	for (size_t i = 0; i <= d->slot_mask; i++)
		d->slots[i] = SLOT_FREE;
	CHECK(getrandom(d->seed, sizeof(d->seed), 0) == (ssize_t)sizeof(d->seed));
	return d;
}

void usage_dedup_free(struct usage_dedup *d)
{
	if (d == NULL)
		return;
	free(d->ring);
	free(d->slots);
	free(d);
}

static struct entry entry_of(const struct usage_dedup *d, struct sv id)
{
	return (struct entry){ .low = hash_bytes(id.p, id.n, d->seed[0]), .high = hash_bytes(id.p, id.n, d->seed[1]) };
}

/* The slot that names the entry, or the free one where it would go. */
static size_t slot_of(const struct usage_dedup *d, struct entry e)
{
	size_t slot = e.low & d->slot_mask;

	for (;; slot = (slot + 1) & d->slot_mask) {
		uint32_t index = d->slots[slot];

		if (index == SLOT_FREE || (d->ring[index].low == e.low && d->ring[index].high == e.high))
			return slot;
	}
}

/* Frees a slot, and moves those behind it up, so that no search ends at the gap too early. */
static void slot_free(struct usage_dedup *d, size_t gap)
{
	size_t slot = gap;

	for (;;) {
		slot = (slot + 1) & d->slot_mask;
		uint32_t index = d->slots[slot];
		if (index == SLOT_FREE)
			break;
		size_t home = d->ring[index].low & d->slot_mask;
		/* It may move to the gap unless its home lies behind the gap. */
		if (((slot - home) & d->slot_mask) >= ((slot - gap) & d->slot_mask)) {
			d->slots[gap] = index;
			gap = slot;
		}
	}
	d->slots[gap] = SLOT_FREE;
}

bool usage_dedup_seen(const struct usage_dedup *d, struct sv id)
{
	return d->slots[slot_of(d, entry_of(d, id))] != SLOT_FREE;
}

bool usage_dedup_add(struct usage_dedup *d, struct sv id)
{
	struct entry e = entry_of(d, id);
	size_t slot = slot_of(d, e);

	if (d->slots[slot] != SLOT_FREE)
		return false;
	if (d->used == d->capacity) {
		slot_free(d, slot_of(d, d->ring[d->next]));
		slot = slot_of(d, e);
	} else {
		d->used++;
	}
	d->ring[d->next] = e;
	d->slots[slot] = (uint32_t)d->next;
	d->next = (d->next + 1) & (d->capacity - 1);
	return true;
}
