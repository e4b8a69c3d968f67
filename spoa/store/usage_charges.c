#include "store/usage_charges.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "policy/period.h"
#include "policy/quota.h"

/* One slot's, of the month that ran when it was last looked at; all zero: not known. */
struct waiting {
	int64_t start; /* seconds */
	int64_t end;
	uint32_t period;
	uint64_t charged; /* not known to be in PostgreSQL, those on their way included */
	uint64_t taken;   /* on their way */
};

struct usage_charges {
	struct limits_memory *memory;
	struct policy_db *db;
	struct waiting *of; /* by the number of the slot */
};

struct usage_charges *usage_charges_new(struct limits_memory *memory, struct policy_db *db)
{
	struct usage_charges *c = check_calloc(1, sizeof(*c));

	c->memory = memory;
	c->db = db;
	/* Zero pages, that take memory only once they are written to. */
	c->of = check_calloc(LIMITS_USERS_MAX, sizeof(*c->of));
	return c;
}

void usage_charges_free(struct usage_charges *c)
{
	if (c == NULL)
		return;
	free(c->of);
	free(c);
}

static struct waiting *of_slot(struct usage_charges *c, const struct limit_slot *slot)
{
	return &c->of[limits_slot_number(c->memory, slot)];
}

static bool runs(const struct waiting *w, int64_t now)
{
	return now >= w->start && now < w->end;
}

/* What waits of a slot in the month that runs; what waited of another one does not matter any more. */
static void set_month(struct waiting *w, unsigned reset_day, int64_t now)
{
	struct period p;

	period_at(now, reset_day, &p);
	if (w->end == 0 || w->period != p.id)
		w->charged = w->taken = 0;
	w->start = p.start;
	w->end = p.end;
	w->period = p.id;
}

/* The slot of a charge, and what waits of it. NULL: the request started in a month that is over, or the user is gone.
 */
static struct limit_slot *find(struct usage_charges *c, const struct usage_charge *charge, int64_t now,
                               struct waiting **out)
{
	struct limit_slot *slot = limits_find(c->memory, charge->user);

	/* Most records need no look-up of the user. */
	if (slot == NULL || !runs(of_slot(c, slot), now)) {
		const struct policy_user *user = policy_db_user(c->db, charge->user);
		if (user == NULL)
			return NULL;
		/* Made only for whom something waits: after a start nobody has asked yet. */
		if (slot == NULL)
			slot = limits_slot(c->memory, charge->user, policy_db_usage(c->db, charge->user));
		if (slot == NULL)
			return NULL;
		set_month(of_slot(c, slot), user->reset_day, now);
	}
	struct waiting *w = of_slot(c, slot);
	*out = w;
	return charge->start_ms / 1000 >= w->start ? slot : NULL;
}

/* policy_db's views are renewed by each user of the keeper's loop for themselves. */
static bool view(struct usage_charges *c)
{
	if (policy_db_renew(c->db) == ERR_OK)
		return true;
	policy_db_release(c->db);
	return false;
}

void usage_charges_add(struct usage_charges *c, const struct usage_charge *charges, size_t n)
{
	const int64_t now = clock_real_s();

	if (!view(c))
		return;
	for (size_t i = 0; i < n; i++) {
		struct waiting *w;
		struct limit_slot *slot = charges[i].bytes > 0 ? find(c, &charges[i], now, &w) : NULL;

		if (slot == NULL)
			continue;
		w->charged += charges[i].bytes;
		quota_add(&slot->bytes, w->period, (int64_t)charges[i].bytes);
		limits_mark_dirty(c->memory, slot);
	}
	policy_db_release(c->db);
}

static uint64_t less(uint64_t from, uint64_t what)
{
	return from > what ? from - what : 0;
}

enum change { TAKEN, DONE, BACK };

static void change(struct usage_charges *c, const struct usage_charge *charges, size_t n, enum change how)
{
	const int64_t now = clock_real_s();

	if (!view(c))
		return;
	for (size_t i = 0; i < n; i++) {
		struct waiting *w;
		const uint64_t bytes = charges[i].bytes;

		if (bytes == 0 || find(c, &charges[i], now, &w) == NULL)
			continue;
		if (how == TAKEN)
			w->taken += bytes;
		else
			w->taken = less(w->taken, bytes);
		if (how == DONE)
			w->charged = less(w->charged, bytes);
	}
	policy_db_release(c->db);
}

void usage_charges_taken(struct usage_charges *c, const struct usage_charge *charges, size_t n)
{
	change(c, charges, n, TAKEN);
}

void usage_charges_done(struct usage_charges *c, const struct usage_charge *charges, size_t n)
{
	change(c, charges, n, DONE);
}

void usage_charges_back(struct usage_charges *c, const struct usage_charge *charges, size_t n)
{
	change(c, charges, n, BACK);
}

void usage_charges_forget(struct usage_charges *c)
{
	uint64_t used = atomic_load_explicit(&c->memory->used, memory_order_relaxed);

	for (uint64_t i = 0; i < used && i < LIMITS_USERS_MAX; i++)
		if (c->of[i].charged != 0 || c->of[i].taken != 0)
			c->of[i].charged = c->of[i].taken = 0;
}

void usage_charges_recover(struct usage_charges *c, const struct usage_charge *charges, size_t n)
{
	const int64_t now = clock_real_s();

	if (!view(c))
		return;
	for (size_t i = 0; i < n; i++) {
		struct waiting *w;

		if (charges[i].bytes > 0 && find(c, &charges[i], now, &w) != NULL)
			w->charged += charges[i].bytes;
	}
	policy_db_release(c->db);
}

uint64_t usage_charges_waiting(struct usage_charges *c, const struct limit_slot *slot, uint32_t period)
{
	if (c == NULL)
		return 0;
	struct waiting *w = of_slot(c, slot);

	if (w->end != 0 && w->period == period)
		return less(w->charged, w->taken);
	/* A month has begun, or the reset day was moved: the next record looks what month it is. */
	w->end = 0;
	return 0;
}
