/* CIDR sets: texts by tables, and the look-up against a loop over all blocks that knows nothing of the form. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cidr.h"

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define BLOCKS_MAX 60
#define SETS       4000
#define PROBES     60

static struct cidr block(const char *text)
{
	struct cidr out;
	if (cidr_parse(sv_str(text), &out) != ERR_OK)
		fail_msg("%s is a block", text);
	return out;
}

static void address(const char *text, uint8_t out[CIDR_ADDR_SIZE])
{
	struct cidr c = block(text);
	assert_int_equal(c.length, 128);
	memcpy(out, c.addr, CIDR_ADDR_SIZE);
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		uint8_t addr[CIDR_ADDR_SIZE];
		int length;
	} good[] = {
		{ "10.0.0.0/8", { [10] = 0xff, 0xff, 10 }, 104 },
		{ "192.0.2.7", { [10] = 0xff, 0xff, 192, 0, 2, 7 }, 128 },
		{ "192.0.2.7/32", { [10] = 0xff, 0xff, 192, 0, 2, 7 }, 128 },
		{ "0.0.0.0/0", { [10] = 0xff, 0xff }, 96 },
		{ "255.255.255.254/31", { [10] = 0xff, 0xff, 255, 255, 255, 254 }, 127 },
		{ "128.0.0.0/1", { [10] = 0xff, 0xff, 128 }, 97 },
		{ "::/0", { 0 }, 0 },
		{ "::", { 0 }, 128 },
		{ "2001:db8::/32", { 0x20, 0x01, 0x0d, 0xb8 }, 32 },
		{ "2001:DB8::1", { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 }, 128 },
		{ "8000::/1", { 0x80 }, 1 },
		{ "::ffff:10.0.0.0/104", { [10] = 0xff, 0xff, 10 }, 104 },
		{ "::ffff:0:0/96", { [10] = 0xff, 0xff }, 96 },
		{ "::fffe:0:0/95", { [10] = 0xff, 0xfe }, 95 },
		{ "1111:2222:3333:4444:5555:6666:123.123.123.123/128",
		  { 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x66, 0x66, 123, 123, 123, 123 },
		  128 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct cidr c = block(good[i].text);
		if (c.length != good[i].length || memcmp(c.addr, good[i].addr, CIDR_ADDR_SIZE) != 0)
			fail_msg("%s was read as another block, of length %d", good[i].text, c.length);
	}
}

static void test_parse_refuses(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"/8",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/+8",
		"10.0.0.0/08",
		"10.0.0.0/ 8",
		"10.0.0.0/8/8",
		"10.0.0.0/8 ",
		" 10.0.0.0/8",
		"10.0.0.0/18446744073709551624",
		"10.0.0/8",
		"10/8",
		"010.0.0.0/8",
		"256.0.0.0/8",
		"10.0.0.1/8",
		"10.128.0.0/8",
		"0.0.0.1/0",
		"192.0.2.1/31",
		"2001:db8::1/32",
		"2001:db8::/128/",
		"::1/0",
		"::/129",
		"::ffff:10.0.0.0/102",
		"::ffff:10.0.0.1/104",
		"::ffff:0:0/95",
		"fe80::1%eth0",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		":::",
		"10.0.0.0/0x8",
		"localhost",
		"*",
		"1111:2222:3333:4444:5555:6666:123.123.123.1234",
	};
	struct cidr out;
	struct cidr before;

	(void)state;
	memset(&before, 0xa5, sizeof(before));
	for (size_t i = 0; i < COUNT(bad); i++) {
		out = before;
		if (cidr_parse(sv_str(bad[i]), &out) != ERR_INVALID || memcmp(&out, &before, sizeof(out)) != 0)
			fail_msg("'%s' was taken for a block", bad[i]);
	}
	assert_int_equal(cidr_parse(sv_from(NULL, 0), &out), ERR_INVALID);
	assert_int_equal(cidr_parse(sv_from("10.0.0.0\0/8", 11), &out), ERR_INVALID);
	assert_int_equal(cidr_parse(sv_from("10.0.0.0\0", 9), &out), ERR_INVALID);
	assert_int_equal(cidr_parse(sv_from("10.0.0.0/8\0", 11), &out), ERR_INVALID);
}

static void test_addr(void **state)
{
	static const uint8_t bytes[17] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 };
	static const uint8_t v4[CIDR_ADDR_SIZE] = { [10] = 0xff, 0xff, 1, 2, 3, 4 };
	uint8_t out[CIDR_ADDR_SIZE];

	(void)state;
	assert_int_equal(cidr_addr(sv_from(bytes, 4), out), ERR_OK);
	assert_memory_equal(out, v4, sizeof(v4));
	assert_int_equal(cidr_addr(sv_from(bytes, 16), out), ERR_OK);
	assert_memory_equal(out, bytes, sizeof(out));
	for (size_t n = 0; n <= sizeof(bytes); n++)
		if (n != 4 && n != 16)
			assert_int_equal(cidr_addr(sv_from(bytes, n), out), ERR_INVALID);
}

/* ---- sets ---- */

struct set {
	uint8_t *bytes; /* exactly so many, so that a sanitizer sees a read past them */
	size_t size;
};

static struct set build(struct cidr *blocks, size_t n)
{
	struct set set;
	uint8_t *room = malloc(cidr_set_size(n));

	assert_non_null(room);
	cidr_set_build(blocks, n, room, &set.size);
	assert_true(set.size <= cidr_set_size(n));
	set.bytes = malloc(set.size);
	assert_non_null(set.bytes);
	memcpy(set.bytes, room, set.size);
	free(room);
	return set;
}

static void test_contains(void **state)
{
	static const struct {
		const char *blocks[6];
		const char *in[6];
		const char *out[6];
	} sets[] = {
		{ { NULL }, { NULL }, { "10.0.0.1", "::", "::1", "0.0.0.0" } },
		{ { "10.0.0.0/8", "192.0.2.7" },
		  { "10.0.0.0", "10.255.255.255", "192.0.2.7", "::ffff:10.1.2.3" },
		  { "9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "::10.0.0.1", "2001:db8::1" } },
		{ { "0.0.0.0/0" }, { "0.0.0.0", "255.255.255.255" }, { "::", "::1", "ffff::", "::fffe:0:1" } },
		{ { "::/0" }, { "::", "ffff:ffff::", "::fffe:0:1" }, { "0.0.0.0", "10.0.0.1", "::ffff:1.2.3.4" } },
		{ { "::/0", "0.0.0.0/0" }, { "::", "1.2.3.4" }, { NULL } },
		{ { "2001:db8::/32", "2001:db8:1::/48", "2001:db8::7", "fe80::/10" },
		  { "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:1::5", "febf::1" },
		  { "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "fec0::" } },
		{ { "::ffff:10.0.0.0/104", "::ffff:0:0/128" },
		  { "10.9.8.7", "0.0.0.0" },
		  { "11.0.0.0", "0.0.0.1", "::" } },
		{ { "10.0.0.0/9", "10.128.0.0/9", "10.64.0.0/10" }, { "10.127.0.1", "10.128.0.1" }, { "11.0.0.0" } },
		{ { "255.255.255.255" }, { "255.255.255.255" }, { "255.255.255.254", "0.0.0.0" } },
	};
	struct cidr blocks[6];
	uint8_t addr[CIDR_ADDR_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT(sets); i++) {
		size_t n = 0;
		for (; n < 6 && sets[i].blocks[n] != NULL; n++)
			blocks[n] = block(sets[i].blocks[n]);
		struct set set = build(blocks, n);
		for (size_t k = 0; k < 6; k++) {
			if (sets[i].in[k] != NULL) {
				address(sets[i].in[k], addr);
				if (!cidr_set_contains(set.bytes, set.size, addr))
					fail_msg("set %zu does not hold %s", i, sets[i].in[k]);
			}
			if (sets[i].out[k] != NULL) {
				address(sets[i].out[k], addr);
				if (cidr_set_contains(set.bytes, set.size, addr))
					fail_msg("set %zu holds %s", i, sets[i].out[k]);
			}
		}
		free(set.bytes);
	}
}

/* The form that the header promises: counts, then both lists, ascending and without what lies inside of others. */
static void test_form(void **state)
{
	struct cidr blocks[] = { block("192.0.2.0/24"), block("2001:db8::/32"), block("10.1.0.0/16"),
		                 block("10.0.0.0/8"),   block("10.0.0.0/8"),    block("2001:db8::1"),
		                 block("192.0.2.9"),    block("10.0.0.0/16") };
	static const uint8_t lists[] = { 10, 0, 0, 0, 8, 192, 0, 2, 0, 24, 0x20, 0x01, 0x0d, 0xb8,
		                         0,  0, 0, 0, 0, 0,   0, 0, 0, 0,  0,    0,    32 };
	const uint32_t counts[2] = { 2, 1 };

	(void)state;
	struct set set = build(blocks, COUNT(blocks));
	assert_int_equal(set.size, sizeof(counts) + sizeof(lists));
	assert_memory_equal(set.bytes, counts, sizeof(counts));
	assert_memory_equal(set.bytes + sizeof(counts), lists, sizeof(lists));
	free(set.bytes);
}

/* ---- against a naive loop ---- */

static bool bit(const uint8_t *addr, unsigned i)
{
	return (addr[i / 8] >> (7 - i % 8) & 1) != 0;
}

static bool naive_is_v4(const uint8_t *addr)
{
	for (unsigned i = 0; i < 96; i++)
		if (bit(addr, i) != (i >= 80))
			return false;
	return true;
}

static bool naive_holds(const struct cidr *c, const uint8_t *addr)
{
	/* v6 blocks, also those around ::ffff:0:0/96, are of v6 alone. */
	if (naive_is_v4(addr) && c->length < 96)
		return false;
	for (unsigned i = 0; i < c->length; i++)
		if (bit(c->addr, i) != bit(addr, i))
			return false;
	return true;
}

/* Few distinct bytes, so that blocks nest, touch and repeat. */
static void random_addr(uint8_t addr[CIDR_ADDR_SIZE])
{
	static const uint8_t some[] = { 0, 0, 0, 0xff, 0x80, 0x7f, 1, 0xfe };
	bool v4 = random() % 2 != 0;

	memset(addr, 0, CIDR_ADDR_SIZE);
	for (size_t i = v4 ? 12 : 0; i < CIDR_ADDR_SIZE; i++)
		addr[i] = some[random() % (long)COUNT(some)];
	if (v4 || random() % 8 == 0) {
		memset(addr, 0, 10);
		addr[10] = addr[11] = 0xff;
	}
}

static void random_block(struct cidr *c)
{
	static const uint8_t edges[] = { 0, 1, 8, 95, 96, 97, 104, 127, 128 };

	random_addr(c->addr);
	c->length = random() % 3 == 0 ? edges[random() % (long)COUNT(edges)] : (uint8_t)(random() % 129);
	/* Most v4 addresses in blocks of v4. */
	if (naive_is_v4(c->addr) && c->length < 96 && random() % 4 != 0)
		c->length = (uint8_t)(96 + c->length % 33);
	for (unsigned i = c->length; i < 128; i++)
		c->addr[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

/* Inside, at and just outside of a block's two ends. */
static void near_addr(const struct cidr *c, uint8_t addr[CIDR_ADDR_SIZE])
{
	bool up = random() % 2 != 0;

	memcpy(addr, c->addr, CIDR_ADDR_SIZE);
	for (unsigned i = c->length; up && i < 128; i++)
		addr[i / 8] |= (uint8_t)(0x80 >> i % 8);
	if (random() % 2 == 0)
		return;
	/* One further: wrapping round is as good as any. */
	for (int i = CIDR_ADDR_SIZE - 1; i >= 0; i--) {
		addr[i] = (uint8_t)(up ? addr[i] + 1 : addr[i] - 1);
		if (addr[i] != (up ? 0 : 0xff))
			break;
	}
}

static void test_against_naive_loop(void **state)
{
	struct cidr blocks[BLOCKS_MAX];
	struct cidr sorted[BLOCKS_MAX];
	size_t held = 0;

	(void)state;
	srandom(20);
	for (int round = 0; round < SETS; round++) {
		size_t n = (size_t)(random() % (round % 4 == 0 ? BLOCKS_MAX + 1 : 8));
		for (size_t i = 0; i < n; i++)
			random_block(&blocks[i]);
		memcpy(sorted, blocks, n * sizeof(blocks[0]));
		struct set set = build(sorted, n);
		for (int probe = 0; probe < PROBES; probe++) {
			uint8_t addr[CIDR_ADDR_SIZE];
			bool want = false;
			if (n > 0 && probe % 3 != 0)
				near_addr(&blocks[random() % (long)n], addr);
			else
				random_addr(addr);
			for (size_t i = 0; i < n; i++)
				want |= naive_holds(&blocks[i], addr);
			if (cidr_set_contains(set.bytes, set.size, addr) != want)
				fail_msg("round %d, probe %d: wanted %d", round, probe, want);
			held += want;
		}
		free(set.bytes);
	}
	assert_in_range(held, SETS * PROBES / 10, SETS * PROBES / 10 * 9);
}

static void test_thousands_of_blocks(void **state)
{
	const size_t n = 20000;
	struct cidr *blocks = calloc(n, sizeof(*blocks));
	uint8_t addr[CIDR_ADDR_SIZE] = { [10] = 0xff, 0xff };

	(void)state;
	assert_non_null(blocks);
	for (size_t i = 0; i < n; i++) {
		blocks[i].length = 128;
		memcpy(blocks[i].addr, addr, sizeof(addr));
		blocks[i].addr[13] = (uint8_t)((n - i) * 2 >> 16);
		blocks[i].addr[14] = (uint8_t)((n - i) * 2 >> 8);
		blocks[i].addr[15] = (uint8_t)((n - i) * 2);
	}
	struct set set = build(blocks, n);
	assert_int_equal(set.size, 8 + n * 5);
	for (size_t i = 0; i <= 2 * n + 2; i++) {
		addr[13] = (uint8_t)(i >> 16);
		addr[14] = (uint8_t)(i >> 8);
		addr[15] = (uint8_t)i;
		assert_int_equal(cidr_set_contains(set.bytes, set.size, addr), i % 2 == 0 && i > 0 && i <= 2 * n);
	}
	free(set.bytes);
	free(blocks);
}

/* ---- broken bytes ---- */

static void test_broken_bytes_hold_nothing(void **state)
{
	struct cidr blocks[] = { block("10.0.0.0/8"), block("172.16.0.0/12"), block("2001:db8::/32") };
	uint8_t in[2][CIDR_ADDR_SIZE];
	uint8_t longer[64] = { 0 };

	(void)state;
	address("10.1.2.3", in[0]);
	address("2001:db8::1", in[1]);
	struct set set = build(blocks, COUNT(blocks));
	for (int i = 0; i < 2; i++) {
		assert_true(cidr_set_contains(set.bytes, set.size, in[i]));
		for (size_t n = 0; n < set.size; n++) {
			uint8_t *cut = malloc(n > 0 ? n : 1);
			assert_non_null(cut);
			memcpy(cut, set.bytes, n);
			assert_false(cidr_set_contains(cut, n, in[i]));
			free(cut);
		}
		memcpy(longer, set.bytes, set.size);
		assert_false(cidr_set_contains(longer, set.size + 1, in[i]));
	}
	/* Numbers that do not fit the size, up to those whose product would wrap. */
	static const uint32_t counts[][2] = { { 3, 1 },          { 1, 1 },          { 2, 0 },
		                              { 2, 2 },          { UINT32_MAX, 1 }, { 2, UINT32_MAX },
		                              { 858993461u, 1 }, { 0, 0 },          { UINT32_MAX, UINT32_MAX } };
	for (size_t i = 0; i < COUNT(counts); i++) {
		memcpy(set.bytes, counts[i], sizeof(counts[i]));
		assert_false(cidr_set_contains(set.bytes, set.size, in[0]));
		assert_false(cidr_set_contains(set.bytes, set.size, in[1]));
	}
	free(set.bytes);
	/* A length that no address has. */
	const uint32_t one[2] = { 1, 0 };
	uint8_t odd[13] = { [8] = 10, 0, 0, 0, 33 };
	memcpy(odd, one, sizeof(one));
	assert_false(cidr_set_contains(odd, sizeof(odd), in[0]));
	odd[12] = 0xff;
	assert_false(cidr_set_contains(odd, sizeof(odd), in[0]));
	odd[12] = 8;
	assert_true(cidr_set_contains(odd, sizeof(odd), in[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_addr),
		cmocka_unit_test(test_contains),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_against_naive_loop),
		cmocka_unit_test(test_thousands_of_blocks),
		cmocka_unit_test(test_broken_bytes_hold_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
