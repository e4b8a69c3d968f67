#include "agent/shared.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "store/shm.h"

const uint64_t agent_bucket_ns[AGENT_BUCKETS] = {
	1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 10000000, 100000000,
};

static const char *const frame_names[AGENT_FRAME_COUNT] = {
	"haproxy_hello", "haproxy_disconnect", "notify", "unknown", "agent_hello", "agent_disconnect", "ack",
};

static const char *const restart_names[AGENT_RESTART_COUNT] = { "exited", "killed", "frozen", "not_ready" };

enum err agent_shared_make(int *fd, struct agent_shared **out)
{
	void *mem = NULL;
	uint64_t random[2];

	*out = NULL;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return ERR_IO;
	enum err err = shm_make("gateway-counters", AGENT_SHARED_LAYOUT, sizeof(struct agent_shared), fd, &mem);
	if (err != ERR_OK)
		return err;
	*out = mem;
	(*out)->host_id = random[0];
	(*out)->counters.addresses.seed = random[1];
	return ERR_OK;
}

enum err agent_shared_map(int fd, struct agent_shared **out)
{
	void *mem = NULL;
	enum err err = shm_map(fd, AGENT_SHARED_LAYOUT, sizeof(struct agent_shared), &mem);

	*out = mem;
	return err;
}

void agent_shared_unmap(struct agent_shared *shared)
{
	if (shared != NULL)
		shm_unmap(shared, sizeof(*shared));
}

void agent_count_verdict(struct agent_metrics *m, enum verdict_code code, uint64_t ns)
{
	size_t bucket = 0;

	while (bucket < AGENT_BUCKETS && ns > agent_bucket_ns[bucket])
		bucket++;
	agent_count(&m->verdicts[code]);
	agent_count(&m->verdict_buckets[bucket]);
	atomic_fetch_add_explicit(&m->verdict_ns, ns, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static const char *error_name(unsigned error)
{
	switch (error) {
	case AGENT_ERROR_MESSAGE:
		return "message";
	case AGENT_ERROR_OUT_FULL:
		return "out_full";
	case AGENT_ERROR_SOCKET:
		return "socket";
	default:
		return spop_reason_str(error);
	}
}

static void head(const struct agent_put *put, const char *name, const char *type, const char *help)
{
	put->printf(put->arg, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void verdict_metrics(const struct agent_metrics *m, const struct agent_put *put)
{
	uint64_t sum = 0;

	head(put, "gateway_verdicts_total", "counter", "Verdicts given, by code; allow is the one that lets pass.");
	for (int i = 0; i < VERDICT_COUNT; i++)
		put->printf(put->arg, "gateway_verdicts_total{code=\"%s\"} %" PRIu64 "\n",
		            verdict_name((enum verdict_code)i), get(&m->verdicts[i]));
	head(put, "gateway_verdict_seconds", "histogram", "Time from a decoded request to its encoded verdict.");
	for (int i = 0; i < AGENT_BUCKETS; i++) {
		sum += get(&m->verdict_buckets[i]);
		put->printf(put->arg, "gateway_verdict_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
		            (double)agent_bucket_ns[i] / 1e9, sum);
	}
	sum += get(&m->verdict_buckets[AGENT_BUCKETS]);
	put->printf(put->arg, "gateway_verdict_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", sum);
	put->printf(put->arg, "gateway_verdict_seconds_sum %.9f\n", (double)get(&m->verdict_ns) / 1e9);
	put->printf(put->arg, "gateway_verdict_seconds_count %" PRIu64 "\n", sum);
}

static void limit_metrics(const struct agent_metrics *m, const struct agent_put *put)
{
	static const char *const shadows[AGENT_SHADOW_COUNT] = { "minute", "hour", "requests", "bandwidth" };
	static const struct {
		const char *quota;
		int percent;
	} warnings[AGENT_WARNING_COUNT] = {
		{ "requests", 80 }, { "requests", 100 }, { "bandwidth", 80 }, { "bandwidth", 100 }
	};

	head(put, "gateway_leases_total", "counter",
	     "Leases of shared limits asked for in Redis, by result; many bypassed or failed mean a Redis that is slow "
	     "or "
	     "away.");
	for (int i = 0; i < LEASES_RESULT_COUNT; i++)
		put->printf(put->arg, "gateway_leases_total{result=\"%s\"} %" PRIu64 "\n",
		            leases_result_name((enum leases_result)i), get(&m->leases[i]));
	head(put, "gateway_shadow_refusals_total", "counter",
	     "Requests that passed although a limit in shadow would have refused them, by limit.");
	for (int i = 0; i < AGENT_SHADOW_COUNT; i++)
		put->printf(put->arg, "gateway_shadow_refusals_total{limit=\"%s\"} %" PRIu64 "\n", shadows[i],
		            get(&m->shadow[i]));
	head(put, "gateway_quota_warnings_total", "counter",
	     "Users whose month passed a part of their quota, once a month and user; the log names them.");
	for (int i = 0; i < AGENT_WARNING_COUNT; i++)
		put->printf(put->arg, "gateway_quota_warnings_total{quota=\"%s\",percent=\"%d\"} %" PRIu64 "\n",
		            warnings[i].quota, warnings[i].percent, get(&m->warnings[i]));
	head(put, "gateway_stale_requests_total", "counter",
	     "Requests that a worker read after HAProxy had given them up; they spent nothing, another worker was "
	     "asked.");
	put->printf(put->arg, "gateway_stale_requests_total %" PRIu64 "\n", get(&m->stale));
}

static void spop_metrics(const struct agent_shared *shared, const struct agent_put *put)
{
	const struct agent_metrics *m = &shared->metrics;
	uint64_t connections = 0;

	for (int i = 0; i < AGENT_SLOTS; i++)
		connections += get(&shared->slots[i].connections);
	head(put, "gateway_spop_connections", "gauge", "Open SPOP connections of HAProxy, without health checks.");
	put->printf(put->arg, "gateway_spop_connections %" PRIu64 "\n", connections);
	head(put, "gateway_spop_frames_total", "counter", "SPOP frames received and sent, by type.");
	for (int i = 0; i < AGENT_FRAME_COUNT; i++)
		put->printf(put->arg, "gateway_spop_frames_total{type=\"%s\"} %" PRIu64 "\n", frame_names[i],
		            get(&m->frames[i]));
	head(put, "gateway_spop_errors_total", "counter",
	     "SPOP connections or requests that ended in an error, by reason; look at HAProxy's version and frame "
	     "size.");
	for (unsigned i = SPOP_REASON_NONE + 1; i < AGENT_ERROR_COUNT; i++)
		put->printf(put->arg, "gateway_spop_errors_total{reason=\"%s\"} %" PRIu64 "\n", error_name(i),
		            get(&m->errors[i]));
}

static void usage_metrics(const struct agent_usage *u, const struct agent_put *put)
{
	static const char *const results[AGENT_USAGE_RESULTS] = { "recorded", "duplicate", "nobody",  "bad_token",
		                                                  "bad_form", "overflow",  "shipped", "quarantined" };
	static const char *const reasons[AGENT_USAGE_LOST_REASONS] = { "ring", "spool", "disk" };

	head(put, "gateway_usage_records_total", "counter",
	     "Usage lines and records, by what became of them; overflow are datagrams whose records the ring brings.");
	for (int i = 0; i < AGENT_USAGE_RESULTS; i++)
		put->printf(put->arg, "gateway_usage_records_total{result=\"%s\"} %" PRIu64 "\n", results[i],
		            get(&u->results[i]));
	head(put, "gateway_usage_lost_total", "counter",
	     "Usage records that are gone, by reason: HAProxy's ring was full, the spool was damaged, the disk full.");
	for (int i = 0; i < AGENT_USAGE_LOST_REASONS; i++)
		put->printf(put->arg, "gateway_usage_lost_total{reason=\"%s\"} %" PRIu64 "\n", reasons[i],
		            get(&u->lost[i]));
}

static void restart_metrics(const struct agent_shared *shared, const struct agent_put *put)
{
	uint64_t workers = get(&shared->workers);

	head(put, "gateway_worker_restarts_total", "counter",
	     "Processes of the agent that were replaced; anything but a few in a month wants a look at the log.");
	for (uint64_t w = 0; w <= workers && w <= AGENT_WORKERS_MAX; w++) {
		char name[32];
		if (w < workers)
			snprintf(name, sizeof(name), "verdict-%" PRIu64, w + 1);
		else
			snprintf(name, sizeof(name), "keeper");
		for (int r = 0; r < AGENT_RESTART_COUNT; r++)
			put->printf(put->arg,
			            "gateway_worker_restarts_total{worker=\"%s\",reason=\"%s\"} %" PRIu64 "\n", name,
			            restart_names[r],
			            get(&shared->metrics.restarts[w < workers ? w : AGENT_WORKERS_MAX][r]));
	}
}

void agent_shared_metrics(const struct agent_shared *shared, const struct agent_put *put)
{
	verdict_metrics(&shared->metrics, put);
	limit_metrics(&shared->metrics, put);
	spop_metrics(shared, put);
	usage_metrics(&shared->metrics.usage, put);
	restart_metrics(shared, put);
}
