/*
 * What `gatewayctl reconcile` asks PostgreSQL (migrations/006_usage_views.sql, docs/reconcile.md). Errors as in
 * store/admin_user.h. A result that is handed out is freed by the caller.
 *
 * Lists have these columns: the user's id; a text that changes when the difference does; the difference as the text of
 * one JSON object with part, user_id, user (null: no such user), and what docs/reconcile.md says.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/pg_sync.h"
#include "store/admin_error.h"

#define ADMIN_MOMENT_MAX 40

/* Full hours, as text. */
struct admin_interval {
	char from[ADMIN_MOMENT_MAX];
	char to[ADMIN_MOMENT_MAX];
	bool cut;         /* from was earlier: raw rows before this one were dropped */
	const char *user; /* id; NULL: all */
};

/* from, to: as args_hour() writes them; NULL: the start of the calendar's month, and the end of this hour. ERR_INVALID:
 * from is not before to. */
MUST_CHECK enum err admin_reconcile_interval(struct pg_sync *db, const char *from, const char *to, const char *user,
                                             struct admin_interval *out, char *error);

enum admin_reconcile_part {
	ADMIN_RECONCILE_HOURS = 0, /* rows against roll-ups by hour */
	ADMIN_RECONCILE_MONTHS,    /* roll-ups by hour against those by month */
	ADMIN_RECONCILE_QUOTAS,    /* roll-ups by month against the running month's counters */
	ADMIN_RECONCILE_MOVED, /* no differences: users whose months cannot be compared, since their reset day was moved
	                        */
};

MUST_CHECK enum err admin_reconcile_list(struct pg_sync *db, enum admin_reconcile_part part,
                                         const struct admin_interval *in, struct pg_result **out, char *error);

/* How many users there are to compare. */
MUST_CHECK enum err admin_reconcile_users(struct pg_sync *db, const struct admin_interval *in, uint64_t *users,
                                          char *error);

/* A text that is the same as long as no agent has shipped anything. */
MUST_CHECK enum err admin_reconcile_positions(struct pg_sync *db, struct pg_result **out, char *error);

struct admin_mended {
	uint64_t hours;    /* roll-ups that were set */
	uint64_t months;   /* the same */
	uint64_t counters; /* rows of quotas */
};

/* All three in one transaction. raised: ids as {1,2}, whose counter of requests may be raised. */
MUST_CHECK enum err admin_reconcile_mend(struct pg_sync *db, const struct admin_interval *in, const char *raised,
                                         struct admin_mended *out, char *error);

/* ---- HAProxy's counters: usage_compare_haproxy(); arrays are texts as {1,2} ---- */

/* The database's clock, less a span such as "10 seconds". */
MUST_CHECK enum err admin_reconcile_clock(struct pg_sync *db, const char *ago, char moment[ADMIN_MOMENT_MAX],
                                          char *error);
/* Columns: user_id, state, counted, found, bytes_sent, row_bytes, bytes_known, all_rows, recent_rows, recent_bytes. */
MUST_CHECK enum err admin_reconcile_compare(struct pg_sync *db, const char *process, const char *ids, const char *ended,
                                            const char *sent, const char *since, struct pg_result **out, char *error);
/* Sets marks. */
MUST_CHECK enum err admin_reconcile_mark(struct pg_sync *db, const char *process, const char *ids, const char *ended,
                                         const char *sent, const char *in_flight, const char *since, const char *rows,
                                         const char *row_bytes, char *error);
/* Sets that of the process (user 0): whoever has no counter now began with 0 at `moment`. */
MUST_CHECK enum err admin_reconcile_mark_process(struct pg_sync *db, const char *process, const char *moment,
                                                 char *error);
/* Columns: id, username, of those in ids. */
MUST_CHECK enum err admin_reconcile_names(struct pg_sync *db, const char *ids, struct pg_result **out, char *error);

/* The run's row. */
MUST_CHECK enum err admin_reconcile_save(struct pg_sync *db, const struct admin_interval *in, uint64_t users,
                                         uint64_t differences, uint64_t fixed, const char *details, char *error);
