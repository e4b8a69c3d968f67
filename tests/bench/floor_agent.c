/*
 * The floor that the gateway's agent is measured against: a SPOE agent that decides nothing. It answers every NOTIFY
 * with the same few variables, the fewest with which haproxy/haproxy.cfg sends an image request on.
 *
 *     floor-agent ADDRESS      listens on unix@PATH or on a port of 127.0.0.1
 *
 * One thread, one epoll loop, one recv() and one send() a turn and connection; a NOTIFY is not decoded beyond its ids.
 * The hello and the good-bye are spop/conn.h's. What is wrong on a connection ends it: this is no server for strangers.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/sv.h"
#include "spop/ack.h"
#include "spop/conn.h"
#include "spop/frame.h"
#include "spop/varint.h"

#define EVENTS_MAX  64
#define IN_MAX      131072
#define OUT_MAX     131072
#define ACTIONS_MAX 1024
#define FRAME_MAX   16380
/* Type and flags of a frame, before its ids. */
#define FIXED_BYTES 5
#define ACK_MAX     (SPOP_LENGTH_BYTES + FIXED_BYTES + 2 * SPOP_VARINT_MAX + ACTIONS_MAX)

/* The answer. A variable that haproxy.cfg comes to need for letting a request pass is a row here. */
static const struct {
	const char *name;
	const char *text;
} variables[] = {
	/* As long as a target of imgproxy with a signature. */
	{ "target", "/MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE/rs:fill:300:200/bG9jYWw6Ly8vNTAwMDAvcGhvdG8uanBn" },
	{ "verdict", "allow" },
};

struct connection {
	struct spop_conn spop;
	int fd; /* -1: this is the listener, whose socket is listen_fd */
	size_t in_used;
	uint8_t in[IN_MAX];
	uint8_t out[OUT_MAX];
};

static uint8_t actions[ACTIONS_MAX];
static size_t actions_size;

static void die(const char *what)
{
	fprintf(stderr, "floor-agent: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static void actions_make(void)
{
	struct wcur w;

	wcur_init(&w, actions, sizeof(actions));
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		struct spop_value value = spop_string(sv_str(variables[i].text));
		wcur_u8(&w, SPOP_ACTION_SET_VAR);
		wcur_u8(&w, 3);
		wcur_u8(&w, SPOP_SCOPE_TXN);
		spop_string_write(&w, sv_str(variables[i].name));
		spop_value_write(&w, &value);
	}
	if (w.err != ERR_OK) {
		fputs("floor-agent: the variables do not fit\n", stderr);
		exit(EXIT_FAILURE);
	}
	actions_size = wcur_len(&w);
}

static int listen_unix(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	strcpy(addr.sun_path, path);
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 1024) != 0)
		die(path);
	return fd;
}

static int listen_port(const char *text)
{
	int port = atoi(text), one = 1;
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 1024) != 0)
		die(text);
	return fd;
}

static void answer(struct wcur *out, uint64_t stream_id, uint64_t frame_id)
{
	size_t size = FIXED_BYTES + spop_varint_size(stream_id) + spop_varint_size(frame_id) + actions_size;

	wcur_be32(out, (uint32_t)size);
	wcur_u8(out, SPOP_FRAME_ACK);
	wcur_be32(out, SPOP_FLAG_FIN);
	spop_varint_write(out, stream_id);
	spop_varint_write(out, frame_id);
	wcur_bytes(out, actions, actions_size);
}

/* Takes one frame from the n bytes at p; returns its bytes, 0 when it is not whole. False in *open: the end. */
static size_t take_frame(struct connection *c, const uint8_t *p, size_t n, struct wcur *out, bool *open)
{
	struct spop_frame frame;
	struct spop_event event;
	size_t used = 0;

	if (c->spop.state == SPOP_CONN_RUNNING && n > SPOP_LENGTH_BYTES && p[SPOP_LENGTH_BYTES] == SPOP_FRAME_NOTIFY) {
		enum err err = spop_frame_decode(p, n, FRAME_MAX, &frame, &used);
		if (err == ERR_OK)
			answer(out, frame.stream_id, frame.frame_id);
		*open = err == ERR_OK || err == ERR_INCOMPLETE;
		return used;
	}
	spop_conn_next(&c->spop, p, n, &used, out, &event);
	*open = !event.close;
	return used;
}

/* False: the connection is over. */
static bool serve(struct connection *c)
{
	struct wcur out;
	size_t done = 0, used;
	bool open = true;

	ssize_t n = recv(c->fd, c->in + c->in_used, sizeof(c->in) - c->in_used, 0);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->in_used += (size_t)n;
	wcur_init(&out, c->out, sizeof(c->out));
	do {
		if (wcur_left(&out) < ACK_MAX + SPOP_REPLY_MAX) {
			/* HAProxy reads what it waits for; a socket that is full all the same is an error here. */
			if (send(c->fd, c->out, wcur_len(&out), MSG_NOSIGNAL) != (ssize_t)wcur_len(&out))
				return false;
			wcur_init(&out, c->out, sizeof(c->out));
		}
		used = take_frame(c, c->in + done, c->in_used - done, &out, &open);
		done += used;
	} while (used > 0 && open && done < c->in_used);
	if (wcur_len(&out) > 0 && send(c->fd, c->out, wcur_len(&out), MSG_NOSIGNAL) != (ssize_t)wcur_len(&out))
		return false;
	c->in_used -= done;
	if (c->in_used > 0 && done > 0)
		memmove(c->in, c->in + done, c->in_used);
	return open && c->in_used < sizeof(c->in);
}

static void accept_one(int epoll, int listen_fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int one = 1;

	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct connection *c = malloc(sizeof(*c));
	if (c == NULL)
		die("memory");
	c->fd = fd;
	c->in_used = 0;
	spop_conn_init(&c->spop, FRAME_MAX);
	/* Fails on a unix socket, which needs none. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	event.data.ptr = c;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
}

static void drop(struct connection *c)
{
	spop_conn_fini(&c->spop);
	close(c->fd);
	free(c);
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS_MAX];
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

	if (argc != 2) {
		fputs("usage: floor-agent unix@PATH | PORT\n", stderr);
		return 2;
	}
	actions_make();
	int listen_fd = strncmp(argv[1], "unix@", 5) == 0 ? listen_unix(argv[1] + 5) : listen_port(argv[1]);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listen_fd, &event) != 0)
		die("epoll");
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS_MAX, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			if (c == NULL)
				accept_one(epoll, listen_fd);
			else if (!serve(c))
				drop(c);
		}
	}
}
