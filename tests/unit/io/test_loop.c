/* The loop: order of a turn, deferred tasks, timers, signals, wake-ups from a thread. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/loop.h"
#include "unit.h"

struct fixture {
	struct loop *loop;
	struct loop_task a, b;
	struct loop_timer t1, t2, t3;
	struct loop_io io;
	char trace[64];
};

static void mark(struct fixture *f, char c)
{
	size_t n = strlen(f->trace);
	assert_true(n + 1 < sizeof(f->trace));
	f->trace[n] = c;
	f->trace[n + 1] = '\0';
}

static void task_a(void *arg)
{
	mark(arg, 'a');
}

static void task_b(void *arg)
{
	mark(arg, 'b');
}

static void task_again(void *arg)
{
	struct fixture *f = arg;
	mark(f, 'r');
	if (strlen(f->trace) < 3)
		loop_defer(&f->a);
	else
		loop_stop(f->loop);
}

static void task_cancels_b(void *arg)
{
	struct fixture *f = arg;
	mark(f, 'x');
	loop_task_cancel(&f->b);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	f->loop = loop_new();
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

static void test_tasks_run_once_in_order(void **state)
{
	struct fixture *f = *state;
	loop_task_init(&f->a, f->loop, task_a, f);
	loop_task_init(&f->b, f->loop, task_b, f);
	loop_defer(&f->b);
	loop_defer(&f->a);
	loop_defer(&f->b);
	assert_true(loop_task_pending(&f->b));
	assert_string_equal(f->trace, "");
	loop_run_once(f->loop, true);
	assert_string_equal(f->trace, "ba");
	assert_false(loop_task_pending(&f->b));
	loop_run_once(f->loop, false);
	assert_string_equal(f->trace, "ba");
}

static void test_task_that_defers_itself_waits_a_turn(void **state)
{
	struct fixture *f = *state;
	loop_task_init(&f->a, f->loop, task_again, f);
	loop_defer(&f->a);
	/* Nothing else is there to wake the loop: it must not block while a task waits. */
	loop_run(f->loop);
	assert_string_equal(f->trace, "rrr");
}

static void test_task_cancels_another_of_the_same_turn(void **state)
{
	struct fixture *f = *state;
	loop_task_init(&f->a, f->loop, task_cancels_b, f);
	loop_task_init(&f->b, f->loop, task_b, f);
	loop_defer(&f->a);
	loop_defer(&f->b);
	loop_run_once(f->loop, false);
	assert_string_equal(f->trace, "x");
}

static void test_free_runs_what_is_deferred(void **state)
{
	struct fixture *f = *state;
	struct loop *loop = loop_new();
	loop_task_init(&f->a, loop, task_a, f);
	loop_defer(&f->a);
	assert_int_equal(loop_active(loop), 1);
	loop_free(loop);
	assert_string_equal(f->trace, "a");
}

static void on_t1(void *arg)
{
	mark(arg, '1');
}

static void on_t2(void *arg)
{
	mark(arg, '2');
}

static void on_t3(void *arg)
{
	struct fixture *f = arg;
	mark(f, '3');
	loop_stop(f->loop);
}

/* In one turn, so that all three count from the same moment, however slow the machine is. */
static void start_timers(void *arg)
{
	struct fixture *f = arg;
	loop_timer_start(&f->t3, 30, 0);
	loop_timer_start(&f->t2, 20, 0);
	loop_timer_start(&f->t1, 10, 0);
	assert_true(loop_timer_active(&f->t1));
	assert_int_equal(loop_active(f->loop), 3);
}

static void test_timers_fire_in_the_order_of_their_time(void **state)
{
	struct fixture *f = *state;
	loop_timer_init(&f->t1, f->loop, on_t1, f);
	loop_timer_init(&f->t2, f->loop, on_t2, f);
	loop_timer_init(&f->t3, f->loop, on_t3, f);
	loop_task_init(&f->a, f->loop, start_timers, f);
	loop_defer(&f->a);
	loop_run(f->loop);
	assert_string_equal(f->trace, "123");
	assert_false(loop_timer_active(&f->t1));
}

static void on_repeat(void *arg)
{
	struct fixture *f = arg;
	mark(f, 'r');
	if (strlen(f->trace) == 3) {
		loop_timer_stop(&f->t1);
		loop_stop(f->loop);
	}
}

static void test_timer_repeats_until_stopped_and_starts_anew(void **state)
{
	struct fixture *f = *state;
	loop_timer_init(&f->t1, f->loop, on_repeat, f);
	loop_timer_stop(&f->t1);
	loop_timer_start(&f->t1, 100000, 0);
	loop_timer_start(&f->t1, 1, 1);
	assert_int_equal(loop_active(f->loop), 1);
	loop_run(f->loop);
	assert_string_equal(f->trace, "rrr");
}

static void on_stop_other(void *arg)
{
	struct fixture *f = arg;
	mark(f, 'x');
	loop_timer_stop(&f->t1);
	loop_timer_stop(&f->t2);
}

static void test_timer_stopped_while_its_event_waits_does_not_fire(void **state)
{
	struct fixture *f = *state;
	loop_timer_init(&f->t1, f->loop, on_stop_other, f);
	loop_timer_init(&f->t2, f->loop, on_stop_other, f);
	loop_timer_start(&f->t1, 0, 0);
	loop_timer_start(&f->t2, 0, 0);
	loop_run_once(f->loop, true);
	assert_string_equal(f->trace, "x");
	assert_int_equal(loop_active(f->loop), 0);
}

static void on_io(void *arg, unsigned events)
{
	struct fixture *f = arg;
	mark(f, events == LOOP_WRITE ? 'w' : events == LOOP_READ ? 'i' : 'm');
	loop_defer(&f->a);
}

static void test_io_watcher_changes_and_a_turn_ends_with_tasks(void **state)
{
	struct fixture *f = *state;
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	loop_task_init(&f->a, f->loop, task_a, f);
	loop_io_init(&f->io, f->loop, on_io, f);
	loop_io_stop(&f->io);
	loop_io_start(&f->io, fds[0], LOOP_WRITE);
	loop_run_once(f->loop, true);
	assert_string_equal(f->trace, "wa");
	assert_int_equal(write(fds[1], "x", 1), 1);
	loop_io_start(&f->io, fds[0], LOOP_READ);
	loop_run_once(f->loop, true);
	assert_string_equal(f->trace, "waia");
	loop_io_start(&f->io, fds[0], LOOP_READ | LOOP_WRITE);
	loop_run_once(f->loop, true);
	assert_string_equal(f->trace, "waiama");
	loop_io_start(&f->io, fds[0], 0);
	loop_run_once(f->loop, false);
	assert_string_equal(f->trace, "waiama");
	loop_io_stop(&f->io);
	close(fds[0]);
	close(fds[1]);
}

static void on_signal(void *arg, int signo)
{
	struct fixture *f = arg;
	mark(f, signo == SIGUSR1 ? 's' : '?');
	loop_stop(f->loop);
}

static void test_signal(void **state)
{
	struct fixture *f = *state;
	struct loop_signal s = { .loop = NULL };
	loop_signal_stop(&s);
	loop_signal_init(&s, f->loop, on_signal, f);
	loop_signal_start(&s, SIGUSR1);
	raise(SIGUSR1);
	loop_run(f->loop);
	loop_signal_stop(&s);
	assert_string_equal(f->trace, "s");
}

static struct loop_wake wake;

static void on_wake(void *arg)
{
	struct fixture *f = arg;
	mark(f, 'w');
	loop_stop(f->loop);
}

static void *sender(void *arg)
{
	(void)arg;
	loop_wake_send(&wake);
	return NULL;
}

static void test_wake_from_a_thread(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	loop_wake_init(&wake, f->loop, on_wake, f);
	loop_wake_start(&wake);
	assert_int_equal(pthread_create(&thread, NULL, sender, NULL), 0);
	loop_run(f->loop);
	pthread_join(thread, NULL);
	loop_wake_stop(&wake);
	assert_string_equal(f->trace, "w");
}

static void test_stop_before_run_counts(void **state)
{
	struct fixture *f = *state;
	loop_stop(f->loop);
	loop_run(f->loop);
	assert_true(loop_now_ns(f->loop) <= clock_mono_ns());
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_tasks_run_once_in_order),
		T(test_task_that_defers_itself_waits_a_turn),
		T(test_task_cancels_another_of_the_same_turn),
		T(test_free_runs_what_is_deferred),
		T(test_timers_fire_in_the_order_of_their_time),
		T(test_timer_repeats_until_stopped_and_starts_anew),
		T(test_timer_stopped_while_its_event_waits_does_not_fire),
		T(test_io_watcher_changes_and_a_turn_ends_with_tasks),
		T(test_signal),
		T(test_wake_from_a_thread),
		T(test_stop_before_run_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
