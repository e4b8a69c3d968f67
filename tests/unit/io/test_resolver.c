/* LDFLAGS: -Wl,--wrap=getaddrinfo */
/* Names to addresses: numeric ones without a thread, others from a thread, cancelled ones never. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/resolver.h"
#include "unit.h"

static sem_t gate;     /* lookups of "slow" wait for it */
static sem_t returned; /* posted when one has come back */

int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	struct addrinfo numeric = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
	int rc;
	if ((hints->ai_flags & AI_NUMERICHOST) != 0)
		return __real_getaddrinfo(node, service, hints, res);
	if (strcmp(node, "missing") == 0)
		return EAI_NONAME;
	while (sem_wait(&gate) != 0)
		continue;
	rc = __real_getaddrinfo("192.0.2.7", service, &numeric, res);
	sem_post(&returned);
	return rc;
}

struct fixture {
	struct loop *loop;
	unsigned calls;
	unsigned refused;
	enum err err;
	char text[64];
	unsigned port;
};

static void on_resolved(void *arg, enum err err, const struct resolver_addr *addrs, size_t count, const char *error)
{
	struct fixture *f = arg;
	f->calls++;
	f->err = err;
	f->refused += err == ERR_UNAVAILABLE;
	assert_int_equal(count > 0, err == ERR_OK);
	assert_int_equal(strlen(error) > 0, err != ERR_OK);
	if (err == ERR_OK) {
		struct sockaddr_in in;
		memcpy(f->text, addrs[0].text, sizeof(f->text));
		memcpy(&in, &addrs[0].sa, sizeof(in));
		f->port = ntohs(in.sin_port); /* at the same place in IPv6 */
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	f->loop = loop_new();
	sem_init(&gate, 0, 0);
	sem_init(&returned, 0, 0);
	alarm(30);
	*state = f;
	return f->loop == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	size_t active = loop_active(f->loop);
	loop_free(f->loop);
	free(f);
	return active != 0;
}

static void until_calls(struct fixture *f, unsigned n)
{
	while (f->calls < n)
		loop_run_once(f->loop, true);
	loop_run_once(f->loop, false);
	assert_int_equal(f->calls, n);
}

static void test_numeric_addresses_come_later_without_a_thread(void **state)
{
	struct fixture *f = *state;
	resolver_start(f->loop, "127.0.0.1", 80, on_resolved, f);
	assert_int_equal(f->calls, 0);
	loop_run_once(f->loop, false);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->err, ERR_OK);
	assert_string_equal(f->text, "127.0.0.1");
	assert_int_equal(f->port, 80);
	resolver_start(f->loop, "::1", 443, on_resolved, f);
	until_calls(f, 2);
	assert_string_equal(f->text, "::1");
	assert_int_equal(f->port, 443);
}

static void test_names_come_from_a_thread(void **state)
{
	struct fixture *f = *state;
	resolver_start(f->loop, "slow", 81, on_resolved, f);
	loop_run_once(f->loop, false);
	assert_int_equal(f->calls, 0);
	sem_post(&gate);
	until_calls(f, 1);
	assert_int_equal(f->err, ERR_OK);
	assert_string_equal(f->text, "192.0.2.7");
	assert_int_equal(f->port, 81);
}

static void test_unknown_name(void **state)
{
	struct fixture *f = *state;
	resolver_start(f->loop, "missing", 1, on_resolved, f);
	until_calls(f, 1);
	assert_int_equal(f->err, ERR_NOT_FOUND);
}

static void test_cancelled_ones_are_silent(void **state)
{
	struct fixture *f = *state;
	struct resolver *running = resolver_start(f->loop, "slow", 1, on_resolved, f);
	struct resolver *numeric = resolver_start(f->loop, "127.0.0.1", 1, on_resolved, f);
	struct resolver *done = resolver_start(f->loop, "slow", 1, on_resolved, f);
	resolver_cancel(NULL);
	resolver_cancel(numeric);
	resolver_cancel(running);
	sem_post(&gate);
	sem_post(&gate);
	sem_wait(&returned);
	sem_wait(&returned);
	resolver_cancel(done); /* finished, or about to */
	loop_run_once(f->loop, false);
	loop_run_once(f->loop, false);
	assert_int_equal(f->calls, 0);
}

static void test_too_many_at_a_time_are_refused(void **state)
{
	struct fixture *f = *state;
	for (int i = 0; i < 40; i++)
		resolver_start(f->loop, "slow", 1, on_resolved, f);
	assert_int_equal(f->calls, 0);
	loop_run_once(f->loop, false);
	/* 16, and as many fewer as lookups of an earlier test are still on their way out. */
	assert_in_range(f->refused, 24, 26);
	for (int i = 0; i < 40; i++)
		sem_post(&gate);
	until_calls(f, 40);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_numeric_addresses_come_later_without_a_thread),
		T(test_names_come_from_a_thread),
		T(test_unknown_name),
		T(test_cancelled_ones_are_silent),
		T(test_too_many_at_a_time_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
