#include "agent/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define LABELS_MAX 2

enum type { COUNTER = 0, GAUGE, HISTOGRAM };

/* One family while it is written. */
struct family {
	const char *name;
	const char *labels;
	enum type type;
	const char *help;
	const struct metrics_out *out;
};

static void put(const struct family *f, const char *text)
{
	f->out->write(f->out->arg, text, strlen(text));
}

/* A backslash and a line feed are escaped everywhere, a quote within label values alone. */
static void put_escaped(const struct family *f, const char *text, const char *escaped)
{
	for (size_t n = strcspn(text, escaped); *text != '\0'; n = strcspn(text, escaped)) {
		f->out->write(f->out->arg, text, n);
		text += n;
		if (*text == '\0')
			return;
		const char pair[] = { '\\', *text == '\n' ? 'n' : *text };
		f->out->write(f->out->arg, pair, sizeof(pair));
		text++;
	}
}

static void put_head(const struct family *f)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };

	put(f, "# HELP ");
	put(f, f->name);
	put(f, " ");
	put_escaped(f, f->help, "\\\n");
	put(f, "\n# TYPE ");
	put(f, f->name);
	put(f, " ");
	put(f, types[f->type]);
	put(f, "\n");
}

/* Name and labels of a series; a value for each label of the table. */
static void put_series(const struct family *f, const char *const values[LABELS_MAX])
{
	const char *label = f->labels;

	put(f, f->name);
	for (int i = 0; i < LABELS_MAX && *label != '\0'; i++) {
		const size_t n = strcspn(label, ",");

		CHECK(values[i] != NULL);
		put(f, i == 0 ? "{" : ",");
		f->out->write(f->out->arg, label, n);
		put(f, "=\"");
		put_escaped(f, values[i], "\\\n\"");
		put(f, "\"");
		label += n + (label[n] == ',');
	}
	put(f, *f->labels != '\0' ? "} " : " ");
}

static void count2(const struct family *f, const char *first, const char *second, uint64_t value)
{
	char text[24];

	put_series(f, (const char *const[LABELS_MAX]){ first, second });
	snprintf(text, sizeof(text), "%" PRIu64 "\n", value);
	put(f, text);
}

static void count1(const struct family *f, const char *label, uint64_t value)
{
	count2(f, label, NULL, value);
}

static void count(const struct family *f, uint64_t value)
{
	count2(f, NULL, NULL, value);
}

static void gauge(const struct family *f, double value)
{
	char text[32] = "NaN\n"; /* as Prometheus shows that there is no value */

	put_series(f, (const char *const[LABELS_MAX]){ NULL, NULL });
	if (!isnan(value))
		snprintf(text, sizeof(text), "%.15g\n", value);
	put(f, text);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- one function for each row of metrics.def ---- */

static void emit_verdicts(const struct family *f, const struct metrics_source *s)
{
	for (int i = 0; i < VERDICT_COUNT; i++)
		count1(f, verdict_name((enum verdict_code)i), get(&s->shared->metrics.verdicts[i]));
}

/* The count is the sum of the buckets that were read, so that both agree while verdicts are given. */
static void emit_verdict_seconds(const struct family *f, const struct metrics_source *s)
{
	const struct agent_metrics *m = &s->shared->metrics;
	char text[128];
	uint64_t sum = 0;

	for (int i = 0; i <= AGENT_BUCKETS; i++) {
		char bound[16] = "+Inf";

		if (i < AGENT_BUCKETS)
			snprintf(bound, sizeof(bound), "%g", (double)agent_bucket_ns[i] / 1e9);
		sum += get(&m->verdict_buckets[i]);
		snprintf(text, sizeof(text), "_bucket{le=\"%s\"} %" PRIu64 "\n", bound, sum);
		put(f, f->name);
		put(f, text);
	}
	put(f, f->name);
	snprintf(text, sizeof(text), "_sum %.9f\n", (double)get(&m->verdict_ns) / 1e9);
	put(f, text);
	put(f, f->name);
	snprintf(text, sizeof(text), "_count %" PRIu64 "\n", sum);
	put(f, text);
}

static void emit_stale(const struct family *f, const struct metrics_source *s)
{
	count(f, get(&s->shared->metrics.stale));
}

static void emit_shadow(const struct family *f, const struct metrics_source *s)
{
	static const char *const limits[AGENT_SHADOW_COUNT] = { "minute", "hour", "requests", "bandwidth" };

	for (int i = 0; i < AGENT_SHADOW_COUNT; i++)
		count1(f, limits[i], get(&s->shared->metrics.shadow[i]));
}

static void emit_warnings(const struct family *f, const struct metrics_source *s)
{
	static const struct {
		const char *quota;
		const char *percent;
	} rows[AGENT_WARNING_COUNT] = {
		{ "requests", "80" }, { "requests", "100" }, { "bandwidth", "80" }, { "bandwidth", "100" }
	};

	for (int i = 0; i < AGENT_WARNING_COUNT; i++)
		count2(f, rows[i].quota, rows[i].percent, get(&s->shared->metrics.warnings[i]));
}

static void emit_leases(const struct family *f, const struct metrics_source *s)
{
	for (int i = 0; i < LEASES_RESULT_COUNT; i++)
		count1(f, leases_result_name((enum leases_result)i), get(&s->shared->metrics.leases[i]));
}

static void emit_connections(const struct family *f, const struct metrics_source *s)
{
	uint64_t connections = 0;

	for (int i = 0; i < AGENT_SLOTS; i++)
		connections += get(&s->shared->slots[i].connections);
	count(f, connections);
}

static void emit_frames(const struct family *f, const struct metrics_source *s)
{
	static const char *const types[AGENT_FRAME_COUNT] = {
		"haproxy_hello", "haproxy_disconnect", "notify", "unknown", "agent_hello", "agent_disconnect", "ack",
	};

	for (int i = 0; i < AGENT_FRAME_COUNT; i++)
		count1(f, types[i], get(&s->shared->metrics.frames[i]));
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

static void emit_errors(const struct family *f, const struct metrics_source *s)
{
	for (unsigned i = SPOP_REASON_NONE + 1; i < AGENT_ERROR_COUNT; i++)
		count1(f, error_name(i), get(&s->shared->metrics.errors[i]));
}

static void emit_usage_up(const struct family *f, const struct metrics_source *s)
{
	count(f, s->usage_up);
}

static void emit_usage_records(const struct family *f, const struct metrics_source *s)
{
	static const char *const results[AGENT_USAGE_RESULTS] = { "recorded", "duplicate", "nobody",  "bad_token",
		                                                  "bad_form", "overflow",  "shipped", "quarantined" };

	for (int i = 0; i < AGENT_USAGE_RESULTS; i++)
		count1(f, results[i], get(&s->shared->metrics.usage.results[i]));
}

static void emit_usage_lost(const struct family *f, const struct metrics_source *s)
{
	static const char *const reasons[AGENT_USAGE_LOST_REASONS] = { "ring", "spool", "disk" };

	for (int i = 0; i < AGENT_USAGE_LOST_REASONS; i++)
		count1(f, reasons[i], get(&s->shared->metrics.usage.lost[i]));
}

static void emit_usage_spool(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->usage_spool_bytes);
}

static void emit_usage_memory(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->usage_memory_bytes);
}

static void emit_usage_lag(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->usage_lag_s);
}

static void emit_disk_free(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->disk_free_bytes);
}

static void emit_disk_size(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->disk_size_bytes);
}

static void emit_policy_users(const struct family *f, const struct metrics_source *s)
{
	count(f, s->policy.users);
}

static void emit_policy_keys(const struct family *f, const struct metrics_source *s)
{
	count(f, s->policy.keys);
}

static void emit_policy_generation(const struct family *f, const struct metrics_source *s)
{
	count(f, s->policy.generation);
}

/* Before the first comparison its age is not known. */
static void emit_policy_age(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->policy.synced_ns == 0 ? NAN : (double)(s->now_ns - s->policy.synced_ns) / 1e9);
}

static void emit_postgres_up(const struct family *f, const struct metrics_source *s)
{
	count(f, s->postgres_up);
}

static void emit_redis_up(const struct family *f, const struct metrics_source *s)
{
	count(f, s->redis_up);
}

static void emit_configured(const struct family *f, const struct metrics_source *s)
{
	count1(f, "redis", s->redis_configured);
	count1(f, "usage", s->usage_configured);
}

static void emit_restarts(const struct family *f, const struct metrics_source *s)
{
	static const char *const reasons[AGENT_RESTART_COUNT] = { "exited", "killed", "frozen", "not_ready" };
	const uint64_t workers = get(&s->shared->workers);

	for (uint64_t w = 0; w <= workers && w <= AGENT_WORKERS_MAX; w++) {
		char name[32] = "keeper";

		if (w < workers)
			snprintf(name, sizeof(name), "verdict-%" PRIu64, w + 1);
		for (int r = 0; r < AGENT_RESTART_COUNT; r++)
			count2(f, name, reasons[r],
			       get(&s->shared->metrics.restarts[w < workers ? w : AGENT_WORKERS_MAX][r]));
	}
}

static void emit_reconcile_differences(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->reconcile_differences);
}

static void emit_reconcile_timestamp(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->reconcile_at);
}

static void emit_backend_up(const struct family *f, const struct metrics_source *s)
{
	for (size_t i = 0; i < s->backends_count; i++)
		count1(f, s->backends[i].name, s->backends[i].up);
}

static void emit_backend_weight(const struct family *f, const struct metrics_source *s)
{
	for (size_t i = 0; i < s->backends_count; i++)
		count1(f, s->backends[i].name, s->backends[i].weight);
}

static void emit_certificate(const struct family *f, const struct metrics_source *s)
{
	gauge(f, s->certificate_expires);
}

static void emit_build_info(const struct family *f, const struct metrics_source *s)
{
	count1(f, s->version, 1);
}

/* ---- the table ---- */

#define METRIC(id, type, name, labels, help) { name, labels, type, help, emit_##id },
static const struct {
	const char *name;
	const char *labels;
	enum type type;
	const char *help;
	void (*emit)(const struct family *f, const struct metrics_source *s);
} table[] = {
#include "agent/metrics.def"
};
#undef METRIC

void metrics_write(const struct metrics_source *source, const struct metrics_out *out)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct family f = { table[i].name, table[i].labels, table[i].type, table[i].help, out };

		put_head(&f);
		table[i].emit(&f, source);
	}
}
