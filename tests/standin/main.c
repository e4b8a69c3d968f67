/*
 * imgproxy-standin: resizes images as imgproxy 4 does, for tests and for machines without imgproxy. It takes imgproxy's
 * environment names and says in its Server header what it is. One thread a connection; images in progress are bounded.
 * It confines sources no more than imgproxy does: the gateway's own confinement is tested against it.
 * tests/integration/test_standin.py shows what it does as imgproxy does, and lists what it does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <vips/vips.h>

#include "fetch.h"
#include "handler.h"
#include "options.h"

#define CONNECTIONS_MAX   2048u
#define CONNECTION_MEMORY (size_t)(128 * 1024)
#define KEEP_ALIVE_S      10
#define BACKLOG           1024

/* From the request line to the end of the answer. */
struct request {
	char *target;
	bool begun;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static long in_flight;

static void count(long change)
{
	pthread_mutex_lock(&lock);
	in_flight += change;
	if (in_flight == 0)
		pthread_cond_broadcast(&idle);
	pthread_mutex_unlock(&lock);
}

/* The only place where libmicrohttpd shows the target as it came. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *conn)
{
	(void)cls;
	(void)conn;
	struct request *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return NULL;
	r->target = strdup(target);
	count(1);
	return r;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
                                  const char *version, const char *data, size_t *len, void **state)
{
	struct request *r = *state;
	(void)url;
	(void)version;
	(void)data;

	if (r == NULL || r->target == NULL)
		return MHD_NO;
	if (!r->begun || *len > 0) {
		r->begun = true;
		*len = 0;
		return MHD_YES;
	}
	return handle(cls, conn, method, r->target);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
	struct request *r = *state;
	(void)cls;
	(void)conn;
	(void)why;

	if (r == NULL)
		return;
	*state = NULL;
	free(r->target);
	free(r);
	count(-1);
}

static void on_log(void *cls, const char *fmt, va_list ap)
{
	(void)cls;
	(void)fmt;
	(void)ap;
}

/* -1 after a line on stderr. */
static int open_unix_listener(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(to.sun_path)) {
		fprintf(stderr, "imgproxy-standin: %s: too long for a socket\n", path);
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (const struct sockaddr *)&to, sizeof(to)) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	fprintf(stderr, "imgproxy-standin: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* "host:port", "[v6]:port" or ":port"; -1 after a line on stderr. */
static int open_listener(const char *bind_text)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list;
	char host[256];
	int on = 1;

	const char *colon = strrchr(bind_text, ':');
	size_t len = (size_t)(colon - bind_text);
	bool brackets = len >= 2 && bind_text[0] == '[' && bind_text[len - 1] == ']';
	snprintf(host, sizeof(host), "%.*s", (int)(brackets ? len - 2 : len), bind_text + brackets);
	int rc = getaddrinfo(host[0] != '\0' ? host : NULL, colon + 1, &hints, &list);
	if (rc != 0) {
		fprintf(stderr, "imgproxy-standin: %s: %s\n", bind_text, gai_strerror(rc));
		return -1;
	}
	int fd = -1;
	for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
			int saved = errno;
			close(fd);
			errno = saved;
			fd = -1;
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		fprintf(stderr, "imgproxy-standin: %s: %s\n", bind_text, strerror(errno));
	return fd;
}

static void wait_until_idle(long seconds)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += seconds;
	pthread_mutex_lock(&lock);
	while (in_flight > 0 && pthread_cond_timedwait(&idle, &lock, &end) == 0) {
	}
	pthread_mutex_unlock(&lock);
}

static int serve(struct standin *s, int fd, const sigset_t *set)
{
	int sig;
	unsigned timeout_s = KEEP_ALIVE_S + (unsigned)(s->config->delay_ms / 1000);

	struct MHD_Daemon *daemon = MHD_start_daemon(
	        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC |
	                MHD_USE_ERROR_LOG,
	        0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
	        MHD_OPTION_URI_LOG_CALLBACK, on_target, NULL, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
	        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, timeout_s,
	        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	if (daemon == NULL) {
		fprintf(stderr, "imgproxy-standin: cannot start the HTTP server\n");
		close(fd);
		return 1;
	}
	sigwait(set, &sig);
	/* New connections are refused from here on; those with a request in work get their answer. */
	MHD_quiesce_daemon(daemon);
	shutdown(fd, SHUT_RDWR);
	wait_until_idle(s->config->stop_timeout);
	MHD_stop_daemon(daemon);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	static struct config config;
	struct standin s = { .config = &config, .root_fd = -1 };
	sem_t slots;
	sigset_t set;

	if (argc > 1) {
		fprintf(stderr, "usage: %s   (settings come from the environment, with imgproxy's names)\n", argv[0]);
		return 2;
	}
	if (!config_load(&config) || !options_check_presets(&config))
		return 1;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* One arena a thread would keep the memory of every image that was ever made. */
	mallopt(M_ARENA_MAX, 2);
	/* liborc 0.4.33 frees its compiled code without a lock: two images at once end in a segmentation fault. */
	setenv("VIPS_NOVECTOR", "1", 1);
	if (VIPS_INIT(argv[0]) != 0) {
		fprintf(stderr, "imgproxy-standin: libvips does not start: %s\n", vips_error_buffer());
		return 1;
	}
	if (!fetch_init()) {
		fprintf(stderr, "imgproxy-standin: libcurl does not start\n");
		return 1;
	}
	vips_concurrency_set(1);
	vips_cache_set_max(0);
	if (config.root != NULL && config.root[0] != '\0') {
		s.root_fd = open(config.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (s.root_fd < 0) {
			fprintf(stderr, "imgproxy-standin: %s: %s\n", config.root, strerror(errno));
			return 1;
		}
	}
	sem_init(&slots, 0, (unsigned)config.workers);
	s.slots = &slots;
	int fd = config.unix_socket ? open_unix_listener(config.bind) : open_listener(config.bind);
	int status = fd >= 0 ? serve(&s, fd, &set) : 1;
	if (s.root_fd >= 0)
		close(s.root_fd);
	sem_destroy(&slots);
	vips_shutdown();
	return status;
}
