#include "store/lease_wire.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WHOLE_MAX 9007199254740992.0 /* 2^53: doubles are exact whole numbers up to here */

struct key {
	char text[64];
};

static struct sv bucket_key(struct key *key, uint64_t user_id)
{
	int n = snprintf(key->text, sizeof(key->text), "gw:l:{%" PRIu64 "}", user_id);
	return sv_from(key->text, (size_t)n);
}

static struct sv month_key(struct key *key, uint64_t user_id, uint32_t period)
{
	int n = snprintf(key->text, sizeof(key->text), "gw:q:{%" PRIu64 "}:%" PRIu32, user_id, period);
	return sv_from(key->text, (size_t)n);
}

static void zadd(struct redis_batch *b, struct sv key, struct sv how, int64_t score, struct sv member)
{
	redis_batch_command(b, 5);
	redis_batch_word(b, SV("ZADD"));
	redis_batch_word(b, key);
	redis_batch_word(b, how);
	redis_batch_int(b, score);
	redis_batch_word(b, member);
}

static void ask_bucket(struct redis_batch *b, struct sv key, struct sv member, int64_t floor_us, int64_t cap_us,
                       int64_t cost_us)
{
	zadd(b, key, SV("GT"), floor_us, member);
	zadd(b, key, SV("LT"), cap_us, member);
	redis_batch_command(b, 4);
	redis_batch_word(b, SV("ZINCRBY"));
	redis_batch_word(b, key);
	redis_batch_int(b, cost_us);
	redis_batch_word(b, member);
}

/* Counts on, from what this host knows when Redis knows nothing. */
static void add_month(struct redis_batch *b, struct sv key, uint64_t base, int64_t ttl_s, int64_t n)
{
	redis_batch_command(b, 6);
	redis_batch_word(b, SV("SET"));
	redis_batch_word(b, key);
	redis_batch_int(b, (int64_t)base);
	redis_batch_word(b, SV("NX"));
	redis_batch_word(b, SV("EX"));
	redis_batch_int(b, ttl_s);
	redis_batch_command(b, 3);
	redis_batch_word(b, SV("INCRBY"));
	redis_batch_word(b, key);
	redis_batch_int(b, n);
}

void lease_wire_ask(struct redis_batch *b, uint64_t user_id, const struct lease_ask *ask)
{
	struct key bucket = { 0 }, month = { 0 };
	struct sv key = bucket_key(&bucket, user_id);

	redis_batch_init(b);
	if (ask->minute)
		ask_bucket(b, key, SV("m"), ask->minute_floor_us, ask->minute_cap_us, ask->minute_cost_us);
	if (ask->hour)
		ask_bucket(b, key, SV("h"), ask->hour_floor_us, ask->hour_cap_us, ask->hour_cost_us);
	if (ask->minute || ask->hour) {
		redis_batch_command(b, 3);
		redis_batch_word(b, SV("PEXPIRE"));
		redis_batch_word(b, key);
		redis_batch_int(b, ask->ttl_ms);
	}
	if (ask->month)
		add_month(b, month_key(&month, user_id, ask->period), ask->month_base, ask->month_ttl_s,
		          (int64_t)ask->month_cost);
}

/* A score: a whole number, which Redis may also write with an exponent. */
static enum err read_score(struct redis_reply r, int64_t *out)
{
	char text[64];
	char *end;

	if (r.type != REDIS_STRING || sv_copy(r.str, text, sizeof(text)) != ERR_OK || r.str.n == 0)
		return ERR_CORRUPT;
	double value = strtod(text, &end);
	if (*end != '\0' || !(fabs(value) <= WHOLE_MAX))
		return ERR_CORRUPT;
	*out = (int64_t)value;
	return ERR_OK;
}

enum err lease_wire_reply(const struct lease_ask *ask, const struct redis_reply *exec, struct lease_reply *out)
{
	size_t buckets = (size_t)ask->minute + (size_t)ask->hour;
	size_t count = 3 * buckets + (buckets > 0) + 2 * (size_t)ask->month;
	size_t at = 0;

	*out = (struct lease_reply){ 0 };
	if (exec->type != REDIS_ARRAY || exec->count != count)
		return ERR_CORRUPT;
	if (ask->minute) {
		if (read_score(redis_reply_at(exec, at + 2), &out->minute_us) != ERR_OK)
			return ERR_CORRUPT;
		at += 3;
	}
	if (ask->hour) {
		if (read_score(redis_reply_at(exec, at + 2), &out->hour_us) != ERR_OK)
			return ERR_CORRUPT;
	}
	if (ask->month) {
		struct redis_reply month = redis_reply_at(exec, count - 1);
		if (month.type != REDIS_INTEGER)
			return ERR_CORRUPT;
		out->month = month.integer > 0 ? (uint64_t)month.integer : 0;
	}
	return ERR_OK;
}

/* A ZINCRBY that changes what is there only. */
static void back_bucket(struct redis_batch *b, struct sv key, struct sv member, int64_t back_us)
{
	redis_batch_command(b, 6);
	redis_batch_word(b, SV("ZADD"));
	redis_batch_word(b, key);
	redis_batch_word(b, SV("XX"));
	redis_batch_word(b, SV("INCR"));
	redis_batch_int(b, -back_us);
	redis_batch_word(b, member);
}

void lease_wire_back(struct redis_batch *b, uint64_t user_id, const struct lease_ask *ask,
                     const struct lease_result *result)
{
	struct key bucket = { 0 }, month = { 0 };
	struct sv key = bucket_key(&bucket, user_id);

	redis_batch_init(b);
	if (result->minute_back_us > 0)
		back_bucket(b, key, SV("m"), result->minute_back_us);
	if (result->hour_back_us > 0)
		back_bucket(b, key, SV("h"), result->hour_back_us);
	if (result->month_back > 0)
		add_month(b, month_key(&month, user_id, ask->period), result->month_base, ask->month_ttl_s,
		          -(int64_t)result->month_back);
}
