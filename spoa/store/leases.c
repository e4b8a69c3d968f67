#include "store/leases.h"

#include "base/check.h"
#include "base/clock.h"
#include "io/redis.h"
#include "policy/lease.h"
#include "store/lease_wire.h"

#define OPS        8192 /* asks under way, and leases that are held */
#define BUCKETS    1024
#define WINDOW_MIN 8 /* asks under way at a time: at first, after Redis was slow or away, */
#define WINDOW_MAX 256
#define REPLY_MS   5000 /* a reply is taken for so long, if only to give back what it grants */

enum op_state {
	OP_UNUSED = 0,
	OP_QUEUED,  /* leaves at the end of the turn */
	OP_SENT,    /* the reply is due */
	OP_OVERDUE, /* and late: nobody waits for it any more */
	OP_HELD,    /* its lease lies in the slot */
};

TAILQ_HEAD(waiter_list, lease_waiter);

/* One ask, and then its lease. */
struct leases_op {
	TAILQ_ENTRY(leases_op) link; /* in the list of its state */
	LIST_ENTRY(leases_op) found; /* by slot; while it is queued or sent */
	struct leases *l;
	enum op_state state;
	struct limit_slot *slot;
	struct lease_ask ask; /* while it is queued: the limits only */
	uint32_t granted;
	uint32_t waiting; /* waiters in the list */
	struct waiter_list waiters;
};

TAILQ_HEAD(op_list, leases_op);
LIST_HEAD(op_chain, leases_op);

struct leases {
	struct loop *loop;
	struct redis *redis;
	struct limits_memory *memory;
	_Atomic uint64_t *counters;
	uint64_t host_id;
	unsigned deadline_ms;
	bool open; /* the circuit breaker: nobody waits for Redis */
	bool closing;
	bool probe_out;
	uint64_t probe_ns;
	uint64_t open_ns; /* since when it is open */
	unsigned window;
	unsigned under_way; /* queued and sent */
	struct op_list unused, queued, sent, overdue, held;
	struct op_chain buckets[BUCKETS];
	struct loop_task send;       /* end of the turn: what is queued goes out */
	struct loop_timer deadline;  /* of the first that was sent */
	struct loop_task late;       /* end of the turn in which the deadline passed */
	struct loop_timer give_back; /* of the first that is held */
	struct loop_timer probe;
	struct redis_batch batch;
	struct leases_op ops[OPS];
};

const char *leases_result_name(enum leases_result result)
{
	static const char *const names[LEASES_RESULT_COUNT] = {
		[LEASES_GRANTED] = "granted",   [LEASES_PARTIAL] = "partial", [LEASES_DENIED] = "denied",
		[LEASES_EXPIRED] = "expired",   [LEASES_FAILED] = "failed",   [LEASES_RETURNED] = "returned",
		[LEASES_BYPASSED] = "bypassed",
	};
	CHECK((unsigned)result < LEASES_RESULT_COUNT);
	return names[result];
}

static void count(struct leases *l, enum leases_result result)
{
	atomic_fetch_add_explicit(&l->counters[result], 1, memory_order_relaxed);
}

/* ---- asks and their states ---- */

static struct op_list *list_of(struct leases *l, enum op_state state)
{
	struct op_list *const lists[] = { &l->unused, &l->queued, &l->sent, &l->overdue, &l->held };
	return lists[state];
}

static struct op_chain *chain_of(struct leases *l, const struct limit_slot *slot)
{
	return &l->buckets[limits_slot_number(l->memory, slot) % BUCKETS];
}

static bool is_under_way(enum op_state state)
{
	return state == OP_QUEUED || state == OP_SENT;
}

static void set_state(struct leases_op *op, enum op_state state)
{
	struct leases *l = op->l;

	TAILQ_REMOVE(list_of(l, op->state), op, link);
	if (state == OP_UNUSED) /* the warmest memory is used first */
		TAILQ_INSERT_HEAD(&l->unused, op, link);
	else
		TAILQ_INSERT_TAIL(list_of(l, state), op, link);
	if (!is_under_way(op->state) && is_under_way(state)) {
		LIST_INSERT_HEAD(chain_of(l, op->slot), op, found);
		l->under_way++;
	} else if (is_under_way(op->state) && !is_under_way(state)) {
		LIST_REMOVE(op, found);
		l->under_way--;
	}
	op->state = state;
}

static struct leases_op *start(struct leases *l, struct limit_slot *slot, const struct user_limits *u)
{
	struct leases_op *op = TAILQ_FIRST(&l->unused);

	if (op == NULL || l->under_way >= l->window || !user_limits_shared(u))
		return NULL;
	op->slot = slot;
	op->ask.limits = *u;
	op->granted = op->waiting = 0;
	set_state(op, OP_QUEUED);
	loop_defer(&l->send);
	return op;
}

/* What was under way is no more, so nobody joins it while this goes on. */
static void tell_waiters(struct leases_op *op)
{
	struct lease_waiter *w;

	while ((w = TAILQ_FIRST(&op->waiters)) != NULL) {
		leases_cancel(op->l, w);
		w->cb(w);
	}
}

/* ---- the circuit breaker ---- */

/* A hiccup is no reason to wait for the other hosts afterwards. */
static void note_cut_off(struct leases *l)
{
	uint64_t now = loop_now_ns(l->loop);

	if (l->open && now - l->open_ns >= LEASES_CUT_MS * NS_PER_MS)
		atomic_store_explicit(&l->memory->cluster.cut_off_ns, now, memory_order_relaxed);
}

static void on_probe_reply(void *arg, enum err err, const struct redis_reply *r)
{
	struct leases *l = arg;
	uint64_t took = loop_now_ns(l->loop) - l->probe_ns;

	(void)r;
	l->probe_out = false;
	if (l->closing || !l->open || err != ERR_OK || took > l->deadline_ms * NS_PER_MS)
		return;
	note_cut_off(l);
	l->open = false;
	loop_timer_stop(&l->probe);
}

static void on_probe(void *arg)
{
	static const char *const ping[] = { "PING" };
	struct leases *l = arg;

	note_cut_off(l);
	if (l->probe_out || !redis_is_up(l->redis))
		return;
	l->probe_out = true;
	l->probe_ns = loop_now_ns(l->loop);
	redis_command(l->redis, 1, ping, NULL, REPLY_MS, on_probe_reply, l);
	redis_flush(l->redis);
}

static void open_breaker(struct leases *l)
{
	l->window = WINDOW_MIN;
	if (l->open)
		return;
	l->open = true;
	l->open_ns = loop_now_ns(l->loop);
	loop_timer_start(&l->probe, LEASES_PROBE_MS, LEASES_PROBE_MS);
}

static void on_up(void *arg)
{
	struct leases *l = arg;
	/* From the timer, since this comes out of the client. */
	loop_timer_start(&l->probe, 0, LEASES_PROBE_MS);
}

static void on_down(void *arg, const char *why)
{
	(void)why;
	open_breaker(arg);
}

/* ---- replies ---- */

static void send_back(struct leases_op *op, const struct lease_result *result)
{
	struct leases *l = op->l;

	lease_wire_back(&l->batch, l->host_id, op->slot->user_id, &op->ask, result);
	if (l->batch.count == 0 || !redis_is_up(l->redis))
		return;
	redis_transaction(l->redis, &l->batch, REPLY_MS, NULL, NULL);
	loop_defer(&l->send);
}

/* Starts the timer for the first of a list, whose times ascend. */
static void start_timer(struct leases *l, struct loop_timer *timer, const struct op_list *list, unsigned after_ms)
{
	const struct leases_op *first = TAILQ_FIRST(list);
	uint64_t now = loop_now_ns(l->loop);

	if (first == NULL) {
		loop_timer_stop(timer);
		return;
	}
	uint64_t at = first->ask.now_ns + after_ms * NS_PER_MS;
	loop_timer_start(timer, at > now ? (at - now + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
}

/* The list goes by the time of the asking. A reply that came late belongs before those of later asks. */
static void insert_held(struct leases_op *op)
{
	struct leases *l = op->l;
	struct leases_op *before = TAILQ_LAST(&l->held, op_list);

	while (before != NULL && before->ask.now_ns > op->ask.now_ns)
		before = TAILQ_PREV(before, op_list, link);
	set_state(op, OP_HELD);
	if (before == TAILQ_PREV(op, op_list, link))
		return;
	TAILQ_REMOVE(&l->held, op, link);
	if (before != NULL)
		TAILQ_INSERT_AFTER(&l->held, before, op, link);
	else
		TAILQ_INSERT_HEAD(&l->held, op, link);
}

/* What the waiters have left of the lease is held until it goes back. */
static void hold(struct leases_op *op)
{
	struct leases *l = op->l;
	uint64_t end_ms = lease_end_of(&op->ask);
	bool left = false;

	for (int i = 0; op->granted > 0 && i < 2; i++) {
		uint64_t word = atomic_load_explicit(&op->slot->lease[i], memory_order_relaxed);
		left = left || (lease_tokens(word) > 0 && lease_end_ms(word) == end_ms);
	}
	if (!left) {
		set_state(op, OP_UNUSED);
		return;
	}
	insert_held(op);
	if (TAILQ_FIRST(&l->held) == op)
		start_timer(l, &l->give_back, &l->held, LEASE_GIVE_MS);
}

static enum leases_result settle(struct leases_op *op, const struct lease_reply *reply)
{
	struct lease_result result;
	uint64_t now_ns = loop_now_ns(op->l->loop);

	lease_settle(op->slot, &op->ask, reply, now_ns, &result);
	send_back(op, &result);
	op->granted = result.tokens;
	if (result.tokens == op->ask.tokens)
		return LEASES_GRANTED;
	if (now_ns >= op->ask.now_ns + LEASE_GIVE_MS * NS_PER_MS)
		return LEASES_EXPIRED;
	return result.tokens > 0 ? LEASES_PARTIAL : LEASES_DENIED;
}

static void on_reply(void *arg, enum err err, const struct redis_reply *r)
{
	struct leases_op *op = arg;
	struct leases *l = op->l;
	struct lease_reply reply;
	bool in_time = op->state == OP_SENT;

	if (err == ERR_OK)
		err = lease_wire_reply(l->host_id, &op->ask, r, &reply);
	if (err == ERR_OK && !l->closing) {
		count(l, settle(op, &reply));
		if (in_time && l->window < WINDOW_MAX)
			l->window++;
	} else {
		count(l, LEASES_FAILED);
		op->granted = 0;
		if (!l->closing)
			open_breaker(l);
	}
	/* Not unused yet: the callbacks may start another one. */
	set_state(op, OP_OVERDUE);
	tell_waiters(op);
	hold(op);
}

/* ---- timers and tasks ---- */

/*
 * Whether an ask that is under way tells already what the slot owes. One that is overdue may, too, but while there is
 * one no other begins: its reply comes before that of the probe.
 */
static bool is_told(struct leases *l, const struct limit_slot *slot)
{
	const struct leases_op *op;

	LIST_FOREACH(op, chain_of(l, slot), found)
	if (op->slot == slot && op->state == OP_SENT && op->ask.tells)
		return true;
	return false;
}

static void on_send(void *arg)
{
	struct leases *l = arg;
	const struct limits_cluster *cluster = &l->memory->cluster;
	const struct lease_moment at = {
		.hosts = leases_hosts(l),
		.now_ns = loop_now_ns(l->loop),
		.now = clock_real_s(),
		.offset_us = atomic_load_explicit(&cluster->clock_offset_us, memory_order_relaxed),
	};
	struct leases_op *op;

	while ((op = TAILQ_FIRST(&l->queued)) != NULL) {
		/* The limits are an argument that the ask holds already. */
		struct user_limits limits = op->ask.limits;
		lease_ask_make(op->slot, &limits, op->waiting, !is_told(l, op->slot), &at, &op->ask);
		lease_wire_ask(&l->batch, l->host_id, op->slot->user_id, &op->ask);
		set_state(op, OP_SENT);
		redis_transaction(l->redis, &l->batch, REPLY_MS, on_reply, op);
	}
	redis_flush(l->redis);
	if (!loop_timer_active(&l->deadline))
		start_timer(l, &l->deadline, &l->sent, l->deadline_ms);
}

/* The replies may lie in the socket already, when it was this process that had no time: they are read first. */
static void on_deadline(void *arg)
{
	struct leases *l = arg;
	loop_defer(&l->late);
}

static void on_late(void *arg)
{
	struct leases *l = arg;
	uint64_t now_ns = loop_now_ns(l->loop);
	struct leases_op *op;

	while ((op = TAILQ_FIRST(&l->sent)) != NULL && op->ask.now_ns + l->deadline_ms * NS_PER_MS <= now_ns) {
		set_state(op, OP_OVERDUE);
		open_breaker(l);
		tell_waiters(op);
	}
	start_timer(l, &l->deadline, &l->sent, l->deadline_ms);
}

static void give_back(struct leases_op *op)
{
	struct lease_result result;
	uint32_t tokens = lease_take_back(op->slot, lease_end_of(&op->ask));

	if (tokens >
	    op->granted) /* two leases that end in the same millisecond: the other one's entry finds the rest */
		tokens = op->granted;
	if (tokens > 0) {
		lease_back(op->slot, &op->ask, op->granted, tokens, loop_now_ns(op->l->loop), &result);
		send_back(op, &result);
		count(op->l, LEASES_RETURNED);
	}
	set_state(op, OP_UNUSED);
}

static void on_give_back(void *arg)
{
	struct leases *l = arg;
	uint64_t now_ns = loop_now_ns(l->loop);
	struct leases_op *op;

	while ((op = TAILQ_FIRST(&l->held)) != NULL && op->ask.now_ns + LEASE_GIVE_MS * NS_PER_MS <= now_ns)
		give_back(op);
	start_timer(l, &l->give_back, &l->held, LEASE_GIVE_MS);
}

/* ---- for the verdict ---- */

static bool clock_is_known(const struct leases *l)
{
	/* The offset is read after it. */
	uint64_t at = atomic_load_explicit(&l->memory->cluster.clock_ns, memory_order_acquire);
	uint64_t now = loop_now_ns(l->loop);

	return at != 0 && (now < at || now - at < LEASES_CLOCK_MS * NS_PER_MS);
}

enum limits_mode leases_mode(const struct leases *l)
{
	return !l->open && clock_is_known(l) && !limits_apart(&l->memory->cluster, loop_now_ns(l->loop))
	               ? LIMITS_SHARED
	               : LIMITS_CUT_OFF;
}

unsigned leases_hosts(const struct leases *l)
{
	uint64_t hosts = atomic_load_explicit(&l->memory->cluster.hosts, memory_order_relaxed);

	return hosts == 0 ? 1 : hosts > UINT32_MAX ? UINT32_MAX : (unsigned)hosts;
}

void leases_prefetch(struct leases *l, struct limit_slot *slot, const struct user_limits *u)
{
	const struct leases_op *op;

	if (leases_mode(l) != LIMITS_SHARED || !lease_wanted(slot, u, leases_hosts(l), loop_now_ns(l->loop)))
		return;
	LIST_FOREACH(op, chain_of(l, slot), found)
	if (op->slot == slot)
		return;
	start(l, slot, u);
}

/*
 * One that is not sent yet grows with those who wait for it; one that is under way has a number of tokens. When as many
 * are under way as Redis's cap leaves room for, the rest waits for the last one, and asks again if that has nothing
 * left.
 */
static struct leases_op *join(struct leases *l, const struct limit_slot *slot, const struct user_limits *u)
{
	struct leases_op *op = NULL, *last = NULL;
	unsigned under_way = 0;

	LIST_FOREACH(op, chain_of(l, slot), found)
	{
		if (op->slot != slot || op->ask.limits.tag != u->tag)
			continue;
		if (op->waiting < (op->state == OP_QUEUED ? LEASE_TOKENS_MAX : op->ask.tokens))
			return op;
		if (last == NULL)
			last = op;
		under_way++;
	}
	return under_way >= LEASE_ASKS_MAX ? last : NULL;
}

bool leases_wait(struct leases *l, struct limit_slot *slot, const struct user_limits *u, struct lease_waiter *w)
{
	struct leases_op *op = NULL;

	w->op = NULL;
	if (leases_mode(l) == LIMITS_SHARED) {
		op = join(l, slot, u);
		if (op == NULL)
			op = start(l, slot, u);
	}
	if (op == NULL) {
		count(l, LEASES_BYPASSED);
		return false;
	}
	w->op = op;
	op->waiting++;
	TAILQ_INSERT_TAIL(&op->waiters, w, link);
	return true;
}

void leases_cancel(struct leases *l, struct lease_waiter *w)
{
	struct leases_op *op = w->op;

	(void)l;
	if (op == NULL)
		return;
	TAILQ_REMOVE(&op->waiters, w, link);
	op->waiting--;
	w->op = NULL;
}

/* ---- beginning and end ---- */

enum err leases_new(struct loop *loop, const struct leases_config *config, struct leases **out, char *error,
                    size_t error_size)
{
	struct leases *l = check_calloc(1, sizeof(*l));
	const struct redis_config redis = {
		.addr = config->addr,
		.password = config->password,
		.db = config->db,
		.tls = config->tls,
		.tls_ca = config->tls_ca,
		.inflight_max = 4 * OPS,
		.reconnect_max_ms = LIMITS_RECONNECT_MS,
		.on_up = on_up,
		.on_down = on_down,
		.arg = l,
	};
	enum err err = redis_new(loop, &redis, &l->redis, error, error_size);

	*out = NULL;
	if (err != ERR_OK) {
		free(l);
		return err;
	}
	l->loop = loop;
	l->memory = config->memory;
	l->counters = config->counters;
	l->host_id = config->host_id;
	l->deadline_ms = config->deadline_ms != 0 ? config->deadline_ms : LEASES_DEADLINE_MS;
	for (int state = OP_UNUSED; state <= OP_HELD; state++)
		TAILQ_INIT(list_of(l, (enum op_state)state));
	for (int i = 0; i < BUCKETS; i++)
		LIST_INIT(&l->buckets[i]);
	for (int i = OPS - 1; i >= 0; i--) {
		l->ops[i].l = l;
		TAILQ_INIT(&l->ops[i].waiters);
		TAILQ_INSERT_HEAD(&l->unused, &l->ops[i], link);
	}
	loop_task_init(&l->send, loop, on_send, l);
	loop_task_init(&l->late, loop, on_late, l);
	loop_timer_init(&l->deadline, loop, on_deadline, l);
	loop_timer_init(&l->give_back, loop, on_give_back, l);
	loop_timer_init(&l->probe, loop, on_probe, l);
	open_breaker(l);
	*out = l;
	return ERR_OK;
}

static void forget_waiters(struct leases *l)
{
	struct lease_waiter *w;

	for (int i = 0; i < OPS; i++)
		while ((w = TAILQ_FIRST(&l->ops[i].waiters)) != NULL)
			leases_cancel(l, w);
}

void leases_free(struct leases *l)
{
	struct leases_op *op;

	if (l == NULL)
		return;
	l->closing = true;
	forget_waiters(l);
	while ((op = TAILQ_FIRST(&l->held)) != NULL)
		give_back(op);
	redis_flush(l->redis);
	redis_free(l->redis);
	loop_task_cancel(&l->send);
	loop_task_cancel(&l->late);
	loop_timer_stop(&l->deadline);
	loop_timer_stop(&l->give_back);
	loop_timer_stop(&l->probe);
	free(l);
}
