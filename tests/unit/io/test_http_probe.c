/* A GET in blocking code: every kind of answer, and of none, over both kinds of sockets. */
#include "unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/http_probe.h"
#include "io/listener.h"

static char error[512];
static char address[128];
static char asked[1024];

/* Takes one connection, reads a request, and sends `answer`; a NULL answer is silence until the client goes. */
struct server {
	int fd;
	const char *answer;
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	size_t n = 0;
	int fd = accept(s->fd, NULL, NULL);
	if (fd < 0)
		return NULL;
	while (n < sizeof(asked) - 1) {
		ssize_t got = recv(fd, asked + n, sizeof(asked) - 1 - n, 0);
		if (got <= 0)
			break;
		n += (size_t)got;
		asked[n] = '\0';
		if (s->answer != NULL && strstr(asked, "\r\n\r\n") != NULL)
			break;
	}
	/* In pieces: a status line may come so. */
	for (const char *p = s->answer; p != NULL && *p != '\0'; p++)
		if (send(fd, p, 1, MSG_NOSIGNAL) != 1)
			break;
	close(fd);
	return NULL;
}

static void server_start(struct server *s, const char *bind, const char *answer)
{
	asked[0] = '\0';
	s->answer = answer;
	assert_int_equal(listener_open(bind, 0600, &s->fd, error, sizeof(error)), ERR_OK);
	assert_int_equal(fcntl(s->fd, F_SETFL, 0), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
	pthread_join(s->thread, NULL);
	close(s->fd);
}

static int setup(void **state)
{
	(void)state;
	snprintf(address, sizeof(address), "unix@/tmp/test-http-probe-%ld.sock", (long)getpid());
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(address + 5);
	return 0;
}

static void test_answers(void **state)
{
	(void)state;
	static const struct {
		const char *answer;
		unsigned status; /* 0: none */
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\n\r\n", 200 },
		{ "HTTP/1.0 503 Service Unavailable\r\n", 503 },
		{ "HTTP/1.1 404", 404 },
		{ "HTTP/1.1 40", 0 },
		{ "HTTP/1.1 4x4\r\n", 0 },
		{ "SSH-2.0-OpenSSH_9.2\r\n", 0 },
		{ "", 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct server s;
		unsigned status;
		server_start(&s, address, rows[i].answer);
		enum err err = http_probe(address, "/readyz", 5000, &status, error, sizeof(error));
		server_stop(&s);
		assert_int_equal(err, rows[i].status != 0 ? ERR_OK : ERR_UNAVAILABLE);
		assert_int_equal(status, rows[i].status);
		assert_string_equal(asked, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
		if (err != ERR_OK)
			assert_non_null(strstr(error, "what answers there is no HTTP server"));
	}
}

static void test_silence_ends(void **state)
{
	(void)state;
	struct server s;
	unsigned status;
	server_start(&s, address, NULL);
	uint64_t began = clock_mono_ns();
	assert_int_equal(http_probe(address, "/", 200, &status, error, sizeof(error)), ERR_TIMEOUT);
	uint64_t took = clock_mono_ns() - began;
	server_stop(&s);
	assert_in_range(took, 190 * NS_PER_MS, 3000 * NS_PER_MS);
	assert_non_null(strstr(error, "timed out"));
}

static void test_nobody(void **state)
{
	(void)state;
	unsigned status;
	assert_int_equal(http_probe(address, "/", 500, &status, error, sizeof(error)), ERR_UNAVAILABLE);
	assert_non_null(strstr(error, "No such file or directory"));
	assert_int_equal(http_probe("127.0.0.1:1", "/", 500, &status, error, sizeof(error)), ERR_UNAVAILABLE);
	assert_string_equal(error, "127.0.0.1:1: Connection refused");
	assert_int_equal(http_probe("nowhere", "/", 500, &status, error, sizeof(error)), ERR_INVALID);
}

static void test_tcp(void **state)
{
	(void)state;
	struct server s;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	unsigned status;
	char tcp[64];
	server_start(&s, "127.0.0.1:0", "HTTP/1.1 200 OK\r\n\r\n");
	assert_int_equal(getsockname(s.fd, (struct sockaddr *)&sa, &len), 0);
	snprintf(tcp, sizeof(tcp), ":%u", (unsigned)ntohs(((const struct sockaddr_in *)(const void *)&sa)->sin_port));
	enum err err = http_probe(tcp, "/", 5000, &status, error, sizeof(error));
	server_stop(&s);
	assert_int_equal(err, ERR_OK);
	assert_int_equal(status, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_silence_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
