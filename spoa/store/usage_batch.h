/* A batch of the shipper: records as PostgreSQL's COPY takes them (text format), in the order of the columns of
 * usage_batch (migrations/005_usage.sql), and what the keeper must know of them to charge them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/sv.h"
#include "store/usage_charges.h"
#include "usage/record.h"
#include "usage/spool.h"

/* A user's row in the roll-ups and in quotas is written once a batch, so a backlog of many users drains twice as fast
 * in large ones. */
#define USAGE_BATCH_RECORDS ((size_t)50000)
#define USAGE_BATCH_BYTES   ((size_t)12 << 20)

struct usage_batch {
	struct usage_position end;    /* behind the last record that was looked at */
	struct usage_charge *charges; /* of each record, what its user is billed */
	size_t n;
	char *rows;
	size_t bytes, size;
	int64_t oldest_ms;              /* the least start; INT64_MAX: no records */
	struct usage_position last_end; /* behind the last record that was added, and its text */
	char last[USAGE_TEXT_MAX];
	size_t last_n;
};

void usage_batch_init(struct usage_batch *b);
void usage_batch_free(struct usage_batch *b);

/* Without records, at this place. */
void usage_batch_clear(struct usage_batch *b, struct usage_position at);

/* `text` is what usage_record_parse() made r from, and ends at `end`. At most USAGE_BATCH_RECORDS. */
void usage_batch_add(struct usage_batch *b, const struct usage_record *r, struct sv text, struct usage_position end);

/* The rows and their length; the memory is the caller's from here on. NULL when there are none. */
char *usage_batch_take_rows(struct usage_batch *b, size_t *bytes);
