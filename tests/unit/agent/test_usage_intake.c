/*
 * Usage lines from the sockets into the spool: each request once, over whichever transport it comes, and a datagram
 * leaves its socket only when its record is kept.
 */
/* LDFLAGS: -Wl,--wrap=usage_spool_append */
#include "unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/usage_datagrams.h"
#include "agent/usage_intake.h"
#include "agent/usage_ring.h"
#include "policy/quota.h"

#define TOKEN      "0123456789abcdef-token"
#define USER       7
#define MEMORY_MAX ((size_t)1 << 20)

static struct {
	char dir[64];
	char spool_dir[80];
	struct loop *loop;
	struct policy_db *db;
	struct limits_memory *memory;
	struct usage_charges *charges;
	struct usage_spool *spool;
	struct usage_intake *intake;
	struct usage_datagrams *datagrams;
	struct usage_ring *ring;
	struct agent_usage metrics;
	int udp;
	int tcp;
	int client; /* UDP */
	struct sockaddr_in udp_address;
	struct sockaddr_in tcp_address;
	unsigned recorded;
	unsigned ready;
	bool disk_full;
	void (*send_more)(unsigned number); /* at each append */
	unsigned more;
	int sender;    /* TCP */
	int in_socket; /* whether a datagram was there at the last append; -1: not looked at */
} w;

enum err __real_usage_spool_append(struct usage_spool *s, const struct sv *texts, size_t n);
enum err __wrap_usage_spool_append(struct usage_spool *s, const struct sv *texts, size_t n);

enum err __wrap_usage_spool_append(struct usage_spool *s, const struct sv *texts, size_t n)
{
	int waiting = 0;

	assert_int_equal(ioctl(w.udp, FIONREAD, &waiting), 0);
	w.in_socket = waiting > 0;
	if (w.send_more != NULL)
		w.send_more(w.more++);
	assert_true(w.more < 5000);
	if (!w.disk_full)
		return __real_usage_spool_append(s, texts, n);
	errno = ENOSPC;
	return ERR_IO;
}

static void on_recorded(void *arg)
{
	(void)arg;
	w.recorded++;
}

static void on_ready(void *arg)
{
	(void)arg;
	w.ready++;
	usage_datagrams_resume(w.datagrams);
	usage_ring_resume(w.ring);
}

static void on_damaged(void *arg, const char *what, uint64_t records)
{
	(void)arg;
	(void)records;
	fail_msg("%s", what);
}

static int bound(int type, struct sockaddr_in *address)
{
	socklen_t len = sizeof(*address);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (const struct sockaddr *)address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void start_keeper(void)
{
	char error[1024];
	const struct usage_spool_config spool = {
		.dir = w.spool_dir, .segment_bytes = (size_t)1 << 20, .keep = 4, .damaged = on_damaged
	};

	w.charges = usage_charges_new(w.memory, w.db);
	assert_int_equal(usage_spool_open(&spool, &w.spool, error, sizeof(error)), ERR_OK);
	const struct usage_intake_config config = {
		.token = TOKEN,
		.previous_token = "",
		.memory_max = MEMORY_MAX,
		.spool = w.spool,
		.charges = w.charges,
		.metrics = &w.metrics,
		.on_recorded = on_recorded,
		.on_ready = on_ready,
	};
	w.intake = usage_intake_new(w.loop, &config);
	w.datagrams = usage_datagrams_new(w.loop, w.udp, w.intake, &w.metrics);
	w.ring = usage_ring_new(w.loop, w.tcp, w.intake, &w.metrics);
}

static void end_keeper(void)
{
	usage_ring_free(w.ring);
	usage_datagrams_free(w.datagrams);
	usage_intake_free(w.intake);
	usage_spool_close(w.spool);
	usage_charges_free(w.charges);
}

static int setup(void **state)
{
	const struct policy_user user = { .version = POLICY_LAYOUT, .flags = USER_ACTIVE };
	const int buffer = 4 << 20;
	char error[256];

	(void)state;
	memset(&w, 0, sizeof(w));
	strcpy(w.dir, "/tmp/test-usage-intake-XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	snprintf(w.spool_dir, sizeof(w.spool_dir), "%s/usage", w.dir);
	assert_int_equal(mkdir(w.spool_dir, 0700), 0);
	w.memory = mmap(NULL, sizeof(*w.memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(w.memory, MAP_FAILED);
	assert_int_equal(policy_db_open(w.dir, true, &w.db, error), ERR_OK);
	assert_int_equal(policy_db_begin(w.db), ERR_OK);
	assert_int_equal(policy_db_put(w.db, POLICY_USERS, USER, &user, sizeof(user)), ERR_OK);
	assert_int_equal(policy_db_set_generation(w.db, 1, "stamp"), ERR_OK);
	assert_int_equal(policy_db_commit(w.db), ERR_OK);
	w.loop = loop_new();
	w.udp = bound(SOCK_DGRAM, &w.udp_address);
	setsockopt(w.udp, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	w.tcp = bound(SOCK_STREAM, &w.tcp_address);
	w.client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(w.client, (const struct sockaddr *)&w.udp_address, sizeof(w.udp_address)), 0);
	start_keeper();
	return 0;
}

static void remove_folder(const char *path)
{
	char name[512];
	struct dirent *entry;
	DIR *dir = opendir(path);

	while ((entry = readdir(dir)) != NULL) {
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		unlink(name);
	}
	closedir(dir);
	rmdir(path);
}

static int teardown(void **state)
{
	(void)state;
	end_keeper();
	loop_free(w.loop);
	close(w.udp);
	close(w.tcp);
	close(w.client);
	policy_db_close(w.db);
	remove_folder(w.spool_dir);
	remove_folder(w.dir);
	munmap(w.memory, sizeof(*w.memory));
	return 0;
}

/* ---- lines ---- */

/* An image of 1000 bytes that was asked for now. */
static size_t make_line(char *line, size_t size, const char *token, unsigned number)
{
	int n = snprintf(
	        line, size,
	        "<134>1 2026-11-28T06:30:00.000000+00:00 - haproxy 12 - gwu1\t%s\tid-%u\t%d\t3\tallow\t200\t1150\t"
	        "97\t1000\t150\t-\t%lld123\t12\t9\t----\tbe_imgproxy\timg1\timage\tGET\t127.0.0.1\t/img/unsafe/plain/"
	        "local:///cat.jpg\t a message for people\n",
	        token, number, USER, (long long)time(NULL));

	assert_true(n > 0 && (size_t)n < size);
	return (size_t)n;
}

static void send_line(unsigned number)
{
	char line[1024];
	size_t n = make_line(line, sizeof(line), TOKEN, number);

	assert_int_equal(send(w.client, line, n, 0), (ssize_t)n);
}

static int connect_ring(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&w.tcp_address, sizeof(w.tcp_address)), 0);
	return fd;
}

static size_t make_counted(char *out, size_t size, unsigned number)
{
	char line[1024];
	size_t n = make_line(line, sizeof(line), TOKEN, number);
	int head = snprintf(out, size, "%zu ", n);

	assert_true((size_t)head + n < size);
	memcpy(out + head, line, n);
	return (size_t)head + n;
}

static void turns(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		loop_run_once(w.loop, false);
}

static uint64_t result(enum agent_usage_result which)
{
	return w.metrics.results[which];
}

/* The ids in the spool, which must be these, in this order. */
static void check_spool(const unsigned *numbers, size_t n)
{
	struct usage_reader *r = usage_reader_new(w.spool, (struct usage_position){ 0, 0 });
	struct usage_position after;
	struct usage_record record;
	struct sv text;

	for (size_t i = 0; i < n; i++) {
		char id[32];
		snprintf(id, sizeof(id), "id-%u", numbers[i]);
		assert_int_equal(usage_reader_next(r, &text, &after), ERR_OK);
		assert_int_equal(usage_record_parse(text, &record), ERR_OK);
		assert_true(sv_eq(record.id, sv_str(id)));
		assert_int_equal(record.billed_bytes, 1000);
	}
	assert_int_equal(usage_reader_next(r, &text, &after), ERR_NOT_FOUND);
	usage_reader_free(r);
}

static uint64_t charged(void)
{
	const struct limit_slot *slot = limits_find(w.memory, USER);
	return slot != NULL ? quota_count(slot->bytes) : 0;
}

/* ---- the tests ---- */

static void test_both_transports(void **state)
{
	char bytes[2048];
	int ring = connect_ring();

	(void)state;
	send_line(1);
	send_line(2);
	turns(3);
	size_t n = make_counted(bytes, sizeof(bytes), 2);
	assert_int_equal(write(ring, bytes, n), (ssize_t)n);
	n = make_counted(bytes, sizeof(bytes), 3);
	/* In pieces. */
	assert_int_equal(write(ring, bytes, 100), 100);
	turns(5);
	assert_int_equal(write(ring, bytes + 100, n - 100), (ssize_t)n - 100);
	turns(5);
	send_line(3);
	turns(3);
	check_spool((const unsigned[]){ 1, 2, 3 }, 3);
	assert_int_equal(result(AGENT_USAGE_RECORDED), 3);
	assert_int_equal(result(AGENT_USAGE_DUPLICATE), 2);
	assert_int_equal(charged(), 3000);
	assert_true(w.recorded > 0);
	close(ring);
	turns(2);
}

static void test_kept_before_it_is_taken(void **state)
{
	int waiting = 1;

	(void)state;
	w.in_socket = -1;
	send_line(1);
	turns(3);
	assert_int_equal(w.in_socket, 1);
	assert_int_equal(ioctl(w.udp, FIONREAD, &waiting), 0);
	assert_int_equal(waiting, 0);
}

/* A keeper that was killed after it had recorded, and before it had taken the datagrams: the next one knows them. */
static void test_the_next_keeper(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++)
		send_line(i);
	turns(10);
	end_keeper();
	for (unsigned i = 150; i < 250; i++)
		send_line(i);
	start_keeper();
	turns(10);
	assert_int_equal(result(AGENT_USAGE_RECORDED), 250);
	assert_int_equal(result(AGENT_USAGE_DUPLICATE), 50);
	assert_int_equal(charged(), 250000);
}

static void test_a_full_disk(void **state)
{
	unsigned numbers[20];

	(void)state;
	send_line(0);
	turns(3);
	w.disk_full = true;
	for (unsigned i = 1; i < 10; i++)
		send_line(i);
	turns(5);
	/* Charged, though it is in memory alone. */
	assert_int_equal(charged(), 10000);
	assert_true(usage_intake_ready(w.intake));
	w.disk_full = false;
	for (unsigned i = 10; i < 20; i++)
		send_line(i);
	turns(5);
	usage_intake_sync(w.intake);
	for (unsigned i = 0; i < 20; i++)
		numbers[i] = i;
	check_spool(numbers, 20);
	assert_int_equal(w.metrics.lost[AGENT_USAGE_LOST_DISK], 0);
}

/* As much as memory may hold; the rest waits in the sockets, and nothing is lost. */
static void test_full_memory(void **state)
{
	char bytes[2048];
	unsigned sent = 0;
	int ring = connect_ring();

	(void)state;
	w.disk_full = true;
	while (usage_intake_ready(w.intake)) {
		send_line(sent++);
		turns(2);
		assert_true(sent < 100000);
	}
	const unsigned before = sent;
	for (; sent < before + 50; sent++)
		send_line(sent);
	size_t n = make_counted(bytes, sizeof(bytes), sent++);
	assert_int_equal(write(ring, bytes, n), (ssize_t)n);
	turns(20);
	assert_int_equal(result(AGENT_USAGE_RECORDED), before);
	usage_intake_sync(w.intake);
	assert_int_equal(w.ready, 0);
	w.disk_full = false;
	usage_intake_sync(w.intake);
	assert_int_equal(w.ready, 1);
	turns(20);
	assert_int_equal(result(AGENT_USAGE_RECORDED), sent);
	assert_int_equal(charged(), sent * 1000);
	close(ring);
	turns(2);
}

/* Memory that the ring has filled: the datagrams find it full before they know. */
static void test_memory_that_the_ring_fills(void **state)
{
	char bytes[2048];
	unsigned sent = 0;
	int ring = connect_ring();

	(void)state;
	w.disk_full = true;
	turns(2);
	while (usage_intake_ready(w.intake)) {
		size_t n = make_counted(bytes, sizeof(bytes), sent++);
		assert_int_equal(write(ring, bytes, n), (ssize_t)n);
		turns(2);
		assert_true(sent < 100000);
	}
	const unsigned before = sent;
	send_line(sent++);
	turns(5);
	assert_int_equal(result(AGENT_USAGE_RECORDED), before);
	w.disk_full = false;
	usage_intake_sync(w.intake);
	turns(5);
	assert_int_equal(result(AGENT_USAGE_RECORDED), sent);
	close(ring);
	turns(2);
}

static void send_counted(unsigned number)
{
	char bytes[2048];
	size_t n = make_counted(bytes, sizeof(bytes), number);

	assert_int_equal(write(w.sender, bytes, n), (ssize_t)n);
}

/* Somebody who goes on sending for ever does not keep the keeper from its end. */
static void test_an_end_under_load(void **state)
{
	(void)state;
	w.send_more = send_line;
	send_line(w.more++);
	usage_datagrams_drain(w.datagrams);
	assert_in_range(w.more, 100, 4000);
	w.send_more = NULL;
	turns(5);
	w.sender = connect_ring();
	turns(2);
	w.send_more = send_counted;
	send_counted(w.more++);
	end_keeper();
	assert_in_range(w.more, 1000, 4999);
	w.send_more = NULL;
	close(w.sender);
	start_keeper();
}

/* What the disk never took is counted at the end. */
static void test_lost_at_the_end(void **state)
{
	(void)state;
	w.disk_full = true;
	for (unsigned i = 0; i < 5; i++)
		send_line(i);
	turns(5);
	end_keeper();
	assert_int_equal(w.metrics.lost[AGENT_USAGE_LOST_DISK], 5);
	w.disk_full = false;
	start_keeper();
}

static void test_lines_that_are_none(void **state)
{
	static char large[20000];
	char line[1024];

	(void)state;
	memset(large, 'x', sizeof(large));
	assert_int_equal(send(w.client, "", 0, 0), 0);
	assert_int_equal(send(w.client, large, sizeof(large), 0), sizeof(large));
	size_t n = make_line(line, sizeof(line), "another-token-of-another", 1);
	assert_int_equal(send(w.client, line, n, 0), (ssize_t)n);
	send_line(1);
	send_line(2);
	turns(10);
	check_spool((const unsigned[]){ 1, 2 }, 2);
	assert_int_equal(result(AGENT_USAGE_TOKEN) + result(AGENT_USAGE_FORM), 3);
}

/* One of no bytes behind one that is cut: the look at the second has passed over it already. */
static void test_an_empty_datagram(void **state)
{
	static char large[USAGE_LINE_MAX + 800];
	struct pollfd readable = { .fd = w.udp, .events = POLLIN };

	(void)state;
	memset(large, 'x', sizeof(large));
	assert_int_equal(send(w.client, large, sizeof(large), 0), sizeof(large));
	assert_int_equal(send(w.client, "", 0, 0), 0);
	turns(10);
	assert_int_equal(poll(&readable, 1, 0), 0);
	assert_int_equal(result(AGENT_USAGE_FORM), 2);
	send_line(1);
	turns(3);
	check_spool((const unsigned[]){ 1 }, 1);
}

static void test_a_ring_that_is_none(void **state)
{
	char byte;
	int ring = connect_ring();

	(void)state;
	assert_int_equal(write(ring, "<134>1 hello\n", 13), 13);
	turns(5);
	assert_true(recv(ring, &byte, 1, MSG_DONTWAIT) <= 0);
	assert_int_equal(result(AGENT_USAGE_FORM), 1);
	close(ring);
}

/* Whoever holds connections without a word does not keep HAProxy out. */
static void test_many_connections(void **state)
{
	char bytes[2048];
	int silent[100];
	int first = connect_ring();

	(void)state;
	size_t n = make_counted(bytes, sizeof(bytes), 1);
	assert_int_equal(write(first, bytes, n), (ssize_t)n);
	turns(5);
	for (int i = 0; i < 100; i++) {
		silent[i] = connect_ring();
		turns(3);
	}
	int second = connect_ring();
	turns(3);
	n = make_counted(bytes, sizeof(bytes), 2);
	assert_int_equal(write(second, bytes, n), (ssize_t)n);
	n = make_counted(bytes, sizeof(bytes), 3);
	assert_int_equal(write(first, bytes, n), (ssize_t)n);
	turns(5);
	assert_int_equal(result(AGENT_USAGE_RECORDED), 3);
	for (int i = 0; i < 100; i++)
		close(silent[i]);
	close(first);
	close(second);
	turns(10);
}

/* HAProxy says when its ring was full. */
static void test_dropped_events(void **state)
{
	static const char text[] = "52 <132>1 2026-11-28T06:30:00 - - - - 17 events dropped1 x";
	int ring = connect_ring();

	(void)state;
	assert_int_equal(write(ring, text, sizeof(text) - 1), sizeof(text) - 1);
	turns(5);
	assert_int_equal(w.metrics.lost[AGENT_USAGE_LOST_RING], 17);
	assert_int_equal(result(AGENT_USAGE_TOKEN) + result(AGENT_USAGE_FORM), 1);
	close(ring);
	turns(2);
}

/* HAProxy is stopped: it says so to whom its lines go, which is no line that was dropped. */
static void test_notices(void **state)
{
	static const char notice[] = "<140>1 2026-11-28T06:30:00.1+00:00 - haproxy 7 - - Proxy fe_gateway stopped.";
	char counted[256];
	int ring = connect_ring();

	(void)state;
	int n = snprintf(counted, sizeof(counted), "%zu %s", sizeof(notice) - 1, notice);
	assert_int_equal(write(ring, counted, (size_t)n), n);
	assert_int_equal(send(w.client, notice, sizeof(notice) - 1, 0), sizeof(notice) - 1);
	send_line(1);
	turns(10);
	for (int i = 0; i < AGENT_USAGE_RESULTS; i++)
		assert_int_equal(result(i), i == AGENT_USAGE_RECORDED);
	close(ring);
	turns(2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_transports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept_before_it_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_next_keeper, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memory_that_the_ring_fills, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_end_under_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lines_that_are_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_empty_datagram, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ring_that_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_connections, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dropped_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notices, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
