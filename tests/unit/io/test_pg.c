/* LDFLAGS: -Wl,--wrap=PQconnectStartParams,--wrap=PQstatus,--wrap=PQsocket,--wrap=PQconnectPoll */
/* LDFLAGS: -Wl,--wrap=PQsendQueryParams,--wrap=PQflush,--wrap=PQconsumeInput,--wrap=PQisBusy,--wrap=PQgetResult */
/* LDFLAGS: -Wl,--wrap=PQnotifies,--wrap=PQfinish,--wrap=PQerrorMessage,--wrap=PQsetNoticeProcessor,--wrap=PQhost */
/* LDFLAGS: -Wl,--wrap=PQport,--wrap=PQserverVersion,--wrap=PQsetnonblocking,--wrap=PQputCopyData,--wrap=PQputCopyEnd */
/* The PostgreSQL client over a libpq whose connection functions are replaced; each ending of a query comes once. */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/pg.h"
#include "unit.h"

/* What the replaced libpq does; one connection at a time. */
static struct {
	int fds[2]; /* [0] is the client's; bytes written to [1] make it readable */
	unsigned starts, finishes, sends, polls;
	bool refuse_connect;
	bool never_connects;
	bool change_fd; /* the second poll has another socket */
	bool lost;      /* PQconsumeInput() fails */
	bool send_fails;
	int flushes_left; /* PQflush() answers 1 that often */
	bool ready;       /* the answer to the query in flight is there */
	int step;         /* of PQgetResult() */
	const char *sqlstate;
	PGnotify *notify;
	bool copy;       /* the statement is a COPY, which asks for data */
	bool copy_ended; /* and has them all */
	bool copy_fails;
	bool copy_stalls; /* the socket takes no more than a piece at once */
	size_t copied;
	char copy_data[256 * 1024];
	char host[256], hostaddr[256], port[64], application[64];
	int nparams;
	char params[4][32];
} fake;

#define CONN ((PGconn *)(void *)&fake)

static void new_socket(void)
{
	if (fake.fds[0] >= 0) {
		close(fake.fds[0]);
		close(fake.fds[1]);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fake.fds), 0);
}

static void keep(char *dst, size_t size, const char *const *k, const char *const *v, const char *name)
{
	dst[0] = '\0';
	for (; *k != NULL; k++, v++) {
		if (strcmp(*k, name) == 0 && *v != NULL)
			strncpy(dst, *v, size - 1);
	}
}

PGconn *__wrap_PQconnectStartParams(const char *const *k, const char *const *v, int expand);
ConnStatusType __wrap_PQstatus(const PGconn *c);
int __wrap_PQsocket(const PGconn *c);
PostgresPollingStatusType __wrap_PQconnectPoll(PGconn *c);
int __wrap_PQsetnonblocking(PGconn *c, int arg);
int __wrap_PQsendQueryParams(PGconn *c, const char *sql, int n, const Oid *types, const char *const *values,
                             const int *lengths, const int *formats, int format);
int __wrap_PQflush(PGconn *c);
int __wrap_PQconsumeInput(PGconn *c);
int __wrap_PQisBusy(PGconn *c);
PGresult *__wrap_PQgetResult(PGconn *c);
PGnotify *__wrap_PQnotifies(PGconn *c);
void __wrap_PQfinish(PGconn *c);
char *__wrap_PQerrorMessage(const PGconn *c);
PQnoticeProcessor __wrap_PQsetNoticeProcessor(PGconn *c, PQnoticeProcessor p, void *arg);
char *__wrap_PQhost(const PGconn *c);
char *__wrap_PQport(const PGconn *c);
int __wrap_PQserverVersion(const PGconn *c);
int __wrap_PQputCopyData(PGconn *c, const char *data, int n);
int __wrap_PQputCopyEnd(PGconn *c, const char *error);

PGconn *__wrap_PQconnectStartParams(const char *const *k, const char *const *v, int expand)
{
	(void)expand;
	fake.starts++;
	fake.polls = 0;
	fake.lost = fake.ready = false;
	fake.step = 0;
	new_socket();
	keep(fake.host, sizeof(fake.host), k, v, "host");
	keep(fake.hostaddr, sizeof(fake.hostaddr), k, v, "hostaddr");
	keep(fake.port, sizeof(fake.port), k, v, "port");
	keep(fake.application, sizeof(fake.application), k, v, "application_name");
	return CONN;
}

ConnStatusType __wrap_PQstatus(const PGconn *c)
{
	(void)c;
	return fake.refuse_connect ? CONNECTION_BAD : CONNECTION_OK;
}

int __wrap_PQsocket(const PGconn *c)
{
	(void)c;
	return fake.fds[0];
}

PostgresPollingStatusType __wrap_PQconnectPoll(PGconn *c)
{
	(void)c;
	fake.polls++;
	if (fake.never_connects)
		return PGRES_POLLING_READING;
	if (fake.polls == 1 && fake.change_fd)
		new_socket();
	return fake.polls < 3 ? PGRES_POLLING_WRITING : PGRES_POLLING_OK;
}

int __wrap_PQsetnonblocking(PGconn *c, int arg)
{
	(void)c;
	return arg == 1 ? 0 : -1;
}

int __wrap_PQsendQueryParams(PGconn *c, const char *sql, int n, const Oid *types, const char *const *values,
                             const int *lengths, const int *formats, int format)
{
	(void)c;
	(void)types;
	(void)lengths;
	(void)formats;
	assert_int_equal(format, 0);
	assert_int_equal(strncmp(sql, fake.copy ? "copy" : "select", 4), 0);
	fake.sends++;
	fake.copy_ended = false;
	fake.copied = 0;
	fake.step = 0;
	fake.ready = false;
	fake.nparams = n;
	for (int i = 0; i < n && i < 4; i++)
		strncpy(fake.params[i], values[i] != NULL ? values[i] : "(null)", sizeof(fake.params[i]) - 1);
	return fake.send_fails ? 0 : 1;
}

int __wrap_PQflush(PGconn *c)
{
	(void)c;
	if (fake.flushes_left == 0)
		return 0;
	fake.flushes_left--;
	return 1;
}

int __wrap_PQconsumeInput(PGconn *c)
{
	char buf[64];
	(void)c;
	while (recv(fake.fds[0], buf, sizeof(buf), 0) > 0)
		continue;
	return fake.lost ? 0 : 1;
}

int __wrap_PQisBusy(PGconn *c)
{
	(void)c;
	return !fake.ready;
}

PGresult *__wrap_PQgetResult(PGconn *c)
{
	PGresult *res;
	char column[] = "n", value[] = "-42";
	(void)c;
	if (fake.copy && !fake.copy_ended)
		return PQmakeEmptyPGresult(NULL, PGRES_COPY_IN);
	if (fake.step++ > 0)
		return NULL;
	if (fake.sqlstate != NULL)
		return PQmakeEmptyPGresult(NULL, PGRES_FATAL_ERROR);
	res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc d[3] = { { .name = column }, { .name = column }, { .name = column } };
	PQsetResultAttrs(res, 3, d);
	PQsetvalue(res, 0, 0, value, 3);
	PQsetvalue(res, 0, 1, NULL, -1);
	value[0] = 't';
	PQsetvalue(res, 0, 2, value, 1);
	return res;
}

PGnotify *__wrap_PQnotifies(PGconn *c)
{
	PGnotify *n = fake.notify;
	(void)c;
	fake.notify = NULL;
	return n;
}

void __wrap_PQfinish(PGconn *c)
{
	if (c == NULL)
		return;
	fake.finishes++;
	close(fake.fds[0]);
	close(fake.fds[1]);
	fake.fds[0] = fake.fds[1] = -1;
}

char *__wrap_PQerrorMessage(const PGconn *c)
{
	static char text[] = "first line\n\tsecond line\n";
	(void)c;
	return text;
}

PQnoticeProcessor __wrap_PQsetNoticeProcessor(PGconn *c, PQnoticeProcessor p, void *arg)
{
	(void)c;
	(void)p;
	(void)arg;
	return NULL;
}

char *__wrap_PQhost(const PGconn *c)
{
	(void)c;
	return fake.host;
}

char *__wrap_PQport(const PGconn *c)
{
	(void)c;
	return fake.port;
}

int __wrap_PQserverVersion(const PGconn *c)
{
	(void)c;
	return 150000;
}

int __wrap_PQputCopyData(PGconn *c, const char *data, int n)
{
	(void)c;
	assert_true(fake.copy && !fake.copy_ended && n > 0 && fake.copied + (size_t)n <= sizeof(fake.copy_data));
	memcpy(fake.copy_data + fake.copied, data, (size_t)n);
	fake.copied += (size_t)n;
	fake.flushes_left = fake.copy_stalls ? 1 : 0;
	return fake.copy_fails ? -1 : 1;
}

int __wrap_PQputCopyEnd(PGconn *c, const char *error)
{
	(void)c;
	assert_true(fake.copy && !fake.copy_ended && error == NULL);
	fake.copy_ended = true;
	fake.ready = false;
	return 1;
}

struct answer {
	unsigned calls;
	enum err err;
	int64_t value;
};

struct fixture {
	struct loop *loop;
	struct pg *pg;
	unsigned ups, downs, notes;
	bool submitting;
	struct answer a, b, c;
	struct answer *again; /* submitted from inside of a callback */
};

static struct fixture *current;

static void submit(struct fixture *f, struct answer *a, unsigned timeout_ms);

static void on_query(void *arg, enum err err, const struct pg_result *r)
{
	struct answer *a = arg;
	struct fixture *f = current;
	assert_false(f->submitting);
	a->calls++;
	a->err = err;
	assert_int_equal(r != NULL, err == ERR_OK || err == ERR_REFUSED);
	if (err == ERR_OK)
		assert_int_equal(pg_result_i64(r, 0, 0, &a->value), ERR_OK);
	if (f->again != NULL) {
		struct answer *next = f->again;
		f->again = NULL;
		submit(f, next, 60000);
	}
}

static void submit(struct fixture *f, struct answer *a, unsigned timeout_ms)
{
	const char *const params[] = { "1", NULL, "three" };
	f->submitting = true;
	pg_query(f->pg, "select $1, $2, $3", 3, params, timeout_ms, on_query, a);
	f->submitting = false;
}

#define COPY_BYTES ((size_t)150000)

static void submit_copy(struct fixture *f, struct answer *a, unsigned timeout_ms)
{
	char *data = malloc(COPY_BYTES);
	assert_non_null(data);
	for (size_t i = 0; i < COPY_BYTES; i++)
		data[i] = (char)(i * 31 % 251);
	fake.copy = f->submitting = true;
	pg_copy_in(f->pg, "copy t from stdin", data, COPY_BYTES, timeout_ms, on_query, a);
	f->submitting = false;
}

static void on_up(void *arg)
{
	((struct fixture *)arg)->ups++;
}

static void on_down(void *arg, const char *why)
{
	struct fixture *f = arg;
	assert_int_not_equal(strlen(why), 0);
	assert_null(strchr(why, '\n'));
	f->downs++;
}

static void on_notify(void *arg, struct sv channel, struct sv payload)
{
	assert_true(sv_eq(channel, SV("policy")));
	assert_true(sv_eq(payload, SV("v7")));
	((struct fixture *)arg)->notes++;
}

static void open_pg(struct fixture *f, const char *dsn, unsigned connect_ms, size_t queue_max)
{
	char error[512] = "";
	struct pg_config c = {
		.dsn = dsn,
		.application_name = "unit",
		.connect_timeout_ms = connect_ms,
		.queue_max = queue_max,
		.on_up = on_up,
		.on_down = on_down,
		.on_notify = on_notify,
		.arg = f,
	};
	assert_int_equal(pg_new(f->loop, &c, &f->pg, error, sizeof(error)), ERR_OK);
}

static void until_up(struct fixture *f)
{
	while (!pg_is_up(f->pg))
		loop_run_once(f->loop, true);
	assert_int_equal(f->ups, f->downs + 1);
}

static void until_called(struct fixture *f, const struct answer *a)
{
	while (a->calls == 0)
		loop_run_once(f->loop, true);
	for (int i = 0; i < 3; i++)
		loop_run_once(f->loop, false);
	assert_int_equal(a->calls, 1);
}

static void answer_ready(void)
{
	fake.ready = true;
	assert_int_equal(send(fake.fds[1], "x", 1, 0), 1);
}

static void turns(struct fixture *f, int n)
{
	while (n-- > 0)
		loop_run_once(f->loop, false);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	memset(&fake, 0, sizeof(fake));
	fake.fds[0] = fake.fds[1] = -1;
	f->loop = loop_new();
	alarm(60);
	current = f;
	*state = f;
	return f->loop == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	pg_free(f->pg);
	size_t active = loop_active(f->loop);
	loop_free(f->loop);
	free(f);
	return active != 0 || fake.starts != fake.finishes;
}

#define DSN "host=127.0.0.1 port=5 user=u password=p dbname=d"

static void test_connects_step_by_step_over_changing_sockets(void **state)
{
	struct fixture *f = *state;
	fake.change_fd = true;
	open_pg(f, DSN, 0, 0);
	assert_int_equal(fake.starts, 0);
	until_up(f);
	assert_int_equal(fake.polls, 3);
	assert_string_equal(fake.host, "127.0.0.1");
	assert_string_equal(fake.hostaddr, "127.0.0.1");
	assert_string_equal(fake.port, "5");
	assert_string_equal(fake.application, "unit");
	assert_int_equal(f->downs, 0);
}

static void test_unix_hosts_need_no_address(void **state)
{
	struct fixture *f = *state;
	open_pg(f, "host=/run/pg user=u", 0, 0);
	until_up(f);
	assert_string_equal(fake.host, "/run/pg");
	assert_string_equal(fake.hostaddr, "");
}

static void test_reply_with_partial_flush(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	fake.flushes_left = 2;
	submit(f, &f->a, 60000);
	submit(f, &f->b, 60000);
	assert_int_equal(fake.sends, 0);
	turns(f, 5);
	assert_int_equal(fake.sends, 1);
	assert_int_equal(fake.flushes_left, 0);
	assert_int_equal(fake.nparams, 3);
	assert_string_equal(fake.params[0], "1");
	assert_string_equal(fake.params[1], "(null)");
	assert_string_equal(fake.params[2], "three");
	answer_ready();
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_OK);
	assert_int_equal(f->a.value, -42);
	assert_int_equal(fake.sends, 2);
	assert_int_equal(f->b.calls, 0);
	answer_ready();
	until_called(f, &f->b);
	assert_int_equal(f->b.err, ERR_OK);
}

static void test_error_of_the_server(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	fake.sqlstate = "22012";
	submit(f, &f->a, 60000);
	turns(f, 2);
	answer_ready();
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_REFUSED);
	assert_true(pg_is_up(f->pg));
}

static void test_connection_lost_in_the_middle(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	submit(f, &f->a, 60000);
	turns(f, 2);
	submit(f, &f->b, 60000);
	f->again = &f->c;
	fake.lost = true;
	answer_ready();
	until_called(f, &f->c);
	assert_int_equal(f->a.err, ERR_CLOSED);
	assert_int_equal(f->a.calls, 1);
	assert_int_equal(f->b.err, ERR_UNAVAILABLE);
	assert_int_equal(f->b.calls, 1);
	assert_int_equal(f->c.err, ERR_UNAVAILABLE);
	assert_int_equal(f->downs, 1);
	assert_string_equal(pg_last_error(f->pg), "first line second line");
	until_up(f);
	assert_int_equal(fake.starts, 2);
	assert_int_equal(f->a.calls + f->b.calls, 2);
}

static void test_failing_send(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	fake.send_fails = true;
	submit(f, &f->a, 60000);
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_CLOSED);
	assert_int_equal(f->downs, 1);
}

static void test_deadline_before_the_answer_drops_the_connection(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	submit(f, &f->a, 5);
	submit(f, &f->b, 60000);
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_TIMEOUT);
	assert_int_equal(f->b.calls, 1);
	assert_int_equal(f->b.err, ERR_UNAVAILABLE);
	assert_int_equal(fake.finishes, 1);
	assert_int_equal(f->downs, 1);
	until_up(f); /* the late answer went with its connection */
	assert_int_equal(f->a.calls, 1);
}

static void test_deadline_in_the_queue_leaves_the_connection(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	submit(f, &f->a, 60000);
	submit(f, &f->b, 5);
	until_called(f, &f->b);
	assert_int_equal(f->b.err, ERR_TIMEOUT);
	assert_int_equal(f->a.calls, 0);
	assert_int_equal(fake.finishes, 0);
	answer_ready();
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_OK);
	assert_int_equal(fake.sends, 1);
}

static void test_down_and_full_are_refused_later(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 1);
	submit(f, &f->a, 60000);
	assert_int_equal(f->a.calls, 0);
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_UNAVAILABLE);
	until_up(f);
	submit(f, &f->b, 60000);
	submit(f, &f->c, 60000);
	assert_int_equal(f->c.calls, 0);
	until_called(f, &f->c);
	assert_int_equal(f->c.err, ERR_UNAVAILABLE);
	assert_int_equal(f->b.calls, 0);
}

static void test_copy_sends_all_and_then_waits_for_the_result(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	submit_copy(f, &f->a, 60000);
	turns(f, 3);
	assert_int_equal(fake.sends, 1);
	assert_int_equal(fake.copied, 0);
	fake.copy_stalls = true;
	answer_ready();
	loop_run_once(f->loop, true);
	assert_in_range(fake.copied, 1, COPY_BYTES - 1);
	turns(f, 5);
	assert_int_equal(fake.copied, COPY_BYTES);
	for (size_t i = 0; i < COPY_BYTES; i++)
		assert_int_equal(fake.copy_data[i], (char)(i * 31 % 251));
	assert_true(fake.copy_ended);
	assert_int_equal(f->a.calls, 0);
	answer_ready();
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_OK);
	fake.copy = false;
	submit(f, &f->b, 60000);
	turns(f, 2);
	answer_ready();
	until_called(f, &f->b);
	assert_int_equal(f->b.err, ERR_OK);
}

static void test_copy_without_data(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	fake.copy = true;
	pg_copy_in(f->pg, "copy t from stdin", NULL, 0, 60000, on_query, &f->a);
	turns(f, 2);
	answer_ready();
	turns(f, 2);
	assert_true(fake.copy_ended);
	answer_ready();
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_OK);
}

static void test_copy_that_the_server_refuses(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	fake.sqlstate = "22003";
	submit_copy(f, &f->a, 60000);
	turns(f, 2);
	answer_ready();
	turns(f, 2);
	assert_int_equal(fake.copied, COPY_BYTES);
	answer_ready();
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_REFUSED);
	assert_true(pg_is_up(f->pg));
}

static void test_copy_and_a_lost_connection(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	submit_copy(f, &f->a, 60000);
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_UNAVAILABLE);
	until_up(f);
	submit_copy(f, &f->b, 60000);
	turns(f, 2);
	fake.copy_fails = true;
	answer_ready();
	until_called(f, &f->b);
	assert_int_equal(f->b.err, ERR_CLOSED);
	assert_int_equal(f->downs, 1);
	until_up(f);
	fake.copy_fails = false;
	submit_copy(f, &f->c, 5);
	turns(f, 2);
	fake.flushes_left = 1000000;
	answer_ready();
	until_called(f, &f->c);
	assert_int_equal(f->c.err, ERR_TIMEOUT);
	assert_int_equal(f->downs, 2);
}

static void test_copy_as_a_query_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 0);
	until_up(f);
	fake.copy = true;
	pg_query(f->pg, "copy t from stdin", 0, NULL, 60000, on_query, &f->a);
	turns(f, 2);
	answer_ready();
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_CLOSED);
	assert_int_equal(fake.copied, 0);
	assert_string_equal(pg_last_error(f->pg), "a COPY for which there is no data");
}

static void test_free_ends_all_queries(void **state)
{
	struct fixture *f = *state;
	open_pg(f, DSN, 0, 2);
	until_up(f);
	submit(f, &f->a, 60000);
	turns(f, 2);
	submit(f, &f->b, 60000);
	submit(f, &f->c, 60000);
	pg_free(f->pg);
	f->pg = NULL;
	assert_int_equal(f->a.calls + f->b.calls + f->c.calls, 3);
	assert_int_equal(f->a.err, ERR_CLOSED);
	assert_int_equal(f->b.err, ERR_CLOSED);
	assert_int_equal(f->c.err, ERR_CLOSED);
	assert_int_equal(f->downs, 0);
}

static void test_connecting_has_a_deadline_and_is_tried_again(void **state)
{
	struct fixture *f = *state;
	fake.never_connects = true;
	open_pg(f, DSN, 5, 0);
	while (fake.starts < 2)
		loop_run_once(f->loop, true);
	assert_string_equal(pg_last_error(f->pg), "connecting took too long");
	assert_int_equal(f->ups + f->downs, 0);
	fake.never_connects = false;
	loop_run_once(f->loop, false);
}

static void test_several_hosts_take_turns(void **state)
{
	struct fixture *f = *state;
	fake.refuse_connect = true;
	open_pg(f, "host=127.0.0.1,/run/pg port=5,6", 0, 0);
	while (fake.starts < 1)
		loop_run_once(f->loop, true);
	assert_string_equal(fake.hostaddr, "127.0.0.1");
	assert_string_equal(fake.port, "5");
	while (fake.starts < 2)
		loop_run_once(f->loop, true);
	assert_string_equal(fake.host, "/run/pg");
	assert_string_equal(fake.port, "6");
	fake.refuse_connect = false;
	until_up(f);
	assert_int_equal(fake.starts, 3);
	assert_string_equal(fake.port, "5");
}

static void test_notification(void **state)
{
	struct fixture *f = *state;
	PGnotify *n = calloc(1, sizeof(*n) + 16);
	char *texts = (char *)(n + 1);
	open_pg(f, DSN, 0, 0);
	until_up(f);
	memcpy(texts, "policy\0v7", 10);
	n->relname = texts;
	n->extra = texts + 7;
	fake.notify = n;
	assert_int_equal(send(fake.fds[1], "x", 1, 0), 1);
	while (f->notes == 0)
		loop_run_once(f->loop, true);
	assert_int_equal(f->notes, 1);
}

static void test_bad_dsn_shows_no_password(void **state)
{
	static const char *const bad[] = {
		"postgres://u:pa/secret@h/d",      "postgres://u:pa@secret@h/d",    "postgres://u:pa:secret@x@h/d",
		"host=h password=pa secret=x",     "postgres://u:%zzsecret@h/d",    "postgres://u:p@h:secret/d",
		"host=h password='pa secret",      "postgres://u:p\"secret@[::1/d", "host=a,b,c port=1,2 dbname=secret",
		"postgres://u:p@secret@h:70000/d",
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pg_config c = { .dsn = bad[i] };
		char error[512] = "";
		assert_int_equal(pg_new(f->loop, &c, &f->pg, error, sizeof(error)), ERR_INVALID);
		assert_null(f->pg);
		assert_int_equal(strncmp(error, "database DSN: ", 14), 0);
		assert_null(strstr(error, "secret"));
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_connects_step_by_step_over_changing_sockets),
		T(test_unix_hosts_need_no_address),
		T(test_reply_with_partial_flush),
		T(test_error_of_the_server),
		T(test_connection_lost_in_the_middle),
		T(test_failing_send),
		T(test_deadline_before_the_answer_drops_the_connection),
		T(test_deadline_in_the_queue_leaves_the_connection),
		T(test_down_and_full_are_refused_later),
		T(test_copy_sends_all_and_then_waits_for_the_result),
		T(test_copy_without_data),
		T(test_copy_that_the_server_refuses),
		T(test_copy_and_a_lost_connection),
		T(test_copy_as_a_query_ends_the_connection),
		T(test_free_ends_all_queries),
		T(test_connecting_has_a_deadline_and_is_tried_again),
		T(test_several_hosts_take_turns),
		T(test_notification),
		T(test_bad_dsn_shows_no_password),
	};
	unsetenv("PGHOST");
	unsetenv("PGHOSTADDR");
	unsetenv("PGPORT");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
