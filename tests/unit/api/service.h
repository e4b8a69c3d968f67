/* The whole service over a unix socket of a test: raw HTTP in, the answer out. */
#pragma once

#include "api/folder.h"

#include <errno.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api/server.h"

#define USER_DIR   "7"
#define MAX_SIZE   8192
#define MAX_PIXELS 100000
#define TOKEN      "the-token"
#define ANSWER_MAX 8192
#define WAIT_MS    10000
#define PROXY      "Host: x\r\nX-GW-User: 7\r\nX-GW-Scopes: read,upload\r\nX-GW-Token: " TOKEN "\r\nX-Request-ID: id-1\r\n"

static struct folder folder;
static struct uploads store;
static struct server *server;
static struct sockaddr_un address;
static uint8_t gif[4096];
static size_t gif_len;
static int write_errno; /* of writes to regular files, when not 0 */

static struct request_env service_env;

ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	struct stat st;

	if (write_errno != 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		errno = write_errno;
		return -1;
	}
	return __real_write(fd, buf, n);
}

static inline int service_setup(void **state)
{
	(void)state;
	write_errno = 0;
	service_env = (struct request_env){ .uploads = &store, .token = TOKEN };
	folder_make(&folder);
	const struct uploads_rules rules = {
		.dir = folder.path, .pepper = "unit test pepper", .max_size = MAX_SIZE, .max_pixels = MAX_PIXELS
	};
	assert_int_equal(uploads_open(&store, &rules), ERR_OK);
	gif_len = file_read(GIF_FILE, gif, sizeof(gif));
	address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", folder.path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(server_new(&server, fd, &service_env, 30), ERR_OK);
	return 0;
}

static inline int service_teardown(void **state)
{
	(void)state;
	server_free(server);
	server = NULL;
	uploads_close(&store);
	folder_remove(&folder);
	return 0;
}

static inline int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = WAIT_MS / 1000 };

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline void put(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

/* Until the server has read everything that was sent. */
static inline void wait_read(int fd)
{
	int left;

	do {
		sched_yield();
		assert_int_equal(ioctl(fd, SIOCOUTQ, &left), 0);
	} while (left > 0);
}

/* Reads to the end of the connection, as a string. */
static inline void get(int fd, char answer[ANSWER_MAX])
{
	size_t n = 0;
	ssize_t got;

	while ((got = recv(fd, answer + n, ANSWER_MAX - 1 - n, 0)) > 0)
		n += (size_t)got;
	answer[n] = '\0';
	close(fd);
}

static inline void assert_has(const char *answer, const char *what)
{
	if (strstr(answer, what) == NULL)
		fail_msg("no \"%s\" in: %s", what, answer);
}

/* Sends a request with the given head (no empty line) and body, on a connection of its own. */
static inline void ask(const char *head, const void *body, size_t len, char answer[ANSWER_MAX])
{
	char text[1024];

	int fd = dial();
	assert_true(fd >= 0);
	snprintf(text, sizeof(text), "%sConnection: close\r\nContent-Length: %zu\r\n\r\n", head, len);
	put(fd, text, strlen(text));
	put(fd, body, len);
	get(fd, answer);
}
