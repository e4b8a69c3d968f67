#include "store/usage_ship.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/backoff.h"
#include "store/usage_batch.h"
#include "store/usage_partitions.h"
#include "store/usage_quarantine.h"
#include "store/usage_sql.h"

/* How long records may gather before they are shipped, and how many bytes of them wait no longer. */
#define GATHER_MS    80
#define EAGER_BYTES  ((uint64_t)256 << 10)
#define SLICE        1000 /* records that are read in one turn of the loop */
#define TICK_MS      10000
#define LOG_EVERY_NS (30 * NS_PER_SEC)

/* Only COUNTING, IDLE, GATHERING, READING and WAITING are without an answer that is due. */
enum step {
	STEP_DOWN = 0,
	STEP_OPENING,  /* the session, then the position */
	STEP_COUNTING, /* what waits */
	STEP_PARTITIONS,
	STEP_IDLE,
	STEP_GATHERING,
	STEP_READING,
	STEP_SHIPPING, /* BEGIN to COMMIT */
	STEP_ROLLBACK,
	STEP_WAITING, /* after a failure */
};

/* What follows a rollback. */
enum after_rollback { THEN_AGAIN = 0, THEN_WAIT, THEN_POSITION };

struct usage_ship {
	struct loop *loop;
	struct usage_ship_config config;
	char *dir;
	bool up, opened;
	enum step step;
	enum after_rollback then;
	struct loop_timer timer; /* GATHERING and WAITING */
	struct loop_timer tick;  /* for the partitions, when nothing else happens */
	struct loop_task read;
	struct loop_task count;
	struct usage_position count_end;
	struct usage_reader *reader;
	struct usage_batch batches[2];
	struct usage_batch *sent;       /* of the transaction, from BEGIN to COMMIT */
	struct usage_batch *next;       /* made meanwhile; the reader stands where it ends */
	bool ahead;                     /* the transaction has its records, so there is time for the next ones */
	bool taken;                     /* what is sent was told as taken */
	struct usage_position stored;   /* as PostgreSQL has it */
	struct usage_position position; /* where the next batch begins: `stored`, when the spool has such a place */
	size_t most;                    /* records in the next batch; less after a refusal */
	struct usage_position lone;     /* behind a record that was refused alone, once */
	struct usage_position bad;      /* all from `position` up to here is in quarantine */
	uint64_t added;                 /* of what is sent: were new */
	struct usage_partitions partitions;
	struct backoff backoff;
	struct log_gate gate, quarantine_gate;
	struct usage_ship_status status;
	struct loop_timer deadline; /* of usage_ship_finish() */
	void (*done)(void *arg);
	void *done_arg;
};

static void start(struct usage_ship *s);
static void next(struct usage_ship *s);
static bool batch_is_full(const struct usage_ship *s);

/* ---- queries ---- */

static void query(struct usage_ship *s, const char *sql, int nparams, const char *const *params, pg_query_cb *cb)
{
	pg_query(s->config.pg, sql, nparams, params, USAGE_SQL_TIMEOUT_MS, cb, s);
}

static void log_failure(struct usage_ship *s, const char *what, const char *why, const char *detail)
{
	uint64_t skipped;

	if (log_gate(&s->gate, loop_now_ns(s->loop), LOG_EVERY_NS, &skipped))
		log_error("usage: %s: %s%s%s skipped=%" PRIu64, what, why, detail[0] != '\0' ? ": " : "", detail,
		          skipped);
}

static const char *detail_of(const struct pg_result *r)
{
	return r != NULL ? pg_result_error(r) : "";
}

/* Whether an answer is one to go on after: not when the connection has gone with it, which usage_ship_down() has dealt
 * with, or the client with the whole program. */
static bool is_answer(const struct usage_ship *s, enum err err)
{
	return s->up && err != ERR_CLOSED;
}

static void tell(struct usage_ship *s, enum usage_ship_event event)
{
	s->taken = event == USAGE_SHIP_TAKEN;
	if (s->config.on_batch != NULL && s->sent->n > 0)
		s->config.on_batch(s->config.arg, event, s->sent->charges, s->sent->n);
}

static void wait_and_retry(struct usage_ship *s)
{
	s->step = STEP_WAITING;
	loop_timer_start(&s->timer, backoff_next_ms(&s->backoff), 0);
}

static void finish(struct usage_ship *s)
{
	void (*done)(void *arg) = s->done;

	if (done == NULL)
		return;
	loop_timer_stop(&s->deadline);
	s->done = NULL;
	done(s->done_arg);
}

/* All is shipped. */
static void rest(struct usage_ship *s)
{
	s->status.oldest_ms = 0;
	s->step = STEP_IDLE;
	finish(s);
}

/* The next batch is made from here on; what was made of it is forgotten. */
static void read_from(struct usage_ship *s, struct usage_position at)
{
	s->ahead = false;
	loop_task_cancel(&s->read);
	usage_reader_seek(s->reader, at);
	usage_batch_clear(s->next, at);
}

/* ---- the age of what is not shipped ---- */

/* The first record that is in no batch. */
static void look_at_next(struct usage_ship *s)
{
	struct usage_position after;
	struct usage_record r;
	struct sv text;

	s->status.oldest_ms = 0;
	if (usage_reader_next(s->reader, &text, &after) == ERR_OK)
		s->status.oldest_ms = usage_record_parse(text, &r) == ERR_OK
		                              ? r.start_ms
		                              : (int64_t)(clock_ns(CLOCK_REALTIME) / NS_PER_MS);
	usage_reader_seek(s->reader, s->next->end);
}

/* ---- quarantine ---- */

/* False when it could not be written: then the record must wait. */
static bool quarantine(struct usage_ship *s, struct usage_position after, const char *why, const char *detail,
                       struct sv text)
{
	char value[512];
	uint64_t skipped;
	bool added;

	if (usage_quarantine(s->dir, after, why, text, &added) != ERR_OK) {
		log_failure(s, "cannot write quarantine.usage", strerror(errno), "");
		return false;
	}
	if (!added)
		return true;
	s->status.quarantined++;
	if (log_gate(&s->quarantine_gate, loop_now_ns(s->loop), LOG_EVERY_NS, &skipped))
		log_error("usage: a record goes to quarantine.usage: reason=%s error=\"%s\" place=%" PRIu64 ":%" PRIu64
		          " skipped=%" PRIu64,
		          why, log_value(value, sizeof(value), detail), after.segment, after.offset, skipped);
	return true;
}

/* ---- the transaction ---- */

static void apply_position(struct usage_ship *s, struct usage_position stored);
static void ask_position(struct usage_ship *s);

static void on_rolled_back(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;

	if (!is_answer(s, err))
		return;
	if (err != ERR_OK) {
		log_failure(s, "ROLLBACK", err_str(err), detail_of(r));
		wait_and_retry(s);
		return;
	}
	switch (s->then) {
	case THEN_AGAIN:
		start(s);
		break;
	case THEN_WAIT:
		wait_and_retry(s);
		break;
	case THEN_POSITION:
		ask_position(s);
		break;
	}
}

static void roll_back(struct usage_ship *s, enum after_rollback then)
{
	if (s->taken)
		tell(s, USAGE_SHIP_BACK);
	read_from(s, s->position);
	s->then = then;
	s->step = STEP_ROLLBACK;
	query(s, SQL_ROLLBACK, 0, NULL, on_rolled_back);
}

/* A refusal that is of the records: data that cannot be (class 22), or that a constraint forbids (23), but for a user
 * who was deleted this moment. */
static bool is_of_data(const char *sqlstate)
{
	return (strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0) && strcmp(sqlstate, "23503") != 0;
}

/* One of the batch's records is bad: it is halved until that one stands alone, and is refused again (what it met with
 * may have been of that moment). */
static void divide(struct usage_ship *s, const struct pg_result *r)
{
	if (s->sent->n > 1) {
		s->most = s->sent->n / 2;
		roll_back(s, THEN_AGAIN);
		return;
	}
	s->most = 1;
	if (usage_position_cmp(s->lone, s->sent->last_end) != 0) {
		s->lone = s->sent->last_end;
		roll_back(s, THEN_AGAIN);
		return;
	}
	if (!quarantine(s, s->sent->last_end, pg_result_sqlstate(r), pg_result_error(r),
	                sv_from(s->sent->last, s->sent->last_n))) {
		roll_back(s, THEN_WAIT);
		return;
	}
	s->bad = s->sent->last_end;
	tell(s, USAGE_SHIP_TAKEN);
	tell(s, USAGE_SHIP_DONE);
	roll_back(s, THEN_AGAIN);
}

/* A step of the transaction that did not succeed. */
static void step_failed(struct usage_ship *s, const char *what, enum err err, const struct pg_result *r)
{
	log_failure(s, what, err_str(err), detail_of(r));
	roll_back(s, THEN_WAIT);
}

static void on_committed(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;

	if (!is_answer(s, err))
		return;
	if (err != ERR_OK) {
		step_failed(s, "COMMIT", err, r);
		return;
	}
	s->ahead = false;
	loop_task_cancel(&s->read);
	s->stored = s->position = s->sent->end;
	s->status.position = s->position;
	s->status.shipped += s->sent->n;
	s->status.duplicates += s->sent->n - s->added;
	tell(s, USAGE_SHIP_DONE);
	usage_spool_shipped(s->config.spool, s->position);
	s->most = s->most * 2 < USAGE_BATCH_RECORDS ? s->most * 2 : USAGE_BATCH_RECORDS;
	backoff_reset(&s->backoff);
	s->gate.next_ns = 0;
	if (s->next->n > 0)
		s->status.oldest_ms = s->next->oldest_ms;
	else
		look_at_next(s);
	next(s);
}

static void on_shipped(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;
	uint64_t added = 0;

	if (!is_answer(s, err))
		return;
	if (err == ERR_REFUSED && is_of_data(pg_result_sqlstate(r)) && s->sent->n > 0) {
		divide(s, r);
		return;
	}
	if (err == ERR_OK && (pg_result_rows(r) != 1 || pg_result_u64(r, 0, 0, &added) != ERR_OK || added > s->sent->n))
		err = ERR_INVALID;
	if (err != ERR_OK) {
		step_failed(s, "cannot ship records", err, r);
		return;
	}
	s->added = added;
	tell(s, USAGE_SHIP_TAKEN);
	query(s, SQL_COMMIT, 0, NULL, on_committed);
}

static void on_copied(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;
	char segment[24], offset[24];
	const char *params[] = { usage_spool_agent(s->config.spool), segment, offset };

	if (!is_answer(s, err))
		return;
	if (err == ERR_REFUSED && is_of_data(pg_result_sqlstate(r)) && s->sent->n > 0) {
		divide(s, r);
		return;
	}
	if (err == ERR_OK && pg_result_affected(r) != s->sent->n)
		err = ERR_INVALID;
	if (err != ERR_OK) {
		step_failed(s, "cannot copy records", err, r);
		return;
	}
	snprintf(segment, sizeof(segment), "%" PRIu64, s->sent->end.segment);
	snprintf(offset, sizeof(offset), "%" PRIu64, s->sent->end.offset);
	query(s, SQL_SHIP, 3, params, on_shipped);
}

/* While PostgreSQL works. In pieces: a look at each record that comes would cost more than it. */
static void read_ahead(struct usage_ship *s)
{
	if (s->ahead && !batch_is_full(s) && usage_spool_bytes_after(s->config.spool, s->next->end) >= EAGER_BYTES)
		loop_defer(&s->read);
}

/* ERR_NOT_FOUND when the row has gone. */
static enum err read_position(const struct pg_result *r, struct usage_position *out)
{
	if (pg_result_rows(r) == 0)
		return ERR_NOT_FOUND;
	enum err err = pg_result_u64(r, 0, 0, &out->segment);
	return err == ERR_OK ? pg_result_u64(r, 0, 1, &out->offset) : err;
}

static void on_locked(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;
	struct usage_position stored;

	if (!is_answer(s, err))
		return;
	if (err != ERR_OK) {
		step_failed(s, "cannot lock the position", err, r);
		return;
	}
	if (read_position(r, &stored) != ERR_OK || usage_position_cmp(stored, s->stored) != 0) {
		log_warn("usage: the position in PostgreSQL was moved by another: expected=%" PRIu64 ":%" PRIu64,
		         s->stored.segment, s->stored.offset);
		roll_back(s, THEN_POSITION);
		return;
	}
	size_t n;
	char *rows = usage_batch_take_rows(s->sent, &n);
	pg_copy_in(s->config.pg, SQL_COPY, rows, n, USAGE_SQL_TIMEOUT_MS, on_copied, s);
	s->ahead = true;
	read_ahead(s);
}

static void on_begun(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;
	const char *params[] = { usage_spool_agent(s->config.spool) };

	if (!is_answer(s, err))
		return;
	if (err != ERR_OK)
		step_failed(s, "BEGIN", err, r);
	else
		query(s, SQL_POSITION, 1, params, on_locked);
}

/* ---- reading the spool ---- */

/* ERR_NOT_FOUND at the end of the spool. */
static enum err read_one(struct usage_ship *s)
{
	struct usage_position after;
	struct usage_record r;
	struct sv text;
	enum err err = usage_reader_next(s->reader, &text, &after);

	if (err != ERR_OK) {
		if (err != ERR_NOT_FOUND)
			log_failure(s, "cannot read the spool", err == ERR_IO ? strerror(errno) : err_str(err), "");
		return err;
	}
	if (usage_position_cmp(after, s->bad) > 0) {
		if (usage_record_parse(text, &r) == ERR_OK)
			usage_batch_add(s->next, &r, text, after);
		else if (!quarantine(s, after, "form", "it is no record", text))
			return ERR_IO;
	}
	s->next->end = after;
	return ERR_OK;
}

static bool batch_is_full(const struct usage_ship *s)
{
	return s->next->n >= s->most || s->next->bytes >= USAGE_BATCH_BYTES;
}

static void send(struct usage_ship *s)
{
	struct usage_batch *b = s->sent;

	s->sent = s->next;
	s->next = b;
	usage_batch_clear(s->next, s->sent->end);
	if (s->sent->n > 0)
		s->status.oldest_ms = s->sent->oldest_ms;
	s->step = STEP_SHIPPING;
	query(s, SQL_BEGIN, 0, NULL, on_begun);
}

/* In slices: meanwhile the keeper takes records. */
static void on_read(void *arg)
{
	struct usage_ship *s = arg;
	enum err err = ERR_OK;

	for (int i = 0; i < SLICE && err == ERR_OK && !batch_is_full(s); i++)
		err = read_one(s);
	if (err == ERR_OK && !batch_is_full(s)) {
		loop_defer(&s->read);
	} else if (err != ERR_OK && err != ERR_NOT_FOUND) {
		/* The record that failed may have been read over. When it is its turn it is told. */
		const bool ahead = s->ahead;
		read_from(s, ahead ? s->sent->end : s->position);
		if (!ahead)
			wait_and_retry(s);
	} else if (s->ahead) {
		/* Until the commit, or until there is more. */
	} else if (usage_position_cmp(s->next->end, s->position) == 0) {
		usage_reader_seek(s->reader, s->position);
		rest(s);
	} else {
		send(s);
	}
}

/* ---- the session ---- */

static void open_failed(struct usage_ship *s, const char *what, enum err err, const struct pg_result *r)
{
	log_failure(s, what, err_str(err), detail_of(r));
	wait_and_retry(s);
}

static void on_position(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;
	struct usage_position stored;

	if (!is_answer(s, err))
		return;
	if (err == ERR_OK)
		err = read_position(r, &stored);
	if (err != ERR_OK)
		open_failed(s, "cannot read the position", err, err == ERR_REFUSED ? r : NULL);
	else
		apply_position(s, stored);
}

/* What comes to the spool from now on its writer knows of. */
static enum err count_one(struct usage_ship *s, struct usage_charge *charges, size_t *n)
{
	struct usage_position after;
	struct usage_record r;
	struct sv text;
	enum err err = usage_reader_next(s->reader, &text, &after);

	if (err != ERR_OK)
		return err;
	if (usage_position_cmp(after, s->count_end) > 0)
		return ERR_NOT_FOUND;
	if (usage_record_parse(text, &r) == ERR_OK)
		charges[(*n)++] = (struct usage_charge){ r.user, r.start_ms, r.billed_bytes };
	return ERR_OK;
}

/* In slices: meanwhile the keeper takes records, and shows that it lives. */
static void on_count(void *arg)
{
	struct usage_ship *s = arg;
	struct usage_charge charges[SLICE];
	enum err err = ERR_OK;
	size_t n = 0;

	for (int i = 0; i < SLICE && err == ERR_OK; i++)
		err = count_one(s, charges, &n);
	const int why = errno;
	if (n > 0 && s->config.on_batch != NULL)
		s->config.on_batch(s->config.arg, USAGE_SHIP_WAITING, charges, n);
	if (err == ERR_OK) {
		loop_defer(&s->count);
	} else if (err != ERR_NOT_FOUND) {
		log_failure(s, "cannot read the spool", err == ERR_IO ? strerror(why) : err_str(err), "");
		wait_and_retry(s);
	} else {
		usage_reader_seek(s->reader, s->position);
		s->opened = true;
		look_at_next(s);
		start(s);
	}
}

static void apply_position(struct usage_ship *s, struct usage_position stored)
{
	s->stored = s->position = stored;
	if (usage_position_cmp(stored, usage_spool_end(s->config.spool)) > 0) {
		log_error(
		        "usage: PostgreSQL has a position that is behind the spool's end: another folder? All of it is "
		        "shipped (again): position=%" PRIu64 ":%" PRIu64,
		        stored.segment, stored.offset);
		s->position = (struct usage_position){ 0, 0 };
	}
	s->status.position = s->position;
	usage_reader_free(s->reader);
	s->reader = usage_reader_new(s->config.spool, s->position);
	CHECK(s->reader != NULL);
	s->bad = (struct usage_position){ 0, 0 };
	read_from(s, s->position);
	look_at_next(s);
	if (s->config.on_position != NULL)
		s->config.on_position(s->config.arg, s->position);
	s->step = STEP_COUNTING;
	s->count_end = usage_spool_end(s->config.spool);
	on_count(s);
}

static void on_entered(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;
	const char *params[] = { usage_spool_agent(s->config.spool) };

	if (!is_answer(s, err))
		return;
	if (err != ERR_OK)
		open_failed(s, "cannot enter the agent", err, r);
	else
		query(s, SQL_POSITION, 1, params, on_position);
}

static void ask_position(struct usage_ship *s)
{
	const char *params[] = { usage_spool_agent(s->config.spool) };

	s->opened = false;
	s->step = STEP_OPENING;
	query(s, SQL_ENTER, 1, params, on_entered);
}

static void on_opened(void *arg, enum err err, const struct pg_result *r)
{
	struct usage_ship *s = arg;

	if (!is_answer(s, err))
		return;
	if (err != ERR_OK)
		open_failed(s, "cannot prepare the session", err, r);
	else
		ask_position(s);
}

static void open_session(struct usage_ship *s)
{
	s->step = STEP_OPENING;
	query(s, SQL_OPEN, 0, NULL, on_opened);
}

/* ---- what comes when ---- */

/* The next batch, or the partitions, now. */
static void start(struct usage_ship *s)
{
	loop_timer_stop(&s->timer);
	if (!s->opened) {
		open_session(s);
		return;
	}
	if (usage_partitions_due(&s->partitions)) {
		s->step = STEP_PARTITIONS;
		usage_partitions_tend(&s->partitions);
		return;
	}
	s->step = STEP_READING;
	loop_defer(&s->read);
}

/* What waits for a batch, if anything does. */
static void next(struct usage_ship *s)
{
	uint64_t waiting = usage_spool_bytes_after(s->config.spool, s->position);

	if (s->status.oldest_ms == 0 && usage_position_cmp(s->next->end, s->position) == 0) {
		rest(s);
	} else if (waiting >= EAGER_BYTES || s->most < USAGE_BATCH_RECORDS || s->done != NULL) {
		start(s);
	} else {
		s->step = STEP_GATHERING;
		loop_timer_start(&s->timer, GATHER_MS, 0);
	}
}

static void on_timer(void *arg)
{
	start(arg);
}

static void on_tick(void *arg)
{
	struct usage_ship *s = arg;

	if (s->step == STEP_IDLE && usage_partitions_due(&s->partitions))
		start(s);
}

static void on_partitions(void *arg)
{
	struct usage_ship *s = arg;

	if (s->step == STEP_PARTITIONS)
		start(s);
}

static void on_deadline(void *arg)
{
	finish(arg);
}

struct usage_ship *usage_ship_new(struct loop *loop, const struct usage_ship_config *config)
{
	struct usage_ship *s = check_calloc(1, sizeof(*s));

	s->loop = loop;
	s->config = *config;
	s->config.dir = NULL;
	s->dir = strdup(config->dir);
	CHECK(s->dir != NULL);
	s->most = USAGE_BATCH_RECORDS;
	s->partitions = (struct usage_partitions){ .loop = loop,
		                                   .pg = config->pg,
		                                   .retention_days = config->retention_days,
		                                   .done = on_partitions,
		                                   .arg = s };
	usage_batch_init(&s->batches[0]);
	usage_batch_init(&s->batches[1]);
	s->sent = &s->batches[0];
	s->next = &s->batches[1];
	/* Until PostgreSQL says what it has: what comes from now on is not shipped. */
	s->position = usage_spool_end(config->spool);
	s->reader = usage_reader_new(config->spool, s->position);
	CHECK(s->reader != NULL);
	usage_batch_clear(s->next, s->position);
	loop_timer_init(&s->timer, loop, on_timer, s);
	loop_timer_init(&s->tick, loop, on_tick, s);
	loop_timer_init(&s->deadline, loop, on_deadline, s);
	loop_task_init(&s->read, loop, on_read, s);
	loop_task_init(&s->count, loop, on_count, s);
	loop_timer_start(&s->tick, TICK_MS, TICK_MS);
	return s;
}

void usage_ship_free(struct usage_ship *s)
{
	if (s == NULL)
		return;
	loop_timer_stop(&s->timer);
	loop_timer_stop(&s->tick);
	loop_timer_stop(&s->deadline);
	loop_task_cancel(&s->read);
	loop_task_cancel(&s->count);
	usage_reader_free(s->reader);
	usage_batch_free(&s->batches[0]);
	usage_batch_free(&s->batches[1]);
	free(s->dir);
	free(s);
}

void usage_ship_up(struct usage_ship *s)
{
	s->up = true;
	s->opened = false;
	s->partitions.due_ns = 0;
	open_session(s);
}

void usage_ship_down(struct usage_ship *s)
{
	s->up = s->opened = s->taken = false;
	s->step = STEP_DOWN;
	loop_timer_stop(&s->timer);
	loop_task_cancel(&s->count);
	read_from(s, s->position);
	finish(s);
}

void usage_ship_kick(struct usage_ship *s)
{
	if (s->status.oldest_ms == 0 &&
	    (s->step == STEP_IDLE || s->step == STEP_DOWN || s->step == STEP_OPENING || s->step == STEP_WAITING))
		look_at_next(s);
	if (s->step == STEP_IDLE)
		next(s);
	else if (s->step == STEP_GATHERING && usage_spool_bytes_after(s->config.spool, s->position) >= EAGER_BYTES)
		start(s);
	else
		read_ahead(s);
}

void usage_ship_status(const struct usage_ship *s, struct usage_ship_status *out)
{
	*out = s->status;
}

void usage_ship_finish(struct usage_ship *s, unsigned most_ms, void (*done)(void *arg), void *arg)
{
	s->done = done;
	s->done_arg = arg;
	if (s->step == STEP_DOWN) {
		finish(s);
		return;
	}
	loop_timer_start(&s->deadline, most_ms, 0);
	if (s->step == STEP_GATHERING || s->step == STEP_IDLE)
		start(s);
}
