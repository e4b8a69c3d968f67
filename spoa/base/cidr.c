#include "base/cidr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define V4_SIZE   4
#define V4_PREFIX 12 /* bytes of ::ffff:0:0/96 */
#define ADDR_BITS 128
#define HEAD_SIZE (2 * sizeof(uint32_t))

static const uint8_t mapped[V4_PREFIX] = { [10] = 0xff, [11] = 0xff };

static bool is_v4(const uint8_t *addr)
{
	return memcmp(addr, mapped, sizeof(mapped)) == 0;
}

static bool block_is_v4(const struct cidr *c)
{
	return c->length >= V4_PREFIX * 8 && is_v4(c->addr);
}

/* The bits of byte i that a prefix of that length covers. */
static uint8_t mask_of(unsigned length, size_t i)
{
	if (length >= (i + 1) * 8)
		return 0xff;
	return length > i * 8 ? (uint8_t)(0xff00 >> (length - i * 8)) : 0;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned length)
{
	size_t whole = length / 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return length % 8 == 0 || ((a[whole] ^ b[whole]) & mask_of(length, whole)) == 0;
}

enum err cidr_addr(struct sv bytes, uint8_t out[CIDR_ADDR_SIZE])
{
	if (bytes.n == CIDR_ADDR_SIZE) {
		memcpy(out, bytes.p, CIDR_ADDR_SIZE);
	} else if (bytes.n == V4_SIZE) {
		memcpy(out, mapped, V4_PREFIX);
		memcpy(out + V4_PREFIX, bytes.p, V4_SIZE);
	} else
		return ERR_INVALID;
	return ERR_OK;
}

enum err cidr_parse(struct sv text, struct cidr *out)
{
	struct sv address;
	struct cidr block = { .length = 0 };
	uint64_t length;
	uint64_t most = V4_SIZE * 8;
	char buf[INET6_ADDRSTRLEN];

	/* inet_pton() would end at a NUL. */
	if (!sv_split(&text, '/', &address) || address.n == 0 || memchr(address.p, '\0', address.n) != NULL ||
	    sv_copy(address, buf, sizeof(buf)) != ERR_OK)
		return ERR_INVALID;
	if (inet_pton(AF_INET, buf, block.addr + V4_PREFIX) == 1) {
		memcpy(block.addr, mapped, V4_PREFIX);
	} else if (inet_pton(AF_INET6, buf, block.addr) == 1) {
		most = ADDR_BITS;
	} else
		return ERR_INVALID;
	if (text.p == NULL)
		length = most;
	else if (sv_to_u64(text, &length) != ERR_OK || length > most)
		return ERR_INVALID;
	block.length = (uint8_t)(ADDR_BITS - most + length);
	for (size_t i = 0; i < CIDR_ADDR_SIZE; i++)
		if ((block.addr[i] & ~mask_of(block.length, i)) != 0)
			return ERR_INVALID;
	*out = block;
	return ERR_OK;
}

size_t cidr_set_size(size_t n)
{
	CHECK(n <= (SIZE_MAX - HEAD_SIZE) / (CIDR_ADDR_SIZE + 1));
	return HEAD_SIZE + n * (CIDR_ADDR_SIZE + 1);
}

/* v4 first, then by address; a block stands before those that lie in it. */
static int compare(const void *a, const void *b)
{
	const struct cidr *left = a;
	const struct cidr *right = b;
	int families = (int)block_is_v4(right) - (int)block_is_v4(left);

	if (families != 0)
		return families;
	int addresses = memcmp(left->addr, right->addr, CIDR_ADDR_SIZE);
	return addresses != 0 ? addresses : (int)left->length - (int)right->length;
}

void cidr_set_build(struct cidr *blocks, size_t n, void *buf, size_t *size)
{
	uint8_t *p = (uint8_t *)buf + HEAD_SIZE;
	uint32_t counts[2] = { 0, 0 }; /* v4, v6 */
	const struct cidr *last = NULL;

	CHECK(n <= UINT32_MAX);
	if (n > 1)
		qsort(blocks, n, sizeof(*blocks), compare);
	for (size_t i = 0; i < n; i++) {
		const struct cidr *b = &blocks[i];
		bool v4 = block_is_v4(b);
		/* Blocks nest or are disjoint: what does not lie in the last one that was kept lies in none. */
		if (last != NULL && block_is_v4(last) == v4 && b->length >= last->length &&
		    same_prefix(b->addr, last->addr, last->length))
			continue;
		size_t skip = v4 ? V4_PREFIX : 0;
		memcpy(p, b->addr + skip, CIDR_ADDR_SIZE - skip);
		p += CIDR_ADDR_SIZE - skip;
		*p++ = (uint8_t)(b->length - skip * 8);
		counts[v4 ? 0 : 1]++;
		last = b;
	}
	memcpy(buf, counts, sizeof(counts));
	*size = (size_t)(p - (uint8_t *)buf);
}

/* Blocks of `width` bytes of address and one of length: only the last that does not start behind the address can hold
 * it.
 */
static bool list_contains(const uint8_t *list, size_t n, size_t width, const uint8_t *addr)
{
	size_t low = 0;
	size_t high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (memcmp(list + mid * (width + 1), addr, width) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0)
		return false;
	const uint8_t *block = list + (low - 1) * (width + 1);
	unsigned length = block[width];
	return length <= width * 8 && same_prefix(block, addr, length);
}

bool cidr_set_contains(const void *set, size_t size, const uint8_t addr[CIDR_ADDR_SIZE])
{
	uint32_t counts[2]; /* v4, v6 */

	if (size < HEAD_SIZE)
		return false;
	memcpy(counts, set, sizeof(counts));
	const uint8_t *v4 = (const uint8_t *)set + HEAD_SIZE;
	uint64_t v4_bytes = (uint64_t)counts[0] * (V4_SIZE + 1);
	uint64_t v6_bytes = (uint64_t)counts[1] * (CIDR_ADDR_SIZE + 1);
	if (v4_bytes + v6_bytes != size - HEAD_SIZE)
		return false;
	if (is_v4(addr))
		return list_contains(v4, counts[0], V4_SIZE, addr + V4_PREFIX);
	return list_contains(v4 + v4_bytes, counts[1], CIDR_ADDR_SIZE, addr);
}
