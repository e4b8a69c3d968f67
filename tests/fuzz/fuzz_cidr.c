/* ROOM: base */
/*
 * Address blocks: the input as a comma list of blocks makes a set that holds what the list holds, and the input as the
 * bytes of a set is read within its bounds. The last 16 bytes are the address that is asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cidr.h"

#define BLOCKS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool holds(const struct cidr *c, const uint8_t *addr)
{
	static const uint8_t mapped[12] = { [10] = 0xff, 0xff };

	if (c->length < 96 && memcmp(addr, mapped, sizeof(mapped)) == 0)
		return false;
	for (unsigned i = 0; i < c->length; i++)
		if (((c->addr[i / 8] ^ addr[i / 8]) & 0x80 >> i % 8) != 0)
			return false;
	return true;
}

static void build_and_ask(struct cidr *blocks, size_t n, const uint8_t *addr)
{
	uint8_t *room = malloc(cidr_set_size(n));
	size_t used = 0;
	bool want = false;

	CHECK(room != NULL);
	for (size_t i = 0; i < n; i++)
		want |= holds(&blocks[i], addr);
	cidr_set_build(blocks, n, room, &used);
	CHECK(used <= cidr_set_size(n));
	/* One block of exactly that size, so that a sanitizer sees a read past it. */
	uint8_t *set = malloc(used);
	CHECK(set != NULL);
	memcpy(set, room, used);
	CHECK(cidr_set_contains(set, used, addr) == want);
	for (size_t i = 0; i < n; i++)
		if (blocks[i].length >= 96 ||
		    !holds(&(struct cidr){ .addr = { [10] = 0xff, 0xff }, .length = 96 }, blocks[i].addr))
			CHECK(cidr_set_contains(set, used, blocks[i].addr));
	free(set);
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cidr blocks[BLOCKS_MAX];
	uint8_t addr[CIDR_ADDR_SIZE] = { 0 };
	struct sv list = sv_from(data, size);
	struct sv text;
	size_t n = 0;

	memcpy(addr, data + (size > sizeof(addr) ? size - sizeof(addr) : 0), size > sizeof(addr) ? sizeof(addr) : size);
	(void)cidr_set_contains(data, size, addr);
	while (n < BLOCKS_MAX && sv_split(&list, ',', &text))
		if (cidr_parse(text, &blocks[n]) == ERR_OK)
			n++;
	build_and_ask(blocks, n, addr);
	return 0;
}
