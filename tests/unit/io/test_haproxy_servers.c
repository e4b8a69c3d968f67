/* What HAProxy says of its servers, and asking it from a loop: answers in pieces, silence, nobody there. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/haproxy_servers.h"

static struct haproxy_server items[HAPROXY_SERVERS_MAX];

static enum err parse(const char *text, size_t *count)
{
	return haproxy_servers_parse(sv_str(text), items, count);
}

/* Of HAProxy 2.6.12, with fewer columns. */
static void servers(void **state)
{
	size_t n;

	(void)state;
	assert_int_equal(parse("# pxname,svname,qcur,status,weight,act,last_chk,\n"
	                       "be_imgproxy,img1,0,DOWN,70,1,\"Connection refused, \"\"twice\"\"\",\n"
	                       "be_imgproxy,img2,0,no check,0,1,,\n"
	                       "be_imgproxy,img-3.x,0,UP 1/3,256,1,,\n"
	                       "be_imgproxy,\"a,b\",0,UP,1,1,,\n"
	                       "be_imgproxy,img4,0,MAINT,5,1,,\n"
	                       "be_imgproxy,img5,0,DRAIN,0,1,,\n\n",
	                       &n),
	                 ERR_OK);
	assert_int_equal(n, 5);
	assert_string_equal(items[0].name, "img1");
	assert_true(!items[0].up && items[0].weight == 70);
	assert_string_equal(items[1].name, "img2");
	assert_true(items[1].up && items[1].weight == 0);
	assert_string_equal(items[2].name, "img-3.x");
	assert_true(items[2].up && items[2].weight == 256);
	assert_true(!items[3].up && items[4].up);
	/* The columns stand where the head says. */
	assert_int_equal(parse("# weight,status,svname,pxname\n3,UP,a,b\n", &n), ERR_OK);
	assert_true(n == 1 && items[0].weight == 3);
	assert_int_equal(parse("# svname,status,weight\n", &n), ERR_OK);
	assert_int_equal(n, 0);
}

static void no_answers_of_haproxy(void **state)
{
	static const char *const wrong[] = {
		"",
		"No such proxy.\n",
		"# ",
		"# svname,status\n",
		"# svname,status,weight\nimg1\n",
		"# svname,status,weight\nimg1,UP\n",
		"# svname,status,weight\nimg1,UP,-1\n",
		"# svname,status,weight\nimg1,UP,99999999999\n",
		"# svname,status,weight\nimg1,UP,\n",
	};
	static char many[HAPROXY_SERVERS_MAX * 16 + 64] = "# svname,status,weight\n";
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(parse(wrong[i], &n), ERR_INVALID);
	for (size_t i = 0; i <= HAPROXY_SERVERS_MAX; i++)
		strcat(many, "a,UP,1\n");
	assert_int_equal(parse(many, &n), ERR_SPACE);
}

/* ---- asking ---- */

static struct loop *loop;
static struct haproxy_asker *asker;
static char path[96];
static int listener;
static unsigned calls;
static enum err last_err;
static char last[256];

static void on_answer(void *arg, enum err err, struct sv answer)
{
	(void)arg;
	calls++;
	last_err = err;
	assert_int_equal(sv_copy(answer, last, sizeof(last)), ERR_OK);
}

static int setup(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	(void)state;
	calls = 0;
	snprintf(path, sizeof(path), "/tmp/gw-unit-ask-%ld.sock", (long)getpid());
	unlink(path);
	strcpy(addr.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	loop = loop_new();
	asker = haproxy_asker_new(loop, path);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	haproxy_asker_free(asker);
	loop_run_once(loop, false);
	assert_int_equal(loop_active(loop), 0);
	loop_free(loop);
	close(listener);
	unlink(path);
	return 0;
}

static int take(const char *command)
{
	char got[256] = "";
	int fd = accept(listener, NULL, NULL);

	assert_true(fd >= 0);
	loop_run_once(loop, false);
	loop_run_once(loop, false);
	ssize_t n = read(fd, got, sizeof(got) - 1);
	assert_true(n > 0);
	got[n] = '\0';
	assert_string_equal(got, command);
	return fd;
}

static void until_called(unsigned times)
{
	while (calls < times)
		loop_run_once(loop, true);
}

static void an_answer_in_pieces(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(haproxy_ask(asker, "show info", 5000, on_answer, NULL), ERR_OK);
		assert_int_equal(haproxy_ask(asker, "show stat", 5000, on_answer, NULL), ERR_BAD_STATE);
		int fd = take("show info\n");
		assert_int_equal(write(fd, "ab", 2), 2);
		loop_run_once(loop, true);
		assert_int_equal(write(fd, "cd\n", 3), 3);
		close(fd);
		until_called(i);
		assert_int_equal(last_err, ERR_OK);
		assert_string_equal(last, "abcd\n");
	}
}

static void silence(void **state)
{
	(void)state;
	assert_int_equal(haproxy_ask(asker, "show info", 50, on_answer, NULL), ERR_OK);
	int fd = take("show info\n");
	assert_int_equal(write(fd, "half", 4), 4);
	until_called(1);
	assert_int_equal(last_err, ERR_TIMEOUT);
	assert_string_equal(last, "");
	close(fd);
	assert_int_equal(haproxy_ask(asker, "show info", 5000, on_answer, NULL), ERR_OK);
	close(take("show info\n"));
	until_called(2);
	assert_int_equal(last_err, ERR_OK);
}

static void nobody_there(void **state)
{
	(void)state;
	unlink(path);
	assert_int_equal(haproxy_ask(asker, "show info", 5000, on_answer, NULL), ERR_UNAVAILABLE);
	assert_int_equal(calls, 0);
}

static void freed_while_it_waits(void **state)
{
	(void)state;
	assert_int_equal(haproxy_ask(asker, "show info", 5000, on_answer, NULL), ERR_OK);
	int fd = take("show info\n");
	haproxy_asker_free(asker);
	asker = NULL;
	loop_run_once(loop, false);
	assert_int_equal(calls, 0);
	close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers), cmocka_unit_test(no_answers_of_haproxy),
		T(an_answer_in_pieces),    T(silence),
		T(nobody_there),           T(freed_while_it_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
