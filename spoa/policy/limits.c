#include "policy/limits.h"

#include "base/clock.h"
#include "policy/lease.h"
#include "policy/quota.h"

#define INDEX_SHIFT (64 - LIMITS_INDEX_BITS)

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* ---- slots ---- */

/* Ids are row numbers, and so dense: Fibonacci hashing spreads them. */
static uint32_t index_of(uint64_t user_id)
{
	return (uint32_t)((user_id * UINT64_C(0x9e3779b97f4a7c15)) >> INDEX_SHIFT);
}

/* The slot that an entry of the index leads to, when it is the user's. */
static struct limit_slot *slot_if(struct limits_memory *m, uint32_t entry, uint64_t user_id)
{
	struct limit_slot *slot = &m->slots[entry - 1];

	return load(&slot->user_id) == user_id ? slot : NULL;
}

static void restore(struct limit_slot *slot, const struct policy_usage *stored)
{
	bool same = quota_period(stored->unflushed) == quota_period(stored->requests);
	uint64_t unflushed = same ? quota_count(stored->unflushed) : 0;
	uint64_t requests = quota_count(stored->requests);

	atomic_store_explicit(&slot->requests, stored->requests, memory_order_relaxed);
	atomic_store_explicit(&slot->bytes, stored->bytes, memory_order_relaxed);
	/* With what PostgreSQL was not told yet: the first row that is learnt says how much that was. */
	atomic_store_explicit(&slot->stored_bytes, stored->bytes, memory_order_relaxed);
	atomic_store_explicit(&slot->admitted, stored->unflushed, memory_order_relaxed);
	atomic_store_explicit(&slot->restored, stored->unflushed, memory_order_relaxed);
	atomic_store_explicit(
	        &slot->stored,
	        quota_word(quota_period(stored->requests), requests > unflushed ? requests - unflushed : 0),
	        memory_order_relaxed);
}

static void clear(struct limit_slot *slot)
{
	_Atomic uint64_t *const words[] = { &slot->user_id,  &slot->requests, &slot->bytes, &slot->stored_bytes,
		                            &slot->admitted, &slot->restored, &slot->stored };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		atomic_store_explicit(words[i], 0, memory_order_relaxed);
}

/*
 * A slot is filled before the index leads to it. Of two workers that make one for the same user, the second finds the
 * first one's entry when it wants to write its own; its slot stays unused, which happens rarely enough.
 */
static struct limit_slot *make_slot(struct limits_memory *m, uint32_t at, uint64_t user_id,
                                    const struct policy_usage *stored)
{
	uint64_t number = atomic_fetch_add_explicit(&m->used, 1, memory_order_relaxed);

	if (number >= LIMITS_USERS_MAX) {
		atomic_fetch_sub_explicit(&m->used, 1, memory_order_relaxed);
		return NULL;
	}
	struct limit_slot *slot = &m->slots[number];
	atomic_store_explicit(&slot->user_id, user_id, memory_order_relaxed);
	if (stored != NULL)
		restore(slot, stored);
	for (;; at = (at + 1) % LIMITS_INDEX) {
		uint32_t entry = 0;
		if (atomic_compare_exchange_strong_explicit(&m->index[at], &entry, (uint32_t)number + 1,
		                                            memory_order_release, memory_order_acquire))
			break;
		struct limit_slot *other = slot_if(m, entry, user_id);
		if (other != NULL) {
			clear(slot);
			return other;
		}
	}
	if (quota_count(load(&slot->admitted)) > 0)
		limits_mark_dirty(m, slot);
	return slot;
}

struct limit_slot *limits_find(struct limits_memory *m, uint64_t user_id)
{
	for (uint32_t at = index_of(user_id);; at = (at + 1) % LIMITS_INDEX) {
		uint32_t entry = atomic_load_explicit(&m->index[at], memory_order_acquire);
		if (entry == 0)
			return NULL;
		struct limit_slot *slot = slot_if(m, entry, user_id);
		if (slot != NULL)
			return slot;
	}
}

struct limit_slot *limits_slot(struct limits_memory *m, uint64_t user_id, const struct policy_usage *stored)
{
	for (uint32_t at = index_of(user_id);; at = (at + 1) % LIMITS_INDEX) {
		uint32_t entry = atomic_load_explicit(&m->index[at], memory_order_acquire);
		if (entry == 0)
			return make_slot(m, at, user_id, stored);
		struct limit_slot *slot = slot_if(m, entry, user_id);
		if (slot != NULL)
			return slot;
	}
}

void limits_prefetch_index(const struct limits_memory *m, uint64_t user_id)
{
	__builtin_prefetch(&m->index[index_of(user_id)]);
}

void limits_prefetch_slot(const struct limits_memory *m, uint64_t user_id)
{
	uint32_t entry = atomic_load_explicit(&m->index[index_of(user_id)], memory_order_relaxed);
	const char *slot = (const char *)&m->slots[entry == 0 ? 0 : entry - 1];

	for (size_t line = 0; line < sizeof(struct limit_slot); line += 64)
		__builtin_prefetch(slot + line, 1);
}

uint32_t limits_slot_number(const struct limits_memory *m, const struct limit_slot *slot)
{
	return (uint32_t)(slot - m->slots);
}

void limits_mark_dirty(struct limits_memory *m, const struct limit_slot *slot)
{
	uint32_t number = limits_slot_number(m, slot);
	uint64_t bit = UINT64_C(1) << (number % 64);

	/* Read first: the line stays shared while the bit is set already. After the count: a keeper that clears the bit
	 * before it reads the counter misses nothing. */
	atomic_thread_fence(memory_order_seq_cst);
	if ((load(&m->dirty[number / 64]) & bit) == 0)
		atomic_fetch_or_explicit(&m->dirty[number / 64], bit, memory_order_seq_cst);
}

/* ---- the limits of a user ---- */

static uint64_t resolve(uint64_t own, uint64_t setting)
{
	return own == POLICY_DEFAULT ? setting : own;
}

/* Any change of a limit changes the tag (but for one in 255); 0 is left to words that were never written. */
static uint8_t make_tag(const struct user_limits *u)
{
	const uint64_t values[] = { u->per_minute, u->burst, u->per_hour, u->month_requests, u->flags, u->period.id };
	uint64_t hash = 0;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		hash = (hash ^ values[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return (uint8_t)((hash >> 56) % 255 + 1);
}

void user_limits_make(const struct policy_user *user, const struct limits_defaults *defaults, int64_t now,
                      struct user_limits *out)
{
	out->per_minute = resolve(user->per_minute, defaults->per_minute);
	out->per_hour = resolve(user->per_hour, defaults->per_hour);
	out->month_requests = resolve(user->month_requests, defaults->month_requests);
	out->month_bytes = resolve(user->month_bytes, defaults->month_bytes);
	out->burst = user->burst != 0 ? user->burst : out->per_minute;
	out->flags = user->flags &
	             (USER_SHADOW_MINUTE | USER_SHADOW_HOUR | USER_SHADOW_REQUESTS | USER_SHADOW_BANDWIDTH);
	out->minute = gcra_make(out->per_minute, 60, out->burst);
	out->hour = gcra_make(out->per_hour, 3600, 0);
	period_at(now, user->reset_day, &out->period);
	out->tag = make_tag(out);
}

/* ---- spending ---- */

/* Where the buckets of this request lie, and what share of them is this host's. */
struct spending {
	_Atomic uint64_t *minute_word;
	_Atomic uint64_t *hour_word;
	struct gcra minute;
	struct gcra hour;
	uint64_t now; /* gcra units */
	bool minute_passes;
	bool hour_passes;
};

/* Notes a limit that does not pass. In shadow it is told, and no more. */
static void refuse(struct limits_take *t, const struct user_limits *u, uint8_t limit, enum verdict_code code,
                   uint64_t wait_ns)
{
	if ((u->flags & limit) != 0) {
		t->shadow |= limit;
		return;
	}
	if (t->code == VERDICT_ALLOW)
		t->code = code;
	if (wait_ns > t->wait_ns)
		t->wait_ns = wait_ns;
}

/* Months are counted in the real clock, which the caller has split from the monotonic one. */
static uint64_t until_ns(int64_t end, int64_t now)
{
	return end > now ? (uint64_t)(end - now) * NS_PER_SEC : NS_PER_SEC;
}

static void check_bytes(const struct limit_slot *slot, const struct user_limits *u, struct limits_take *t)
{
	if (u->month_bytes != 0 && quota_used(load(&slot->bytes), u->period.id) >= u->month_bytes)
		refuse(t, u, USER_SHADOW_BANDWIDTH, VERDICT_QUOTA_BANDWIDTH, until_ns(u->period.end, t->now));
}

/* What a host may still admit of the month. Cut off, that is its share of what was left when it was cut off. */
static bool month_passes(const struct limit_slot *slot, const struct user_limits *u, const struct limits_take *t)
{
	uint64_t used = quota_used(load(&slot->requests), u->period.id);
	uint64_t own = t->mode == LIMITS_CUT_OFF ? quota_used(load(&slot->owed), u->period.id) : 0;

	if (used >= u->month_requests)
		return false;
	if (t->mode != LIMITS_CUT_OFF || t->hosts <= 1)
		return true;
	uint64_t before = used > own ? used - own : 0;
	return own < (u->month_requests - before) / t->hosts;
}

static void check_bucket(_Atomic uint64_t *word, struct gcra g, uint64_t now, const struct user_limits *u,
                         uint8_t limit, struct limits_take *t, bool *passes)
{
	*passes = true;
	if (g.interval == 0)
		return;
	uint64_t tat = load(word);
	*passes = gcra_try(tat, now, g, 1) != 0;
	if (*passes)
		return;
	gcra_heal(word, now, g);
	refuse(t, u, limit, VERDICT_RATE_LIMITED, gcra_wait_ns(tat, now, g, 1));
}

static void count_request(struct limits_memory *m, struct limit_slot *slot, const struct user_limits *u)
{
	quota_add(&slot->admitted, u->period.id, 1);
	limits_mark_dirty(m, slot);
}

/* The month's counter counts also where nothing limits it, or only in shadow. */
static bool take_month(struct limit_slot *slot, const struct user_limits *u, const struct limits_take *t)
{
	bool limited = user_limits_enforced(u, USER_SHADOW_REQUESTS);

	if (!quota_take(&slot->requests, u->period.id, 1, limited ? u->month_requests : QUOTA_COUNT_MAX))
		return false;
	if (t->mode == LIMITS_CUT_OFF)
		quota_add(&slot->owed, u->period.id, 1);
	return true;
}

/* False: it refuses after all. One in shadow only tells. */
static bool take_bucket(_Atomic uint64_t *word, struct gcra g, uint64_t now, const struct user_limits *u, uint8_t limit,
                        struct limits_take *t, bool *passes)
{
	if (g.interval == 0 || !*passes)
		return true;
	*passes = gcra_take(word, now, g, 1);
	if (*passes || (u->flags & limit) == 0)
		return *passes;
	t->shadow |= limit;
	return true;
}

static void lost_race(struct limits_take *t, enum verdict_code code, uint64_t wait_ns)
{
	t->code = code;
	t->wait_ns = wait_ns;
}

/*
 * All have passed a moment ago; another worker may have been faster since. Then what was taken goes back, and the
 * request is refused as if it had come after the other one.
 */
static enum limits_result spend(struct limits_memory *m, struct limit_slot *slot, const struct user_limits *u,
                                struct spending *s, struct limits_take *t)
{
	if (!take_bucket(s->minute_word, s->minute, s->now, u, USER_SHADOW_MINUTE, t, &s->minute_passes)) {
		lost_race(t, VERDICT_RATE_LIMITED, gcra_wait_ns(load(s->minute_word), s->now, s->minute, 1));
		return LIMITS_REFUSED;
	}
	if (!take_bucket(s->hour_word, s->hour, s->now, u, USER_SHADOW_HOUR, t, &s->hour_passes)) {
		if (s->minute.interval != 0 && s->minute_passes)
			gcra_give_back(s->minute_word, s->minute, 1);
		lost_race(t, VERDICT_RATE_LIMITED, gcra_wait_ns(load(s->hour_word), s->now, s->hour, 1));
		return LIMITS_REFUSED;
	}
	if (!take_month(slot, u, t)) {
		if (s->minute.interval != 0 && s->minute_passes)
			gcra_give_back(s->minute_word, s->minute, 1);
		if (s->hour.interval != 0 && s->hour_passes)
			gcra_give_back(s->hour_word, s->hour, 1);
		lost_race(t, VERDICT_QUOTA_REQUESTS, until_ns(u->period.end, t->now));
		return LIMITS_REFUSED;
	}
	count_request(m, slot, u);
	return LIMITS_TAKEN;
}

static enum limits_result take_from_memory(struct limits_memory *m, struct limit_slot *slot,
                                           const struct user_limits *u, struct limits_take *t)
{
	bool cut_off = t->mode == LIMITS_CUT_OFF;
	unsigned parts = t->mode == LIMITS_ALONE ? 1 : t->hosts;
	struct spending s = {
		.minute_word = cut_off ? &slot->cut_minute : &slot->minute,
		.hour_word = cut_off ? &slot->cut_hour : &slot->hour,
		.minute = gcra_share(u->minute, parts),
		.hour = gcra_share(u->hour, parts),
		.now = gcra_now(t->now_ns),
	};

	/* The share of a bucket starts with the debt that is known of the whole. */
	if (cut_off) {
		gcra_raise(&slot->cut_minute, load(&slot->minute));
		gcra_raise(&slot->cut_hour, load(&slot->hour));
	}
	check_bucket(s.minute_word, s.minute, s.now, u, USER_SHADOW_MINUTE, t, &s.minute_passes);
	check_bucket(s.hour_word, s.hour, s.now, u, USER_SHADOW_HOUR, t, &s.hour_passes);
	if (u->month_requests != 0 && !month_passes(slot, u, t))
		refuse(t, u, USER_SHADOW_REQUESTS, VERDICT_QUOTA_REQUESTS, until_ns(u->period.end, t->now));
	check_bytes(slot, u, t);
	return t->code == VERDICT_ALLOW ? spend(m, slot, u, &s, t) : LIMITS_REFUSED;
}

/* ---- leases ---- */

static bool lease_holds(uint64_t word, const struct user_limits *u, uint64_t now_ms)
{
	return lease_tokens(word) > 0 && lease_tag(word) == u->tag && lease_end_ms(word) > now_ms;
}

/* One token of the lease that ends first; *left: what both hold then. */
static bool take_lease(struct limit_slot *slot, const struct user_limits *u, uint64_t now_ms, uint32_t *left)
{
	for (;;) {
		uint64_t words[2] = { load(&slot->lease[0]), load(&slot->lease[1]) };
		bool holds[2] = { lease_holds(words[0], u, now_ms), lease_holds(words[1], u, now_ms) };
		if (!holds[0] && !holds[1])
			return false;
		int i = !holds[0] || (holds[1] && lease_end_ms(words[1]) < lease_end_ms(words[0])) ? 1 : 0;
		uint64_t next = words[i] - lease_word(1, 0, 0);
		if (!atomic_compare_exchange_strong_explicit(&slot->lease[i], &words[i], next, memory_order_relaxed,
		                                             memory_order_relaxed))
			continue;
		*left = lease_tokens(next) + (holds[1 - i] ? lease_tokens(words[1 - i]) : 0);
		return true;
	}
}

/* Limits in shadow are not shared: this host's share of them is watched. */
static void watch_shadow(struct limit_slot *slot, const struct user_limits *u, struct limits_take *t)
{
	uint64_t now = gcra_now(t->now_ns);

	if ((u->flags & USER_SHADOW_MINUTE) != 0 && u->per_minute != 0 &&
	    !gcra_take(&slot->minute, now, gcra_share(u->minute, t->hosts), 1))
		t->shadow |= USER_SHADOW_MINUTE;
	if ((u->flags & USER_SHADOW_HOUR) != 0 && u->per_hour != 0 &&
	    !gcra_take(&slot->hour, now, gcra_share(u->hour, t->hosts), 1))
		t->shadow |= USER_SHADOW_HOUR;
	if ((u->flags & USER_SHADOW_REQUESTS) != 0 && u->month_requests != 0 &&
	    quota_used(load(&slot->requests), u->period.id) >= u->month_requests)
		t->shadow |= USER_SHADOW_REQUESTS;
}

/* A refusal that Redis gave a moment ago. For a month its end is when to ask again, not when a request would pass. */
static bool still_denied(const struct limit_slot *slot, const struct user_limits *u, uint64_t now_ms,
                         struct limits_take *t)
{
	uint64_t word = load(&slot->denied);

	if (word == 0 || lease_tag(word) != u->tag || lease_end_ms(word) <= now_ms)
		return false;
	t->code = (enum verdict_code)lease_tokens(word);
	t->wait_ns = t->code == VERDICT_QUOTA_REQUESTS ? until_ns(u->period.end, t->now)
	                                               : lease_end_ms(word) * NS_PER_MS - t->now_ns;
	return true;
}

/*
 * The bandwidth refuses, which no lease is needed to know. But it comes last in the order: a limit before it that has
 * nothing left, as far as this host knows, is named instead.
 */
static void name_first(struct limit_slot *slot, const struct user_limits *u, uint64_t now_ms, struct limits_take *t)
{
	struct limits_take first = *t;
	bool passes;

	first.code = VERDICT_ALLOW;
	if (!still_denied(slot, u, now_ms, &first)) {
		uint64_t now = gcra_now(t->now_ns);
		if (user_limits_enforced(u, USER_SHADOW_MINUTE))
			check_bucket(&slot->minute, u->minute, now, u, USER_SHADOW_MINUTE, &first, &passes);
		if (user_limits_enforced(u, USER_SHADOW_HOUR))
			check_bucket(&slot->hour, u->hour, now, u, USER_SHADOW_HOUR, &first, &passes);
		if (u->month_requests != 0 && !month_passes(slot, u, t))
			refuse(&first, u, USER_SHADOW_REQUESTS, VERDICT_QUOTA_REQUESTS,
			       until_ns(u->period.end, t->now));
	}
	if (first.code == VERDICT_ALLOW)
		return;
	t->code = first.code;
	if (first.wait_ns > t->wait_ns)
		t->wait_ns = first.wait_ns;
}

static enum limits_result take_shared(struct limits_memory *m, struct limit_slot *slot, const struct user_limits *u,
                                      struct limits_take *t)
{
	uint64_t now_ms = t->now_ns / NS_PER_MS;
	uint32_t size = lease_size(u, t->hosts);
	uint32_t left;

	check_bytes(slot, u, t);
	if (t->code != VERDICT_ALLOW) {
		name_first(slot, u, now_ms, t);
		return LIMITS_REFUSED;
	}
	if (take_lease(slot, u, now_ms, &left)) {
		watch_shadow(slot, u, t);
		quota_add(&slot->requests, u->period.id, 1);
		count_request(m, slot, u);
		/* One asked for request by request is not fetched ahead. */
		t->want_more = size > 1 && left <= size / 2 && t->mode == LIMITS_SHARED;
		return LIMITS_TAKEN;
	}
	if (t->mode == LIMITS_CUT_OFF)
		return take_from_memory(m, slot, u, t);
	return still_denied(slot, u, now_ms, t) ? LIMITS_REFUSED : LIMITS_ASK;
}

enum limits_result limits_take(struct limits_memory *m, struct limit_slot *slot, const struct user_limits *u,
                               struct limits_take *t)
{
	t->code = VERDICT_ALLOW;
	t->wait_ns = 0;
	t->want_more = false;
	t->shadow = 0;
	if (t->hosts == 0)
		t->hosts = 1;
	if (t->mode != LIMITS_ALONE && user_limits_shared(u))
		return take_shared(m, slot, u, t);
	return take_from_memory(m, slot, u, t);
}

bool limits_apart(const struct limits_cluster *c, uint64_t now_ns)
{
	uint64_t cut_off = load(&c->cut_off_ns);

	return cut_off > load(&c->together_ns) && now_ns < cut_off + LIMITS_TOGETHER_MS * NS_PER_MS;
}

/* ---- what is left ---- */

static uint64_t seconds(uint64_t ns)
{
	return (ns + NS_PER_SEC - 1) / NS_PER_SEC;
}

static struct limit_view bucket_view(uint64_t tat, struct gcra g, uint64_t quota, uint64_t now, uint64_t in_hand)
{
	struct limit_view v = { .quota = quota };

	if (g.interval == 0)
		return v;
	v.left = gcra_left(tat, now, g) + in_hand;
	v.reset_s = seconds(v.left > 0 ? gcra_full_ns(tat, now, g) : gcra_wait_ns(tat, now, g, 1));
	return v;
}

static struct limit_view month_view(uint64_t used, uint64_t quota, const struct user_limits *u, int64_t now)
{
	struct limit_view v = { .quota = quota };

	if (quota == 0)
		return v;
	v.left = quota > used ? quota - used : 0;
	v.reset_s = u->period.end > now ? (uint64_t)(u->period.end - now) : 1;
	return v;
}

void limits_look(const struct limit_slot *slot, const struct user_limits *u, const struct limits_take *t,
                 struct limits_view *out)
{
	bool cut_off = t->mode == LIMITS_CUT_OFF;
	unsigned parts = cut_off ? t->hosts : 1;
	uint64_t now_gcra = gcra_now(t->now_ns);
	uint64_t in_hand = 0;

	for (int i = 0; i < 2 && t->mode == LIMITS_SHARED; i++)
		if (lease_holds(load(&slot->lease[i]), u, t->now_ns / NS_PER_MS))
			in_hand += lease_tokens(load(&slot->lease[i]));
	out->minute = bucket_view(load(cut_off ? &slot->cut_minute : &slot->minute), gcra_share(u->minute, parts),
	                          u->per_minute, now_gcra, in_hand);
	out->hour = bucket_view(load(cut_off ? &slot->cut_hour : &slot->hour), gcra_share(u->hour, parts), u->per_hour,
	                        now_gcra, in_hand);
	/* Redis counts what others have taken; what this host computes from its last word may be too much. */
	bool minute = user_limits_enforced(u, USER_SHADOW_MINUTE);
	bool hour = user_limits_enforced(u, USER_SHADOW_HOUR);
	if (t->code == VERDICT_RATE_LIMITED && (!minute || out->minute.left > 0) && (!hour || out->hour.left > 0)) {
		struct limit_view *v = minute ? &out->minute : &out->hour;
		v->left = 0;
		v->reset_s = seconds(t->wait_ns);
	}
	out->requests = month_view(quota_used(load(&slot->requests), u->period.id), u->month_requests, u, t->now);
	out->bytes = month_view(quota_used(load(&slot->bytes), u->period.id), u->month_bytes, u, t->now);
}
