/*
 * Rate limit of client addresses: a table of fixed size in shared memory, without locks.
 *
 * Each entry is the bucket (gcra.h) of one address; IPv6 counts by its /64, which is what one customer gets. Sets of
 * four entries share a cache line; a new address takes the entry of its set whose bucket is the fullest. A bucket that
 * is full again says nothing, so that nothing is lost with it; and a flood of addresses that come once throws out each
 * other, and never those that are busy.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cidr.h"
#include "policy/gcra.h"

#define ADDRESSES_WAYS 4
#define ADDRESSES_SETS (UINT32_C(1) << 16)

struct address_entry {
	_Atomic uint64_t tag; /* hash of the address; 0: free */
	_Atomic uint64_t tat;
};

struct address_table {
	_Alignas(64) _Atomic uint64_t seed; /* random, so that nobody can choose addresses of one set; set before use */
	_Alignas(64) struct address_entry entries[ADDRESSES_SETS][ADDRESSES_WAYS];
};

/* Takes one request of the address; *wait_ns, when it does not pass, is the time until one would. */
bool addresses_take(struct address_table *t, const uint8_t addr[CIDR_ADDR_SIZE], uint64_t now, struct gcra g,
                    uint64_t *wait_ns);
