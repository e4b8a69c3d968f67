#include "policy/addresses.h"

#include <string.h>

#include "base/hash.h"

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static uint64_t tag_of(const struct address_table *t, const uint8_t addr[CIDR_ADDR_SIZE])
{
	static const uint8_t v4[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	size_t size = memcmp(addr, v4, sizeof(v4)) == 0 ? CIDR_ADDR_SIZE : 8;
	uint64_t tag = hash_bytes(addr, size, load(&t->seed));

	return tag != 0 ? tag : 1;
}

static struct address_entry *find(struct address_entry *set, uint64_t tag)
{
	for (int i = 0; i < ADDRESSES_WAYS; i++)
		if (load(&set[i].tag) == tag)
			return &set[i];
	return NULL;
}

static struct address_entry *fullest(struct address_entry *set)
{
	struct address_entry *e = &set[0];

	for (int i = 1; i < ADDRESSES_WAYS; i++)
		if (load(&set[i].tat) < load(&e->tat))
			e = &set[i];
	return e;
}

/*
 * Two workers may meet here: then an address has a token more or less for once, or two entries of which the one that is
 * not found again ages. Neither is worth a lock.
 */
bool addresses_take(struct address_table *t, const uint8_t addr[CIDR_ADDR_SIZE], uint64_t now, struct gcra g,
                    uint64_t *wait_ns)
{
	uint64_t tag = tag_of(t, addr);
	struct address_entry *set = t->entries[tag % ADDRESSES_SETS];
	struct address_entry *e = find(set, tag);

	if (e == NULL) {
		e = fullest(set);
		atomic_store_explicit(&e->tat, gcra_try(0, now, g, 1), memory_order_relaxed);
		atomic_store_explicit(&e->tag, tag, memory_order_relaxed);
		return true;
	}
	if (gcra_take(&e->tat, now, g, 1))
		return true;
	*wait_ns = gcra_wait_ns(load(&e->tat), now, g, 1);
	return false;
}
