#include "api/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

/* One that waits for the disk does nothing else meanwhile. */
#define THREADS 16u
/* What is behind REQUESTS_MAX is answered at once, so that the proxy's check gets through whatever the users do. */
#define REQUESTS_MAX    512u
#define CONNECTIONS_MAX (REQUESTS_MAX + 64u)
/* Holds the headers, and then pieces of the body on their way to the disk. */
#define CONNECTION_MEMORY  (size_t)(128 * 1024)
#define THREAD_STACK_BYTES (size_t)(256 * 1024)
/* Of a drain: for those who wait to be accepted, and for a first request of those who have been. */
#define ACCEPT_MS     1000u
#define QUIET_MS      500u
#define DRAIN_STEP_MS 2

struct server {
	struct MHD_Daemon *daemon;
	const struct request_env *env;
	int listen_fd;
	bool quiet; /* the daemon has let go of the socket */
	atomic_bool draining;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	unsigned in_flight; /* under lock */
};

static unsigned count(struct server *s, int change)
{
	pthread_mutex_lock(&s->lock);
	unsigned now = s->in_flight += (unsigned)change;
	if (now == 0)
		pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
	return now;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
                                  const char *version, const char *data, size_t *len, void **state)
{
	struct server *s = cls;
	struct request *r = *state;
	(void)version;

	if (r == NULL) {
		/* First, so that who drains the server waits for what this begins. */
		bool full = count(s, 1) > REQUESTS_MAX;
		r = request_new(s->env, conn, method, url, full);
		if (r == NULL) {
			count(s, -1);
			return MHD_NO;
		}
		*state = r;
		return request_answers_early(r) ? request_answer(r, true) : MHD_YES;
	}
	if (*len > 0) {
		bool go_on = request_body(r, data, *len);
		*len = 0;
		return go_on ? MHD_YES : MHD_NO;
	}
	if (request_is_cut(r))
		return MHD_NO;
	if (request_suspend(r))
		return MHD_YES;
	return request_answer(r, atomic_load(&s->draining));
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
	struct server *s = cls;
	(void)conn;
	(void)why;

	if (*state == NULL)
		return;
	request_free(*state);
	*state = NULL;
	count(s, -1);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *cls, const char *fmt, va_list ap)
{
	char text[512];
	(void)cls;

	if (!log_on(LOG_DEBUG))
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	log_debug("http: %s", text);
}

/*
 * Paths stay as they came (see rest.h), and begin with a slash, with which no argument of ours does. MHD asks for both.
 */
static size_t on_unescape(void *cls, struct MHD_Connection *conn, char *text)
{
	(void)cls;
	(void)conn;

	return text[0] == '/' ? strlen(text) : MHD_http_unescape(text);
}

enum err server_new(struct server **out, int listen_fd, const struct request_env *env, unsigned idle_timeout_s)
{
	pthread_condattr_t attr;
	struct server *s = check_calloc(1, sizeof(*s));

	*out = NULL;
	s->env = env;
	s->listen_fd = listen_fd;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->idle, &attr);
	pthread_condattr_destroy(&attr);
	s->daemon = MHD_start_daemon(
	        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL,
	        NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_UNESCAPE_CALLBACK,
	        on_unescape, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_THREAD_POOL_SIZE, THREADS,
	        MHD_OPTION_THREAD_STACK_SIZE, THREAD_STACK_BYTES, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
	        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, idle_timeout_s,
	        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_END);
	if (s->daemon == NULL) {
		/* The socket stays the caller's. */
		s->listen_fd = -1;
		server_free(s);
		return ERR_IO;
	}
	*out = s;
	return ERR_OK;
}

static void stop_accepting(struct server *s)
{
	if (s->quiet || s->daemon == NULL)
		return;
	s->quiet = MHD_quiesce_daemon(s->daemon) != MHD_INVALID_SOCKET;
	/* Peers get "refused" now, in place of waiting in the queue of a socket that nobody accepts on. */
	if (s->quiet)
		shutdown(s->listen_fd, SHUT_RDWR);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void pause_ms(unsigned ms)
{
	struct timespec ts = { .tv_nsec = (long)(ms * NS_PER_MS) };

	nanosleep(&ts, NULL);
}

/* Whoever has connected has been promised an answer, also when it was not accepted yet. */
static void accept_waiting(const struct server *s, uint64_t end)
{
	struct pollfd waiting = { .fd = s->listen_fd, .events = POLLIN };

	while (poll(&waiting, 1, 0) > 0 && clock_mono_ns() < end)
		pause_ms(DRAIN_STEP_MS);
}

static bool wait_answered(struct server *s, uint64_t end)
{
	struct timespec ts = { .tv_sec = (time_t)(end / NS_PER_SEC), .tv_nsec = (long)(end % NS_PER_SEC) };
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	while (s->in_flight > 0 && rc == 0)
		rc = pthread_cond_timedwait(&s->idle, &s->lock, &ts);
	bool done = s->in_flight == 0;
	pthread_mutex_unlock(&s->lock);
	return done;
}

static bool has_connections(const struct server *s)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	return info != NULL && info->num_connections > 0;
}

enum err server_drain(struct server *s, uint64_t timeout_ms)
{
	uint64_t now = clock_mono_ns();
	uint64_t end = now + timeout_ms * NS_PER_MS;

	atomic_store(&s->draining, true);
	accept_waiting(s, earlier(end, now + ACCEPT_MS * NS_PER_MS));
	stop_accepting(s);
	/* A connection whose request has not been read yet is no request; one that never sends any is left at last. */
	uint64_t quiet = earlier(end, clock_mono_ns() + QUIET_MS * NS_PER_MS);
	bool done;
	/* Not before a first pause: what a thread has just accepted is not counted at once. */
	do {
		pause_ms(DRAIN_STEP_MS);
		done = wait_answered(s, end);
	} while (done && has_connections(s) && clock_mono_ns() < quiet);
	return done ? ERR_OK : ERR_TIMEOUT;
}

void server_free(struct server *s)
{
	if (s == NULL)
		return;
	stop_accepting(s);
	if (s->daemon != NULL)
		MHD_stop_daemon(s->daemon);
	/* A daemon that still had the socket has closed it. */
	if (s->listen_fd >= 0 && (s->quiet || s->daemon == NULL))
		close(s->listen_fd);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
