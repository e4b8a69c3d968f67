/*
 * The partitions of request_logs (migrations/005_usage.sql): some days are made ahead, and those behind the retention
 * dropped. For the shipper, between its batches, on its connection.
 *
 * A partition is not worth a record that waits: after a failure, which is told, the records go to the default
 * partition, from which they move later.
 */
#pragma once

#include <stdbool.h>

#include "base/log.h"
#include "io/loop.h"
#include "io/pg.h"

struct usage_partitions {
	struct loop *loop;
	struct pg *pg;
	unsigned retention_days; /* 0: partitions are never dropped */
	uint64_t due_ns;         /* 0: at once, as after each connection */
	struct log_gate gate;
	/* Always called, but when the connection is lost. */
	void (*done)(void *arg);
	void *arg;
};

/* Every hour, a minute after a failure. */
bool usage_partitions_due(const struct usage_partitions *p);

/* Makes and drops what is due to be; then done(arg). */
void usage_partitions_tend(struct usage_partitions *p);
