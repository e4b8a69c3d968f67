#include "store/hosts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#define KEY        "gw:hosts"
#define KEY_READY  "gw:ready"
#define REPLY_MS   1000
#define AGAIN_MS   50 /* until a measurement that took too long is repeated, or one after a jump */
#define ID_MAX     64
#define TICK_MS    HOSTS_APART_MS
#define CUT_OFF_MS 150 /* after the last note of a worker that it is cut off */
#define US_PER_MS  1000
#define EXPIRES_MS INT64_C(60000)

struct hosts {
	struct redis *redis;
	struct limits_cluster *cluster;
	char id[ID_MAX + 1];
	bool stopped;
	bool announce_out, time_out; /* their answers are due */
	uint64_t announce_ns;        /* when it is next */
	uint64_t time_ns;
	uint64_t asked_ns;     /* when the TIME that is due was sent */
	uint64_t lower_ns;     /* since when fewer hosts are there than are counted; 0: they are not */
	uint64_t fewer;        /* the most that were there since */
	uint64_t announced_ns; /* when the announcement that is due was sent */
	size_t replies;        /* that it brings */
	uint64_t apart_ns;     /* the moment since which it looks for all hosts; 0: it does not */
	bool known;            /* the offset */
	int64_t offset_us;     /* as measured last, whether it may be used or not */
	uint64_t jumped_ns;    /* 0: it is used; else since when it agrees with itself */
	struct loop_timer timer;
	struct redis_batch batch;
};

static void store_u64(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

/* ---- the clock ---- */

static bool jumped(int64_t a, int64_t b)
{
	return llabs(a - b) > HOSTS_JUMP_MS * US_PER_MS;
}

static void use_offset(struct hosts *h, uint64_t now_ns)
{
	atomic_store_explicit(&h->cluster->clock_offset_us, h->offset_us, memory_order_relaxed);
	atomic_store_explicit(&h->cluster->clock_ns, now_ns, memory_order_release);
}

static void measured(struct hosts *h, int64_t offset_us, uint64_t now_ns)
{
	bool differs = h->known && jumped(offset_us, h->offset_us);

	if (differs) {
		store_u64(&h->cluster->clock_ns, 0);
		h->jumped_ns = now_ns;
		log_warn("redis: its clock has jumped against this host's: by_ms=%" PRId64 " settling_ms=%d",
		         (offset_us - h->offset_us) / US_PER_MS, HOSTS_SETTLE_MS);
	}
	h->known = true;
	h->offset_us = offset_us;
	if (h->jumped_ns != 0) {
		h->time_ns = now_ns + AGAIN_MS * NS_PER_MS;
		if (now_ns - h->jumped_ns < HOSTS_SETTLE_MS * NS_PER_MS)
			return;
		h->jumped_ns = 0;
	}
	h->time_ns = now_ns + HOSTS_CLOCK_MS * NS_PER_MS;
	use_offset(h, now_ns);
}

/* Seconds and microseconds. */
static bool read_time(const struct redis_reply *r, int64_t *out)
{
	uint64_t part[2];

	if (r->type != REDIS_ARRAY || r->count != 2)
		return false;
	for (size_t i = 0; i < 2; i++) {
		struct redis_reply element = redis_reply_at(r, i);
		if (element.type != REDIS_STRING || sv_to_u64(element.str, &part[i]) != ERR_OK ||
		    part[i] > INT64_MAX / 2000000)
			return false;
	}
	*out = (int64_t)(part[0] * 1000000 + part[1]);
	return true;
}

static void on_time(void *arg, enum err err, const struct redis_reply *r)
{
	struct hosts *h = arg;
	uint64_t now_ns = clock_mono_ns();
	int64_t time_us;

	h->time_out = false;
	if (h->stopped)
		return;
	h->time_ns = now_ns + AGAIN_MS * NS_PER_MS;
	if (err != ERR_OK || !read_time(r, &time_us) || now_ns - h->asked_ns > HOSTS_RTT_MS * NS_PER_MS)
		return;
	uint64_t middle_ns = h->asked_ns + (now_ns - h->asked_ns) / 2;
	measured(h, time_us - (int64_t)(middle_ns / 1000), now_ns);
}

static void ask_time(struct hosts *h)
{
	static const char *const words[] = { "TIME" };

	h->time_out = true;
	h->asked_ns = clock_mono_ns();
	redis_command(h->redis, 1, words, NULL, REPLY_MS, on_time, h);
	redis_flush(h->redis);
}

/* ---- the hosts ---- */

static int64_t redis_ms(const struct hosts *h, uint64_t mono_ns)
{
	return ((int64_t)(mono_ns / 1000) + h->offset_us) / US_PER_MS;
}

static uint64_t load_u64(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static bool read_number(const struct redis_reply *array, size_t i, uint64_t *out)
{
	struct redis_reply number = redis_reply_at(array, i);

	if (number.type != REDIS_INTEGER || number.integer < 0 || number.integer > UINT32_MAX)
		return false;
	*out = (uint64_t)number.integer;
	return true;
}

/* More count at once, fewer only after a while. */
static void counted(struct hosts *h, uint64_t number, uint64_t now_ns)
{
	if (number >= load_u64(&h->cluster->hosts)) {
		h->lower_ns = 0;
		store_u64(&h->cluster->hosts, number);
		return;
	}
	if (h->lower_ns == 0) {
		h->lower_ns = now_ns;
		h->fewer = 0;
	}
	if (number > h->fewer)
		h->fewer = number;
	if (now_ns - h->lower_ns < HOSTS_KEEP_MS * NS_PER_MS)
		return;
	h->lower_ns = 0;
	store_u64(&h->cluster->hosts, h->fewer);
}

static void on_announced(void *arg, enum err err, const struct redis_reply *r)
{
	struct hosts *h = arg;
	uint64_t now_ns = clock_mono_ns();
	uint64_t number, ready;

	h->announce_out = false;
	if (h->stopped || err != ERR_OK || r->type != REDIS_ARRAY || r->count != h->replies ||
	    !read_number(r, 2, &number) || number == 0)
		return;
	counted(h, number, now_ns);
	/* A reply that took long says that Redis is slow still, or again. */
	if (h->apart_ns != 0 && read_number(r, r->count - 1, &ready) && ready >= load_u64(&h->cluster->hosts) &&
	    now_ns - h->announced_ns <= HOSTS_READY_RTT_MS * NS_PER_MS)
		store_u64(&h->cluster->together_ns, h->apart_ns);
}

static void word(struct hosts *h, const char *text)
{
	redis_batch_word(&h->batch, sv_str(text));
}

static void remove_until(struct hosts *h, const char *key, int64_t score)
{
	redis_batch_command(&h->batch, 4);
	word(h, "ZREMRANGEBYSCORE");
	word(h, key);
	word(h, "-inf");
	redis_batch_int(&h->batch, score);
}

static void expire(struct hosts *h, const char *key)
{
	redis_batch_command(&h->batch, 3);
	word(h, "PEXPIRE");
	word(h, key);
	redis_batch_int(&h->batch, EXPIRES_MS);
}

/* That this host shares, and how many others have since it came back itself. */
static void announce_ready(struct hosts *h, int64_t now_ms, bool apart)
{
	redis_batch_command(&h->batch, 4);
	word(h, "ZADD");
	word(h, KEY_READY);
	redis_batch_int(&h->batch, now_ms);
	word(h, h->id);
	remove_until(h, KEY_READY, now_ms - EXPIRES_MS);
	expire(h, KEY_READY);
	h->replies += 3;
	if (!apart)
		return;
	h->apart_ns = load_u64(&h->cluster->cut_off_ns);
	redis_batch_command(&h->batch, 4);
	word(h, "ZCOUNT");
	word(h, KEY_READY);
	redis_batch_int(&h->batch, redis_ms(h, h->apart_ns) + 1);
	word(h, "+inf");
	h->replies++;
}

/* The clock that was measured last, also when it is not trusted with leases yet: the sets go by Redis's time. */
static void announce(struct hosts *h, uint64_t now_ns, bool apart)
{
	int64_t now_ms = redis_ms(h, now_ns);

	h->apart_ns = 0;
	redis_batch_init(&h->batch);
	redis_batch_command(&h->batch, 4);
	word(h, "ZADD");
	word(h, KEY);
	redis_batch_int(&h->batch, now_ms + HOSTS_ALIVE_MS);
	word(h, h->id);
	remove_until(h, KEY, now_ms);
	redis_batch_command(&h->batch, 2);
	word(h, "ZCARD");
	word(h, KEY);
	expire(h, KEY);
	h->replies = 4;
	if (now_ns - load_u64(&h->cluster->cut_off_ns) > CUT_OFF_MS * NS_PER_MS)
		announce_ready(h, now_ms, apart);
	h->announce_out = true;
	h->announced_ns = now_ns;
	redis_transaction(h->redis, &h->batch, REPLY_MS, on_announced, h);
}

static void on_tick(void *arg)
{
	struct hosts *h = arg;
	uint64_t now_ns = clock_mono_ns();

	if (!redis_is_up(h->redis))
		return;
	if (!h->time_out && now_ns >= h->time_ns)
		ask_time(h);
	bool apart = limits_apart(h->cluster, now_ns);
	if (h->known && !h->announce_out && (apart || now_ns >= h->announce_ns)) {
		h->announce_ns = now_ns + HOSTS_ANNOUNCE_MS * NS_PER_MS;
		announce(h, now_ns, apart);
	}
}

/* ---- beginning and end ---- */

struct hosts *hosts_new(struct loop *loop, struct redis *redis, struct limits_cluster *cluster, const char *id)
{
	struct hosts *h = check_calloc(1, sizeof(*h));

	CHECK(id[0] != '\0' && sv_copy(sv_str(id), h->id, sizeof(h->id)) == ERR_OK);
	h->redis = redis;
	h->cluster = cluster;
	/* What a keeper before this one knew: its offset is the one to compare with. */
	if (atomic_load_explicit(&cluster->clock_ns, memory_order_acquire) != 0) {
		h->known = true;
		h->offset_us = atomic_load_explicit(&cluster->clock_offset_us, memory_order_relaxed);
	}
	loop_timer_init(&h->timer, loop, on_tick, h);
	loop_timer_start(&h->timer, 0, TICK_MS);
	return h;
}

void hosts_stop(struct hosts *h)
{
	if (h == NULL || h->stopped)
		return;
	const char *const words[] = { "ZREM", KEY, h->id };
	const char *const ready[] = { "ZREM", KEY_READY, h->id };
	h->stopped = true;
	loop_timer_stop(&h->timer);
	if (!redis_is_up(h->redis))
		return;
	redis_command(h->redis, 3, words, NULL, REPLY_MS, NULL, NULL);
	redis_command(h->redis, 3, ready, NULL, REPLY_MS, NULL, NULL);
	redis_flush(h->redis);
}

void hosts_free(struct hosts *h)
{
	if (h == NULL)
		return;
	CHECK(h->stopped && !h->announce_out && !h->time_out);
	free(h);
}
