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
	int n = snprintf(key->text, sizeof(key->text), "gw:m:{%" PRIu64 "}:%" PRIu32, user_id, period);
	return sv_from(key->text, (size_t)n);
}

static struct sv host_name(struct key *key, uint64_t host)
{
	int n = snprintf(key->text, sizeof(key->text), "%" PRIx64, host);
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

static void zincrby(struct redis_batch *b, struct sv key, int64_t n, struct sv member)
{
	redis_batch_command(b, 4);
	redis_batch_word(b, SV("ZINCRBY"));
	redis_batch_word(b, key);
	redis_batch_int(b, n);
	redis_batch_word(b, member);
}

static void expire(struct redis_batch *b, struct sv command, struct sv key, int64_t ttl)
{
	redis_batch_command(b, 3);
	redis_batch_word(b, command);
	redis_batch_word(b, key);
	redis_batch_int(b, ttl);
}

static void ask_bucket(struct redis_batch *b, struct sv key, struct sv member, int64_t floor_us, int64_t cap_us,
                       int64_t cost_us)
{
	zadd(b, key, SV("GT"), floor_us, member);
	zadd(b, key, SV("LT"), cap_us, member);
	zincrby(b, key, cost_us, member);
}

static void ask_month(struct redis_batch *b, struct sv key, struct sv host, const struct lease_ask *ask)
{
	zadd(b, key, SV("GT"), (int64_t)ask->month_admitted, host);
	zincrby(b, key, ask->tokens, host);
	redis_batch_command(b, 5);
	redis_batch_word(b, SV("ZRANGE"));
	redis_batch_word(b, key);
	redis_batch_int(b, 0);
	redis_batch_int(b, -1);
	redis_batch_word(b, SV("WITHSCORES"));
	expire(b, SV("EXPIRE"), key, ask->month_ttl_s);
}

void lease_wire_ask(struct redis_batch *b, uint64_t host, uint64_t user_id, const struct lease_ask *ask)
{
	struct key bucket = { 0 }, month = { 0 }, name = { 0 };
	struct sv key = bucket_key(&bucket, user_id);

	redis_batch_init(b);
	if (ask->minute)
		ask_bucket(b, key, SV("m"), ask->minute_floor_us, ask->minute_cap_us, ask->minute_cost_us);
	if (ask->hour)
		ask_bucket(b, key, SV("h"), ask->hour_floor_us, ask->hour_cap_us, ask->hour_cost_us);
	if (ask->minute || ask->hour)
		expire(b, SV("PEXPIRE"), key, ask->ttl_ms);
	if (ask->month)
		ask_month(b, month_key(&month, user_id, ask->period), host_name(&name, host), ask);
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

/* ZRANGE's members and scores, one after the other. A negative one cannot be: nothing is given back that is not there.
 */
static enum err read_month(uint64_t host, const struct redis_reply *range, struct lease_reply *out)
{
	struct key name = { 0 };
	struct sv own = host_name(&name, host);
	bool found = false;

	if (range->type != REDIS_ARRAY || range->count % 2 != 0)
		return ERR_CORRUPT;
	for (size_t i = 0; i < range->count; i += 2) {
		struct redis_reply member = redis_reply_at(range, i);
		int64_t score;
		if (member.type != REDIS_STRING || read_score(redis_reply_at(range, i + 1), &score) != ERR_OK)
			return ERR_CORRUPT;
		uint64_t count = score > 0 ? (uint64_t)score : 0;
		if (sv_eq(member.str, own)) {
			out->month_own = count;
			found = true;
		} else {
			out->month_others += count;
		}
	}
	return found ? ERR_OK : ERR_CORRUPT;
}

/* Replies of one limit each: the third is the one that counts. */
#define BUCKET_REPLIES 3
#define MONTH_REPLIES  4

enum err lease_wire_reply(uint64_t host, const struct lease_ask *ask, const struct redis_reply *exec,
                          struct lease_reply *out)
{
	size_t buckets = (size_t)ask->minute + (size_t)ask->hour;
	size_t count = BUCKET_REPLIES * buckets + (buckets > 0) + MONTH_REPLIES * (size_t)ask->month;
	size_t at = 0;

	*out = (struct lease_reply){ 0 };
	if (exec->type != REDIS_ARRAY || exec->count != count)
		return ERR_CORRUPT;
	if (ask->minute) {
		if (read_score(redis_reply_at(exec, at + 2), &out->minute_us) != ERR_OK)
			return ERR_CORRUPT;
		at += BUCKET_REPLIES;
	}
	if (ask->hour && read_score(redis_reply_at(exec, at + 2), &out->hour_us) != ERR_OK)
		return ERR_CORRUPT;
	if (!ask->month)
		return ERR_OK;
	/* ZADD's reply is how many it has added. */
	struct redis_reply added = redis_reply_at(exec, count - MONTH_REPLIES);
	struct redis_reply range = redis_reply_at(exec, count - 2);
	if (added.type != REDIS_INTEGER)
		return ERR_CORRUPT;
	out->month_new = added.integer != 0;
	return read_month(host, &range, out);
}

/* A ZINCRBY that changes what is there only. */
static void give_back(struct redis_batch *b, struct sv key, struct sv member, int64_t n)
{
	redis_batch_command(b, 6);
	redis_batch_word(b, SV("ZADD"));
	redis_batch_word(b, key);
	redis_batch_word(b, SV("XX"));
	redis_batch_word(b, SV("INCR"));
	redis_batch_int(b, -n);
	redis_batch_word(b, member);
}

void lease_wire_back(struct redis_batch *b, uint64_t host, uint64_t user_id, const struct lease_ask *ask,
                     const struct lease_result *result)
{
	struct key bucket = { 0 }, month = { 0 }, name = { 0 };
	struct sv key = bucket_key(&bucket, user_id);

	redis_batch_init(b);
	if (result->minute_back_us > 0)
		give_back(b, key, SV("m"), result->minute_back_us);
	if (result->hour_back_us > 0)
		give_back(b, key, SV("h"), result->hour_back_us);
	if (result->month_back > 0)
		give_back(b, month_key(&month, user_id, ask->period), host_name(&name, host),
		          (int64_t)result->month_back);
}
