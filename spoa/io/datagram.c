#include "io/datagram.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/addr.h"

/* -1 with errno, and *step is what failed. */
static int open_one(const struct addrinfo *info, const char **step)
{
	const int one = 1;

	*step = "socket";
	int fd = socket(info->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	/* Before the port is known to anybody, so that the first datagram is counted, too. */
	*step = "SO_RXQ_OVFL";
	if (setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one)) == 0) {
		*step = "bind";
		if (bind(fd, info->ai_addr, info->ai_addrlen) == 0)
			return fd;
	}
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static size_t enlarge(int fd)
{
	const int wanted = DATAGRAM_BUFFER;
	int got = 0;
	socklen_t len = sizeof(got);

	/* A service manager's may be beyond what this process could ask for: asking would make it smaller. */
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len) == 0 && got >= 2 * wanted)
		return (size_t)got;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(wanted)) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof(wanted)); /* cut to rmem_max, not refused */
	return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len) == 0 && got > 0 ? (size_t)got : 0;
}

enum err datagram_adopt(int fd, size_t *buffer)
{
	const int one = 1;

	*buffer = 0;
	if (setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one)) != 0)
		return ERR_IO;
	*buffer = enlarge(fd);
	return ERR_OK;
}

enum err datagram_open(const char *addr, int *fd, size_t *buffer, char *error, size_t error_size)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *list;
	struct addr a;
	const char *step = "socket";
	int last = 0;

	*fd = -1;
	*buffer = 0;
	enum err err = addr_parse(addr, &a, error, error_size);
	if (err != ERR_OK)
		return err;
	if (a.is_unix) {
		snprintf(error, error_size, "%s: is no UDP address", addr);
		return ERR_INVALID;
	}
	int rc = getaddrinfo(a.host[0] != '\0' ? a.host : NULL, a.port, &hints, &list);
	if (rc != 0) {
		snprintf(error, error_size, "%s: %s", addr, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
		return ERR_IO;
	}
	for (const struct addrinfo *i = list; i != NULL && *fd < 0; i = i->ai_next) {
		*fd = open_one(i, &step);
		if (*fd < 0)
			last = errno;
	}
	freeaddrinfo(list);
	if (*fd < 0) {
		snprintf(error, error_size, "%s (UDP): %s: %s", addr, step, strerror(last));
		return last == EADDRINUSE ? ERR_EXISTS : ERR_IO;
	}
	*buffer = enlarge(*fd);
	return ERR_OK;
}
