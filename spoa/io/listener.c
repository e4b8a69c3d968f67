#include "io/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/addr.h"

#define BACKLOG        1024
#define ACCEPT_BATCH   64
#define PAUSE_MS       100
#define LOG_EVERY_SECS 10

struct listener {
	struct loop *loop;
	struct loop_io io;
	struct loop_timer pause;
	int fd;
	bool inside;
	bool freed;
	struct log_gate gate;
	void (*on_accept)(void *arg, int fd);
	void *arg;
};

static enum err fail(char *error, size_t size, const char *addr, const char *what, int number, enum err err)
{
	if (number != 0)
		snprintf(error, size, "%s: %s: %s", addr, what, strerror(number));
	else
		snprintf(error, size, "%s: %s", addr, what);
	return err;
}

static enum err listen_tcp(const char *text, const struct addr *a, int *fd, char *error, size_t size)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *list;
	const char *step = "socket";
	int last = 0;
	int rc = getaddrinfo(a->host[0] != '\0' ? a->host : NULL, a->port, &hints, &list);
	if (rc != 0)
		return fail(error, size, text, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc), 0, ERR_IO);
	for (struct addrinfo *i = list; i != NULL; i = i->ai_next) {
		const int one = 1;
		int s = socket(i->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (s < 0) {
			last = errno;
			step = "socket";
			continue;
		}
		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		step = "bind";
		if (bind(s, i->ai_addr, i->ai_addrlen) == 0) {
			step = "listen";
			if (listen(s, BACKLOG) == 0) {
				freeaddrinfo(list);
				*fd = s;
				return ERR_OK;
			}
		}
		last = errno;
		close(s);
	}
	freeaddrinfo(list);
	return fail(error, size, text, step, last, last == EADDRINUSE ? ERR_EXISTS : ERR_IO);
}

static void unix_sockaddr(const struct addr *a, struct sockaddr_un *sun)
{
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, a->path, strlen(a->path));
}

/* True when the path is free now: it was, or it was the socket file of a process that is gone. */
static enum err unix_make_room(const char *text, const struct addr *a, char *error, size_t size)
{
	struct sockaddr_un sun;
	struct stat st;
	int s, rc, number;

	if (lstat(a->path, &st) != 0)
		return errno == ENOENT ? ERR_OK : fail(error, size, text, "lstat", errno, ERR_IO);
	if (!S_ISSOCK(st.st_mode))
		return fail(error, size, text, "a file that is no socket is in the way", 0, ERR_EXISTS);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return fail(error, size, text, "socket", errno, ERR_IO);
	unix_sockaddr(a, &sun);
	rc = connect(s, (const struct sockaddr *)&sun, sizeof(sun));
	number = errno;
	close(s);
	if (rc == 0 || number == EAGAIN) /* EAGAIN: somebody listens, and the queue is full */
		return fail(error, size, text, "in use by a running process", 0, ERR_EXISTS);
	if (number != ECONNREFUSED && number != ENOENT)
		return fail(error, size, text, "connect", number, ERR_IO);
	if (unlink(a->path) != 0 && errno != ENOENT)
		return fail(error, size, text, "unlink", errno, ERR_IO);
	return ERR_OK;
}

static enum err listen_unix(const char *text, const struct addr *a, unsigned mode, int *fd, char *error, size_t size)
{
	struct sockaddr_un sun;
	const char *step = "bind";
	int number;
	enum err err = unix_make_room(text, a, error, size);
	if (err != ERR_OK)
		return err;
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s < 0)
		return fail(error, size, text, "socket", errno, ERR_IO);
	unix_sockaddr(a, &sun);
	if (bind(s, (const struct sockaddr *)&sun, sizeof(sun)) == 0) {
		step = "chmod";
		/* Nobody can connect between bind and listen, so the mode is in force before the first client. */
		if (chmod(a->path, (mode_t)mode) == 0) {
			step = "listen";
			if (listen(s, BACKLOG) == 0) {
				*fd = s;
				return ERR_OK;
			}
		}
		number = errno;
		unlink(a->path);
		errno = number;
	}
	number = errno;
	close(s);
	return fail(error, size, text, step, number, number == EADDRINUSE ? ERR_EXISTS : ERR_IO);
}

enum err listener_open(const char *addr, unsigned unix_mode, int *fd, char *error, size_t error_size)
{
	struct addr a;
	enum err err;
	*fd = -1;
	err = addr_parse(addr, &a, error, error_size);
	if (err != ERR_OK)
		return err;
	return a.is_unix ? listen_unix(addr, &a, unix_mode, fd, error, error_size)
	                 : listen_tcp(addr, &a, fd, error, error_size);
}

void listener_address(int fd, char *buf, size_t size)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);
	char host[ADDR_HOST_MAX], port[8];

	snprintf(buf, size, "?");
	if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
		return;
	if (ss.ss_family == AF_UNIX) {
		struct sockaddr_un sun;
		memcpy(&sun, &ss, sizeof(sun));
		snprintf(buf, size, "unix@%.*s", (int)sizeof(sun.sun_path), sun.sun_path);
		return;
	}
	if (getnameinfo((const struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
	                NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(buf, size, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

void listener_unlink(const char *addr)
{
	struct addr a;
	char error[ADDR_TEXT_MAX];
	if (addr_parse(addr, &a, error, sizeof(error)) == ERR_OK && a.is_unix)
		unlink(a.path);
}

static void on_pause_end(void *arg)
{
	struct listener *l = arg;
	loop_io_start(&l->io, l->fd, LOOP_READ);
}

static void accept_failed(struct listener *l, int number)
{
	uint64_t skipped;
	switch (number) {
	case EAGAIN:
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case EPERM:
		return;
	case EINVAL:
		/* It listens no more: whoever shares the socket has shut it down, and that cannot be undone. */
		loop_io_stop(&l->io);
		return;
	default:
		/* Without a pause the socket stays readable, and the loop would spin. */
		loop_io_stop(&l->io);
		loop_timer_start(&l->pause, PAUSE_MS, 0);
		if (log_gate(&l->gate, loop_now_ns(l->loop), LOG_EVERY_SECS * NS_PER_SEC, &skipped)) {
			char address[ADDR_TEXT_MAX];
			listener_address(l->fd, address, sizeof(address));
			log_error("cannot accept connections: listener=%s error=\"%s\" pause_ms=%d skipped=%llu",
			          address, strerror(number), PAUSE_MS, (unsigned long long)skipped);
		}
	}
}

static void on_readable(void *arg, unsigned events)
{
	struct listener *l = arg;
	(void)events;
	l->inside = true;
	for (int i = 0; i < ACCEPT_BATCH && !l->freed; i++) {
		const int one = 1;
		struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(ss);
		int fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			accept_failed(l, errno);
			break;
		}
		if (ss.ss_family != AF_UNIX)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		l->on_accept(l->arg, fd);
	}
	l->inside = false;
	if (l->freed)
		free(l);
}

struct listener *listener_new(struct loop *loop, int fd, void (*on_accept)(void *arg, int fd), void *arg)
{
	struct listener *l = check_calloc(1, sizeof(*l));
	l->loop = loop;
	l->fd = fd;
	l->on_accept = on_accept;
	l->arg = arg;
	loop_io_init(&l->io, loop, on_readable, l);
	loop_timer_init(&l->pause, loop, on_pause_end, l);
	loop_io_start(&l->io, fd, LOOP_READ);
	return l;
}

void listener_free(struct listener *l)
{
	if (l == NULL)
		return;
	loop_io_stop(&l->io);
	loop_timer_stop(&l->pause);
	if (l->inside)
		l->freed = true;
	else
		free(l);
}
