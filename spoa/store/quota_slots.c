#include "store/quota_slots.h"

#include <string.h>

#include "policy/quota.h"

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* In the order of the program: whoever takes over may see any of these as the last one. */
static void store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

/* By how much a counter is beyond a mark on it. One of another month was begun anew since. */
static uint64_t beyond(uint64_t word, uint64_t mark)
{
	uint64_t before = quota_period(word) == quota_period(mark) ? quota_count(mark) : 0;

	return quota_count(word) > before ? quota_count(word) - before : 0;
}

static void set_bit(uint64_t *bits, const struct limits_memory *m, const struct limit_slot *slot)
{
	uint32_t number = limits_slot_number(m, slot);

	bits[number / 64] |= UINT64_C(1) << (number % 64);
}

/* Words of the bitmaps in which there are slots. */
static size_t words_used(const struct limits_memory *m)
{
	uint64_t used = load(&m->used);

	return (size_t)((used < LIMITS_USERS_MAX ? used : LIMITS_USERS_MAX) + 63) / 64;
}

/* What an agent before this one could not tell PostgreSQL is told also when the user does not come again. */
static void adopt(struct quota_slots *s)
{
	const struct policy_usage *usage;
	uint64_t id = 0;

	if (policy_db_renew(s->db) == ERR_OK)
		while ((usage = policy_db_next_usage(s->db, &id)) != NULL)
			if (quota_count(usage->unflushed) > 0)
				limits_slot(s->memory, id, usage);
	policy_db_release(s->db);
}

void quota_slots_init(struct quota_slots *s, struct limits_memory *memory, struct policy_db *db,
                      struct usage_charges *charges)
{
	s->memory = memory;
	s->db = db;
	s->charges = charges;
	adopt(s);
	const uint64_t count = words_used(memory) * 64;
	for (uint64_t i = 0; i < count; i++) {
		struct limit_slot *slot = &memory->slots[i];
		/* A worker that was killed may have left one that nothing leads to. */
		if (load(&slot->user_id) == 0 || limits_find(memory, load(&slot->user_id)) != slot)
			continue;
		set_bit(s->unsaved, memory, slot);
		if (quota_count(quota_slot_addition(slot)) > 0 && s->count < QUOTA_BATCH_MAX)
			s->batch[s->count++] = slot;
		if (beyond(load(&slot->admitted), load(&slot->flushed)) > 0)
			set_bit(s->unflushed, memory, slot);
	}
}

void quota_slots_sweep(struct quota_slots *s)
{
	struct limits_memory *m = s->memory;
	const size_t words = words_used(m);

	for (size_t i = 0; i < words; i++) {
		if (load(&m->dirty[i]) == 0)
			continue;
		/* Cleared before the counters are read: what comes after sets them again. */
		uint64_t bits = atomic_exchange_explicit(&m->dirty[i], 0, memory_order_seq_cst);
		s->unflushed[i] |= bits;
		s->unsaved[i] |= bits;
	}
}

/* Marks what is to be added from now on. */
static void take_slot(struct quota_slots *s, struct limit_slot *slot)
{
	uint64_t word = load(&slot->admitted);

	if (beyond(word, load(&slot->flushed)) == 0)
		return;
	/* The number before what goes under it: nothing is ever sent under that of an addition before. */
	if (s->count == 0)
		atomic_fetch_add_explicit(&s->memory->flush_number, 1, memory_order_seq_cst);
	store(&slot->flushing, word);
	s->batch[s->count++] = slot;
}

void quota_slots_collect(struct quota_slots *s)
{
	const size_t words = words_used(s->memory);

	if (s->count > 0)
		return;
	for (size_t i = 0; i < words && !quota_slots_full(s); i++) {
		if (s->flush_from >= words)
			s->flush_from = 0;
		size_t at = s->flush_from++;
		for (uint64_t bits = s->unflushed[at]; bits != 0; bits &= bits - 1)
			take_slot(s, &s->memory->slots[at * 64 + (size_t)__builtin_ctzll(bits)]);
		s->unflushed[at] = 0;
	}
}

bool quota_slots_full(const struct quota_slots *s)
{
	return s->count + 64 > QUOTA_BATCH_MAX;
}

uint64_t quota_slot_addition(const struct limit_slot *slot)
{
	uint64_t word = load(&slot->flushing);

	return quota_word(quota_period(word), beyond(word, load(&slot->flushed)));
}

/* First the mark: one who is killed behind it finds `stored` too low, which the next look at the row mends. */
void quota_slots_added(struct quota_slots *s)
{
	for (size_t i = 0; i < s->count; i++) {
		struct limit_slot *slot = s->batch[i];
		uint64_t word = quota_slot_addition(slot);
		store(&slot->flushed, load(&slot->flushing));
		quota_add(&slot->stored, quota_period(word), (int64_t)quota_count(word));
		set_bit(s->unsaved, s->memory, slot);
	}
}

static void raise_to(_Atomic uint64_t *word, uint32_t period, uint64_t least)
{
	uint64_t seen = load(word);
	uint64_t next;

	do {
		if (quota_used(seen, period) >= least)
			return;
		bool later = seen != 0 && period_later(quota_period(seen), period);
		next = quota_word(later ? quota_period(seen) : period, least);
	} while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_relaxed, memory_order_relaxed));
}

/* What the row has less than it had: somebody has set it. */
static void lower(_Atomic uint64_t *word, uint32_t period, uint64_t before, uint64_t now)
{
	if (now < before)
		quota_add(word, period, -(int64_t)(before - now));
}

/*
 * Others have added, or somebody has set the row. At least all that PostgreSQL has and what it is not told yet was
 * used; it may be more: Redis tells of requests of other hosts earlier, and what is on its way to PostgreSQL may be
 * there or not. Where the row went down, so does what is known.
 */
void quota_slots_learn(struct quota_slots *s, struct limit_slot *slot, const struct quota_stored *stored,
                       uint32_t period)
{
	uint64_t old_requests = load(&slot->requests);
	uint64_t old_bytes = load(&slot->bytes);

	lower(&slot->requests, period, quota_used(load(&slot->stored), period), stored->requests);
	uint64_t admitted = load(&slot->admitted);
	uint64_t left = quota_used(admitted, period) > 0 ? beyond(admitted, load(&slot->flushed)) : 0;
	raise_to(&slot->requests, period, stored->requests + left);
	store(&slot->stored, quota_word(period, stored->requests));
	lower(&slot->bytes, period, quota_used(load(&slot->stored_bytes), period), stored->bytes);
	raise_to(&slot->bytes, period, stored->bytes + usage_charges_waiting(s->charges, slot, period));
	store(&slot->stored_bytes, quota_word(period, stored->bytes));
	if (load(&slot->requests) != old_requests || load(&slot->bytes) != old_bytes)
		set_bit(s->unsaved, s->memory, slot);
}

enum err quota_slots_learn_absent(struct quota_slots *s, uint64_t user_id, const struct quota_stored *stored,
                                  uint32_t period, bool *unwritten)
{
	const struct policy_usage *old = policy_db_usage(s->db, user_id);
	struct policy_usage usage = { .version = POLICY_LAYOUT,
		                      .requests = quota_word(period, stored->requests),
		                      .bytes = quota_word(period, stored->bytes) };

	/* What an agent before this one did not get rid of is not in PostgreSQL's number. */
	if (old != NULL && quota_count(old->unflushed) > 0) {
		usage.unflushed = old->unflushed;
		if (quota_period(old->unflushed) == period)
			usage.requests = quota_word(period, stored->requests + quota_count(old->unflushed));
	}
	if ((old != NULL && memcmp(old, &usage, sizeof(usage)) == 0) ||
	    (old == NULL && stored->requests == 0 && stored->bytes == 0))
		return ERR_OK;
	if (unwritten == NULL)
		return policy_db_put(s->db, POLICY_USAGE, user_id, &usage, sizeof(usage));
	*unwritten = true;
	return ERR_OK;
}

/* The requests first: those that are counted meanwhile are missing in them, rather than in what is unflushed. */
static void usage_of(const struct limit_slot *slot, struct policy_usage *out)
{
	*out = (struct policy_usage){ .version = POLICY_LAYOUT, .requests = load(&slot->requests) };
	uint64_t admitted = load(&slot->admitted);
	uint64_t left = beyond(admitted, load(&slot->flushed));
	out->bytes = load(&slot->bytes);
	out->unflushed = left > 0 ? quota_word(quota_period(admitted), left) : 0;
}

static enum err put_word(struct quota_slots *s, size_t at, size_t *put)
{
	enum err err = ERR_OK;

	for (uint64_t bits = s->unsaved[at]; bits != 0 && err == ERR_OK; bits &= bits - 1) {
		const struct limit_slot *slot = &s->memory->slots[at * 64 + (size_t)__builtin_ctzll(bits)];
		struct policy_usage usage;
		usage_of(slot, &usage);
		err = policy_db_put(s->db, POLICY_USAGE, load(&slot->user_id), &usage, sizeof(usage));
		++*put;
	}
	s->unsaved[at] = 0;
	return err;
}

enum err quota_slots_save(struct quota_slots *s, bool *more)
{
	const size_t words = words_used(s->memory);
	size_t put = 0;
	size_t i = 0;

	*more = false;
	while (i < words && s->unsaved[(s->save_from + i) % words] == 0)
		i++;
	if (i == words)
		return ERR_OK;
	enum err err = policy_db_begin(s->db);
	if (err != ERR_OK)
		return err;
	for (; i < words && put < QUOTA_SAVE_MAX && err == ERR_OK; i++)
		err = put_word(s, (s->save_from + i) % words, &put);
	*more = i < words;
	s->save_from = (s->save_from + i) % words;
	if (err == ERR_OK)
		err = policy_db_commit(s->db);
	else
		policy_db_abort(s->db);
	/* Which of them are in the file now is not known. */
	if (err != ERR_OK)
		memset(s->unsaved, 0xff, words * sizeof(s->unsaved[0]));
	return err;
}
