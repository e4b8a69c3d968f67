#include "policy/gcra.h"

#define NS_PER_S UINT64_C(1000000000)
/* 417 days: no sum of three of them leaves 64 bits. */
#define TIME_MAX (UINT64_C(1) << 59)

static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) || product > TIME_MAX ? TIME_MAX : product;
}

struct gcra gcra_make(uint64_t rate, uint64_t window_s, uint64_t burst)
{
	struct gcra g = { 0, 0 };

	if (rate == 0)
		return g;
	uint64_t window = multiply(window_s, NS_PER_S * GCRA_PER_NS);
	g.interval = (window + rate - 1) / rate;
	g.capacity = multiply(g.interval, burst != 0 ? burst : rate);
	return g;
}

struct gcra gcra_share(struct gcra g, unsigned parts)
{
	if (parts <= 1 || g.interval == 0)
		return g;
	/* Each token of one share stands for `parts` of the whole, so that the same capacity in time holds fewer. */
	g.interval = multiply(g.interval, parts);
	if (g.capacity < g.interval)
		g.capacity = g.interval;
	return g;
}

/* How far the TAT lies ahead. A clock that jumped back, or limits that were lowered, leave no more than a full debt. */
static uint64_t debt(uint64_t tat, uint64_t now, struct gcra g)
{
	uint64_t ahead = tat > now ? tat - now : 0;

	return ahead < g.capacity ? ahead : g.capacity;
}

uint64_t gcra_try(uint64_t tat, uint64_t now, struct gcra g, uint64_t n)
{
	uint64_t after = debt(tat, now, g) + multiply(g.interval, n);

	return after <= g.capacity ? now + after : 0;
}

void gcra_heal(_Atomic uint64_t *tat, uint64_t now, struct gcra g)
{
	uint64_t seen = atomic_load_explicit(tat, memory_order_relaxed);

	while (seen > now + g.capacity &&
	       !atomic_compare_exchange_weak_explicit(tat, &seen, now + g.capacity, memory_order_relaxed,
	                                              memory_order_relaxed))
		;
}

void gcra_raise(_Atomic uint64_t *tat, uint64_t least)
{
	uint64_t seen = atomic_load_explicit(tat, memory_order_relaxed);

	while (seen < least &&
	       !atomic_compare_exchange_weak_explicit(tat, &seen, least, memory_order_relaxed, memory_order_relaxed))
		;
}

bool gcra_take(_Atomic uint64_t *tat, uint64_t now, struct gcra g, uint64_t n)
{
	uint64_t seen = atomic_load_explicit(tat, memory_order_relaxed);
	uint64_t next;

	do {
		next = gcra_try(seen, now, g, n);
		if (next == 0) {
			gcra_heal(tat, now, g);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(tat, &seen, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void gcra_give_back(_Atomic uint64_t *tat, struct gcra g, uint64_t n)
{
	uint64_t cost = multiply(g.interval, n);
	uint64_t seen = atomic_load_explicit(tat, memory_order_relaxed);
	uint64_t next;

	do {
		next = seen > cost ? seen - cost : 0;
	} while (!atomic_compare_exchange_weak_explicit(tat, &seen, next, memory_order_relaxed, memory_order_relaxed));
}

uint64_t gcra_left(uint64_t tat, uint64_t now, struct gcra g)
{
	return g.interval == 0 ? 0 : (g.capacity - debt(tat, now, g)) / g.interval;
}

uint64_t gcra_wait_ns(uint64_t tat, uint64_t now, struct gcra g, uint64_t n)
{
	uint64_t cost = multiply(g.interval, n);

	if (cost > g.capacity)
		return UINT64_MAX;
	uint64_t after = debt(tat, now, g) + cost;
	return after <= g.capacity ? 0 : (after - g.capacity + GCRA_PER_NS - 1) / GCRA_PER_NS;
}

uint64_t gcra_full_ns(uint64_t tat, uint64_t now, struct gcra g)
{
	return (debt(tat, now, g) + GCRA_PER_NS - 1) / GCRA_PER_NS;
}
