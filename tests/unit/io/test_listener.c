/* LDFLAGS: -Wl,--wrap=accept4 */
/* Addresses, listening sockets on TCP and unix paths, and what happens when descriptors run out. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/addr.h"
#include "io/listener.h"
#include "unit.h"

static int accept_errno; /* what accept4() fails with; 0: it works */
static unsigned accept_calls;

int __real_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	accept_calls++;
	if (accept_errno != 0) {
		errno = accept_errno;
		return -1;
	}
	return __real_accept4(fd, sa, len, flags);
}

struct fixture {
	struct loop *loop;
	struct listener *l;
	char dir[64];
	int accepted[256];
	size_t count;
	bool free_in_accept;
};

static void on_accept(void *arg, int fd)
{
	struct fixture *f = arg;
	f->accepted[f->count++] = fd;
	if (f->free_in_accept) {
		listener_free(f->l);
		f->l = NULL;
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	f->loop = loop_new();
	snprintf(f->dir, sizeof(f->dir), "/tmp/gateway-unit-XXXXXX");
	accept_errno = 0;
	alarm(30);
	*state = f;
	return f->loop == NULL || mkdtemp(f->dir) == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	listener_free(f->l);
	size_t active = loop_active(f->loop);
	loop_free(f->loop);
	for (size_t i = 0; i < f->count; i++)
		close(f->accepted[i]);
	rmdir(f->dir);
	free(f);
	return active != 0;
}

static int connect_to(const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, sa, len), 0);
	return fd;
}

static int connect_tcp(int listening)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&ss, &len), 0);
	return connect_to((struct sockaddr *)&ss, len);
}

static void test_addresses(void **state)
{
	static const struct {
		const char *text;
		const char *host;
		const char *port;
		const char *path;
	} good[] = {
		{ "localhost:80", "localhost", "80", "" },
		{ "[::1]:9", "::1", "9", "" },
		{ ":8080", "", "8080", "" },
		{ "1.2.3.4:0", "1.2.3.4", "0", "" },
		{ "h:65535", "h", "65535", "" },
		{ "unix@/a/b:c", "", "", "/a/b:c" },
	};
	static const char *const bad[] = { "",       "host",    "host:", "host:x", "host:65536", "host:-1", "host:+1",
		                           "::1:80", "[::1:80", "[]:80", "unix@",  "unix@rel",   "unix:/x", "h:1 " };
	char error[ADDR_TEXT_MAX], text[160];
	struct addr a;
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(addr_parse(good[i].text, &a, error, sizeof(error)), ERR_OK);
		assert_string_equal(a.host, good[i].host);
		assert_string_equal(a.port, good[i].port);
		assert_string_equal(a.path, good[i].path);
		assert_int_equal(a.is_unix, good[i].path[0] != '\0');
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		error[0] = '\0';
		assert_int_equal(addr_parse(bad[i], &a, error, sizeof(error)), ERR_INVALID);
		assert_non_null(strstr(error, bad[i]));
		assert_string_equal(a.host, "");
	}
	memset(text, 'x', sizeof(text));
	memcpy(text, "unix@/", 6);
	text[5 + 107] = '\0';
	assert_int_equal(addr_parse(text, &a, error, sizeof(error)), ERR_OK);
	text[5 + 107] = 'x';
	text[5 + 108] = '\0';
	assert_int_equal(addr_parse(text, &a, error, sizeof(error)), ERR_INVALID);
}

static void test_tcp_port_zero_accepts_without_delay_and_inheritance(void **state)
{
	struct fixture *f = *state;
	char error[256], address[ADDR_TEXT_MAX];
	int fd, again, client, value = 0;
	socklen_t len = sizeof(value);
	assert_int_equal(listener_open("127.0.0.1:0", 0, &fd, error, sizeof(error)), ERR_OK);
	listener_address(fd, address, sizeof(address));
	assert_int_equal(strncmp(address, "127.0.0.1:", 10), 0);
	assert_int_not_equal(atoi(address + 10), 0);
	assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(listener_open(address, 0, &again, error, sizeof(error)), ERR_EXISTS);
	assert_int_equal(again, -1);
	assert_non_null(strstr(error, address));

	f->l = listener_new(f->loop, fd, on_accept, f);
	client = connect_tcp(fd);
	loop_run_once(f->loop, true);
	assert_int_equal(f->count, 1);
	assert_true((fcntl(f->accepted[0], F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(f->accepted[0], F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(getsockopt(f->accepted[0], IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
	assert_int_equal(value, 1);
	close(client);
	close(fd);
}

static void test_bad_names(void **state)
{
	char error[256];
	int fd = 0;
	(void)state;
	assert_int_equal(listener_open("nonsense", 0, &fd, error, sizeof(error)), ERR_INVALID);
	assert_int_equal(fd, -1);
	/* 192.0.2.0/24 is nobody's */
	assert_int_equal(listener_open("192.0.2.1:0", 0, &fd, error, sizeof(error)), ERR_IO);
	assert_non_null(strstr(error, "192.0.2.1:0"));
	assert_int_equal(listener_open("unix@/nonexistent/dir/s", 0600, &fd, error, sizeof(error)), ERR_IO);
	assert_int_equal(fd, -1);
}

static void test_unix_mode_in_use_and_stale(void **state)
{
	struct fixture *f = *state;
	char error[256], addr[128], shown[ADDR_TEXT_MAX];
	struct stat st;
	int fd, again;
	snprintf(addr, sizeof(addr), "unix@%s/s", f->dir);
	assert_int_equal(listener_open(addr, 0660, &fd, error, sizeof(error)), ERR_OK);
	assert_int_equal(stat(addr + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	listener_address(fd, shown, sizeof(shown));
	assert_string_equal(shown, addr);

	assert_int_equal(listener_open(addr, 0660, &again, error, sizeof(error)), ERR_EXISTS);
	assert_non_null(strstr(error, "in use"));

	close(fd); /* the file stays, as after a kill */
	assert_int_equal(stat(addr + 5, &st), 0);
	assert_int_equal(listener_open(addr, 0600, &fd, error, sizeof(error)), ERR_OK);
	assert_int_equal(stat(addr + 5, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	close(fd);
	listener_unlink(addr);
	assert_int_equal(stat(addr + 5, &st), -1);
	listener_unlink("127.0.0.1:1");
}

static void test_unix_leaves_other_files_alone(void **state)
{
	struct fixture *f = *state;
	char error[256], addr[128];
	int fd, file;
	snprintf(addr, sizeof(addr), "unix@%s/file", f->dir);
	file = open(addr + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(listener_open(addr, 0600, &fd, error, sizeof(error)), ERR_EXISTS);
	assert_int_equal(access(addr + 5, F_OK), 0);
	unlink(addr + 5);
}

static void test_many_connections_come_in_batches(void **state)
{
	struct fixture *f = *state;
	char error[256];
	int fd, clients[100];
	assert_int_equal(listener_open("127.0.0.1:0", 0, &fd, error, sizeof(error)), ERR_OK);
	for (size_t i = 0; i < 100; i++)
		clients[i] = connect_tcp(fd);
	f->l = listener_new(f->loop, fd, on_accept, f);
	loop_run_once(f->loop, true);
	assert_in_range(f->count, 1, 99);
	while (f->count < 100)
		loop_run_once(f->loop, true);
	for (size_t i = 0; i < 100; i++)
		close(clients[i]);
	close(fd);
}

static void test_free_from_the_callback(void **state)
{
	struct fixture *f = *state;
	char error[256];
	int fd, clients[2];
	assert_int_equal(listener_open("127.0.0.1:0", 0, &fd, error, sizeof(error)), ERR_OK);
	clients[0] = connect_tcp(fd);
	clients[1] = connect_tcp(fd);
	f->free_in_accept = true;
	f->l = listener_new(f->loop, fd, on_accept, f);
	loop_run_once(f->loop, true);
	assert_int_equal(f->count, 1);
	close(clients[0]);
	close(clients[1]);
	close(fd);
}

static void test_no_descriptors_pauses_instead_of_spinning(void **state)
{
	struct fixture *f = *state;
	char error[256];
	int fd, client;
	assert_int_equal(listener_open("127.0.0.1:0", 0, &fd, error, sizeof(error)), ERR_OK);
	client = connect_tcp(fd);
	f->l = listener_new(f->loop, fd, on_accept, f);
	accept_errno = EMFILE;
	accept_calls = 0;
	loop_run_once(f->loop, true);
	for (int i = 0; i < 10; i++)
		loop_run_once(f->loop, false);
	assert_in_range(accept_calls, 1, 5);
	accept_errno = 0;
	while (f->count == 0)
		loop_run_once(f->loop, true);
	assert_int_equal(f->count, 1);
	close(client);
	close(fd);
}

/* The owner of a socket that others accept on says with this that nobody is to come any more. */
static void test_a_socket_that_was_shut_down_is_left_alone(void **state)
{
	struct fixture *f = *state;
	char error[256];
	int fd;

	assert_int_equal(listener_open("127.0.0.1:0", 0, &fd, error, sizeof(error)), ERR_OK);
	f->l = listener_new(f->loop, fd, on_accept, f);
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
	accept_calls = 0;
	loop_run_once(f->loop, true);
	assert_int_equal(accept_calls, 1);
	/* Neither watched nor waited for. */
	assert_int_equal(loop_active(f->loop), 0);
	close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_addresses),
		T(test_tcp_port_zero_accepts_without_delay_and_inheritance),
		T(test_bad_names),
		T(test_unix_mode_in_use_and_stale),
		T(test_unix_leaves_other_files_alone),
		T(test_many_connections_come_in_batches),
		T(test_free_from_the_callback),
		T(test_no_descriptors_pauses_instead_of_spinning),
		T(test_a_socket_that_was_shut_down_is_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
