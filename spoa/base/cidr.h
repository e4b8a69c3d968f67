/*
 * Sets of address blocks (CIDR, RFC 4632 and RFC 4291) as compact bytes, for a look-up in place.
 *
 * An address is 16 bytes: IPv6, or IPv4 mapped into it (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), so that a client
 * which comes over a v6 socket is the same one. The bytes of a set: number of v4 blocks (u32), of v6 blocks (u32), then
 * the v4 blocks (4 bytes of address, 1 of length) and the v6 blocks (16 and 1), each list ascending, disjoint, and
 * without blocks inside of others; numbers in host order. A v4 address never lies in a v6 block: ::/0 is all of v6
 * only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

#define CIDR_ADDR_SIZE 16

/* A block; length counts from the first of the 128 bits, so that a v4 /24 is 120. */
struct cidr {
	uint8_t addr[CIDR_ADDR_SIZE];
	uint8_t length;
};

/* From 4 or 16 bytes in network order (other sizes are ERR_INVALID). */
MUST_CHECK enum err cidr_addr(struct sv bytes, uint8_t out[CIDR_ADDR_SIZE]);

/*
 * From text: "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:10.0.0.0/104". ERR_INVALID for everything else, also
 * when bits behind the length are set.
 */
MUST_CHECK enum err cidr_parse(struct sv text, struct cidr *out);

/* Room that a set of n blocks takes at most. */
size_t cidr_set_size(size_t n);

/* Builds the set; `blocks` is sorted in place. *size is what was used of buf, which has cidr_set_size(n) bytes. */
void cidr_set_build(struct cidr *blocks, size_t n, void *buf, size_t *size);

/* Whether the address lies in a block of the set (`size` bytes, any alignment). Broken bytes hold nothing. */
bool cidr_set_contains(const void *set, size_t size, const uint8_t addr[CIDR_ADDR_SIZE]);
