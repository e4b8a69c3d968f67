/*
 * The parts of `gatewayctl reconcile` (cmd_reconcile.c). A difference is the JSON object that the run's row and --json
 * show.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "cli/cli.h"
#include "io/haproxy_socket.h"
#include "store/admin_reconcile.h"

/* What a run has found so far. */
struct reconcile {
	struct cli_call *call;
	struct admin_interval interval;
	bool fix;
	json_t *differences;        /* a list */
	json_t *notes;              /* texts: what was not compared, and why */
	uint64_t accepted;          /* differences of HAProxy's counters that --fix took as they are */
	struct haproxy_table table; /* the last that was read; empty: none was */
	bool compared_haproxy;
	char error[ADMIN_ERROR_MAX]; /* why a part failed */
};

/* Adds a text to the notes. */
void reconcile_note(struct reconcile *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Reads the table over the setting's socket. ERR_NOT_FOUND: no socket is set, or it does not answer; a note says it. */
MUST_CHECK enum err reconcile_read_haproxy(struct reconcile *r, char process[HAPROXY_PROCESS_MAX]);

/* Compares the growth of HAProxy's counters with that of the rows, and sets marks. Any failure of the database. */
MUST_CHECK enum err reconcile_haproxy(struct reconcile *r);

/* How many requests of the user are under way, as far as HAProxy told. */
uint64_t reconcile_in_flight(const struct reconcile *r, uint64_t user_id);

/* One line for people. */
void reconcile_print(FILE *f, const json_t *difference);
