/* LDFLAGS: -Wl,--wrap=redisAsyncConnect,--wrap=redisAsyncCommandArgv,--wrap=redisAsyncFree */
/* LDFLAGS: -Wl,--wrap=redisAsyncHandleRead,--wrap=redisAsyncHandleWrite,--wrap=redisAsyncFormattedCommand */
/* The Redis client over a hiredis whose functions are replaced; each ending of a command comes once. */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/redis.h"
#include "unit.h"

#define PENDING_MAX 16

/* The replaced hiredis: commands wait in `pending` until the test answers them or the connection dies. */
static struct {
	redisAsyncContext ac;
	int fds[2];
	unsigned connects, frees;
	bool refuse_connect;
	bool silent; /* the set-up is not answered */
	bool dies;   /* the next read finds the connection dead */
	const char *auth_error;
	char words[PENDING_MAX][64];
	redisCallbackFn *fn[PENDING_MAX];
	void *data[PENDING_MAX];
	size_t count;
	char log[512];  /* first words of all commands */
	char raw[1024]; /* commands that came as bytes */
	unsigned writes;
} fake;

redisAsyncContext *__wrap_redisAsyncConnect(const char *ip, int port);
int __wrap_redisAsyncCommandArgv(redisAsyncContext *ac, redisCallbackFn *fn, void *data, int argc, const char **argv,
                                 const size_t *len);
int __wrap_redisAsyncFormattedCommand(redisAsyncContext *ac, redisCallbackFn *fn, void *data, const char *cmd,
                                      size_t n);
void __wrap_redisAsyncFree(redisAsyncContext *ac);
void __wrap_redisAsyncHandleRead(redisAsyncContext *ac);
void __wrap_redisAsyncHandleWrite(redisAsyncContext *ac);

redisAsyncContext *__wrap_redisAsyncConnect(const char *ip, int port)
{
	static char refused[] = "Connection refused";
	assert_string_equal(ip, "127.0.0.1");
	assert_int_equal(port, 6379);
	fake.connects++;
	memset(&fake.ac, 0, sizeof(fake.ac));
	fake.ac.err = fake.refuse_connect ? REDIS_ERR_IO : 0;
	fake.ac.errstr = fake.refuse_connect ? refused : NULL;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fake.fds), 0);
	fake.ac.c.fd = fake.fds[0];
	return &fake.ac;
}

static void poke(void)
{
	assert_int_equal(send(fake.fds[1], "x", 1, 0), 1);
}

int __wrap_redisAsyncCommandArgv(redisAsyncContext *ac, redisCallbackFn *fn, void *data, int argc, const char **argv,
                                 const size_t *len)
{
	(void)argc;
	(void)len;
	assert_ptr_equal(ac, &fake.ac);
	assert_true(fake.count < PENDING_MAX);
	if ((ac->c.flags & REDIS_DISCONNECTING) != 0)
		return REDIS_ERR;
	strcpy(fake.words[fake.count], argv[0]);
	fake.fn[fake.count] = fn;
	fake.data[fake.count++] = data;
	strncat(fake.log, argv[0], 16);
	strcat(fake.log, " ");
	ac->ev.addRead(ac->ev.data);
	if (!fake.silent &&
	    (strcmp(argv[0], "AUTH") == 0 || strcmp(argv[0], "SELECT") == 0 || strcmp(argv[0], "PING") == 0))
		poke();
	return REDIS_OK;
}

int __wrap_redisAsyncFormattedCommand(redisAsyncContext *ac, redisCallbackFn *fn, void *data, const char *cmd, size_t n)
{
	if ((ac->c.flags & REDIS_DISCONNECTING) != 0)
		return REDIS_ERR;
	assert_true(strlen(fake.raw) + n < sizeof(fake.raw) && fake.count < PENDING_MAX);
	strncat(fake.raw, cmd, n);
	strcpy(fake.words[fake.count], "raw");
	fake.fn[fake.count] = fn;
	fake.data[fake.count++] = data;
	ac->ev.addRead(ac->ev.data);
	ac->ev.addWrite(ac->ev.data);
	return REDIS_OK;
}

static void reply_first(redisReply *reply)
{
	redisCallbackFn *fn = fake.fn[0];
	void *data = fake.data[0];
	fake.count--;
	memmove(fake.words, fake.words + 1, fake.count * sizeof(fake.words[0]));
	memmove(fake.fn, fake.fn + 1, fake.count * sizeof(fake.fn[0]));
	memmove(fake.data, fake.data + 1, fake.count * sizeof(fake.data[0]));
	if (fn != NULL)
		fn(&fake.ac, reply, data);
}

/* As hiredis does it: callbacks with NULL first, then the clean-up hook, then the socket. */
static void die(void)
{
	fake.ac.c.flags |= REDIS_DISCONNECTING;
	while (fake.count > 0)
		reply_first(NULL);
	if (fake.ac.ev.cleanup != NULL)
		fake.ac.ev.cleanup(fake.ac.ev.data);
	close(fake.fds[0]);
	close(fake.fds[1]);
	fake.frees++;
}

void __wrap_redisAsyncFree(redisAsyncContext *ac)
{
	assert_ptr_equal(ac, &fake.ac);
	die();
}

void __wrap_redisAsyncHandleRead(redisAsyncContext *ac)
{
	static char closed[] = "Server closed the connection";
	char buf[64], ok[] = "OK", wrong[] = "WRONGPASS";
	while (recv(fake.fds[0], buf, sizeof(buf), 0) > 0)
		continue;
	if (fake.dies) {
		fake.dies = false;
		ac->err = REDIS_ERR_EOF;
		ac->errstr = closed;
		die();
		return;
	}
	while (fake.count > 0 && !fake.silent &&
	       (strcmp(fake.words[0], "AUTH") == 0 || strcmp(fake.words[0], "SELECT") == 0 ||
	        strcmp(fake.words[0], "PING") == 0)) {
		bool refuse = fake.auth_error != NULL && fake.words[0][0] == 'A';
		redisReply r = { .type = refuse ? REDIS_REPLY_ERROR : REDIS_REPLY_STATUS, .str = refuse ? wrong : ok };
		r.len = strlen(r.str);
		reply_first(&r);
	}
}

void __wrap_redisAsyncHandleWrite(redisAsyncContext *ac)
{
	fake.writes++;
	ac->ev.delWrite(ac->ev.data);
}

struct answer {
	unsigned calls;
	enum err err;
	struct redis_reply reply;
	int64_t second;
};

struct fixture {
	struct loop *loop;
	struct redis *r;
	unsigned ups, downs;
	bool submitting;
	struct answer a, b, c;
	struct answer *again;
};

static struct fixture *current;
static void submit(struct fixture *f, struct answer *a, unsigned timeout_ms);

static void on_command(void *arg, enum err err, const struct redis_reply *r)
{
	struct answer *a = arg;
	assert_false(current->submitting);
	a->calls++;
	a->err = err;
	assert_int_equal(r != NULL, err == ERR_OK || err == ERR_REFUSED);
	if (r != NULL) {
		a->reply = *r;
		if (r->type == REDIS_ARRAY)
			a->second = redis_reply_at(r, 1).integer;
	}
	if (current->again != NULL) {
		struct answer *next = current->again;
		current->again = NULL;
		submit(current, next, 60000);
	}
}

static void submit(struct fixture *f, struct answer *a, unsigned timeout_ms)
{
	static const char *const words[] = { "GET", "key" };
	f->submitting = true;
	redis_command(f->r, 2, words, NULL, timeout_ms, on_command, a);
	f->submitting = false;
}

static void on_up(void *arg)
{
	((struct fixture *)arg)->ups++;
}

static void on_down(void *arg, const char *why)
{
	assert_int_not_equal(strlen(why), 0);
	((struct fixture *)arg)->downs++;
}

static void open_redis(struct fixture *f, unsigned ping_ms, size_t inflight)
{
	char error[256];
	struct redis_config c = {
		.addr = "127.0.0.1:6379",
		.password = "p",
		.db = 3,
		.ping_interval_ms = ping_ms,
		.inflight_max = inflight,
		.on_up = on_up,
		.on_down = on_down,
		.arg = f,
	};
	assert_int_equal(redis_new(f->loop, &c, &f->r, error, sizeof(error)), ERR_OK);
}

static void until_up(struct fixture *f)
{
	while (!redis_is_up(f->r))
		loop_run_once(f->loop, true);
	assert_int_equal(f->ups, f->downs + 1);
}

static void until_called(struct fixture *f, const struct answer *a)
{
	while (a->calls == 0)
		loop_run_once(f->loop, true);
	for (int i = 0; i < 3; i++)
		loop_run_once(f->loop, false);
	assert_int_equal(a->calls, 1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	memset(&fake, 0, sizeof(fake));
	f->loop = loop_new();
	alarm(60);
	current = f;
	*state = f;
	return f->loop == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	redis_free(f->r);
	size_t active = loop_active(f->loop);
	loop_free(f->loop);
	free(f);
	return active != 0 || fake.connects != fake.frees;
}

static void test_up_after_auth_select_and_ping(void **state)
{
	struct fixture *f = *state;
	open_redis(f, 60000, 0);
	until_up(f);
	assert_string_equal(fake.log, "AUTH SELECT PING ");
}

static void test_replies(void **state)
{
	struct fixture *f = *state;
	char text[] = "value", error[] = "ERR no";
	redisReply one = { .type = REDIS_REPLY_STRING, .str = text, .len = 5 };
	redisReply two = { .type = REDIS_REPLY_INTEGER, .integer = 7 };
	redisReply *both[] = { &one, &two };
	redisReply array = { .type = REDIS_REPLY_ARRAY, .elements = 2, .element = both };
	redisReply bad = { .type = REDIS_REPLY_ERROR, .str = error, .len = 6 };
	open_redis(f, 60000, 0);
	until_up(f);
	submit(f, &f->a, 60000);
	submit(f, &f->b, 60000);
	submit(f, &f->c, 60000);
	assert_int_equal(fake.count, 3);
	reply_first(&one);
	reply_first(&array);
	reply_first(&bad);
	assert_int_equal(f->a.err, ERR_OK);
	assert_int_equal(f->a.reply.type, REDIS_STRING);
	assert_int_equal(f->a.reply.str.n, 5);
	assert_int_equal(f->b.err, ERR_OK);
	assert_int_equal(f->b.reply.count, 2);
	assert_int_equal(f->b.second, 7);
	assert_int_equal(f->c.err, ERR_REFUSED);
	assert_int_equal(f->a.calls + f->b.calls + f->c.calls, 3);
}

static void test_late_reply_after_the_deadline_is_swallowed(void **state)
{
	struct fixture *f = *state;
	redisReply one = { .type = REDIS_REPLY_INTEGER, .integer = 1 };
	open_redis(f, 60000, 0);
	until_up(f);
	submit(f, &f->a, 5);
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_TIMEOUT);
	assert_int_equal(fake.count, 1);
	reply_first(&one);
	assert_int_equal(f->a.calls, 1);
	assert_true(redis_is_up(f->r));
}

static void test_connection_lost(void **state)
{
	struct fixture *f = *state;
	open_redis(f, 60000, 0);
	until_up(f);
	submit(f, &f->a, 60000);
	submit(f, &f->b, 60000);
	f->again = &f->c;
	fake.dies = true;
	poke();
	until_called(f, &f->c);
	assert_int_equal(f->a.err, ERR_CLOSED);
	assert_int_equal(f->b.err, ERR_CLOSED);
	assert_int_equal(f->c.err, ERR_UNAVAILABLE);
	assert_int_equal(f->downs, 1);
	assert_string_equal(redis_last_error(f->r), "Server closed the connection");
	until_up(f);
	assert_int_equal(f->a.calls + f->b.calls + f->c.calls, 3);
}

static void test_idle_connection_lost(void **state)
{
	struct fixture *f = *state;
	open_redis(f, 60000, 0);
	until_up(f);
	fake.dies = true;
	poke();
	while (f->downs == 0)
		loop_run_once(f->loop, true);
	until_up(f);
	assert_int_equal(fake.connects, 2);
}

static void test_down_and_full_are_refused_later(void **state)
{
	struct fixture *f = *state;
	open_redis(f, 60000, 1);
	submit(f, &f->a, 60000);
	assert_int_equal(f->a.calls, 0);
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_UNAVAILABLE);
	until_up(f);
	submit(f, &f->b, 60000);
	submit(f, &f->c, 60000);
	assert_int_equal(f->c.calls, 0);
	until_called(f, &f->c);
	assert_int_equal(f->c.err, ERR_UNAVAILABLE);
	assert_int_equal(f->b.calls, 0);
}

static void test_free_ends_all_commands(void **state)
{
	struct fixture *f = *state;
	open_redis(f, 60000, 1);
	until_up(f);
	submit(f, &f->a, 60000);
	submit(f, &f->b, 60000);
	redis_free(f->r);
	f->r = NULL;
	assert_int_equal(f->a.calls + f->b.calls, 2);
	assert_int_equal(f->a.err, ERR_CLOSED);
	assert_int_equal(f->b.err, ERR_CLOSED);
	assert_int_equal(f->downs, 0);
}

static void test_unanswered_ping_drops_the_connection(void **state)
{
	struct fixture *f = *state;
	open_redis(f, 5, 0);
	until_up(f);
	fake.silent = true;
	while (f->downs == 0)
		loop_run_once(f->loop, true);
	assert_string_equal(redis_last_error(f->r), "no answer to PING");
	fake.silent = false;
	until_up(f);
}

static void test_wrong_password_and_refusal_are_tried_again(void **state)
{
	struct fixture *f = *state;
	fake.auth_error = "WRONGPASS";
	open_redis(f, 60000, 0);
	while (fake.frees == 0)
		loop_run_once(f->loop, true);
	assert_string_equal(redis_last_error(f->r), "WRONGPASS");
	assert_int_equal(f->ups + f->downs, 0);
	fake.auth_error = NULL;
	fake.refuse_connect = true;
	while (fake.frees < 2)
		loop_run_once(f->loop, true);
	assert_string_equal(redis_last_error(f->r), "Connection refused");
	fake.refuse_connect = false;
	until_up(f);
}

static void make_batch(struct redis_batch *b)
{
	redis_batch_init(b);
	redis_batch_command(b, 3);
	redis_batch_word(b, SV("INCRBY"));
	redis_batch_word(b, SV("key"));
	redis_batch_int(b, -7);
	redis_batch_command(b, 1);
	redis_batch_word(b, SV("TIME"));
	assert_true(redis_batch_ok(b));
}

static void test_transaction(void **state)
{
	struct fixture *f = *state;
	struct redis_batch b;
	redisReply one = { .type = REDIS_REPLY_INTEGER, .integer = 6 };
	redisReply two = { .type = REDIS_REPLY_INTEGER, .integer = 7 };
	redisReply *both[] = { &one, &two };
	redisReply queued = { .type = REDIS_REPLY_STATUS };
	redisReply array = { .type = REDIS_REPLY_ARRAY, .elements = 2, .element = both };
	char text[] = "EXECABORT";
	redisReply bad = { .type = REDIS_REPLY_ERROR, .str = text, .len = 9 };
	make_batch(&b);
	open_redis(f, 60000, 2);
	until_up(f);
	f->submitting = true;
	redis_transaction(f->r, &b, 60000, on_command, &f->a);
	redis_transaction(f->r, &b, 60000, on_command, &f->b);
	redis_transaction(f->r, &b, 60000, on_command, &f->c);
	f->submitting = false;
	assert_string_equal(fake.raw, "*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nINCRBY\r\n$3\r\nkey\r\n$2\r\n-7\r\n"
	                              "*1\r\n$4\r\nTIME\r\n*1\r\n$4\r\nEXEC\r\n"
	                              "*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nINCRBY\r\n$3\r\nkey\r\n$2\r\n-7\r\n"
	                              "*1\r\n$4\r\nTIME\r\n*1\r\n$4\r\nEXEC\r\n");
	assert_int_equal(fake.writes, 0);
	redis_flush(f->r);
	redis_flush(f->r);
	assert_int_equal(fake.writes, 1);
	/* The third is one too many. */
	until_called(f, &f->c);
	assert_int_equal(f->c.err, ERR_UNAVAILABLE);
	for (int i = 0; i < 3; i++)
		reply_first(&queued);
	assert_int_equal(f->a.calls, 0);
	reply_first(&array);
	assert_int_equal(f->a.calls, 1);
	assert_int_equal(f->a.err, ERR_OK);
	assert_int_equal(f->a.reply.count, 2);
	assert_int_equal(f->a.second, 7);
	for (int i = 0; i < 3; i++)
		reply_first(&queued);
	reply_first(&bad);
	assert_int_equal(f->b.err, ERR_REFUSED);
	assert_int_equal(f->b.calls, 1);
}

static void test_transaction_lost(void **state)
{
	struct fixture *f = *state;
	struct redis_batch b;
	make_batch(&b);
	open_redis(f, 60000, 0);
	redis_transaction(f->r, &b, 60000, on_command, &f->a);
	until_called(f, &f->a);
	assert_int_equal(f->a.err, ERR_UNAVAILABLE);
	until_up(f);
	redis_transaction(f->r, &b, 60000, on_command, &f->b);
	fake.dies = true;
	poke();
	until_called(f, &f->b);
	assert_int_equal(f->b.err, ERR_CLOSED);
}

static void test_batch_limits(void **state)
{
	struct redis_batch b;
	char big[REDIS_BATCH_BYTES];
	(void)state;
	redis_batch_init(&b);
	assert_false(redis_batch_ok(&b));
	redis_batch_command(&b, 2);
	redis_batch_word(&b, SV("GET"));
	assert_false(redis_batch_ok(&b));
	redis_batch_word(&b, SV("k"));
	assert_true(redis_batch_ok(&b));
	redis_batch_word(&b, SV("more"));
	assert_false(redis_batch_ok(&b));
	redis_batch_init(&b);
	memset(big, 'x', sizeof(big));
	redis_batch_command(&b, 1);
	redis_batch_word(&b, sv_from(big, sizeof(big)));
	assert_false(redis_batch_ok(&b));
	redis_batch_init(&b);
	for (int i = 0; i <= REDIS_BATCH_COMMANDS; i++) {
		assert_int_equal(redis_batch_ok(&b), i > 0);
		redis_batch_command(&b, 1);
		redis_batch_word(&b, SV("PING"));
	}
	assert_false(redis_batch_ok(&b));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_up_after_auth_select_and_ping),
		T(test_replies),
		T(test_late_reply_after_the_deadline_is_swallowed),
		T(test_connection_lost),
		T(test_idle_connection_lost),
		T(test_down_and_full_are_refused_later),
		T(test_free_ends_all_commands),
		T(test_unanswered_ping_drops_the_connection),
		T(test_wrong_password_and_refusal_are_tried_again),
		T(test_transaction),
		T(test_transaction_lost),
		cmocka_unit_test(test_batch_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
