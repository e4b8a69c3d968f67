#include "io/activation.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sv.h"

#define FIRST_FD 3
#define FDS_MAX  64

static uint64_t number_of(const char *name)
{
	const char *text = getenv(name);
	uint64_t value;

	return text != NULL && sv_to_u64(sv_str(text), &value) == ERR_OK ? value : 0;
}

static bool is_of_type(int fd, int type)
{
	int found = 0;
	int listens = 0;
	socklen_t len = sizeof(found);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &found, &len) != 0 || found != type)
		return false;
	len = sizeof(listens);
	return type != SOCK_STREAM || (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens);
}

enum err activation_socket(int type, int *fd)
{
	uint64_t count = number_of("LISTEN_FDS");

	*fd = -1;
	if (number_of("LISTEN_PID") != (uint64_t)getpid() || count > FDS_MAX)
		return ERR_OK;
	for (int i = FIRST_FD; i < FIRST_FD + (int)count; i++) {
		if (!is_of_type(i, type))
			continue;
		if (*fd >= 0) {
			*fd = -1;
			return ERR_EXISTS;
		}
		*fd = i;
	}
	if (*fd >= 0 &&
	    (fcntl(*fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) | O_NONBLOCK) != 0)) {
		*fd = -1;
		return ERR_IO;
	}
	return ERR_OK;
}
