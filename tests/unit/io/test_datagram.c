/* UDP sockets: the address, the flags, the buffer, and the count of what was dropped. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/datagram.h"
#include "io/listener.h"
#include "unit.h"

static int opened(const char *addr, size_t *buffer)
{
	char error[256] = "";
	int fd;

	if (datagram_open(addr, &fd, buffer, error, sizeof(error)) != ERR_OK)
		fail_msg("%s", error);
	return fd;
}

static int client(int server)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	assert_int_equal(getsockname(server, (struct sockaddr *)&ss, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

/* One datagram; its length, or -1, and the count of drops that came with it (unchanged when none came). */
static ssize_t receive(int fd, char *buf, size_t size, uint32_t *dropped)
{
	union {
		char bytes[CMSG_SPACE(sizeof(uint32_t))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { buf, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(fd, &msg, 0);

	for (struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL; c != NULL; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
			memcpy(dropped, CMSG_DATA(c), sizeof(*dropped));
	return n;
}

static void takes_datagrams(void **state)
{
	size_t buffer;
	int fd = opened("127.0.0.1:0", &buffer);
	int from = client(fd);
	char text[16];
	uint32_t dropped = 0;

	(void)state;
	assert_int_equal(receive(fd, text, sizeof(text), &dropped), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(send(from, "one", 3, 0), 3);
	assert_int_equal(send(from, "four", 4, 0), 4);
	assert_int_equal(receive(fd, text, sizeof(text), &dropped), 3);
	assert_memory_equal(text, "one", 3);
	assert_int_equal(receive(fd, text, sizeof(text), &dropped), 4);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	close(from);
	close(fd);
}

static void buffer_is_what_the_system_gives(void **state)
{
	size_t buffer;
	int fd = opened("127.0.0.1:0", &buffer);
	unsigned long most = 0;
	FILE *file = fopen("/proc/sys/net/core/rmem_max", "r");

	(void)state;
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu", &most), 1);
	fclose(file);
	if (most > DATAGRAM_BUFFER)
		most = DATAGRAM_BUFFER;
	/* With CAP_NET_ADMIN it is all of it, without up to rmem_max; the kernel counts the double. */
	assert_true(buffer >= 2 * most);
	assert_true(buffer <= 2 * (size_t)DATAGRAM_BUFFER);
	close(fd);
}

static void drops_are_told(void **state)
{
	size_t buffer;
	int fd = opened("127.0.0.1:0", &buffer);
	int from = client(fd);
	const int small = 1;
	char text[1024] = "";
	uint32_t dropped = 0;
	unsigned sent = 0;
	unsigned got = 0;

	(void)state;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	for (; sent < 100; sent++)
		assert_int_equal(send(from, text, sizeof(text), 0), sizeof(text));
	while (receive(fd, text, sizeof(text), &dropped) >= 0)
		got++;
	/* The count comes with the first datagram after the drops. */
	assert_int_equal(send(from, text, sizeof(text), 0), sizeof(text));
	assert_int_equal(receive(fd, text, sizeof(text), &dropped), sizeof(text));
	assert_true(got < sent);
	assert_int_equal(got + dropped, sent);
	close(from);
	close(fd);
}

static void faults_name_the_address(void **state)
{
	char address[320];
	char error[400];
	char expected[400];
	size_t buffer;
	int second;
	int fd = opened("127.0.0.1:0", &buffer);

	(void)state;
	listener_address(fd, address, sizeof(address));
	assert_int_equal(datagram_open(address, &second, &buffer, error, sizeof(error)), ERR_EXISTS);
	snprintf(expected, sizeof(expected), "%s (UDP): bind: Address already in use", address);
	assert_string_equal(error, expected);
	assert_int_equal(second, -1);
	assert_int_equal(datagram_open("unix@/tmp/x.sock", &second, &buffer, error, sizeof(error)), ERR_INVALID);
	assert_string_equal(error, "unix@/tmp/x.sock: is no UDP address");
	assert_int_equal(second, -1);
	assert_int_equal(datagram_open("nonsense", &second, &buffer, error, sizeof(error)), ERR_INVALID);
	assert_non_null(strstr(error, "nonsense"));
	close(fd);
}

/* A service manager's socket has what root could ask for; taking it over must not make it smaller. */
static void a_larger_buffer_is_kept(void **state)
{
	const int wanted = 2 * DATAGRAM_BUFFER;
	size_t buffer;
	int fd = opened("127.0.0.1:0", &buffer);

	(void)state;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(wanted)) != 0) {
		close(fd);
		skip(); /* nobody but root can make one */
	}
	assert_int_equal(datagram_adopt(fd, &buffer), ERR_OK);
	assert_int_equal(buffer, 2 * wanted);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_datagrams),         cmocka_unit_test(buffer_is_what_the_system_gives),
		cmocka_unit_test(drops_are_told),          cmocka_unit_test(faults_name_the_address),
		cmocka_unit_test(a_larger_buffer_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
