/* Sockets that were opened before the program: found by their type, and only when they are for this process. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/activation.h"

static void set_number(const char *name, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	setenv(name, text, 1);
}

/* As a service manager leaves them: from 3 on, inherited, blocking. */
static int setup(void **state)
{
	(void)state;
	for (int fd = 3; fd < 6; fd++) {
		int opened = fd == 4 ? socket(AF_INET, SOCK_DGRAM, 0) : socket(AF_INET, SOCK_STREAM, 0);
		assert_true(opened >= 0);
		if (opened != fd) {
			assert_int_equal(dup2(opened, fd), fd);
			close(opened);
		}
	}
	assert_int_equal(listen(3, 1), 0);
	set_number("LISTEN_PID", getpid());
	set_number("LISTEN_FDS", 3);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int fd = 3; fd < 6; fd++)
		close(fd);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	return 0;
}

static int found(int type)
{
	int fd = 77;

	assert_int_equal(activation_socket(type, &fd), ERR_OK);
	return fd;
}

/* 5 is a stream that does not listen. */
static void test_by_type(void **state)
{
	(void)state;
	assert_int_equal(found(SOCK_STREAM), 3);
	assert_int_equal(found(SOCK_DGRAM), 4);
	for (int fd = 3; fd < 5; fd++) {
		assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
		assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	}
}

static void test_several(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(listen(5, 1), 0);
	assert_int_equal(activation_socket(SOCK_STREAM, &fd), ERR_EXISTS);
	assert_int_equal(fd, -1);
	set_number("LISTEN_FDS", 2);
	assert_int_equal(found(SOCK_STREAM), 3);
}

static void test_not_for_us(void **state)
{
	(void)state;
	set_number("LISTEN_PID", getpid() + 1);
	assert_int_equal(found(SOCK_STREAM), -1);
	set_number("LISTEN_PID", getpid());
	setenv("LISTEN_FDS", "some", 1);
	assert_int_equal(found(SOCK_STREAM), -1);
	setenv("LISTEN_FDS", "99999999999", 1);
	assert_int_equal(found(SOCK_STREAM), -1);
	unsetenv("LISTEN_FDS");
	assert_int_equal(found(SOCK_DGRAM), -1);
	set_number("LISTEN_FDS", 1);
	assert_int_equal(found(SOCK_DGRAM), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_by_type, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_for_us, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
