#include "io/pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/backoff.h"
#include "io/pg_copy.h"
#include "io/pg_int.h"
#include "io/resolver.h"

#define CONNECT_TIMEOUT_MS 5000
#define QUEUE_MAX          1024
#define ADDRS_MAX          8
#define LOG_EVERY_SECS     30

enum pg_state {
	STATE_WAITING = 0, /* for the timer of the next attempt */
	STATE_RESOLVING,
	STATE_CONNECTING,
	STATE_UP,
};

struct query {
	TAILQ_ENTRY(query) link;
	struct pg *pg;
	struct loop_timer timer;
	pg_query_cb *cb;
	void *arg;
	PGresult *res; /* the first result, until the server is ready for the next query */
	int nparams;
	const char **params;
	char *sql;
	struct pg_copy copy;
};

TAILQ_HEAD(query_list, query);

struct pg {
	struct loop *loop;
	struct pg_config config;
	char *application_name;
	struct pg_dsn dsn;
	enum pg_state state;
	size_t host;     /* in dsn.hosts, of the present or next attempt */
	size_t attempts; /* in a row; turns the order of a host's addresses */
	struct backoff backoff;
	struct resolver *resolver;
	PGconn *conn;
	struct loop_io io;
	struct loop_timer timer;   /* STATE_WAITING: next attempt; connecting: deadline */
	struct loop_task send;     /* starts the next query: never from inside of pg_query() */
	struct loop_task refuse;   /* calls back the queries in `refused` */
	struct query_list queue;   /* not sent yet */
	struct query_list refused; /* no connection, or no room in the queue */
	struct query *current;     /* sent, the answer is due */
	size_t count;              /* in `queue`, and `current` */
	uint64_t up_ns;
	struct log_gate gate;
	char error[PG_ERROR_MAX];
};

static void query_end(struct query *q, enum err err, const struct pg_result *r)
{
	pg_query_cb *cb = q->cb;
	void *arg = q->arg;
	loop_timer_stop(&q->timer);
	PQclear(q->res);
	free(q->copy.data);
	free(q);
	if (cb != NULL)
		cb(arg, err, r);
}

static void list_end(struct pg *pg, struct query_list *list, enum err err)
{
	struct query *q;
	while ((q = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, q, link);
		if (list == &pg->queue)
			pg->count--;
		query_end(q, err, NULL);
	}
}

static void current_end(struct pg *pg, enum err err, const struct pg_result *r)
{
	struct query *q = pg->current;
	if (q == NULL)
		return;
	pg->current = NULL;
	pg->count--;
	query_end(q, err, r);
}

/* Stops all that watches the connection, and only then closes it: the descriptor's number may be used anew at once. */
static void disconnect(struct pg *pg)
{
	resolver_cancel(pg->resolver);
	pg->resolver = NULL;
	loop_io_stop(&pg->io);
	loop_timer_stop(&pg->timer);
	loop_task_cancel(&pg->send);
	PQfinish(pg->conn);
	pg->conn = NULL;
}

/* Which of a program's connections it is, as pg_stat_activity shows it. */
static const char *client(const struct pg *pg)
{
	return pg->application_name != NULL ? pg->application_name : "";
}

static void retry_later(struct pg *pg, bool was_up)
{
	char value[PG_ERROR_MAX];
	uint64_t skipped;
	unsigned delay = 0;

	if (was_up) {
		pg->attempts = 0;
		pg->gate.next_ns = 0;
		/* A server that takes connections and drops them again must not be asked ten times a second. */
		if (loop_now_ns(pg->loop) - pg->up_ns > BACKOFF_MAX_MS * NS_PER_MS)
			backoff_reset(&pg->backoff);
	}
	pg->attempts++;
	pg->host = (pg->host + 1) % pg->dsn.count;
	if (was_up || pg->host == 0)
		delay = backoff_next_ms(&pg->backoff);
	loop_timer_start(&pg->timer, delay, 0);
	if (log_gate(&pg->gate, loop_now_ns(pg->loop), LOG_EVERY_SECS * NS_PER_SEC, &skipped))
		log_warn("postgres: no connection: client=\"%s\" error=\"%s\" retry_ms=%u skipped=%llu", client(pg),
		         log_value(value, sizeof(value), pg->error), delay, (unsigned long long)skipped);
}

/* The attempt has failed, or the connection is lost. */
static void drop(struct pg *pg, const char *why, enum err current_err)
{
	bool was_up = pg->state == STATE_UP;
	char error[PG_ERROR_MAX];
	pg_one_line(error, sizeof(error), why); /* `why` may be the memory of the connection */
	memcpy(pg->error, error, sizeof(error));
	disconnect(pg);
	pg->state = STATE_WAITING;
	retry_later(pg, was_up);
	if (was_up && pg->config.on_down != NULL)
		pg->config.on_down(pg->config.arg, pg->error);
	/* No longer up: what the callbacks submit goes into `refused`, so these loops end. */
	current_end(pg, current_err, NULL);
	list_end(pg, &pg->queue, ERR_UNAVAILABLE);
}

/* Sends what libpq has, and then the next piece of a COPY, as long as the socket takes it. */
static void flush(struct pg *pg)
{
	int rc, put;
	do {
		put = 0;
		rc = PQflush(pg->conn);
		if (rc == 0 && pg->current != NULL)
			put = pg_copy_put(&pg->current->copy, pg->conn);
	} while (put > 0);
	if (rc < 0 || put < 0)
		drop(pg, PQerrorMessage(pg->conn), ERR_CLOSED);
	else
		loop_io_start(&pg->io, PQsocket(pg->conn), rc > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void on_send(void *arg)
{
	struct pg *pg = arg;
	struct query *q = TAILQ_FIRST(&pg->queue);
	if (pg->state != STATE_UP || pg->current != NULL || q == NULL)
		return;
	TAILQ_REMOVE(&pg->queue, q, link);
	pg->current = q;
	if (PQsendQueryParams(pg->conn, q->sql, q->nparams, NULL, q->params, NULL, NULL, 0) == 0)
		drop(pg, PQerrorMessage(pg->conn), ERR_CLOSED);
	else
		flush(pg);
}

static void notifications(struct pg *pg)
{
	PGnotify *n;
	while (pg->state == STATE_UP && (n = PQnotifies(pg->conn)) != NULL) {
		if (pg->config.on_notify != NULL)
			pg->config.on_notify(pg->config.arg, sv_str(n->relname), sv_str(n->extra));
		PQfreemem(n);
	}
}

static void results(struct pg *pg)
{
	/* While the data of a COPY is sent libpq has no other result than that it may be sent. */
	while (pg->current != NULL && pg->current->copy.state != PG_COPY_SENDING && !PQisBusy(pg->conn)) {
		PGresult *res = PQgetResult(pg->conn);
		struct pg_result r;
		enum err err;
		if (res == NULL) { /* the server is ready for the next one */
			res = pg->current->res;
			pg->current->res = NULL;
			err = pg_result_init(&r, res);
			current_end(pg, err, &r);
			PQclear(res);
			loop_defer(&pg->send);
			return;
		}
		if (PQresultStatus(res) == PGRES_COPY_IN && pg->current->copy.state == PG_COPY_WAITING) {
			PQclear(res);
			pg->current->copy.state = PG_COPY_SENDING;
			flush(pg);
			continue;
		}
		err = pg_result_init(&r, res);
		if (err == ERR_UNSUPPORTED || PQstatus(pg->conn) == CONNECTION_BAD) {
			PQclear(res);
			drop(pg,
			     err == ERR_UNSUPPORTED ? "a COPY for which there is no data" : PQerrorMessage(pg->conn),
			     ERR_CLOSED);
			return;
		}
		if (pg->current->res == NULL)
			pg->current->res = res;
		else
			PQclear(res);
	}
}

static void up(struct pg *pg)
{
	loop_timer_stop(&pg->timer);
	if (PQsetnonblocking(pg->conn, 1) != 0) {
		drop(pg, PQerrorMessage(pg->conn), ERR_CLOSED);
		return;
	}
	pg->state = STATE_UP;
	pg->up_ns = loop_now_ns(pg->loop);
	pg->error[0] = '\0';
	loop_io_start(&pg->io, PQsocket(pg->conn), LOOP_READ);
	log_info("postgres: connected: client=\"%s\" host=%s port=%s server_version=%d", client(pg), PQhost(pg->conn),
	         PQport(pg->conn), PQserverVersion(pg->conn));
	if (pg->config.on_up != NULL)
		pg->config.on_up(pg->config.arg);
}

static void connect_step(struct pg *pg)
{
	/* The step may close the socket and open another, so the watcher goes first and is made anew. */
	loop_io_stop(&pg->io);
	switch (PQconnectPoll(pg->conn)) {
	case PGRES_POLLING_READING:
		loop_io_start(&pg->io, PQsocket(pg->conn), LOOP_READ);
		break;
	case PGRES_POLLING_WRITING:
		loop_io_start(&pg->io, PQsocket(pg->conn), LOOP_WRITE);
		break;
	case PGRES_POLLING_OK:
		up(pg);
		break;
	default:
		drop(pg, PQerrorMessage(pg->conn), ERR_CLOSED);
	}
}

static void on_io(void *arg, unsigned events)
{
	struct pg *pg = arg;
	if (pg->state == STATE_CONNECTING) {
		connect_step(pg);
		return;
	}
	if (PQconsumeInput(pg->conn) == 0) {
		drop(pg, PQerrorMessage(pg->conn), ERR_CLOSED);
		return;
	}
	if ((events & LOOP_WRITE) != 0)
		flush(pg);
	if (pg->state == STATE_UP)
		results(pg);
	notifications(pg);
}

static void on_notice(void *arg, const char *message)
{
	char line[PG_ERROR_MAX], value[PG_ERROR_MAX];
	(void)arg;
	pg_one_line(line, sizeof(line), message);
	log_debug("postgres: notice=\"%s\"", log_value(value, sizeof(value), line));
}

/* hostaddrs: comma list of n numeric addresses, or NULL to leave the host to libpq, which needs no look-up then. */
static void connect_start(struct pg *pg, const char *hostaddrs, size_t n)
{
	const struct pg_host *h = &pg->dsn.hosts[pg->host];
	struct pg_params params;
	char names[ADDRS_MAX * (256 + 1)] = "", why[PG_ERROR_MAX];

	pg_params_init(&params, &pg->dsn, pg->application_name);
	pg_params_set(&params, "host", h->host[0] != '\0' ? h->host : NULL);
	pg_params_set(&params, "hostaddr", h->hostaddr[0] != '\0' ? h->hostaddr : NULL);
	pg_params_set(&params, "port", h->port[0] != '\0' ? h->port : NULL);
	if (hostaddrs != NULL) {
		/* libpq wants as many names as addresses. */
		for (size_t i = 0, at = 0; i < n && at < sizeof(names); i++)
			at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%.255s", i > 0 ? "," : "", h->host);
		pg_params_set(&params, "host", names);
		pg_params_set(&params, "hostaddr", hostaddrs);
	}
	pg->state = STATE_CONNECTING;
	pg->conn = PQconnectStartParams(params.keywords, params.values, 0);
	if (pg->conn == NULL || PQstatus(pg->conn) == CONNECTION_BAD) {
		pg_start_error(why, sizeof(why), pg->conn != NULL ? PQerrorMessage(pg->conn) : "out of memory");
		drop(pg, why, ERR_CLOSED);
		return;
	}
	PQsetNoticeProcessor(pg->conn, on_notice, NULL);
	/* The context of an error can be a page of SQL, which is in the source. */
	PQsetErrorContextVisibility(pg->conn, PQSHOW_CONTEXT_NEVER);
	loop_io_start(&pg->io, PQsocket(pg->conn), LOOP_WRITE);
}

static void on_resolved(void *arg, enum err err, const struct resolver_addr *addrs, size_t count, const char *error)
{
	struct pg *pg = arg;
	char list[ADDRS_MAX * (sizeof(addrs->text) + 1)] = "";
	size_t n = count < ADDRS_MAX ? count : ADDRS_MAX;
	pg->resolver = NULL;
	if (err != ERR_OK) {
		drop(pg, error, ERR_CLOSED);
		return;
	}
	/* Another one first each time: an address that swallows packets eats the whole deadline. */
	for (size_t i = 0, at = 0; i < n; i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i > 0 ? "," : "",
		                       addrs[(i + pg->attempts) % n].text);
	connect_start(pg, list, n);
}

static void on_timer(void *arg)
{
	struct pg *pg = arg;
	const struct pg_host *h = &pg->dsn.hosts[pg->host];
	if (pg->state != STATE_WAITING) {
		drop(pg, "connecting took too long", ERR_CLOSED);
		return;
	}
	loop_timer_start(&pg->timer, pg->config.connect_timeout_ms, 0);
	if (!pg_host_needs_lookup(h)) {
		connect_start(pg, NULL, 0);
		return;
	}
	pg->state = STATE_RESOLVING;
	pg->resolver = resolver_start(pg->loop, h->host, 0, on_resolved, pg);
}

static void on_refuse(void *arg)
{
	struct pg *pg = arg;
	struct query_list list;
	struct query *q;
	/* What the callbacks submit is for the next turn, or a caller that tries again at once would hold the loop. */
	TAILQ_INIT(&list);
	TAILQ_CONCAT(&list, &pg->refused, link);
	while ((q = TAILQ_FIRST(&list)) != NULL) {
		TAILQ_REMOVE(&list, q, link);
		query_end(q, ERR_UNAVAILABLE, NULL);
	}
}

static void on_deadline(void *arg)
{
	struct query *q = arg;
	struct pg *pg = q->pg;
	if (q == pg->current) {
		drop(pg, "a query took too long", ERR_TIMEOUT);
		return;
	}
	TAILQ_REMOVE(&pg->queue, q, link);
	pg->count--;
	query_end(q, ERR_TIMEOUT, NULL);
}

enum err pg_new(struct loop *loop, const struct pg_config *config, struct pg **out, char *error, size_t error_size)
{
	struct pg *pg = check_calloc(1, sizeof(*pg));
	enum err err = pg_dsn_parse(config->dsn, &pg->dsn, error, error_size);
	*out = NULL;
	if (err != ERR_OK) {
		free(pg);
		return err;
	}
	pg->loop = loop;
	pg->config = *config;
	pg->config.dsn = pg->config.application_name = NULL; /* the caller's memory */
	if (config->application_name != NULL) {
		pg->application_name = strdup(config->application_name);
		CHECK(pg->application_name != NULL);
	}
	if (pg->config.connect_timeout_ms == 0)
		pg->config.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	if (pg->config.queue_max == 0)
		pg->config.queue_max = QUEUE_MAX;
	TAILQ_INIT(&pg->queue);
	TAILQ_INIT(&pg->refused);
	loop_io_init(&pg->io, loop, on_io, pg);
	loop_timer_init(&pg->timer, loop, on_timer, pg);
	loop_task_init(&pg->send, loop, on_send, pg);
	loop_task_init(&pg->refuse, loop, on_refuse, pg);
	loop_timer_start(&pg->timer, 0, 0);
	*out = pg;
	return ERR_OK;
}

void pg_free(struct pg *pg)
{
	if (pg == NULL)
		return;
	disconnect(pg);
	pg->state = STATE_WAITING;
	/* A callback may submit again: that one ends here as well, with the list it is in. */
	current_end(pg, ERR_CLOSED, NULL);
	list_end(pg, &pg->queue, ERR_CLOSED);
	list_end(pg, &pg->refused, ERR_CLOSED);
	loop_task_cancel(&pg->refuse);
	pg_dsn_free(&pg->dsn);
	free(pg->application_name);
	free(pg);
}

bool pg_is_up(const struct pg *pg)
{
	return pg->state == STATE_UP;
}

const char *pg_last_error(const struct pg *pg)
{
	return pg->error;
}

/* One block holds the query, the array of parameters, and all the texts. */
static struct query *query_new(const char *sql, int nparams, const char *const *params)
{
	size_t array = (size_t)nparams * sizeof(char *), texts = strlen(sql) + 1, n;
	struct query *q;
	char *p;
	for (int i = 0; i < nparams; i++)
		texts += params[i] != NULL ? strlen(params[i]) + 1 : 0;
	q = check_calloc(1, sizeof(*q) + array + texts);
	q->nparams = nparams;
	q->params = (const char **)(void *)(q + 1);
	p = (char *)(q + 1) + array;
	q->sql = p;
	n = strlen(sql) + 1;
	memcpy(p, sql, n);
	for (int i = 0; i < nparams; i++) {
		p += n;
		n = params[i] != NULL ? strlen(params[i]) + 1 : 0;
		q->params[i] = params[i] != NULL ? memcpy(p, params[i], n) : NULL;
	}
	return q;
}

static void submit(struct pg *pg, struct query *q, unsigned timeout_ms, pg_query_cb *cb, void *arg)
{
	CHECK(timeout_ms > 0);
	q->pg = pg;
	q->cb = cb;
	q->arg = arg;
	loop_timer_init(&q->timer, pg->loop, on_deadline, q);
	if (pg->state != STATE_UP || pg->count >= pg->config.queue_max) {
		TAILQ_INSERT_TAIL(&pg->refused, q, link);
		loop_defer(&pg->refuse);
		return;
	}
	TAILQ_INSERT_TAIL(&pg->queue, q, link);
	pg->count++;
	loop_timer_start(&q->timer, timeout_ms, 0);
	loop_defer(&pg->send);
}

void pg_query(struct pg *pg, const char *sql, int nparams, const char *const *params, unsigned timeout_ms,
              pg_query_cb *cb, void *arg)
{
	CHECK(nparams >= 0);
	submit(pg, query_new(sql, nparams, params), timeout_ms, cb, arg);
}

void pg_copy_in(struct pg *pg, const char *sql, char *data, size_t n, unsigned timeout_ms, pg_query_cb *cb, void *arg)
{
	struct query *q = query_new(sql, 0, NULL);
	q->copy = (struct pg_copy){ .state = PG_COPY_WAITING, .data = data, .n = n };
	submit(pg, q, timeout_ms, cb, arg);
}
