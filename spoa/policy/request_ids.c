#include "policy/request_ids.h"

#include "base/clock.h"
#include "base/hash.h"

/* A word: 38 bits of the hash, 2 bits of what was spent, 24 bits of time in units of 16 ms (3 days). 0 is free. */
#define TIME_BITS  24
#define TIME_MASK  ((UINT64_C(1) << TIME_BITS) - 1)
#define SPENT_BITS 2
#define SPENT_MASK ((UINT64_C(1) << SPENT_BITS) - 1)
#define TIME_UNIT  (16 * NS_PER_MS)
#define TAG_SHIFT  (TIME_BITS + SPENT_BITS)

static uint64_t age(uint64_t word, uint64_t now)
{
	return (now - word) & TIME_MASK;
}

static uint64_t make_word(uint64_t tag, unsigned spent, uint64_t now)
{
	return tag << TAG_SHIFT | (uint64_t)spent << TIME_BITS | (now & TIME_MASK);
}

static unsigned spent_of(uint64_t word)
{
	return (unsigned)(word >> TIME_BITS & SPENT_MASK);
}

void request_id_find(struct request_ids *t, struct sv id, uint64_t now_ns, struct request_id *out)
{
	const uint64_t now = now_ns / TIME_UNIT;
	uint64_t oldest_age = 0;

	*out = (struct request_id){ .word = NULL };
	if (id.n == 0)
		return;
	uint64_t hash = hash_bytes(id.p, id.n, 0);
	_Atomic uint64_t *line = t->words[hash % REQUEST_IDS_LINES];
	out->tag = hash >> TAG_SHIFT;
	for (int i = 0; i < REQUEST_IDS_WAYS; i++) {
		uint64_t word = atomic_load_explicit(&line[i], memory_order_relaxed);
		uint64_t word_age = word == 0 ? TIME_MASK + 1 : age(word, now) + 1;
		if (word != 0 && word >> TAG_SHIFT == out->tag &&
		    word_age <= REQUEST_ID_KEPT_MS * NS_PER_MS / TIME_UNIT) {
			out->word = &line[i];
			out->spent = spent_of(word);
			return;
		}
		if (word_age > oldest_age) {
			oldest_age = word_age;
			out->word = &line[i];
		}
	}
}

bool request_id_mark(struct request_id *id, enum request_spent spent, uint64_t now_ns)
{
	if (id->word == NULL)
		return true;
	uint64_t seen = atomic_load_explicit(id->word, memory_order_relaxed);
	for (;;) {
		unsigned before = seen >> TAG_SHIFT == id->tag && seen != 0 ? spent_of(seen) : 0;
		if ((before & spent) != 0) {
			id->spent = before;
			return false;
		}
		id->spent = before | spent;
		if (atomic_compare_exchange_weak_explicit(id->word, &seen,
		                                          make_word(id->tag, id->spent, now_ns / TIME_UNIT),
		                                          memory_order_relaxed, memory_order_relaxed))
			return true;
	}
}

void request_id_unmark(struct request_id *id, enum request_spent spent)
{
	id->spent &= ~(unsigned)spent;
	if (id->word == NULL)
		return;
	uint64_t seen = atomic_load_explicit(id->word, memory_order_relaxed);
	while (seen >> TAG_SHIFT == id->tag &&
	       !atomic_compare_exchange_weak_explicit(id->word, &seen, seen & ~((uint64_t)spent << TIME_BITS),
	                                              memory_order_relaxed, memory_order_relaxed))
		;
}
