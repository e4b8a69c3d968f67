#include "policy/quota.h"

#include "policy/period.h"

uint64_t quota_used(uint64_t word, uint32_t period)
{
	return word != 0 && (quota_period(word) == period || period_later(quota_period(word), period))
	               ? quota_count(word)
	               : 0;
}

/* The month that a change belongs to: the word's own when that is a later one. */
static uint32_t counting(uint64_t word, uint32_t period)
{
	return word != 0 && period_later(quota_period(word), period) ? quota_period(word) : period;
}

bool quota_take(_Atomic uint64_t *word, uint32_t period, uint64_t n, uint64_t limit)
{
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t next;

	do {
		uint64_t used = quota_used(seen, period);
		if (used >= limit || n > limit - used)
			return false;
		next = quota_word(counting(seen, period), used + n);
	} while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void quota_add(_Atomic uint64_t *word, uint32_t period, int64_t n)
{
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t next;

	do {
		uint64_t used = quota_used(seen, period);
		uint64_t less = n < 0 ? (uint64_t)-n : 0;
		uint64_t count = n < 0 ? (used > less ? used - less : 0) : used + (uint64_t)n;
		next = quota_word(counting(seen, period), count);
	} while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_relaxed, memory_order_relaxed));
}

void quota_raise(_Atomic uint64_t *word, uint32_t period, uint64_t least)
{
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);

	while (quota_used(seen, period) < least && !period_later(quota_period(seen), period) &&
	       !atomic_compare_exchange_weak_explicit(word, &seen, quota_word(period, least), memory_order_relaxed,
	                                              memory_order_relaxed))
		;
}
