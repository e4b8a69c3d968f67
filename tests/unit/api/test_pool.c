/* LDFLAGS: -Wl,--wrap=pg_sync_open,--wrap=pg_sync_close,--wrap=pg_sync_script,--wrap=pg_sync_is_fresh */
/* LDFLAGS: -Wl,--wrap=pg_sync_limit */
/* The pool with a database of paper: connections are opened when needed, replaced, and not asked for while it is away.
 */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "api/pool.h"
#include "base/log.h"

static atomic_uint opens, opened, closes;
static atomic_bool down, stale;
static int token;

#define DB ((struct pg_sync *)(void *)&token)

enum err __wrap_pg_sync_open(const char *dsn, const char *application_name, unsigned connect_timeout_ms,
                             struct pg_sync **out, char *error, size_t error_size);
void __wrap_pg_sync_close(struct pg_sync *s);
enum err __wrap_pg_sync_script(struct pg_sync *s, const char *sql);
bool __wrap_pg_sync_is_fresh(const struct pg_sync *s);
void __wrap_pg_sync_limit(struct pg_sync *s, unsigned ms);

enum err __wrap_pg_sync_open(const char *dsn, const char *application_name, unsigned connect_timeout_ms,
                             struct pg_sync **out, char *error, size_t error_size)
{
	(void)dsn;
	(void)application_name;
	(void)connect_timeout_ms;
	atomic_fetch_add(&opens, 1);
	bool refuses = atomic_load(&down);
	*out = refuses ? NULL : DB;
	snprintf(error, error_size, "nobody is there");
	if (!refuses)
		atomic_fetch_add(&opened, 1);
	return refuses ? ERR_UNAVAILABLE : ERR_OK;
}

void __wrap_pg_sync_close(struct pg_sync *s)
{
	if (s != NULL)
		atomic_fetch_add(&closes, 1);
}

enum err __wrap_pg_sync_script(struct pg_sync *s, const char *sql)
{
	(void)s;
	(void)sql;
	return ERR_OK;
}

bool __wrap_pg_sync_is_fresh(const struct pg_sync *s)
{
	(void)s;
	return !atomic_load(&stale);
}

void __wrap_pg_sync_limit(struct pg_sync *s, unsigned ms)
{
	(void)s;
	(void)ms;
}

/* A job of a test: whether it got a connection. */
struct job {
	struct pool_job job;
	atomic_int state; /* 0 waits, 1 had a connection, 2 had none, 3 was late */
	atomic_bool *hold;
};

static void run(struct pool_job *job, struct pool_thread *thread, bool late)
{
	struct job *j = (struct job *)job;
	int state = late ? 3 : pool_connection(thread) != NULL ? 1 : 2;

	while (j->hold != NULL && atomic_load(j->hold))
		usleep(1000);
	atomic_store(&j->state, state);
}

static struct pool *pool;

static int setup(void **state)
{
	(void)state;
	log_init("test", LOG_ERROR, LOG_TEXT);
	atomic_store(&opens, 0);
	atomic_store(&opened, 0);
	atomic_store(&closes, 0);
	atomic_store(&down, false);
	atomic_store(&stale, false);
	assert_int_equal(pool_new(&pool, "dsn", 1), ERR_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pool_free(pool);
	assert_int_equal(atomic_load(&closes), atomic_load(&opened));
	return 0;
}

static int result(struct job *j)
{
	for (int i = 0; i < 10000 && atomic_load(&j->state) == 0; i++)
		usleep(1000);
	return atomic_load(&j->state);
}

static int one(void)
{
	struct job j = { .job = { .run = run } };

	assert_true(pool_push(pool, &j.job));
	return result(&j);
}

static void a_connection_is_kept(void **state)
{
	(void)state;
	assert_int_equal(atomic_load(&opens), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(one(), 1);
	assert_int_equal(atomic_load(&opens), 1);
}

static void a_broken_one_is_replaced(void **state)
{
	(void)state;
	assert_int_equal(one(), 1);
	atomic_store(&stale, true);
	assert_int_equal(one(), 1);
	assert_int_equal(one(), 1);
	atomic_store(&stale, false);
	assert_true(atomic_load(&opens) >= 3);
}

static void while_it_is_away_few_ask(void **state)
{
	(void)state;
	atomic_store(&down, true);
	for (int i = 0; i < 200; i++)
		assert_int_equal(one(), 2);
	assert_true(atomic_load(&opens) <= 3);
	atomic_store(&down, false);
	int got = 2;
	for (int i = 0; i < 300 && got != 1; i++) {
		usleep(10000);
		got = one();
	}
	assert_int_equal(got, 1);
}

static void *close_it(void *arg)
{
	pool_close(arg);
	return NULL;
}

static void what_waits_at_the_end_is_run_as_late(void **state)
{
	atomic_bool hold;
	struct job first = { .job = { .run = run }, .hold = &hold }, many[200];
	size_t n = 0;
	pthread_t closer;

	(void)state;
	atomic_init(&hold, true);
	assert_true(pool_push(pool, &first.job));
	assert_int_equal(pthread_create(&closer, NULL, close_it, pool), 0);
	/* Until it takes no more, which is when it closes; the one thread is still at work on the first. */
	for (; n < 200; n++) {
		many[n] = (struct job){ .job = { .run = run } };
		if (!pool_push(pool, &many[n].job))
			break;
		usleep(10000);
	}
	assert_true(n < 200);
	atomic_store(&hold, false);
	pthread_join(closer, NULL);
	assert_true(atomic_load(&first.state) == 1 || atomic_load(&first.state) == 3);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(atomic_load(&many[i].state), 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_connection_is_kept),
		T(a_broken_one_is_replaced),
		T(while_it_is_away_few_ask),
		T(what_waits_at_the_end_is_run_as_late),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
