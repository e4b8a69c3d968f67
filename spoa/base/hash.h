/* A fast keyed hash for tables in memory: not for secrets, and of no use to who does not know the seed. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* 64 x 64 bits to 128, folded: the mixing step of wyhash (Wang Yi, public domain). */
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
	const unsigned char *at = p;
	uint64_t hash = hash_mix(seed ^ UINT64_C(0xa0761d6478bd642f), n ^ UINT64_C(0xe7037ed1a0b428db));
	uint64_t word;

	for (; n >= sizeof(word); n -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		hash = hash_mix(hash ^ word, UINT64_C(0x8ebc6af09c88c6e3) ^ seed);
	}
	word = 0;
	memcpy(&word, at, n);
	return hash_mix(hash ^ word, UINT64_C(0x589965cc75374cc3) ^ seed);
}
