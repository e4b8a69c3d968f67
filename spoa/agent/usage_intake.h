/*
 * The intake of usage lines: from a line to a record in the spool, which is charged to the month, and told to the
 * shipper. For the keeper.
 *
 * Lines gather in a batch that goes to the spool with one write. Whoever brings lines over a transport that can show
 * them again (usage_datagrams.h) lets go of them only after usage_intake_flush(). Each request comes over two
 * transports; the second one is dropped by its id.
 *
 * When the disk takes nothing, records are kept in memory up to a bound, and are charged all the same. At the bound the
 * intake is not ready: the transports stop, and what they can hold waits there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/shared.h"
#include "base/err.h"
#include "base/sv.h"
#include "io/loop.h"
#include "store/usage_charges.h"
#include "store/usage_ship.h"
#include "usage/spool.h"

/* Of one line, header and message for people included; haproxy.cfg keeps to less. */
#define USAGE_LINE_MAX 8192
/* There must be room for a whole batch, whatever is there already (usage.memory takes no less). */
#define USAGE_MEMORY_MIN ((size_t)1 << 20)

struct usage_intake;

struct usage_intake_config {
	const char *token;          /* that each line must carry; copied */
	const char *previous_token; /* or this one, unless it is empty; copied */
	size_t memory_max;          /* bytes of records that the disk did not take; at least USAGE_MEMORY_MIN */
	struct usage_spool *spool;
	struct usage_charges *charges;
	struct agent_usage *metrics;
	void (*on_recorded)(void *arg); /* there is something new in the spool */
	void (*on_ready)(void *arg);    /* ready again, after it was not */
	void *arg;
};

/* Fills what it knows of ids from the spool. */
struct usage_intake *usage_intake_new(struct loop *loop, const struct usage_intake_config *config);
/* What the disk did not take is lost with it, and counted. NULL is allowed. */
void usage_intake_free(struct usage_intake *in);

bool usage_intake_ready(const struct usage_intake *in);
/* One line, which need not stay; whether it is one of our HAProxy's. Not to be called while it is not ready. */
bool usage_intake_line(struct usage_intake *in, struct sv line);
/* All lines so far are kept. */
void usage_intake_flush(struct usage_intake *in);

/* Bytes of records that the disk did not take so far. */
size_t usage_intake_memory(const struct usage_intake *in);

/* Brings the spool to the disk, and tries again to write what it did not take. The keeper does so a few times a second.
 */
void usage_intake_sync(struct usage_intake *in);

/* Records in memory that the spool does not have, told in pieces: for usage_charges_recover(). */
void usage_intake_recover(struct usage_intake *in);
