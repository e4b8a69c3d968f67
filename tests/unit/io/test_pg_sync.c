/* LDFLAGS: -Wl,--wrap=PQconnectdbParams,--wrap=PQstatus,--wrap=PQsocket,--wrap=PQfinish,--wrap=PQsetNoticeProcessor */
/* LDFLAGS: -Wl,--wrap=PQsendQuery,--wrap=PQsendQueryParams,--wrap=PQisBusy,--wrap=PQconsumeInput,--wrap=PQgetResult */
/* LDFLAGS: -Wl,--wrap=PQerrorMessage,--wrap=PQtransactionStatus,--wrap=PQexec,--wrap=PQexecParams */
/* The blocking client with a limit on statements: an answer in time, a late one, a lost connection. */
#include <libpq-fe.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/pg_sync.h"
#include "unit.h"

static struct {
	int fds[2]; /* [0] is the client's */
	bool busy;  /* until the socket is readable */
	bool lost;
	unsigned sends, plain, results;
	PGTransactionStatusType transaction;
} fake;

#define CONN ((PGconn *)(void *)&fake)

PGconn *__wrap_PQconnectdbParams(const char *const *k, const char *const *v, int expand);
ConnStatusType __wrap_PQstatus(const PGconn *c);
int __wrap_PQsocket(const PGconn *c);
void __wrap_PQfinish(PGconn *c);
PQnoticeProcessor __wrap_PQsetNoticeProcessor(PGconn *c, PQnoticeProcessor p, void *arg);
int __wrap_PQsendQuery(PGconn *c, const char *sql);
int __wrap_PQsendQueryParams(PGconn *c, const char *sql, int n, const Oid *types, const char *const *values,
                             const int *lengths, const int *formats, int format);
int __wrap_PQisBusy(PGconn *c);
int __wrap_PQconsumeInput(PGconn *c);
PGresult *__wrap_PQgetResult(PGconn *c);
char *__wrap_PQerrorMessage(const PGconn *c);
PGTransactionStatusType __wrap_PQtransactionStatus(const PGconn *c);
PGresult *__wrap_PQexec(PGconn *c, const char *sql);
PGresult *__wrap_PQexecParams(PGconn *c, const char *sql, int n, const Oid *types, const char *const *values,
                              const int *lengths, const int *formats, int format);

PGconn *__wrap_PQconnectdbParams(const char *const *k, const char *const *v, int expand)
{
	(void)k;
	(void)v;
	(void)expand;
	return CONN;
}

ConnStatusType __wrap_PQstatus(const PGconn *c)
{
	(void)c;
	return fake.lost ? CONNECTION_BAD : CONNECTION_OK;
}

int __wrap_PQsocket(const PGconn *c)
{
	(void)c;
	return fake.fds[0];
}

void __wrap_PQfinish(PGconn *c)
{
	(void)c;
}

PQnoticeProcessor __wrap_PQsetNoticeProcessor(PGconn *c, PQnoticeProcessor p, void *arg)
{
	(void)c;
	(void)arg;
	return p;
}

int __wrap_PQsendQuery(PGconn *c, const char *sql)
{
	(void)c;
	(void)sql;
	fake.sends++;
	fake.busy = true;
	fake.results = 1;
	return 1;
}

int __wrap_PQsendQueryParams(PGconn *c, const char *sql, int n, const Oid *types, const char *const *values,
                             const int *lengths, const int *formats, int format)
{
	(void)n;
	(void)types;
	(void)values;
	(void)lengths;
	(void)formats;
	(void)format;
	return __wrap_PQsendQuery(c, sql);
}

int __wrap_PQisBusy(PGconn *c)
{
	(void)c;
	return fake.busy;
}

int __wrap_PQconsumeInput(PGconn *c)
{
	char bytes[64];
	(void)c;

	fake.busy = false;
	ssize_t n = recv(fake.fds[0], bytes, sizeof(bytes), MSG_DONTWAIT);
	fake.lost = n <= 0;
	return !fake.lost;
}

PGresult *__wrap_PQgetResult(PGconn *c)
{
	(void)c;
	if (fake.results == 0)
		return NULL;
	fake.results--;
	return PQmakeEmptyPGresult(NULL, fake.lost ? PGRES_FATAL_ERROR : PGRES_COMMAND_OK);
}

char *__wrap_PQerrorMessage(const PGconn *c)
{
	static char text[] = "the server is gone";
	(void)c;
	return text;
}

PGTransactionStatusType __wrap_PQtransactionStatus(const PGconn *c)
{
	(void)c;
	return fake.transaction;
}

PGresult *__wrap_PQexec(PGconn *c, const char *sql)
{
	(void)c;
	(void)sql;
	fake.plain++;
	return PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
}

PGresult *__wrap_PQexecParams(PGconn *c, const char *sql, int n, const Oid *types, const char *const *values,
                              const int *lengths, const int *formats, int format)
{
	(void)n;
	(void)types;
	(void)values;
	(void)lengths;
	(void)formats;
	(void)format;
	return __wrap_PQexec(c, sql);
}

static struct pg_sync *db;

static int setup(void **state)
{
	char error[256];

	(void)state;
	memset(&fake, 0, sizeof(fake));
	fake.transaction = PQTRANS_IDLE;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fake.fds), 0);
	assert_int_equal(pg_sync_open("host=/tmp", "test", 2000, &db, error, sizeof(error)), ERR_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pg_sync_close(db);
	close(fake.fds[0]);
	if (fake.fds[1] >= 0)
		close(fake.fds[1]);
	return 0;
}

static void server_says_something(void)
{
	assert_int_equal(write(fake.fds[1], "x", 1), 1);
}

static void without_a_limit_nothing_is_new(void **state)
{
	(void)state;
	assert_int_equal(pg_sync_exec(db, "SELECT 1", 0, NULL, NULL), ERR_OK);
	assert_int_equal(pg_sync_script(db, "SELECT 1"), ERR_OK);
	assert_int_equal(fake.plain, 2);
	assert_int_equal(fake.sends, 0);
}

static void an_answer_in_time(void **state)
{
	(void)state;
	pg_sync_limit(db, 5000);
	server_says_something();
	assert_int_equal(pg_sync_exec(db, "SELECT 1", 0, NULL, NULL), ERR_OK);
	server_says_something();
	assert_int_equal(pg_sync_script(db, "SELECT 1"), ERR_OK);
	server_says_something();
	assert_int_equal(pg_sync_begin(db), ERR_OK);
	server_says_something();
	assert_int_equal(pg_sync_commit(db), ERR_OK);
	assert_int_equal(fake.sends, 4);
	assert_int_equal(fake.plain, 0);
	assert_true(pg_sync_is_fresh(db));
}

static void a_late_answer_ends_the_connection(void **state)
{
	uint64_t began = clock_mono_ns();

	(void)state;
	pg_sync_limit(db, 50);
	assert_int_equal(pg_sync_exec(db, "SELECT 1", 0, NULL, NULL), ERR_CLOSED);
	uint64_t took = clock_mono_ns() - began;
	assert_true(took >= 50 * NS_PER_MS && took < 5 * NS_PER_SEC);
	assert_string_equal(pg_sync_error(db), "no answer within 50 ms");
	/* The answer comes now: it belongs to nobody. */
	server_says_something();
	assert_int_equal(pg_sync_exec(db, "SELECT 2", 0, NULL, NULL), ERR_CLOSED);
	pg_sync_rollback(db);
	assert_int_equal(fake.sends, 1);
	assert_false(pg_sync_is_fresh(db));
}

static void a_lost_connection(void **state)
{
	(void)state;
	pg_sync_limit(db, 5000);
	close(fake.fds[1]);
	fake.fds[1] = -1;
	assert_int_equal(pg_sync_exec(db, "SELECT 1", 0, NULL, NULL), ERR_CLOSED);
	assert_false(pg_sync_is_fresh(db));
}

static void what_is_not_fresh(void **state)
{
	(void)state;
	assert_true(pg_sync_is_fresh(db));
	fake.transaction = PQTRANS_INTRANS;
	assert_false(pg_sync_is_fresh(db));
	fake.transaction = PQTRANS_IDLE;
	/* A server that ends says so unasked, and closes. */
	server_says_something();
	assert_false(pg_sync_is_fresh(db));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_a_limit_nothing_is_new),
		T(an_answer_in_time),
		T(a_late_answer_ends_the_connection),
		T(a_lost_connection),
		T(what_is_not_fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
