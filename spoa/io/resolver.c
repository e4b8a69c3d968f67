#include "io/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define THREADS_MAX 16
#define ADDRS_MAX   16

/*
 * The owner's half (struct resolver) lives in the loop's thread. The lookup is shared with the helper thread; a lookup
 * that was cancelled is freed by the thread, whenever getaddrinfo() comes back.
 */
struct lookup {
	pthread_mutex_t lock;
	struct resolver *owner; /* under the lock; NULL once cancelled */
	bool finished;          /* under the lock */
	enum err err;
	struct resolver_addr addrs[ADDRS_MAX];
	size_t count;
	char error[256];
	char port[8];
	char host[];
};

struct resolver {
	struct loop_wake wake;
	struct loop_task task; /* for answers that need no thread */
	struct lookup *lookup;
	bool threaded;
	resolver_cb *cb;
	void *arg;
};

static atomic_int threads;

static void lookup_free(struct lookup *l)
{
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void lookup_do(struct lookup *l, int flags)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	struct addrinfo *list = NULL;
	int rc = getaddrinfo(l->host, l->port, &hints, &list);
	if (rc != 0) {
		l->err = rc == EAI_NONAME ? ERR_NOT_FOUND : rc == EAI_AGAIN ? ERR_UNAVAILABLE : ERR_IO;
		snprintf(l->error, sizeof(l->error), "%.128s: %s", l->host,
		         rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
		return;
	}
	l->count = 0;
	for (const struct addrinfo *i = list; i != NULL && l->count < ADDRS_MAX; i = i->ai_next) {
		struct resolver_addr *a = &l->addrs[l->count];
		if (i->ai_addrlen > sizeof(a->sa))
			continue;
		memcpy(&a->sa, i->ai_addr, i->ai_addrlen);
		a->len = i->ai_addrlen;
		if (getnameinfo(i->ai_addr, i->ai_addrlen, a->text, sizeof(a->text), NULL, 0, NI_NUMERICHOST) == 0)
			l->count++;
	}
	freeaddrinfo(list);
	l->err = l->count > 0 ? ERR_OK : ERR_NOT_FOUND;
	if (l->count == 0)
		snprintf(l->error, sizeof(l->error), "%.128s: no address", l->host);
}

static void *thread_main(void *arg)
{
	struct lookup *l = arg;
	bool orphan;
	lookup_do(l, AI_ADDRCONFIG);
	atomic_fetch_sub(&threads, 1);
	pthread_mutex_lock(&l->lock);
	orphan = l->owner == NULL;
	l->finished = true;
	if (!orphan)
		loop_wake_send(&l->owner->wake); /* the lock keeps the owner from going away meanwhile */
	pthread_mutex_unlock(&l->lock);
	if (orphan)
		lookup_free(l);
	return NULL;
}

static void deliver(struct resolver *r)
{
	struct lookup *l = r->lookup;
	resolver_cb *cb = r->cb;
	void *arg = r->arg;
	loop_wake_stop(&r->wake);
	free(r);
	cb(arg, l->err, l->addrs, l->err == ERR_OK ? l->count : 0, l->error);
	lookup_free(l);
}

static void on_wake(void *arg)
{
	struct resolver *r = arg;
	pthread_mutex_lock(&r->lookup->lock); /* waits for the thread to be done with the lookup */
	CHECK(r->lookup->finished);
	pthread_mutex_unlock(&r->lookup->lock);
	deliver(r);
}

static void on_task(void *arg)
{
	deliver(arg);
}

static enum err thread_start(struct lookup *l)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int rc;
	if (atomic_fetch_add(&threads, 1) >= THREADS_MAX) {
		atomic_fetch_sub(&threads, 1);
		return ERR_UNAVAILABLE;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all); /* signals are for the program's own threads */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, &attr, thread_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		return ERR_OK;
	atomic_fetch_sub(&threads, 1);
	return ERR_UNAVAILABLE;
}

struct resolver *resolver_start(struct loop *loop, const char *host, uint16_t port, resolver_cb *cb, void *arg)
{
	struct resolver *r = check_calloc(1, sizeof(*r));
	struct lookup *l = check_calloc(1, sizeof(*l) + strlen(host) + 1);
	memcpy(l->host, host, strlen(host));
	snprintf(l->port, sizeof(l->port), "%u", (unsigned)port);
	pthread_mutex_init(&l->lock, NULL);
	l->owner = r;
	r->lookup = l;
	r->cb = cb;
	r->arg = arg;
	loop_wake_init(&r->wake, loop, on_wake, r);
	loop_task_init(&r->task, loop, on_task, r);
	lookup_do(l, AI_NUMERICHOST);
	if (l->err != ERR_OK) {
		r->threaded = true;
		l->error[0] = '\0';
		loop_wake_start(&r->wake);
		if (thread_start(l) == ERR_OK) /* from here on the lookup is the thread's */
			return r;
		r->threaded = false;
		l->err = ERR_UNAVAILABLE;
		snprintf(l->error, sizeof(l->error), "%.128s: too many lookups are running", l->host);
	}
	loop_defer(&r->task);
	return r;
}

void resolver_cancel(struct resolver *r)
{
	struct lookup *l;
	bool orphan;
	if (r == NULL)
		return;
	l = r->lookup;
	pthread_mutex_lock(&l->lock);
	l->owner = NULL;
	orphan = r->threaded && !l->finished;
	pthread_mutex_unlock(&l->lock);
	loop_wake_stop(&r->wake);
	loop_task_cancel(&r->task);
	free(r);
	if (!orphan)
		lookup_free(l);
}
