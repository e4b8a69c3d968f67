/*
 * A counter of one month in one 64-bit atomic: 14 bits for the month (period.h), 50 bits for the count, so that the
 * first request of a new month starts it at 0 in the same step, whoever comes first. A word of another month counts as
 * 0, but one of a later month (the clock jumped back, the reset day was moved) is counted on: no quota is refilled by a
 * clock.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define QUOTA_BYTES_PER_MB UINT64_C(1048576)
#define QUOTA_COUNT_BITS   50
#define QUOTA_COUNT_MAX    ((UINT64_C(1) << QUOTA_COUNT_BITS) - 1)

static inline uint64_t quota_word(uint32_t period, uint64_t count)
{
	return (uint64_t)period << QUOTA_COUNT_BITS | (count < QUOTA_COUNT_MAX ? count : QUOTA_COUNT_MAX);
}

static inline uint32_t quota_period(uint64_t word)
{
	return (uint32_t)(word >> QUOTA_COUNT_BITS);
}

static inline uint64_t quota_count(uint64_t word)
{
	return word & QUOTA_COUNT_MAX;
}

/* What the word counts in that month. */
uint64_t quota_used(uint64_t word, uint32_t period);

/* Adds n unless that would pass `limit`. */
bool quota_take(_Atomic uint64_t *word, uint32_t period, uint64_t n, uint64_t limit);

/* Adds n, which may be negative; the count stays within its bounds. */
void quota_add(_Atomic uint64_t *word, uint32_t period, int64_t n);

/* Raises the count of that month to `least`; one of a later month stays as it is. */
void quota_raise(_Atomic uint64_t *word, uint32_t period, uint64_t least);
