#include "agent/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/usage_datagrams.h"
#include "agent/usage_intake.h"
#include "agent/usage_ring.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/pg.h"
#include "store/usage_ship.h"
#include "usage/spool.h"

#define SYNC_MS       200
#define SEGMENT_BYTES ((size_t)16 << 20)
/* Shipped segments that stay: ids of some hundred thousand requests. */
#define SEGMENTS_KEPT 4
/* What HAProxy sent over a connection that was just being closed has come over UDP by then. */
#define LINGER_MS 20
#define SHIP_MS   1000

struct recorder {
	struct loop *loop;
	struct recorder_config config;
	char dir[4096 + 8];
	struct usage_spool *spool;
	struct usage_intake *intake;
	struct usage_ring *ring;
	struct usage_datagrams *datagrams;
	struct pg *pg;
	struct usage_ship *ship;
	struct loop_timer sync;
	struct loop_timer linger;
	uint64_t shipped; /* of the shipper's counts, what the metrics have */
	uint64_t quarantined;
	bool hurry;
	void (*done)(void *arg);
	void *done_arg;
};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void on_damaged(void *arg, const char *what, uint64_t records)
{
	struct recorder *r = arg;

	log_error("usage: %s", what);
	count(&r->config.metrics->lost[AGENT_USAGE_LOST_SPOOL], records);
}

/* ---- the shipper ---- */

static void note_shipper(struct recorder *r)
{
	struct usage_ship_status status;

	usage_ship_status(r->ship, &status);
	count(&r->config.metrics->results[AGENT_USAGE_SHIPPED], status.shipped - r->shipped);
	count(&r->config.metrics->results[AGENT_USAGE_QUARANTINED], status.quarantined - r->quarantined);
	r->shipped = status.shipped;
	r->quarantined = status.quarantined;
}

static void on_batch(void *arg, enum usage_ship_event event, const struct usage_charge *charges, size_t n)
{
	struct recorder *r = arg;

	switch (event) {
	case USAGE_SHIP_TAKEN:
		usage_charges_taken(r->config.charges, charges, n);
		break;
	case USAGE_SHIP_DONE:
		usage_charges_done(r->config.charges, charges, n);
		note_shipper(r);
		break;
	case USAGE_SHIP_BACK:
		usage_charges_back(r->config.charges, charges, n);
		break;
	case USAGE_SHIP_WAITING:
		usage_charges_recover(r->config.charges, charges, n);
		break;
	}
}

/* Whatever was known of what waits is told anew: first what is not in the spool, and then, by the shipper, what is. */
static void on_position(void *arg, struct usage_position position)
{
	struct recorder *r = arg;

	(void)position;
	usage_charges_forget(r->config.charges);
	usage_intake_recover(r->intake);
}

static void on_pg_up(void *arg)
{
	struct recorder *r = arg;
	usage_ship_up(r->ship);
}

/* The keeper's other connection has told. */
static void on_pg_down(void *arg, const char *why)
{
	struct recorder *r = arg;

	(void)why;
	usage_ship_down(r->ship);
}

/* ---- the intake ---- */

static void on_recorded(void *arg)
{
	struct recorder *r = arg;
	usage_ship_kick(r->ship);
}

static void on_ready(void *arg)
{
	struct recorder *r = arg;

	if (r->datagrams != NULL)
		usage_datagrams_resume(r->datagrams);
	if (r->ring != NULL)
		usage_ring_resume(r->ring);
}

static void on_sync(void *arg)
{
	struct recorder *r = arg;
	usage_intake_sync(r->intake);
}

/* ---- start and end ---- */

static enum err open_spool(struct recorder *r)
{
	char error[4096 + 512];
	const struct usage_spool_config config = {
		.dir = r->dir,
		.segment_bytes = SEGMENT_BYTES,
		.keep = SEGMENTS_KEPT,
		.damaged = on_damaged,
		.arg = r,
	};

	if (mkdir(r->dir, 0750) != 0 && errno != EEXIST) {
		log_error("usage: cannot make the folder of the spool: %s: %s", r->dir, strerror(errno));
		return ERR_IO;
	}
	enum err err = usage_spool_open(&config, &r->spool, error, sizeof(error));
	if (err != ERR_OK)
		log_error("usage: cannot open the spool: %s", error);
	return err;
}

static enum err start_shipper(struct recorder *r)
{
	const struct pg_config connection = {
		.dsn = r->config.settings->database_dsn,
		.application_name = "gateway-agent usage",
		.on_up = on_pg_up,
		.on_down = on_pg_down,
		.arg = r,
	};
	char error[256];
	enum err err = pg_new(r->loop, &connection, &r->pg, error, sizeof(error));

	if (err != ERR_OK) {
		log_error("database.dsn: %s", error);
		return err;
	}
	const struct usage_ship_config config = {
		.pg = r->pg,
		.spool = r->spool,
		.dir = r->dir,
		.retention_days = (unsigned)r->config.settings->usage_retention_days,
		.on_position = on_position,
		.on_batch = on_batch,
		.arg = r,
	};
	r->ship = usage_ship_new(r->loop, &config);
	return ERR_OK;
}

static void start_intake(struct recorder *r)
{
	const struct usage_intake_config config = {
		.token = r->config.settings->usage_token,
		.previous_token = r->config.settings->usage_previous_token,
		.memory_max = (size_t)r->config.settings->usage_memory,
		.spool = r->spool,
		.charges = r->config.charges,
		.metrics = r->config.metrics,
		.on_recorded = on_recorded,
		.on_ready = on_ready,
		.arg = r,
	};

	r->intake = usage_intake_new(r->loop, &config);
	r->datagrams = usage_datagrams_new(r->loop, r->config.udp_fd, r->intake, r->config.metrics);
	r->ring = usage_ring_new(r->loop, r->config.tcp_fd, r->intake, r->config.metrics);
}

static void on_linger(void *arg);

enum err recorder_new(struct loop *loop, const struct recorder_config *config, struct recorder **out)
{
	struct recorder *r = check_calloc(1, sizeof(*r));

	*out = NULL;
	r->loop = loop;
	r->config = *config;
	snprintf(r->dir, sizeof(r->dir), "%s/usage", config->settings->agent_state_dir);
	loop_timer_init(&r->sync, loop, on_sync, r);
	loop_timer_init(&r->linger, loop, on_linger, r);
	enum err err = open_spool(r);
	if (err == ERR_OK)
		err = start_shipper(r);
	if (err != ERR_OK) {
		recorder_free(r);
		return err;
	}
	start_intake(r);
	loop_timer_start(&r->sync, SYNC_MS, SYNC_MS);
	*out = r;
	return ERR_OK;
}

void recorder_free(struct recorder *r)
{
	if (r == NULL)
		return;
	loop_timer_stop(&r->sync);
	loop_timer_stop(&r->linger);
	usage_ring_free(r->ring);
	usage_datagrams_free(r->datagrams);
	usage_intake_free(r->intake);
	pg_free(r->pg);
	usage_ship_free(r->ship);
	usage_spool_close(r->spool);
	free(r);
}

/* All that was sent before is in the spool now. */
static void on_linger(void *arg)
{
	struct recorder *r = arg;

	usage_datagrams_drain(r->datagrams);
	usage_datagrams_free(r->datagrams);
	r->datagrams = NULL;
	usage_intake_sync(r->intake);
	if (r->hurry)
		r->done(r->done_arg);
	else
		usage_ship_finish(r->ship, SHIP_MS, r->done, r->done_arg);
}

/* First the ring: what is sent to a connection that closes was sent over UDP before. */
void recorder_finish(struct recorder *r, bool hurry, void (*done)(void *arg), void *arg)
{
	r->hurry = hurry;
	r->done = done;
	r->done_arg = arg;
	loop_timer_stop(&r->sync);
	usage_ring_free(r->ring);
	r->ring = NULL;
	loop_timer_start(&r->linger, LINGER_MS, 0);
}

/* ---- metrics ---- */

void recorder_status(struct recorder *r, struct recorder_status *out)
{
	struct usage_ship_status status;

	usage_ship_status(r->ship, &status);
	note_shipper(r);
	const int64_t now_ms = clock_real_s() * 1000;
	const int64_t lag_ms = status.oldest_ms != 0 && status.oldest_ms < now_ms ? now_ms - status.oldest_ms : 0;
	out->spool_bytes = usage_spool_bytes_after(r->spool, status.position);
	out->memory_bytes = usage_intake_memory(r->intake);
	out->lag_s = (double)lag_ms / 1000;
}
