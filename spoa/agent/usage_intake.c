#include "agent/usage_intake.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "usage/dedup.h"
#include "usage/line.h"

#define BATCH_MAX 256
/* That a batch takes in memory, at most. */
#define BATCH_BYTES (BATCH_MAX * (sizeof(uint16_t) + USAGE_TEXT_MAX))
_Static_assert(BATCH_BYTES <= USAGE_MEMORY_MIN, "a batch fits into an empty queue");
/* Many more than HAProxy's ring and the socket can hold: what comes from them late has come before. */
#define IDS_MAX        (UINT32_C(1) << 19)
#define TOKEN_MAX      65
#define LOG_EVERY_SECS 10

struct usage_intake {
	struct loop *loop;
	struct usage_intake_config config;
	char token[TOKEN_MAX];
	char previous_token[TOKEN_MAX];
	struct usage_dedup *ids;
	size_t count;
	struct sv texts[BATCH_MAX];
	struct usage_charge charges[BATCH_MAX];
	size_t len; /* of `arena` */
	char arena[BATCH_MAX * USAGE_TEXT_MAX];
	/* What the disk did not take: texts one after the other, each behind its length. */
	char *queue;
	size_t queue_len;
	bool full; /* and nothing is taken until there is room */
	struct log_gate spool_gate;
	struct log_gate line_gate;
};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count_result(struct usage_intake *in, enum agent_usage_result result)
{
	count(&in->config.metrics->results[result], 1);
}

/* ---- what the disk did not take ---- */

static void enqueue(struct usage_intake *in, struct sv text)
{
	const uint16_t n = (uint16_t)text.n;

	memcpy(in->queue + in->queue_len, &n, sizeof(n));
	memcpy(in->queue + in->queue_len + sizeof(n), text.p, text.n);
	in->queue_len += sizeof(n) + text.n;
}

/* The texts that lie at *at, BATCH_MAX at most; moves *at behind them. */
static size_t queued(const struct usage_intake *in, size_t *at, struct sv *texts)
{
	size_t n = 0;

	while (n < BATCH_MAX && *at < in->queue_len) {
		uint16_t len;
		memcpy(&len, in->queue + *at, sizeof(len));
		texts[n++] = sv_from(in->queue + *at + sizeof(len), len);
		*at += sizeof(len) + len;
	}
	return n;
}

static bool has_room(const struct usage_intake *in)
{
	return in->queue_len + BATCH_BYTES <= in->config.memory_max;
}

static enum err append(struct usage_intake *in, const struct sv *texts, size_t n)
{
	uint64_t skipped;
	enum err err = usage_spool_append(in->config.spool, texts, n);
	int why = errno;

	if (err != ERR_OK && log_gate(&in->spool_gate, loop_now_ns(in->loop), LOG_EVERY_SECS * NS_PER_SEC, &skipped))
		log_error("usage: the spool cannot be written, records are kept in memory: %s%s%s memory_bytes=%zu "
		          "skipped=%" PRIu64,
		          err_str(err), err == ERR_IO ? ": " : "", err == ERR_IO ? strerror(why) : "", in->queue_len,
		          skipped);
	return err;
}

/* Writes what is in memory, in the order in which it came. */
static void drain_queue(struct usage_intake *in)
{
	struct sv texts[BATCH_MAX];
	size_t done = 0;

	while (done < in->queue_len) {
		size_t next = done;
		size_t n = queued(in, &next, texts);
		if (append(in, texts, n) != ERR_OK)
			break;
		done = next;
	}
	if (done == 0)
		return;
	memmove(in->queue, in->queue + done, in->queue_len - done);
	in->queue_len -= done;
	if (in->queue_len == 0)
		log_info("usage: the spool can be written again: it has all records");
	in->config.on_recorded(in->config.arg);
	if (in->full && has_room(in)) {
		in->full = false;
		in->config.on_ready(in->config.arg);
	}
}

/* ---- batches ---- */

void usage_intake_flush(struct usage_intake *in)
{
	if (in->count == 0)
		return;
	if (in->queue_len > 0 || append(in, in->texts, in->count) != ERR_OK) {
		for (size_t i = 0; i < in->count; i++)
			enqueue(in, in->texts[i]);
		in->full = !has_room(in);
	} else {
		in->config.on_recorded(in->config.arg);
	}
	usage_charges_add(in->config.charges, in->charges, in->count);
	count(&in->config.metrics->results[AGENT_USAGE_RECORDED], in->count);
	in->count = 0;
	in->len = 0;
}

static void add(struct usage_intake *in, const struct usage_record *r)
{
	char *text = in->arena + in->len;
	size_t n;

	if (!usage_dedup_add(in->ids, r->id)) {
		count_result(in, AGENT_USAGE_DUPLICATE);
		return;
	}
	CHECK(usage_record_format(r, text, USAGE_TEXT_MAX, &n) == ERR_OK);
	in->texts[in->count] = sv_from(text, n);
	in->charges[in->count++] = (struct usage_charge){ .user = r->user,
		                                          .start_ms = r->start_ms,
		                                          .bytes = r->billed_bytes };
	in->len += n;
	if (in->count == BATCH_MAX)
		usage_intake_flush(in);
}

size_t usage_intake_memory(const struct usage_intake *in)
{
	return in->queue_len;
}

bool usage_intake_ready(const struct usage_intake *in)
{
	return !in->full;
}

static void log_dropped(struct usage_intake *in, const char *what)
{
	uint64_t skipped;

	/* Not the line itself: it may hold the token of another HAProxy. */
	if (log_gate(&in->line_gate, loop_now_ns(in->loop), LOG_EVERY_SECS * NS_PER_SEC, &skipped))
		log_warn("usage: a line was dropped: %s skipped=%" PRIu64, what, skipped);
}

bool usage_intake_line(struct usage_intake *in, struct sv line)
{
	struct usage_line_room room;
	struct usage_record r;
	enum usage_line_reason reason;

	CHECK(!in->full);
	reason = usage_line_read(line, sv_str(in->token), &room, &r);
	if (reason == USAGE_LINE_TOKEN)
		reason = usage_line_read(line, sv_str(in->previous_token), &room, &r);
	switch (reason) {
	case USAGE_LINE_OK:
		add(in, &r);
		return true;
	case USAGE_LINE_TOKEN:
		count_result(in, AGENT_USAGE_TOKEN);
		log_dropped(in, "it does not carry usage.token");
		return false;
	case USAGE_LINE_NOBODY:
		count_result(in, AGENT_USAGE_NOBODY);
		return true;
	case USAGE_LINE_NOTICE:
		/* It is in HAProxy's own log, too. Nobody vouches for it, so it makes no connection a known one. */
		log_debug("usage: HAProxy says something of itself");
		return false;
	default:
		count_result(in, AGENT_USAGE_FORM);
		log_dropped(in, "it is not of the form that haproxy.cfg gives it");
		return false;
	}
}

void usage_intake_sync(struct usage_intake *in)
{
	uint64_t skipped;

	if (in->queue_len > 0)
		drain_queue(in);
	if (usage_spool_sync(in->config.spool) != ERR_OK &&
	    log_gate(&in->spool_gate, loop_now_ns(in->loop), LOG_EVERY_SECS * NS_PER_SEC, &skipped))
		log_error("usage: the spool cannot be brought to the disk: %s skipped=%" PRIu64, strerror(errno),
		          skipped);
}

void usage_intake_recover(struct usage_intake *in)
{
	struct sv texts[BATCH_MAX];
	size_t at = 0;
	size_t n;

	while ((n = queued(in, &at, texts)) > 0)
		for (size_t i = 0; i < n; i++) {
			struct usage_record r;
			if (usage_record_parse(texts[i], &r) != ERR_OK)
				continue;
			const struct usage_charge charge = { r.user, r.start_ms, r.billed_bytes };
			usage_charges_recover(in->config.charges, &charge, 1);
		}
}

/* ---- start and end ---- */

/* The other transport may bring what the keeper before this one has recorded. */
static void remember_ids(struct usage_intake *in)
{
	struct usage_reader *reader = usage_reader_new(in->config.spool, usage_spool_oldest(in->config.spool));
	struct usage_position after;
	struct usage_record r;
	struct sv text;

	CHECK(reader != NULL);
	while (usage_reader_next(reader, &text, &after) == ERR_OK)
		if (usage_record_parse(text, &r) == ERR_OK)
			(void)usage_dedup_add(in->ids, r.id);
	usage_reader_free(reader);
}

struct usage_intake *usage_intake_new(struct loop *loop, const struct usage_intake_config *config)
{
	struct usage_intake *in = check_calloc(1, sizeof(*in));

	CHECK(config->memory_max >= USAGE_MEMORY_MIN);
	in->loop = loop;
	in->config = *config;
	in->config.token = in->config.previous_token = NULL;
	CHECK(sv_copy(sv_str(config->token), in->token, sizeof(in->token)) == ERR_OK);
	CHECK(sv_copy(sv_str(config->previous_token), in->previous_token, sizeof(in->previous_token)) == ERR_OK);
	in->ids = usage_dedup_new(IDS_MAX);
	in->queue = malloc(config->memory_max);
	CHECK(in->ids != NULL && in->queue != NULL);
	remember_ids(in);
	return in;
}

void usage_intake_free(struct usage_intake *in)
{
	struct sv texts[BATCH_MAX];
	size_t at = 0;
	size_t lost = 0;
	size_t n;

	if (in == NULL)
		return;
	while ((n = queued(in, &at, texts)) > 0)
		lost += n;
	if (lost > 0) {
		log_error("usage: %zu records are lost, the disk did not take them until the end", lost);
		count(&in->config.metrics->lost[AGENT_USAGE_LOST_DISK], lost);
	}
	usage_dedup_free(in->ids);
	free(in->queue);
	free(in);
}
