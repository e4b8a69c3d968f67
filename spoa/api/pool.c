#include "api/pool.h"

#include <pthread.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#define CONNECT_MS   2000u
#define STATEMENT_MS 5000u
/* In PostgreSQL: a statement ends there before nobody waits for it any more, and no lock outlives a lost client. */
#define SESSION_SQL "SET statement_timeout = 4500; SET idle_in_transaction_session_timeout = 10000"
#define QUEUE_MAX   1024u
#define QUEUE_NS    (3 * NS_PER_SEC)
#define IDLE_S      60
#define RETRY_NS    (500 * NS_PER_MS)

struct pool_thread {
	struct pool *pool;
	struct pg_sync *db; /* of this thread alone */
	pthread_t thread;
};

struct pool {
	const char *dsn;
	pthread_mutex_t lock;
	pthread_cond_t more;
	/* Under lock. */
	struct pool_job *first, **last;
	unsigned queued;
	bool closing;
	bool down;         /* the last try to connect failed */
	bool trying;       /* while it is down: a thread tries */
	uint64_t retry_ns; /* when the next may */
	/* Of whoever owns the pool. */
	unsigned count;
	struct pool_thread threads[POOL_THREADS_MAX];
};

static void drop(struct pool_thread *t)
{
	pg_sync_close(t->db);
	t->db = NULL;
}

/* Whether this thread may connect now. */
static bool may_try(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	bool may = !p->down || (!p->trying && clock_mono_ns() >= p->retry_ns);
	if (may && p->down)
		p->trying = true;
	pthread_mutex_unlock(&p->lock);
	return may;
}

static void tried(struct pool *p, const char *error)
{
	char value[512];

	pthread_mutex_lock(&p->lock);
	bool was_down = p->down;
	p->down = error != NULL;
	p->trying = false;
	p->retry_ns = clock_mono_ns() + RETRY_NS;
	pthread_mutex_unlock(&p->lock);
	if (error != NULL && !was_down)
		log_warn("postgres: down: error=\"%s\"", log_value(value, sizeof(value), error));
	else if (error == NULL && was_down)
		log_info("postgres: up");
}

/* Ends a broken connection. hangs: PostgreSQL does not answer, so that one thread is to find out when it does again. */
static void give_up(struct pool_thread *t, bool hangs)
{
	struct pool *p = t->pool;

	drop(t);
	if (!hangs)
		return;
	pthread_mutex_lock(&p->lock);
	bool was_down = p->down;
	p->down = true;
	pthread_mutex_unlock(&p->lock);
	if (!was_down)
		log_warn("postgres: down: error=\"it does not answer\"");
}

static enum err open_session(struct pool_thread *t, char *error, size_t size)
{
	enum err err = pg_sync_open(t->pool->dsn, "gateway-api", CONNECT_MS, &t->db, error, size);

	if (err != ERR_OK)
		return err;
	pg_sync_limit(t->db, STATEMENT_MS);
	err = pg_sync_script(t->db, SESSION_SQL);
	if (err != ERR_OK)
		snprintf(error, size, "%s", pg_sync_error(t->db));
	return err;
}

struct pg_sync *pool_connection(struct pool_thread *t)
{
	char error[512];

	if (t->db != NULL && pg_sync_is_fresh(t->db))
		return t->db;
	drop(t);
	if (!may_try(t->pool))
		return NULL;
	enum err err = open_session(t, error, sizeof(error));
	if (err != ERR_OK)
		drop(t);
	tried(t->pool, err == ERR_OK ? NULL : error);
	return t->db;
}

/* The next job. NULL: there was none for a while, or (closing) there will be none. */
static struct pool_job *next_job(struct pool *p, bool *closing)
{
	struct timespec end;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += IDLE_S;
	pthread_mutex_lock(&p->lock);
	while (p->first == NULL && !p->closing && rc == 0)
		rc = pthread_cond_timedwait(&p->more, &p->lock, &end);
	struct pool_job *job = p->first;
	if (job != NULL) {
		p->first = job->next;
		if (p->first == NULL)
			p->last = &p->first;
		p->queued--;
	}
	*closing = p->closing;
	pthread_mutex_unlock(&p->lock);
	return job;
}

static void *work(void *arg)
{
	struct pool_thread *t = arg;
	bool closing = false;

	for (;;) {
		struct pool_job *job = next_job(t->pool, &closing);
		if (job != NULL) {
			uint64_t began_ns = clock_mono_ns();
			job->run(job, t, closing || began_ns - job->queued_ns > QUEUE_NS);
			/* The job is gone. A connection with an open transaction holds locks until it ends. */
			if (t->db != NULL && !pg_sync_is_fresh(t->db))
				give_up(t, clock_mono_ns() - began_ns >= STATEMENT_MS * NS_PER_MS);
		} else if (closing) {
			break;
		} else {
			drop(t);
		}
	}
	drop(t);
	return NULL;
}

enum err pool_new(struct pool **out, const char *dsn, unsigned connections)
{
	pthread_condattr_t attr;
	struct pool *p = check_calloc(1, sizeof(*p));

	*out = NULL;
	p->dsn = dsn;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->more, &attr);
	pthread_condattr_destroy(&attr);
	while (p->count < connections && p->count < POOL_THREADS_MAX) {
		struct pool_thread *t = &p->threads[p->count];
		t->pool = p;
		if (pthread_create(&t->thread, NULL, work, t) != 0)
			break;
		p->count++;
	}
	if (p->count == 0) {
		pool_free(p);
		return ERR_NOMEM;
	}
	*out = p;
	return ERR_OK;
}

bool pool_push(struct pool *p, struct pool_job *job)
{
	pthread_mutex_lock(&p->lock);
	bool takes = !p->closing && p->queued < QUEUE_MAX;
	if (takes) {
		job->next = NULL;
		job->queued_ns = clock_mono_ns();
		*p->last = job;
		p->last = &job->next;
		p->queued++;
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->lock);
	return takes;
}

void pool_close(struct pool *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->count; i++)
		pthread_join(p->threads[i].thread, NULL);
	p->count = 0;
}

void pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	pool_close(p);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
