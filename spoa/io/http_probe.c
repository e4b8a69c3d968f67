#include "io/http_probe.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/sv.h"
#include "io/addr.h"

#define STATUS_LINE "HTTP/1.1 200"

/* Waits for the descriptor; false with errno ETIMEDOUT, or poll()'s. */
static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t now = clock_mono_ns();
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, now < deadline_ns ? (int)((deadline_ns - now) / NS_PER_MS) + 1 : 0);
		if (n > 0)
			return true;
		if (n == 0)
			errno = ETIMEDOUT;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

/* A connected socket, or -1 with errno. */
static int connect_to(const struct sockaddr *sa, socklen_t len, uint64_t deadline_ns)
{
	int failed = 0;
	socklen_t size = sizeof(failed);
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (connect(fd, sa, len) == 0)
		return fd;
	if (errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline_ns)) {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0)
			errno = failed;
		if (errno == 0)
			return fd;
	}
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* The same; *why is what getaddrinfo() says, or NULL with errno. */
static int connect_host(const struct addr *a, uint64_t deadline_ns, const char **why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list;
	int fd = -1;

	int rc = getaddrinfo(a->host[0] != '\0' ? a->host : NULL, a->port, &hints, &list);
	*why = rc != 0 && rc != EAI_SYSTEM ? gai_strerror(rc) : NULL;
	if (rc != 0)
		return -1;
	for (const struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next)
		fd = connect_to(ai->ai_addr, ai->ai_addrlen, deadline_ns);
	int saved = errno;
	freeaddrinfo(list);
	errno = saved;
	return fd;
}

static int connect_unix(const struct addr *a, uint64_t deadline_ns)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	_Static_assert(sizeof(a->path) <= sizeof(sa.sun_path), "addr_parse() bounds the path");
	memcpy(sa.sun_path, a->path, sizeof(a->path));
	return connect_to((struct sockaddr *)&sa, sizeof(sa), deadline_ns);
}

static bool send_request(int fd, const char *path, uint64_t deadline_ns)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);

	CHECK(n > 0 && (size_t)n < sizeof(text));
	struct sv rest = sv_from(text, (size_t)n);
	while (rest.n > 0) {
		ssize_t sent = send(fd, rest.p, rest.n, MSG_NOSIGNAL);
		if (sent > 0)
			rest = sv_skip(rest, (size_t)sent);
		else if (errno != EINTR && (errno != EAGAIN || !wait_for(fd, POLLOUT, deadline_ns)))
			return false;
	}
	return true;
}

/* 0 with errno when there is none; EPROTO: what came is no HTTP. */
static unsigned read_status(int fd, uint64_t deadline_ns)
{
	char line[sizeof(STATUS_LINE)] = "";
	size_t n = 0;
	uint64_t status;

	while (n < sizeof(line) - 1) {
		ssize_t got = recv(fd, line + n, sizeof(line) - 1 - n, 0);
		if (got > 0)
			n += (size_t)got;
		else if (got == 0)
			break;
		else if (errno != EINTR && (errno != EAGAIN || !wait_for(fd, POLLIN, deadline_ns)))
			return 0;
	}
	size_t before = strlen("HTTP/1.1 ");
	errno = EPROTO;
	if (strncmp(line, "HTTP/1.", before - 2) != 0 || n < sizeof(line) - 1 ||
	    sv_to_u64(sv_str(line + before), &status) != ERR_OK)
		return 0;
	return (unsigned)status;
}

enum err http_probe(const char *address, const char *path, unsigned timeout_ms, unsigned *status, char *error,
                    size_t error_size)
{
	uint64_t deadline_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
	const char *why = NULL;
	struct addr a;

	*status = 0;
	enum err err = addr_parse(address, &a, error, error_size);
	if (err != ERR_OK)
		return err;
	int fd = a.is_unix ? connect_unix(&a, deadline_ns) : connect_host(&a, deadline_ns, &why);
	if (fd >= 0) {
		if (send_request(fd, path, deadline_ns))
			*status = read_status(fd, deadline_ns);
		int saved = errno;
		close(fd);
		errno = saved;
	}
	if (*status != 0)
		return ERR_OK;
	err = why == NULL && errno == ETIMEDOUT ? ERR_TIMEOUT : ERR_UNAVAILABLE;
	if (why == NULL)
		why = errno == EPROTO ? "what answers there is no HTTP server" : strerror(errno);
	snprintf(error, error_size, "%s: %s", address, why);
	return err;
}
