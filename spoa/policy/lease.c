#include "policy/lease.h"

#include "base/clock.h"
#include "policy/quota.h"

#define MINUTE_US      INT64_C(60000000)
#define HOUR_US        INT64_C(3600000000)
#define LEASE_US       (INT64_C(1000) * LEASE_MS)
#define GCRA_PER_US    (1000 * GCRA_PER_NS)
#define TOLERANCE_MAX  (INT64_C(1) << 47) /* some four years: scores stay whole numbers in a double */
#define TAT_VAGUE      UINT64_C(1) /* a bit of a TAT in the slot, 1/16 ns: the true one may be earlier by a token */
#define TTL_SLACK_MS   1000
#define MONTH_SLACK_S  (7 * INT64_C(86400))
#define MONTH_AGAIN_MS 1000 /* a quota that was raised is noticed so soon */
/* Each ask rounds its cost up by less than 1 us; so many of them drain a bucket without losing its last token. */
#define ROUNDING_US 64
/* Without a limit of the rate: one asking is for so small a part of the month. */
#define MONTH_PARTS 10000

__extension__ typedef unsigned __int128 wide;

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t greatest(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What n tokens cost of a rate, in time, rounded up. */
static int64_t cost_us(uint64_t n, uint64_t rate, int64_t window_us)
{
	wide cost = ((wide)n * (uint64_t)window_us + rate - 1) / rate;

	return cost < (wide)TOLERANCE_MAX ? (int64_t)cost : TOLERANCE_MAX;
}

static int64_t tolerance_us(uint64_t burst, uint64_t rate, int64_t window_us)
{
	return cost_us(burst, rate, window_us) + (int64_t)(burst < ROUNDING_US ? burst : ROUNDING_US);
}

static int64_t minute_cost(const struct user_limits *u, uint64_t n)
{
	return cost_us(n, u->per_minute, MINUTE_US);
}

static int64_t hour_cost(const struct user_limits *u, uint64_t n)
{
	return cost_us(n, u->per_hour, HOUR_US);
}

static int64_t minute_tolerance(const struct user_limits *u)
{
	return tolerance_us(u->burst, u->per_minute, MINUTE_US);
}

static int64_t hour_tolerance(const struct user_limits *u)
{
	return tolerance_us(u->per_hour, u->per_hour, HOUR_US);
}

/*
 * Half of what each host's part of the rate gives in L: two leases of each, the one that is spent and the next, are
 * rate * L together. Where the bucket is smaller than that, a host must not hold all of it while others ask.
 */
uint32_t lease_size(const struct user_limits *u, unsigned hosts)
{
	uint64_t n = hosts > 0 ? hosts : 1;
	uint64_t size, most = LEASE_TOKENS_MAX;

	if (user_limits_enforced(u, USER_SHADOW_MINUTE)) {
		size = u->per_minute * LEASE_MS / (2 * 60000 * n);
		most = u->burst / n;
	} else if (user_limits_enforced(u, USER_SHADOW_HOUR)) {
		size = u->per_hour * LEASE_MS / (2 * 3600000 * n);
	} else {
		size = u->month_requests / (MONTH_PARTS * n);
		most = 100;
	}
	if (most > LEASE_TOKENS_MAX)
		most = LEASE_TOKENS_MAX;
	if (size > most)
		size = most;
	return size > 1 ? (uint32_t)size : 1;
}

/* Redis's clock less the monotonic one, as the ask knew it. */
static int64_t offset_us(const struct lease_ask *ask)
{
	return ask->now_us - (int64_t)(ask->now_ns / 1000);
}

/*
 * What the bucket's TAT is at least. Known is what Redis said last, less what the other hosts may have given back
 * since: with a floor above the true TAT their give-backs would be lost. A single token is asked for when it is needed,
 * and does not come back; but when the TAT was vague it is known only that there was no token left.
 */
static int64_t floor_us(const struct lease_ask *ask, uint64_t tat, unsigned others, uint32_t size, int64_t lease_us,
                        int64_t cap)
{
	int64_t less_us = size > 1 ? others * lease_us : (tat & TAT_VAGUE) != 0 ? lease_us : 0;
	int64_t known = (int64_t)(tat / GCRA_PER_US) + offset_us(ask) - less_us;

	return least(tat != 0 ? greatest(ask->now_us, known) : ask->now_us, cap);
}

/* How far what this host has spent of its share lies beyond what is known of the whole. */
static uint64_t above_known(uint64_t cut, uint64_t known, uint64_t now)
{
	uint64_t from = known > now ? known : now;

	return cut > from ? cut - from : 0;
}

/* A share's token is `hosts` of the whole. */
static int64_t debt_us(uint64_t told, unsigned hosts, int64_t most)
{
	uint64_t unit = GCRA_PER_US * hosts;

	return least((int64_t)((told + unit - 1) / unit), most);
}

static void lower_tat(_Atomic uint64_t *word, int64_t by_us)
{
	uint64_t by = (uint64_t)by_us * GCRA_PER_US;
	uint64_t seen = load(word);

	while (!atomic_compare_exchange_weak_explicit(word, &seen, seen > by ? seen - by : 0, memory_order_relaxed,
	                                              memory_order_relaxed))
		;
}

/* Tokens of both leases that may still be spent. */
static uint64_t unspent(const struct limit_slot *slot, uint64_t now_ns)
{
	uint64_t sum = 0;

	for (int i = 0; i < 2; i++) {
		uint64_t word = load(&slot->lease[i]);
		if (lease_end_ms(word) > now_ns / NS_PER_MS)
			sum += lease_tokens(word);
	}
	return sum;
}

/* What this host has admitted of the month since it started: what was before is counted under another name. */
static uint64_t own_admitted(const struct limit_slot *slot, uint32_t period)
{
	uint64_t admitted = quota_used(load(&slot->admitted), period);
	uint64_t restored = quota_used(load(&slot->restored), period);

	return admitted > restored ? admitted - restored : 0;
}

bool lease_wanted(const struct limit_slot *slot, const struct user_limits *u, unsigned hosts, uint64_t now_ns)
{
	uint64_t now_ms = now_ns / NS_PER_MS;
	uint64_t denied = load(&slot->denied);
	bool free_word = false;

	if (denied != 0 && lease_tag(denied) == u->tag && lease_end_ms(denied) > now_ms)
		return false;
	for (int i = 0; i < 2; i++) {
		uint64_t word = load(&slot->lease[i]);
		free_word = free_word || lease_tokens(word) == 0 || lease_end_ms(word) <= now_ms;
	}
	return free_word && unspent(slot, now_ns) <= lease_size(u, hosts) / 2;
}

/*
 * What the LT leaves beyond the burst: room for all that the hosts may have asked for in vain at a time. Cut closer, a
 * give-back of what is cut off already would refill the bucket.
 */
static int64_t vain_us(const struct lease_ask *ask, int64_t lease_us)
{
	int64_t asks = (int64_t)ask->hosts * LEASE_ASKS_MAX * LEASE_PROCESSES;

	return LEASE_US + least(lease_us, TOLERANCE_MAX / asks) * asks;
}

/* As many as wait, but of a bucket that is known to be nearly empty no more than one lease in vain. */
static uint32_t tokens_of(const struct limit_slot *slot, const struct user_limits *u, uint32_t size, uint32_t wanted,
                          uint64_t now)
{
	uint64_t n = wanted < LEASE_TOKENS_MAX ? wanted : LEASE_TOKENS_MAX;

	if (user_limits_enforced(u, USER_SHADOW_MINUTE) && n > size + gcra_left(load(&slot->minute), now, u->minute))
		n = size + gcra_left(load(&slot->minute), now, u->minute);
	if (user_limits_enforced(u, USER_SHADOW_HOUR) && n > size + gcra_left(load(&slot->hour), now, u->hour))
		n = size + gcra_left(load(&slot->hour), now, u->hour);
	return n > size ? (uint32_t)n : size;
}

static void ask_minute(const struct limit_slot *slot, uint32_t size, uint64_t now, struct lease_ask *out)
{
	const struct user_limits *u = &out->limits;
	uint64_t tat = load(&slot->minute);
	int64_t most = minute_tolerance(u) + LEASE_US;
	int64_t lease = minute_cost(u, size);

	out->minute = true;
	out->minute_told = out->tells ? above_known(load(&slot->cut_minute), tat, now) : 0;
	out->minute_cap_us = out->now_us + minute_tolerance(u) + vain_us(out, lease);
	out->minute_floor_us = floor_us(out, tat, out->hosts - 1, size, lease, out->now_us + most);
	out->minute_cost_us = minute_cost(u, out->tokens) + debt_us(out->minute_told, out->hosts, most);
}

static void ask_hour(const struct limit_slot *slot, uint32_t size, uint64_t now, struct lease_ask *out)
{
	const struct user_limits *u = &out->limits;
	uint64_t tat = load(&slot->hour);
	int64_t most = hour_tolerance(u) + LEASE_US;
	int64_t lease = hour_cost(u, size);

	out->hour = true;
	out->hour_told = out->tells ? above_known(load(&slot->cut_hour), tat, now) : 0;
	out->hour_cap_us = out->now_us + hour_tolerance(u) + vain_us(out, lease);
	out->hour_floor_us = floor_us(out, tat, out->hosts - 1, size, lease, out->now_us + most);
	out->hour_cost_us = hour_cost(u, out->tokens) + debt_us(out->hour_told, out->hosts, most);
}

void lease_ask_make(const struct limit_slot *slot, const struct user_limits *u, uint32_t wanted, bool tells,
                    const struct lease_moment *at, struct lease_ask *out)
{
	uint64_t now_gcra = gcra_now(at->now_ns);
	unsigned hosts = at->hosts > 0 ? at->hosts : 1;
	uint32_t size = lease_size(u, hosts);
	int64_t longest = 0;

	*out = (struct lease_ask){
		.tokens = tokens_of(slot, u, size, wanted, now_gcra),
		.hosts = hosts,
		.period = u->period.id,
		.now_us = (int64_t)(at->now_ns / 1000) + at->offset_us,
		.now_ns = at->now_ns,
		.limits = *u,
		.tells = tells,
		.owed = tells ? quota_used(load(&slot->owed), u->period.id) : 0,
	};
	if (user_limits_enforced(u, USER_SHADOW_MINUTE)) {
		ask_minute(slot, size, now_gcra, out);
		longest = out->minute_cap_us - out->now_us + out->minute_cost_us;
	}
	if (user_limits_enforced(u, USER_SHADOW_HOUR)) {
		ask_hour(slot, size, now_gcra, out);
		longest = greatest(longest, out->hour_cap_us - out->now_us + out->hour_cost_us);
	}
	out->ttl_ms = longest / 1000 + TTL_SLACK_MS;
	if (user_limits_enforced(u, USER_SHADOW_REQUESTS)) {
		out->month = true;
		out->month_admitted = own_admitted(slot, out->period);
		out->month_ttl_s = greatest(u->period.end - at->now, 0) + MONTH_SLACK_S;
	}
}

/* How many of the n are covered when the TAT went to `tat`. */
static uint32_t covered(int64_t tat, int64_t latest, uint32_t n, uint64_t rate, int64_t window_us)
{
	if (tat <= latest)
		return n;
	wide over = ((wide)(uint64_t)(tat - latest) * rate + (uint64_t)window_us - 1) / (uint64_t)window_us;
	return over >= n ? 0 : n - (uint32_t)over;
}

/* What each limit says to an ask. */
struct answer {
	bool there;
	uint32_t tokens;
	enum verdict_code code;
	int64_t wait_us; /* until the next token, once what was not granted is back */
};

/* What others have asked for in vain and not yet given back does not count for the wait: one interval is enough. */
static void bucket_answer(const struct lease_ask *ask, int64_t tat_us, int64_t tolerance, uint64_t rate,
                          int64_t window_us, struct answer *a)
{
	int64_t latest = ask->now_us + tolerance;
	int64_t interval = cost_us(1, rate, window_us);

	a->tokens = covered(tat_us, latest, ask->tokens, rate, window_us);
	a->wait_us = least(tat_us - cost_us(ask->tokens, rate, window_us) + cost_us(a->tokens, rate, window_us) +
	                           interval - latest,
	                   interval);
}

static struct answer minute_answer(const struct lease_ask *ask, const struct lease_reply *r)
{
	const struct user_limits *u = &ask->limits;
	struct answer a = { .there = ask->minute, .tokens = ask->tokens, .code = VERDICT_RATE_LIMITED };

	if (ask->minute)
		bucket_answer(ask, r->minute_us, minute_tolerance(u), u->per_minute, MINUTE_US, &a);
	return a;
}

static struct answer hour_answer(const struct lease_ask *ask, const struct lease_reply *r)
{
	const struct user_limits *u = &ask->limits;
	struct answer a = { .there = ask->hour, .tokens = ask->tokens, .code = VERDICT_RATE_LIMITED };

	if (ask->hour)
		bucket_answer(ask, r->hour_us, hour_tolerance(u), u->per_hour, HOUR_US, &a);
	return a;
}

/* What was surely admitted: all that PostgreSQL has, and what it does not have yet of this host. */
static uint64_t surely_admitted(const struct limit_slot *slot, uint32_t period)
{
	uint64_t admitted = quota_used(load(&slot->admitted), period);
	uint64_t flushed = quota_used(load(&slot->flushed), period);

	return quota_used(load(&slot->stored), period) + (admitted > flushed ? admitted - flushed : 0);
}

/*
 * What the others have. When Redis did not know this host, it may not know (all of) the others either, for they tell it
 * with their next asks: until they have, what was known of them before holds.
 */
static uint64_t others_admitted(struct limit_slot *slot, const struct lease_ask *ask, const struct lease_reply *r)
{
	uint64_t own = own_admitted(slot, ask->period);
	uint64_t known = quota_used(load(&slot->requests), ask->period);

	if (r->month_new && known > own)
		quota_raise(&slot->others, ask->period, known - own);
	return greater(r->month_others, quota_used(load(&slot->others), ask->period));
}

/*
 * Redis may count less than was admitted: it came back without its data or with an older copy, or the quota was not
 * enforced for a while. Then the other count holds.
 */
static struct answer month_answer(const struct limit_slot *slot, const struct lease_ask *ask,
                                  const struct lease_reply *r, uint64_t others, uint64_t now_ns)
{
	uint64_t out = unspent(slot, now_ns) + ask->tokens;
	uint64_t own = greater(r->month_own, own_admitted(slot, ask->period) + out);
	uint64_t count = greater(own + others, surely_admitted(slot, ask->period) + out);
	struct answer a = {
		.there = ask->month,
		.tokens = ask->tokens,
		.code = VERDICT_QUOTA_REQUESTS,
		.wait_us = MONTH_AGAIN_MS * INT64_C(1000),
	};

	if (ask->month && count > ask->limits.month_requests) {
		uint64_t over = count - ask->limits.month_requests;
		a.tokens = over >= ask->tokens ? 0 : ask->tokens - (uint32_t)over;
	}
	return a;
}

/*
 * The least time until the next asking. Many hosts that share what comes in meanwhile wait a little longer, up to twice
 * as long. A bucket that holds less than that of its rate would be full before, and what it gets then would be lost.
 */
static int64_t backoff_us(const struct lease_ask *ask)
{
	int64_t base = LEASE_BACKOFF_MS * INT64_C(1000);

	if (!ask->minute)
		return base;
	int64_t wait = base + least(minute_cost(&ask->limits, UINT64_C(2) * ask->hosts), base);
	return greatest(least(minute_tolerance(&ask->limits) / 2, wait), base / 10);
}

/* The refusal that holds once the granted tokens are spent: of the first limit, in the contract's order, that has none
 * left then. Until all of those have one. */
static void deny(struct limit_slot *slot, const struct lease_ask *ask, const struct answer *answers, uint32_t granted)
{
	int64_t wait = backoff_us(ask);
	enum verdict_code code = VERDICT_ALLOW;

	for (int i = 0; i < 3; i++) {
		if (!answers[i].there || answers[i].tokens != granted)
			continue;
		if (code == VERDICT_ALLOW)
			code = answers[i].code;
		wait = greatest(wait, answers[i].wait_us);
	}
	uint64_t end_us = ask->now_ns / 1000 + (uint64_t)wait;
	store(&slot->denied, lease_denied_word(code, ask->limits.tag, (end_us + 999) / 1000));
}

/*
 * Puts a lease into a word that holds none. *left: what an expired one still held, which its process would have given
 * back before: it has been killed. The word is taken by one process alone, so that nobody gives them back twice.
 */
static bool put_lease(struct limit_slot *slot, uint64_t word, uint64_t now_ns, uint32_t *left)
{
	for (int i = 0; i < 2; i++) {
		uint64_t seen = load(&slot->lease[i]);
		while (lease_tokens(seen) == 0 || lease_end_ms(seen) <= now_ns / NS_PER_MS) {
			if (!atomic_compare_exchange_weak_explicit(&slot->lease[i], &seen, word, memory_order_relaxed,
			                                           memory_order_relaxed))
				continue;
			*left = lease_tag(seen) == lease_tag(word) ? lease_tokens(seen) : 0;
			return true;
		}
	}
	return false;
}

/*
 * What this host has admitted from its share lies above what was known of the whole, `before`. When other things are
 * known of that, `after`, it still lies above, less what Redis was told: that is in `after`.
 */
static void keep_debt(_Atomic uint64_t *cut, uint64_t before, uint64_t after, uint64_t told, uint64_t asked,
                      uint64_t now)
{
	uint64_t to = after > now ? after : now;
	uint64_t seen = load(cut);
	uint64_t next;

	do {
		/* What was told lay above the moment of the asking. */
		uint64_t above = above_known(seen, before, told != 0 ? asked : now);
		next = above > told ? to + above - told : 0;
	} while (!atomic_compare_exchange_weak_explicit(cut, &seen, next, memory_order_relaxed, memory_order_relaxed));
}

/*
 * What is granted leaves no TAT beyond `latest`. One that lies there holds what others have asked for in vain and not
 * given back yet (or a debt). A late reply may be older than what is known.
 */
static void learn_tat(_Atomic uint64_t *word, _Atomic uint64_t *cut, uint64_t told, const struct lease_ask *ask,
                      int64_t tat_us, int64_t latest_us, bool late, uint64_t now)
{
	uint64_t before = load(word);

	int64_t mono = least(tat_us, latest_us) - offset_us(ask);
	uint64_t tat = mono > 0 ? (uint64_t)mono * GCRA_PER_US + (tat_us > latest_us ? TAT_VAGUE : 0) : 0;

	if (late)
		gcra_raise(word, tat);
	else
		store(word, tat);
	keep_debt(cut, before, load(word), told, gcra_now(ask->now_ns), now);
}

static void learn_tats(struct limit_slot *slot, const struct lease_ask *ask, const struct lease_reply *reply,
                       const struct lease_result *back, bool late, uint64_t now_ns)
{
	const struct user_limits *u = &ask->limits;
	uint64_t now = gcra_now(now_ns);

	if (ask->minute)
		learn_tat(&slot->minute, &slot->cut_minute, ask->minute_told, ask,
		          reply->minute_us - back->minute_back_us, ask->now_us + minute_tolerance(u), late, now);
	if (ask->hour)
		learn_tat(&slot->hour, &slot->cut_hour, ask->hour_told, ask, reply->hour_us - back->hour_back_us,
		          ask->now_us + hour_tolerance(u), late, now);
}

/* Later than L a bucket has been filled without what is missing, perhaps up to its brim: then it would be too much. */
static void back(const struct lease_ask *ask, uint32_t from, uint32_t to, uint64_t now_ns, struct lease_result *out)
{
	const struct user_limits *u = &ask->limits;
	bool in_time = now_ns <= ask->now_ns + LEASE_MS * NS_PER_MS;

	if (ask->minute && in_time)
		out->minute_back_us = minute_cost(u, from) - minute_cost(u, to);
	if (ask->hour && in_time)
		out->hour_back_us = hour_cost(u, from) - hour_cost(u, to);
	if (ask->month)
		out->month_back = from - to;
}

void lease_settle(struct limit_slot *slot, const struct lease_ask *ask, const struct lease_reply *reply,
                  uint64_t now_ns, struct lease_result *out)
{
	uint64_t others = ask->month ? others_admitted(slot, ask, reply) : 0;
	const struct answer answers[3] = { minute_answer(ask, reply), hour_answer(ask, reply),
		                           month_answer(slot, ask, reply, others, now_ns) };
	uint64_t end_ms = lease_end_of(ask);
	uint32_t granted = ask->tokens;
	uint32_t left = 0;
	bool late = now_ns >= ask->now_ns + LEASE_GIVE_MS * NS_PER_MS;

	*out = (struct lease_result){ 0 };
	for (int i = 0; i < 3; i++)
		if (answers[i].tokens < granted)
			granted = answers[i].tokens;
	/* What is out in leases of this host is counted when it is spent. */
	if (ask->month)
		quota_raise(&slot->requests, ask->period, own_admitted(slot, ask->period) + others);
	if (ask->owed > 0)
		quota_add(&slot->owed, ask->period, -(int64_t)ask->owed);
	if (late)
		granted = 0;
	else if (granted < ask->tokens)
		deny(slot, ask, answers, granted);
	else
		store(&slot->denied, 0);
	/* Two processes of this host may have asked at the same time. */
	if (granted > 0 && !put_lease(slot, lease_word(granted, ask->limits.tag, end_ms), now_ns, &left))
		granted = 0;
	out->tokens = granted;
	back(ask, ask->tokens, granted, now_ns, out);
	/* Rates have filled up again; a month does not. */
	if (ask->month)
		out->month_back += left;
	learn_tats(slot, ask, reply, out, late, now_ns);
}

uint32_t lease_take_back(struct limit_slot *slot, uint64_t end_ms)
{
	for (int i = 0; i < 2; i++) {
		uint64_t seen = load(&slot->lease[i]);
		while (lease_tokens(seen) > 0 && lease_end_ms(seen) == (end_ms & LEASE_END_MASK))
			if (atomic_compare_exchange_weak_explicit(&slot->lease[i], &seen, 0, memory_order_relaxed,
			                                          memory_order_relaxed))
				return lease_tokens(seen);
	}
	return 0;
}

/* What this host owes beside it does not become more. */
static void less_known(_Atomic uint64_t *word, _Atomic uint64_t *cut, int64_t by_us, uint64_t now_ns)
{
	uint64_t before = load(word);

	lower_tat(word, by_us);
	keep_debt(cut, before, load(word), 0, 0, gcra_now(now_ns));
}

void lease_back(struct limit_slot *slot, const struct lease_ask *ask, uint32_t granted, uint32_t tokens,
                uint64_t now_ns, struct lease_result *out)
{
	*out = (struct lease_result){ .tokens = tokens };
	back(ask, granted, granted - tokens, now_ns, out);
	if (ask->minute)
		less_known(&slot->minute, &slot->cut_minute, out->minute_back_us, now_ns);
	if (ask->hour)
		less_known(&slot->hour, &slot->cut_hour, out->hour_back_us, now_ns);
}
