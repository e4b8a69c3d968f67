/*
 * The agent's metrics as text of Prometheus' exposition format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). The table of them is metrics.def; the counters lie in
 * shared memory, what is not there the keeper gives. Writes and nothing else: no I/O, no waiting, nothing of the
 * verdict workers is touched but their counters, which are read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/shared.h"
#include "io/haproxy_servers.h"
#include "store/policy_sync.h"

struct metrics_source {
	const struct agent_shared *shared;
	const char *version;
	uint64_t now_ns; /* monotonic, as policy.synced_ns */
	struct policy_sync_status policy;
	bool postgres_up;
	bool redis_up;
	bool redis_configured;
	bool usage_configured;
	bool usage_up;
	/* Any of these may be NAN: not known. */
	double usage_spool_bytes;
	double usage_memory_bytes;
	double usage_lag_s;
	double disk_free_bytes;
	double disk_size_bytes;
	double reconcile_differences;
	double reconcile_at;        /* Unix time in seconds */
	double certificate_expires; /* the same */
	const struct haproxy_server *backends;
	size_t backends_count; /* 0: not known, too */
};

/* Gets the text in pieces. */
struct metrics_out {
	void (*write)(void *arg, const char *p, size_t n);
	void *arg;
};

/* All families, each with its HELP and TYPE once, in the order of the table. */
void metrics_write(const struct metrics_source *source, const struct metrics_out *out);
