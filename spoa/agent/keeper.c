/* The keeper: everything of the agent that may wait. It keeps policy.mdb equal to PostgreSQL, records usage, and serves
 * the stats port. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "agent/backends.h"
#include "agent/child.h"
#include "agent/defaults.h"
#include "agent/metrics.h"
#include "agent/recorder.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/certificate.h"
#include "io/pg.h"
#include "io/redis.h"
#include "io/statshttp.h"
#include "store/hosts.h"
#include "store/policy_db.h"
#include "store/policy_sync.h"
#include "store/quota_sync.h"
#include "store/reconciled.h"
#include "store/usage_charges.h"

/* When usage could not be recorded. */
#define USAGE_RETRY_MS 5000

struct keeper {
	struct child child;
	struct policy_db *db;
	struct pg *pg;
	struct policy_sync *sync;
	/* On a connection of its own: a load holds the other one in a read-only transaction for seconds. */
	struct pg *quotas_pg;
	struct quota_sync *quotas;
	struct usage_charges *charges; /* NULL without usage.token */
	struct recorder *recorder;     /* likewise; also while the spool cannot be opened */
	struct loop_timer usage_retry;
	struct redis *redis;       /* NULL without redis.addr */
	struct hosts *hosts;       /* likewise */
	struct backends *backends; /* NULL without haproxy.socket */
	struct statshttp *stats;
	struct reconciled reconciled;
	struct certificate certificate;
};

/* ---- the stats port ---- */

static void put(void *arg, const char *p, size_t n)
{
	statshttp_write(arg, p, n);
}

/* The spool's, which may have a disk of its own, else that of the state folder. */
static void look_at_disk(const struct keeper *k, struct metrics_source *source)
{
	char path[4096 + 8];
	struct statvfs fs;

	snprintf(path, sizeof(path), "%s/usage", k->child.settings->agent_state_dir);
	if (statvfs(path, &fs) != 0 && statvfs(k->child.settings->agent_state_dir, &fs) != 0)
		return;
	source->disk_free_bytes = (double)fs.f_bavail * (double)fs.f_frsize;
	source->disk_size_bytes = (double)fs.f_blocks * (double)fs.f_frsize;
}

static void metrics(struct keeper *k, struct statshttp_response *resp)
{
	const struct metrics_out out = { .write = put, .arg = resp };
	struct metrics_source source = {
		.shared = k->child.shared,
		.version = GATEWAY_VERSION,
		.now_ns = clock_mono_ns(),
		.postgres_up = k->pg != NULL && pg_is_up(k->pg),
		.redis_up = k->redis != NULL && redis_is_up(k->redis),
		.redis_configured = k->redis != NULL,
		.usage_configured = k->charges != NULL,
		.usage_up = k->recorder != NULL,
		.usage_spool_bytes = NAN,
		.usage_memory_bytes = NAN,
		.usage_lag_s = NAN,
		.disk_free_bytes = NAN,
		.disk_size_bytes = NAN,
		.reconcile_differences = k->reconciled.differences,
		.reconcile_at = k->reconciled.at,
		.certificate_expires = certificate_expires(&k->certificate),
	};

	source.backends = backends_servers(k->backends, &source.backends_count);
	if (k->sync != NULL)
		policy_sync_status(k->sync, &source.policy);
	if (k->recorder != NULL) {
		struct recorder_status status;

		recorder_status(k->recorder, &status);
		source.usage_spool_bytes = (double)status.spool_bytes;
		source.usage_memory_bytes = (double)status.memory_bytes;
		source.usage_lag_s = status.lag_s;
	}
	look_at_disk(k, &source);
	statshttp_content_type(resp, "text/plain; version=0.0.4; charset=utf-8");
	metrics_write(&source, &out);
}

/* Ready means: a request would get a verdict that follows a policy. */
static void readyz(struct keeper *k, struct statshttp_response *resp)
{
	struct policy_sync_status status = { 0 };
	bool decides = false;

	if (k->sync != NULL)
		policy_sync_status(k->sync, &status);
	for (int i = 0; i < AGENT_SLOTS; i++)
		decides |= atomic_load_explicit(&k->child.shared->slots[i].ready, memory_order_relaxed) != 0;
	if (decides && status.complete) {
		statshttp_printf(resp, "ready\n");
		return;
	}
	statshttp_status(resp, 503);
	statshttp_printf(resp, "not ready: %s\n",
	                 status.complete ? "no verdict worker can decide yet" : "the policy was never loaded");
}

static void on_request(void *arg, const char *path, struct statshttp_response *resp)
{
	struct keeper *k = arg;

	if (strcmp(path, "/metrics") == 0) {
		metrics(k, resp);
	} else if (strcmp(path, "/healthz") == 0) {
		statshttp_printf(resp, "ok\n");
	} else if (strcmp(path, "/readyz") == 0) {
		readyz(k, resp);
	} else {
		statshttp_status(resp, 404);
		statshttp_printf(resp, "not found: /metrics, /healthz and /readyz are here\n");
	}
}

/* ---- PostgreSQL and Redis ---- */

static void on_pg_up(void *arg)
{
	struct keeper *k = arg;

	policy_sync_up(k->sync);
}

static void on_pg_down(void *arg, const char *why)
{
	struct keeper *k = arg;
	char value[512];

	log_warn("postgres: connection lost, verdicts go on with the policy as it is: error=\"%s\"",
	         log_value(value, sizeof(value), why));
	policy_sync_down(k->sync);
}

static void on_quotas_up(void *arg)
{
	struct keeper *k = arg;

	quota_sync_up(k->quotas);
	reconciled_look(&k->reconciled);
}

/* The other connection has told. */
static void on_quotas_down(void *arg, const char *why)
{
	struct keeper *k = arg;

	(void)why;
	quota_sync_down(k->quotas);
}

static void on_pg_notify(void *arg, struct sv channel, struct sv payload)
{
	struct keeper *k = arg;
	policy_sync_notify(k->sync, channel, payload);
}

/* PostgreSQL has it all: the next keeper makes a new file, and the workers open it. */
static void on_broken(void *arg)
{
	struct keeper *k = arg;

	log_error("policy.mdb is damaged or was removed: it is made anew");
	policy_db_discard(k->child.settings->agent_state_dir);
	exit(EXIT_FAILURE);
}

/* This agent among all that share PostgreSQL and Redis. */
static void host_name(const struct keeper *k, char *name, size_t size)
{
	snprintf(name, size, "%016" PRIx64, k->child.shared->host_id);
}

static enum err start_quotas(struct keeper *k)
{
	const struct settings *s = k->child.settings;
	_Atomic uint64_t *warnings = k->child.shared->metrics.warnings;
	char name[32];
	char error[256];
	const struct pg_config connection = {
		.dsn = s->database_dsn,
		.application_name = "gateway-agent quotas",
		.on_up = on_quotas_up,
		.on_down = on_quotas_down,
		.arg = k,
	};
	enum err err = pg_new(k->child.loop, &connection, &k->quotas_pg, error, sizeof(error));

	if (err != ERR_OK) {
		log_error("database.dsn: %s", error);
		return err;
	}
	const struct quota_sync_config config = {
		.pg = k->quotas_pg,
		.db = k->db,
		.memory = &k->child.shared->counters.limits,
		.charges = k->charges,
		.defaults = agent_defaults(s),
		.host = name,
		.warnings = { { &warnings[AGENT_WARNING_REQUESTS_80], &warnings[AGENT_WARNING_REQUESTS_100] },
		              { &warnings[AGENT_WARNING_BANDWIDTH_80], &warnings[AGENT_WARNING_BANDWIDTH_100] } },
	};

	reconciled_start(&k->reconciled, k->child.loop, k->quotas_pg);
	host_name(k, name, sizeof(name));
	k->quotas = quota_sync_new(k->child.loop, &config);
	k->backends = backends_new(k->child.loop, k->quotas_pg, s);
	return ERR_OK;
}

static enum err start_postgres(struct keeper *k)
{
	const struct pg_config config = {
		.dsn = k->child.settings->database_dsn,
		.application_name = "gateway-agent",
		.on_up = on_pg_up,
		.on_down = on_pg_down,
		.on_notify = on_pg_notify,
		.arg = k,
	};
	char error[256];
	enum err err = pg_new(k->child.loop, &config, &k->pg, error, sizeof(error));

	if (err != ERR_OK) {
		log_error("database.dsn: %s", error);
		return err;
	}
	k->sync = policy_sync_new(k->child.loop, k->pg, k->db, on_broken, k);
	return start_quotas(k);
}

static enum err start_redis(struct keeper *k)
{
	const struct redis_config config = {
		.addr = k->child.settings->redis_addr,
		.password = k->child.settings->redis_password,
		.db = (unsigned)k->child.settings->redis_db,
		.tls = k->child.settings->redis_tls,
		.tls_ca = k->child.settings->redis_tls_ca,
		.reconnect_max_ms = LIMITS_RECONNECT_MS,
	};
	char error[256];
	char name[32];

	if (config.addr[0] == '\0')
		return ERR_OK;
	enum err err = redis_new(k->child.loop, &config, &k->redis, error, sizeof(error));
	if (err != ERR_OK) {
		log_error("redis: %s", error);
		return err;
	}
	host_name(k, name, sizeof(name));
	k->hosts = hosts_new(k->child.loop, k->redis, &k->child.shared->counters.limits.cluster, name);
	return ERR_OK;
}

/* ---- usage ---- */

/*
 * Whoever has no token has no HAProxy that sends usage: the agent has said so at its start. A spool that cannot be
 * opened (a damaged agent.id) must not keep a revoked key alive: all else goes on, and what HAProxy sends waits in the
 * sockets and in its ring, until somebody has mended the spool.
 */
static void start_usage(void *arg)
{
	struct keeper *k = arg;
	const struct recorder_config config = {
		.settings = k->child.settings,
		.metrics = &k->child.shared->metrics.usage,
		.charges = k->charges,
		.tcp_fd = k->child.usage_tcp_fd,
		.udp_fd = k->child.usage_udp_fd,
	};

	if (k->charges != NULL && recorder_new(k->child.loop, &config, &k->recorder) != ERR_OK)
		loop_timer_start(&k->usage_retry, USAGE_RETRY_MS, 0);
}

/* ---- start and end ---- */

/* Only from now on: during a reload the keeper before this one writes the policy until it has ended. */
static void on_go(void *arg)
{
	struct keeper *k = arg;
	char error[256];

	if (policy_db_open(k->child.settings->agent_state_dir, true, &k->db, error) != ERR_OK) {
		log_error("cannot open the policy: %s", error);
		exit(EXIT_FAILURE);
	}
	if (k->child.usage_tcp_fd >= 0 && k->child.usage_udp_fd >= 0)
		k->charges = usage_charges_new(&k->child.shared->counters.limits, k->db);
	if (start_postgres(k) != ERR_OK || start_redis(k) != ERR_OK)
		exit(EXIT_FAILURE);
	start_usage(k);
	if (k->child.listen_fd < 0)
		return;
	enum err err = statshttp_new(k->child.loop, k->child.listen_fd, on_request, k, &k->stats);
	if (err != ERR_OK)
		log_error("metrics.bind: cannot serve: %s", err_str(err));
}

static void on_flushed(void *arg)
{
	struct keeper *k = arg;
	loop_stop(k->child.loop);
}

/*
 * Without its parent it must be gone soon, since it holds sockets that the next agent opens: what is in them is taken
 * still, and what is counted is left to policy.mdb.
 */
static void on_recorded(void *arg)
{
	struct keeper *k = arg;

	if (k->child.orphan)
		quota_sync_down(k->quotas);
	quota_sync_finish(k->quotas, on_flushed, k);
}

/* The parent stops the keeper when the verdict workers have ended: what they have counted goes to PostgreSQL. */
static void on_stop(void *arg)
{
	struct keeper *k = arg;

	loop_timer_stop(&k->usage_retry);
	hosts_stop(k->hosts);
	backends_stop(k->backends);
	if (k->child.orphan) {
		statshttp_free(k->stats);
		k->stats = NULL;
	}
	if (k->recorder != NULL)
		recorder_finish(k->recorder, k->child.orphan, on_recorded, k);
	else if (k->quotas != NULL)
		on_recorded(k);
	else
		loop_stop(k->child.loop);
}

int keeper_run(const struct settings *settings, unsigned slot)
{
	struct keeper k = { .child = { .on_go = on_go, .on_stop = on_stop },
		            .reconciled = { .differences = NAN, .at = NAN },
		            .certificate = { .path = settings->server_tls_port != 0 ? settings->server_tls_certificate
		                                                                    : NULL } };
	int code = EXIT_FAILURE;

	k.child.arg = &k;
	struct loop *loop = loop_new();
	if (loop == NULL)
		return EXIT_FAILURE;
	loop_timer_init(&k.usage_retry, loop, start_usage, &k);
	enum err err = child_init(&k.child, loop, settings, 0, slot);
	if (err != ERR_OK) {
		log_error("cannot start as a child: %s", err_str(err));
		goto end_loop;
	}
	if (child_ready(&k.child) != ERR_OK)
		goto end_child;
	loop_run(loop);
	code = EXIT_SUCCESS;
	reconciled_stop(&k.reconciled);
	statshttp_free(k.stats);
	redis_free(k.redis);
	hosts_free(k.hosts);
	pg_free(k.pg);
	pg_free(k.quotas_pg);
	backends_free(k.backends);
	recorder_free(k.recorder);
	quota_sync_free(k.quotas);
	usage_charges_free(k.charges);
	policy_sync_free(k.sync);
	policy_db_close(k.db);
end_child:
	child_fini(&k.child);
end_loop:
	loop_free(loop);
	return code;
}
