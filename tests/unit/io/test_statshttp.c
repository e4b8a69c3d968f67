/* The stats port: GET and HEAD are answered by the handler, other methods are not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/listener.h"
#include "io/statshttp.h"
#include "unit.h"

struct fixture {
	struct loop *loop;
	struct statshttp *h;
	int fd;
	unsigned calls;
	char path[64];
	char answer[262144];
};

static void handler(void *arg, const char *path, struct statshttp_response *resp)
{
	struct fixture *f = arg;
	f->calls++;
	strncpy(f->path, path, sizeof(f->path) - 1);
	if (strcmp(path, "/metrics") != 0) {
		statshttp_status(resp, 503);
		statshttp_content_type(resp, "text/x-test");
		statshttp_write(resp, "down", 4);
		return;
	}
	for (int i = 0; i < 10000; i++)
		statshttp_printf(resp, "line %d\n", i);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char error[256];
	f->loop = loop_new();
	alarm(30);
	*state = f;
	return listener_open("127.0.0.1:0", 0, &f->fd, error, sizeof(error)) != ERR_OK ||
	       statshttp_new(f->loop, f->fd, handler, f, &f->h) != ERR_OK;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	statshttp_free(f->h);
	size_t active = loop_active(f->loop);
	loop_free(f->loop);
	free(f);
	return active != 0;
}

/* Sends a request and keeps all that comes until the server closes. */
static void ask(struct fixture *f, const char *request)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	size_t got = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getsockname(f->fd, (struct sockaddr *)&ss, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	for (;;) {
		ssize_t n = recv(fd, f->answer + got, sizeof(f->answer) - 1 - got, MSG_DONTWAIT);
		if (n == 0)
			break;
		if (n > 0) {
			got += (size_t)n;
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		loop_run_once(f->loop, false);
	}
	f->answer[got] = '\0';
	close(fd);
}

static void test_get(void **state)
{
	struct fixture *f = *state;
	const char *body;
	ask(f, "GET /metrics?x=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_int_equal(f->calls, 1);
	assert_string_equal(f->path, "/metrics");
	assert_int_equal(strncmp(f->answer, "HTTP/1.1 200 ", 13), 0);
	assert_non_null(strstr(f->answer, "text/plain; charset=utf-8"));
	body = strstr(f->answer, "\r\n\r\n");
	assert_non_null(body);
	assert_int_equal(strncmp(body + 4, "line 0\nline 1\n", 14), 0);
	assert_string_equal(f->answer + strlen(f->answer) - 10, "line 9999\n");
}

static void test_status_type_and_head(void **state)
{
	struct fixture *f = *state;
	ask(f, "GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_int_equal(strncmp(f->answer, "HTTP/1.1 503 ", 13), 0);
	assert_non_null(strstr(f->answer, "text/x-test"));
	assert_string_equal(f->answer + strlen(f->answer) - 4, "down");
	ask(f, "HEAD /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_int_equal(f->calls, 2);
	assert_non_null(strstr(f->answer, "Content-Length: 4"));
	assert_string_equal(f->answer + strlen(f->answer) - 4, "\r\n\r\n");
}

static void test_other_methods_do_not_reach_the_handler(void **state)
{
	struct fixture *f = *state;
	ask(f, "POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
	assert_int_equal(strncmp(f->answer, "HTTP/1.1 405 ", 13), 0);
	assert_non_null(strstr(f->answer, "Allow: GET, HEAD"));
	assert_int_equal(f->calls, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_get),
		T(test_status_type_and_head),
		T(test_other_methods_do_not_reach_the_handler),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
