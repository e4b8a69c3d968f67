#include "io/pg_sync.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/pg_int.h"

struct pg_sync {
	PGconn *conn;
	unsigned limit_ms; /* of a statement; 0: none */
	bool late;         /* an answer did not come in time: the connection is not to be used again */
	char error[PG_ERROR_MAX + 32];
	char sqlstate[8];
	char constraint[128];
};

static void on_notice(void *arg, const char *message)
{
	char line[PG_ERROR_MAX], value[PG_ERROR_MAX];
	(void)arg;
	pg_one_line(line, sizeof(line), message);
	log_debug("postgres: notice=\"%s\"", log_value(value, sizeof(value), line));
}

enum err pg_sync_open(const char *dsn, const char *application_name, unsigned connect_timeout_ms, struct pg_sync **out,
                      char *error, size_t error_size)
{
	struct pg_dsn parsed;
	struct pg_params params;
	struct pg_sync *s;
	char seconds[16];
	enum err err;

	*out = NULL;
	err = pg_dsn_parse(dsn, &parsed, error, error_size);
	if (err != ERR_OK)
		return err;
	pg_params_init(&params, &parsed, application_name);
	snprintf(seconds, sizeof(seconds), "%u", connect_timeout_ms > 2000 ? (connect_timeout_ms + 999) / 1000 : 2);
	pg_params_set(&params, "connect_timeout", seconds);
	s = check_calloc(1, sizeof(*s));
	s->conn = PQconnectdbParams(params.keywords, params.values, 0);
	pg_dsn_free(&parsed);
	if (s->conn == NULL || PQstatus(s->conn) != CONNECTION_OK) {
		pg_start_error(error, error_size, s->conn != NULL ? PQerrorMessage(s->conn) : "out of memory");
		pg_sync_close(s);
		return ERR_UNAVAILABLE;
	}
	PQsetNoticeProcessor(s->conn, on_notice, NULL);
	*out = s;
	return ERR_OK;
}

void pg_sync_close(struct pg_sync *s)
{
	if (s == NULL)
		return;
	PQfinish(s->conn);
	free(s);
}

void pg_sync_limit(struct pg_sync *s, unsigned statement_ms)
{
	s->limit_ms = statement_ms;
}

bool pg_sync_is_fresh(const struct pg_sync *s)
{
	struct pollfd p = { .fd = PQsocket(s->conn), .events = POLLIN };

	return !s->late && PQstatus(s->conn) == CONNECTION_OK && PQtransactionStatus(s->conn) == PQTRANS_IDLE &&
	       poll(&p, 1, 0) == 0;
}

/* Until there is something to read. False: it was too late. */
static bool wait_readable(const struct pg_sync *s, uint64_t end_ns)
{
	struct pollfd p = { .fd = PQsocket(s->conn), .events = POLLIN };

	for (;;) {
		uint64_t now = clock_mono_ns();
		if (now >= end_ns)
			return false;
		int rc = poll(&p, 1, (int)((end_ns - now) / NS_PER_MS) + 1);
		/* Another error than a signal is the connection's, and found when it is read. */
		if (rc > 0 || (rc < 0 && errno != EINTR))
			return true;
	}
}

/* The last result of what was sent, as PQexec() would give it; NULL when it is late. */
static PGresult *collect(struct pg_sync *s)
{
	uint64_t end_ns = clock_mono_ns() + s->limit_ms * NS_PER_MS;
	PGresult *last = NULL, *res;

	for (;;) {
		bool readable = true;
		while (readable && PQisBusy(s->conn)) {
			readable = wait_readable(s, end_ns);
			s->late = !readable;
			/* A lost connection: PQgetResult() says why. */
			if (readable && PQconsumeInput(s->conn) == 0)
				break;
		}
		if (!readable) {
			PQclear(last);
			return NULL;
		}
		res = PQgetResult(s->conn);
		if (res == NULL)
			return last;
		PQclear(last);
		last = res;
		ExecStatusType status = PQresultStatus(res);
		if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH)
			return last;
	}
}

/* One statement with parameters, or several in one text (params == NULL, nparams < 0). */
static PGresult *run(struct pg_sync *s, const char *sql, int nparams, const char *const *params)
{
	if (s->late)
		return NULL;
	if (s->limit_ms == 0)
		return nparams < 0 ? PQexec(s->conn, sql)
		                   : PQexecParams(s->conn, sql, nparams, NULL, params, NULL, NULL, 0);
	int sent = nparams < 0 ? PQsendQuery(s->conn, sql)
	                       : PQsendQueryParams(s->conn, sql, nparams, NULL, params, NULL, NULL, 0);
	return sent != 0 ? collect(s) : NULL;
}

/* The line (from 1) of a position that counts characters (from 1) of UTF-8 text. */
static unsigned line_of(const char *text, uint64_t position)
{
	unsigned line = 1;
	uint64_t at = 1;
	for (const char *p = text; *p != '\0' && at < position; p++) {
		if (*p == '\n')
			line++;
		if (((unsigned char)p[1] & 0xc0) != 0x80)
			at++;
	}
	return line;
}

static enum err finish(struct pg_sync *s, PGresult *res, const char *script, struct pg_result **out)
{
	struct pg_result *r = check_calloc(1, sizeof(*r));
	uint64_t position;
	enum err err;

	s->error[0] = s->sqlstate[0] = s->constraint[0] = '\0';
	err = pg_result_init(r, res);
	if (err == ERR_OK) {
		if (out != NULL)
			*out = r;
		else
			pg_result_free(r);
		return ERR_OK;
	}
	if (s->late) {
		snprintf(s->error, sizeof(s->error), "no answer within %u ms", s->limit_ms);
	} else if (err == ERR_UNSUPPORTED) {
		/* libpq ends the copy by itself when the next statement is sent. */
		snprintf(s->error, sizeof(s->error), "COPY is not supported");
	} else if (script != NULL &&
	           sv_to_u64(sv_str(PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION)), &position) == ERR_OK) {
		snprintf(s->error, sizeof(s->error), "line %u: %s", line_of(script, position), r->error);
	} else if (res == NULL) {
		pg_one_line(s->error, PG_ERROR_MAX, PQerrorMessage(s->conn));
	} else {
		snprintf(s->error, sizeof(s->error), "%s", r->error);
	}
	snprintf(s->sqlstate, sizeof(s->sqlstate), "%s", pg_result_sqlstate(r));
	snprintf(s->constraint, sizeof(s->constraint), "%s", pg_result_constraint(r));
	pg_result_free(r);
	return !s->late && PQstatus(s->conn) == CONNECTION_OK ? err : ERR_CLOSED;
}

enum err pg_sync_exec(struct pg_sync *s, const char *sql, int nparams, const char *const *params,
                      struct pg_result **out)
{
	if (out != NULL)
		*out = NULL;
	return finish(s, run(s, sql, nparams, params), NULL, out);
}

enum err pg_sync_script(struct pg_sync *s, const char *sql)
{
	return finish(s, run(s, sql, -1, NULL), sql, NULL);
}

enum err pg_sync_begin(struct pg_sync *s)
{
	return pg_sync_script(s, "BEGIN");
}

enum err pg_sync_commit(struct pg_sync *s)
{
	PGresult *res = run(s, "COMMIT", -1, NULL);
	/* A COMMIT of a failed transaction succeeds, with this tag. */
	bool rolled_back = res != NULL && strcmp(PQcmdStatus(res), "ROLLBACK") == 0;
	enum err err = finish(s, res, NULL, NULL);
	if (err == ERR_OK && rolled_back) {
		snprintf(s->error, sizeof(s->error), "the transaction had failed and was rolled back");
		return ERR_REFUSED;
	}
	return err;
}

void pg_sync_rollback(struct pg_sync *s)
{
	PQclear(run(s, "ROLLBACK", -1, NULL));
}

const char *pg_sync_error(const struct pg_sync *s)
{
	return s->error;
}

const char *pg_sync_sqlstate(const struct pg_sync *s)
{
	return s->sqlstate;
}

const char *pg_sync_constraint(const struct pg_sync *s)
{
	return s->constraint;
}
