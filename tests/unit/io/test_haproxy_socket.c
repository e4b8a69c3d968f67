#include "unit.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sv.h"
#include "io/haproxy_socket.h"

/* A server that takes one connection, reads a line and answers, in pieces of `piece` bytes; or stays silent. */
struct fake {
	char path[96];
	int listener;
	pthread_t thread;
	char asked[256];
	const char *answer;
	size_t n;
	size_t piece;
	bool silent;
};

static void *serve(void *arg)
{
	struct fake *f = arg;
	int fd = accept(f->listener, NULL, NULL);
	size_t got = 0;

	assert_true(fd >= 0);
	while (memchr(f->asked, '\n', got) == NULL) {
		ssize_t n = read(fd, f->asked + got, sizeof(f->asked) - 1 - got);
		assert_true(n > 0);
		got += (size_t)n;
	}
	for (size_t at = 0; !f->silent && at < f->n;) {
		size_t n = f->n - at < f->piece ? f->n - at : f->piece;
		ssize_t sent = write(fd, f->answer + at, n);
		assert_true(sent > 0);
		at += (size_t)sent;
	}
	/* The silent one waits until the other side gives up. */
	if (f->silent)
		assert_int_equal(read(fd, f->asked + got, 1), 0);
	close(fd);
	return NULL;
}

static void start(struct fake *f)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(f->path, sizeof(f->path), "/tmp/gw-unit-%ld.sock", (long)getpid());
	unlink(f->path);
	strcpy(addr.sun_path, f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(f->listener >= 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void stop(struct fake *f)
{
	assert_int_equal(pthread_join(f->thread, NULL), 0);
	close(f->listener);
	unlink(f->path);
}

static const char table[] = "# table: st_user, type: integer, size:204800, used:2\n"
                            "0x55c6840e1b28: key=70 use=0 exp=863999858 conn_cur=1 http_req_cnt=3 bytes_in_cnt=258 "
                            "bytes_out_cnt=9000000000\n"
                            "0x55c6840e1b29: key=7 use=0 exp=863999858 shard=0 conn_cur=0 http_req_cnt=5\n\n";

static void an_answer_is_read_to_its_end(void **state)
{
	struct fake f = { .answer = table, .n = sizeof(table) - 1, .piece = 7 };
	char *answer, error[256];
	size_t n;

	(void)state;
	start(&f);
	assert_int_equal(haproxy_socket_ask(f.path, "show table st_user", 5000, &answer, &n, error, sizeof(error)),
	                 ERR_OK);
	stop(&f);
	assert_string_equal(f.asked, "show table st_user\n");
	assert_int_equal(n, sizeof(table) - 1);
	assert_string_equal(answer, table);
	free(answer);
}

static void who_does_not_answer_is_named(void **state)
{
	struct fake f = { .silent = true };
	char *answer, error[256];
	size_t n;

	(void)state;
	start(&f);
	assert_int_equal(haproxy_socket_ask(f.path, "show info", 50, &answer, &n, error, sizeof(error)), ERR_TIMEOUT);
	assert_null(answer);
	assert_non_null(strstr(error, f.path));
	assert_non_null(strstr(error, "no answer within 50 ms"));
	stop(&f);
	assert_int_equal(haproxy_socket_ask(f.path, "show info", 50, &answer, &n, error, sizeof(error)),
	                 ERR_UNAVAILABLE);
	assert_non_null(strstr(error, "No such file"));
	char longest[200];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(haproxy_socket_ask(longest, "show info", 50, &answer, &n, error, sizeof(error)),
	                 ERR_UNAVAILABLE);
	assert_null(answer);
}

static void a_large_table_is_read_whole(void **state)
{
	enum { USERS = 200000 };
	struct fake f = { .piece = 1 << 20 };
	struct haproxy_table t;
	char *text = NULL, *answer, error[256];
	size_t n;
	FILE *out = open_memstream(&text, &f.n);

	(void)state;
	assert_non_null(out);
	fprintf(out, "# table: st_user, type: integer, size:204800, used:%d\n", USERS);
	for (uint64_t i = USERS; i > 0; i--)
		fprintf(out,
		        "0x55c684000000: key=%" PRIu64 " use=0 exp=1 conn_cur=0 http_req_cnt=%" PRIu64
		        " bytes_in_cnt=258 bytes_out_cnt=147\n",
		        i, i * 3);
	fclose(out);
	f.answer = text;
	start(&f);
	assert_int_equal(haproxy_socket_ask(f.path, "show table st_user", 60000, &answer, &n, error, sizeof(error)),
	                 ERR_OK);
	stop(&f);
	assert_int_equal(n, f.n);
	assert_int_equal(haproxy_table_parse(sv_from(answer, n), &t), ERR_OK);
	assert_int_equal(t.count, USERS);
	for (size_t i = 0; i < USERS; i++) {
		assert_int_equal(t.items[i].key, i + 1);
		assert_int_equal(t.items[i].requests, (i + 1) * 3);
	}
	haproxy_table_free(&t);
	free(answer);
	free(text);
}

static void a_table_is_parsed(void **state)
{
	struct haproxy_table t;

	(void)state;
	assert_int_equal(haproxy_table_parse(SV(table), &t), ERR_OK);
	assert_int_equal(t.count, 2);
	assert_int_equal(t.size, 204800);
	assert_int_equal(t.items[0].key, 7);
	assert_int_equal(t.items[0].requests, 5);
	assert_int_equal(t.items[0].bytes_out, 0);
	assert_int_equal(t.items[1].key, 70);
	assert_int_equal(t.items[1].in_flight, 1);
	assert_int_equal(t.items[1].bytes_in, 258);
	assert_int_equal(t.items[1].bytes_out, 9000000000);
	haproxy_table_free(&t);
	assert_int_equal(haproxy_table_parse(SV("# table: st_user, type: integer, size:204800, used:0\n\n"), &t),
	                 ERR_OK);
	assert_int_equal(t.count, 0);
	haproxy_table_free(&t);
	assert_int_equal(haproxy_table_parse(SV("No such table\n\n"), &t), ERR_NOT_FOUND);
	static const char *const wrong[] = {
		"",
		"Permission denied\n",
		"# table: st_user, type: string, size:204800, used:0\n",
		"# table: st_user, type: integer, used:0\n",
		"# table: st_user, type: integer, size:1, used:1\n0x1: key=x use=0\n",
		"# table: st_user, type: integer, size:1, used:1\n0x1: use=0 http_req_cnt=1\n",
		"# table: st_user, type: integer, size:1, used:1\n0x1: key=1 http_req_cnt=-1\n",
		"# table: st_user, type: integer, size:1, used:1\n0x1: key=1 bytes_out_cnt=99999999999999999999\n",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(haproxy_table_parse(sv_str(wrong[i]), &t), ERR_INVALID);
		assert_null(t.items);
	}
}

static void a_process_has_a_name(void **state)
{
	char process[HAPROXY_PROCESS_MAX];

	(void)state;
	assert_int_equal(haproxy_info_process(
	                         SV("Name: HAProxy\nPid: 29677\nUptime_sec: 0\nStart_time_sec: 1795848848\n"), process),
	                 ERR_OK);
	assert_string_equal(process, "29677@1795848848");
	assert_int_equal(haproxy_info_process(SV("Pid: 29677\n"), process), ERR_INVALID);
	assert_int_equal(haproxy_info_process(SV("Pid: x\nStart_time_sec: 1\n"), process), ERR_INVALID);
	assert_int_equal(haproxy_info_process(SV(""), process), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_read_to_its_end), cmocka_unit_test(who_does_not_answer_is_named),
		cmocka_unit_test(a_large_table_is_read_whole),  cmocka_unit_test(a_table_is_parsed),
		cmocka_unit_test(a_process_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
