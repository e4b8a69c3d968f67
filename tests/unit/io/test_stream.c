/* Streams over socket pairs: byte splits, limits, slow readers, and one on_close for each ending. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/stream.h"
#include "unit.h"

#define BIG (4u << 20)

struct fixture {
	struct loop *loop;
	struct stream *s;
	int peer;
	uint8_t got[4096]; /* bytes that on_data consumed */
	size_t got_len;
	size_t shown;   /* bytes of the last on_data */
	size_t unit;    /* consume in multiples of this; 0: nothing */
	unsigned calls; /* of on_data */
	unsigned closes;
	unsigned reason;
	bool echo;
	int close_in_data; /* reason, or -1 */
};

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
	struct fixture *f = arg;
	size_t used = f->unit > 0 ? n - n % f->unit : 0;
	assert_int_equal(f->closes, 0);
	f->calls++;
	f->shown = n;
	assert_true(used <= sizeof(f->got) - f->got_len);
	memcpy(f->got + f->got_len, p, used);
	f->got_len += used;
	if (f->echo && used > 0)
		assert_int_equal(stream_write(f->s, p, used), ERR_OK);
	if (f->close_in_data >= 0) {
		stream_close(f->s, (unsigned)f->close_in_data);
		stream_close(f->s, STREAM_USER + 99);
		assert_int_equal(f->closes, 0);
		assert_false(stream_is_open(f->s));
	}
	return used;
}

static void on_close(void *arg, unsigned reason)
{
	struct fixture *f = arg;
	f->closes++;
	f->reason = reason;
	f->s = NULL;
}

static const struct stream_ops ops = { .on_data = on_data, .on_close = on_close };

static void open_stream(struct fixture *f, size_t in_max, size_t out_max)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	f->peer = fds[1];
	f->s = stream_new(f->loop, fds[0], (struct stream_limits){ in_max, out_max }, &ops, f);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	f->loop = loop_new();
	f->unit = 1;
	f->close_in_data = -1;
	f->peer = -1;
	alarm(30);
	*state = f;
	return f->loop == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	if (f->s != NULL)
		stream_close(f->s, STREAM_DONE);
	loop_run_once(f->loop, false);
	size_t active = loop_active(f->loop);
	unsigned closes = f->closes;
	loop_free(f->loop);
	if (f->peer >= 0)
		close(f->peer);
	free(f);
	return active != 0 || closes != 1;
}

static void turns(struct fixture *f, int n)
{
	while (n-- > 0)
		loop_run_once(f->loop, false);
}

static void send_peer(struct fixture *f, const char *text)
{
	assert_int_equal(send(f->peer, text, strlen(text), 0), strlen(text));
}

static void test_bytes_one_by_one_and_at_once_are_the_same(void **state)
{
	struct fixture *f = *state;
	const char *text = "abcdefghijkl";
	open_stream(f, 64, 64);
	f->unit = 5;
	for (const char *p = text; *p != '\0'; p++) {
		assert_int_equal(send(f->peer, p, 1, 0), 1);
		turns(f, 1);
	}
	assert_int_equal(f->got_len, 10);
	assert_memory_equal(f->got, text, 10);
	assert_int_equal(f->shown, 2);
	assert_int_equal(f->calls, 12);
	send_peer(f, "mnopqrst");
	turns(f, 1);
	assert_int_equal(f->got_len, 20);
	assert_memory_equal(f->got, "abcdefghijklmnopqrst", 20);
}

static void test_input_grows_to_its_limit_and_no_further(void **state)
{
	struct fixture *f = *state;
	char *bytes = calloc(1, 40001);
	open_stream(f, 40000, 64);
	f->unit = 0;
	assert_int_equal(send(f->peer, bytes, 39999, 0), 39999);
	turns(f, 4);
	assert_int_equal(f->shown, 39999);
	assert_true(stream_is_open(f->s));
	assert_int_equal(send(f->peer, bytes, 1, 0), 1);
	turns(f, 2);
	assert_int_equal(f->shown, 40000);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_IN_FULL);
	free(bytes);
}

static void test_full_buffer_that_is_consumed_goes_on(void **state)
{
	struct fixture *f = *state;
	open_stream(f, 8, 64);
	f->unit = 8;
	send_peer(f, "0123456789abcdef");
	turns(f, 4);
	assert_int_equal(f->got_len, 16);
	assert_memory_equal(f->got, "0123456789abcdef", 16);
	assert_true(stream_is_open(f->s));
}

static void test_output_of_a_turn_leaves_at_its_end(void **state)
{
	struct fixture *f = *state;
	struct wcur out;
	char buf[32];
	open_stream(f, 64, 64);
	assert_int_equal(stream_out(f->s, 3, &out), ERR_OK);
	wcur_sv(&out, SV("one"));
	assert_int_equal(stream_commit(f->s, &out), ERR_OK);
	assert_int_equal(stream_write(f->s, "two", 3), ERR_OK);
	assert_int_equal(stream_out(f->s, 1, &out), ERR_OK);
	wcur_fail(&out, ERR_RANGE);
	assert_int_equal(stream_commit(f->s, &out), ERR_RANGE);
	assert_int_equal(recv(f->peer, buf, sizeof(buf), 0), -1);
	assert_int_equal(stream_out_len(f->s), 6);
	turns(f, 1);
	assert_int_equal(recv(f->peer, buf, sizeof(buf), 0), 6);
	assert_memory_equal(buf, "onetwo", 6);
	assert_int_equal(stream_out_len(f->s), 0);
}

static void test_big_output_reaches_a_slow_reader_whole(void **state)
{
	struct fixture *f = *state;
	uint8_t *bytes = malloc(BIG), buf[8192];
	size_t got = 0;
	ssize_t n;
	open_stream(f, 64, BIG);
	for (size_t i = 0; i < BIG; i++)
		bytes[i] = (uint8_t)(i * 31 + (i >> 8));
	assert_int_equal(stream_write(f->s, bytes, BIG), ERR_OK);
	stream_close_after_flush(f->s, STREAM_DONE);
	assert_int_equal(stream_write(f->s, "x", 1), ERR_CLOSED);
	turns(f, 1);
	assert_int_equal(f->closes, 0);
	for (;;) {
		n = recv(f->peer, buf, sizeof(buf), 0);
		if (n == 0)
			break;
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			loop_run_once(f->loop, true);
			continue;
		}
		assert_true(got + (size_t)n <= BIG);
		assert_memory_equal(buf, bytes + got, (size_t)n);
		got += (size_t)n;
	}
	assert_int_equal(got, BIG);
	turns(f, 1);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_DONE);
	free(bytes);
}

static void test_too_much_output_closes(void **state)
{
	struct fixture *f = *state;
	struct wcur out;
	open_stream(f, 64, 100);
	assert_int_equal(stream_write(f->s, "12345678901234567890", 20), ERR_OK);
	assert_int_equal(stream_out(f->s, 80, &out), ERR_OK);
	assert_int_equal(stream_out(f->s, 81, &out), ERR_SPACE);
	assert_int_equal(f->closes, 0);
	assert_int_equal(stream_out(f->s, 1, &out), ERR_CLOSED);
	turns(f, 1);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_OUT_FULL);
}

static void test_data_with_end_of_file_is_answered_first(void **state)
{
	struct fixture *f = *state;
	char buf[16];
	open_stream(f, 64, 64);
	f->echo = true;
	send_peer(f, "ping");
	shutdown(f->peer, SHUT_WR);
	turns(f, 3);
	assert_int_equal(f->got_len, 4);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_EOF);
	assert_int_equal(recv(f->peer, buf, sizeof(buf), 0), 4);
	assert_memory_equal(buf, "ping", 4);
	assert_int_equal(recv(f->peer, buf, sizeof(buf), 0), 0);
}

static void test_close_in_on_data_comes_once_with_the_first_reason(void **state)
{
	struct fixture *f = *state;
	open_stream(f, 64, 64);
	f->close_in_data = STREAM_USER + 3;
	send_peer(f, "x");
	turns(f, 3);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_USER + 3);
}

static void test_peer_that_is_gone_while_output_waits(void **state)
{
	struct fixture *f = *state;
	char *bytes = calloc(1, BIG);
	open_stream(f, 64, BIG);
	assert_int_equal(stream_write(f->s, bytes, BIG), ERR_OK);
	turns(f, 1);
	assert_true(stream_out_len(f->s) > 0);
	close(f->peer);
	f->peer = -1;
	turns(f, 3);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_RESET);
	free(bytes);
}

static void test_peer_that_is_gone_while_flushing_keeps_the_reason(void **state)
{
	struct fixture *f = *state;
	char *bytes = calloc(1, BIG);
	open_stream(f, 64, BIG);
	assert_int_equal(stream_write(f->s, bytes, BIG), ERR_OK);
	stream_close_after_flush(f->s, STREAM_USER);
	turns(f, 1);
	assert_int_equal(f->closes, 0);
	close(f->peer);
	f->peer = -1;
	turns(f, 3);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_USER);
	free(bytes);
}

static void test_close_after_flush_without_output_and_by_force(void **state)
{
	struct fixture *f = *state;
	open_stream(f, 64, 64);
	stream_close_after_flush(f->s, STREAM_DONE);
	assert_int_equal(f->closes, 0);
	turns(f, 1);
	assert_int_equal(f->closes, 1);
	close(f->peer);

	f->closes = 0;
	open_stream(f, 64, BIG);
	char *bytes = calloc(1, BIG);
	assert_int_equal(stream_write(f->s, bytes, BIG), ERR_OK);
	stream_close_after_flush(f->s, STREAM_USER);
	turns(f, 2);
	assert_int_equal(f->closes, 0);
	stream_close(f->s, STREAM_DONE);
	turns(f, 1);
	assert_int_equal(f->closes, 1);
	assert_int_equal(f->reason, STREAM_USER);
	free(bytes);
}

static void test_loop_free_ends_a_closed_stream(void **state)
{
	struct fixture *f = *state;
	struct loop *mine = f->loop;
	f->loop = loop_new();
	open_stream(f, 64, 64);
	stream_close(f->s, STREAM_DONE);
	assert_int_equal(f->closes, 0);
	loop_free(f->loop);
	f->loop = mine;
	assert_int_equal(f->closes, 1);
}

static void test_reason_names(void **state)
{
	struct fixture *f = *state;
	f->closes = 1; /* this test opens no stream */
	for (unsigned i = 0; i < STREAM_REASON_COUNT; i++)
		assert_string_not_equal(stream_reason_str(i), "user");
	assert_string_equal(stream_reason_str(STREAM_USER + 1), "user");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bytes_one_by_one_and_at_once_are_the_same),
		T(test_input_grows_to_its_limit_and_no_further),
		T(test_full_buffer_that_is_consumed_goes_on),
		T(test_output_of_a_turn_leaves_at_its_end),
		T(test_big_output_reaches_a_slow_reader_whole),
		T(test_too_much_output_closes),
		T(test_data_with_end_of_file_is_answered_first),
		T(test_close_in_on_data_comes_once_with_the_first_reason),
		T(test_peer_that_is_gone_while_output_waits),
		T(test_peer_that_is_gone_while_flushing_keeps_the_reason),
		T(test_close_after_flush_without_output_and_by_force),
		T(test_loop_free_ends_a_closed_stream),
		T(test_reason_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
