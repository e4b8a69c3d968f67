/*
 * usage: pacer SECONDS <PLAN
 *
 * Each line of the plan is a target or a flow; flows belong to the target above them.
 *
 *     target http|spop ADDRESS CONNECTIONS
 *     flow REQUESTS_A_SECOND KEY|- PATH
 *
 * `http` asks HAProxy over kept connections, at most so many; `spop` asks a verdict worker as HAProxy does, frame after
 * frame on so many connections, each with a request id of its own. Prints one line for each request, when all is over:
 *
 *     FLOW SENT_NS GOT_NS STATUS CODE
 *
 * in the order of sending, flows counted from 0 in the order of the plan, times of CLOCK_MONOTONIC; STATUS is 0 when
 * there was no proper answer, and CODE then says why. A kept connection that HAProxy has closed is opened anew and the
 * request sent once more, as every HTTP client does.
 */
#include "pacer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FLOWS_MAX   256u
#define TARGETS_MAX 16u
/* Requests that are due are sent together, at most so often: half a millisecond. */
#define TURN_NS 500000u
/* How long the last answers are waited for. */
#define LINGER_NS  4000000000u
#define EVENTS_MAX 256

struct flow *flows;
struct sample *samples;
uint32_t sample_count;

static uint32_t sample_room;
static uint32_t flow_count;
static struct target targets[TARGETS_MAX];
static unsigned target_count;
static int poll_fd;
static uint32_t open_requests;

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("pacer: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

void *must_alloc(size_t count, size_t size)
{
	void *memory = calloc(count, size);
	if (memory == NULL)
		die("no memory");
	return memory;
}

uint64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(where.sun_path))
		die("%s: too long for a socket", path);
	memcpy(where.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&where, sizeof(where)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int connect_to(const char *address)
{
	char host[256];
	const char *colon = strrchr(address, ':');
	struct addrinfo *found = NULL, hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
	int one = 1;

	if (strncmp(address, "unix@", 5) == 0)
		return connect_unix(address + 5);
	if (colon == NULL || (size_t)(colon - address) >= sizeof(host))
		die("%s: neither host:port nor unix@PATH", address);
	memcpy(host, address, (size_t)(colon - address));
	host[colon - address] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		die("%s: not a numeric address", address);
	int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

void watch(struct conn *c)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
		die("epoll_ctl: %s", strerror(errno));
}

uint32_t sample_new(uint32_t flow, uint64_t sent)
{
	if (sample_count == sample_room) {
		sample_room = sample_room == 0 ? 65536 : sample_room * 2;
		samples = realloc(samples, sample_room * sizeof(*samples));
		if (samples == NULL)
			die("no memory");
	}
	samples[sample_count] = (struct sample){ .flow = flow, .sent = sent };
	open_requests++;
	return sample_count++;
}

void sample_end(uint32_t index, int status, const char *code, size_t len)
{
	struct sample *s = &samples[index];

	s->got = clock_ns();
	s->status = status;
	len = len < CODE_MAX - 1 ? len : CODE_MAX - 1;
	memcpy(s->code, code, len);
	s->code[len] = '\0';
	open_requests--;
}

static void add_target(char *rest)
{
	char *save = NULL;
	const char *name = strtok_r(rest, " ", &save);
	const char *address = strtok_r(NULL, " ", &save);
	const char *conns = strtok_r(NULL, " ", &save);

	if (conns == NULL || target_count == TARGETS_MAX)
		die("a target is: target http|spop ADDRESS CONNECTIONS; at most %u", TARGETS_MAX);
	struct target *t = &targets[target_count++];
	t->protocol = strcmp(name, "spop") == 0 ? &spop_protocol : &http_protocol;
	t->address = strdup(address);
	t->conns_max = (unsigned)strtoul(conns, NULL, 10);
	if (strcmp(name, t->protocol->name) != 0 || t->conns_max == 0 || t->conns_max > 4096)
		die("target %s %s %s: http or spop, 1 to 4096 connections", name, address, conns);
	t->conns = must_alloc(t->conns_max, sizeof(*t->conns));
	t->waiting = must_alloc(WAITING_MAX, sizeof(*t->waiting));
	for (unsigned i = 0; i < t->conns_max; i++)
		t->conns[i] = (struct conn){ .target = t, .fd = -1, .sample = NO_SAMPLE, .again = NO_SAMPLE };
}

static void add_flow(char *rest)
{
	char *save = NULL;
	const char *rate = strtok_r(rest, " ", &save);
	const char *key = strtok_r(NULL, " ", &save);
	const char *path = strtok_r(NULL, " ", &save);

	if (path == NULL || target_count == 0 || flow_count == FLOWS_MAX)
		die("a flow is: flow REQUESTS_A_SECOND KEY PATH, below a target; at most %u", FLOWS_MAX);
	struct flow *f = &flows[flow_count++];
	double a_second = strtod(rate, NULL);
	if (!(a_second > 0.0 && a_second <= 1e6))
		die("flow %s: more than 0 and at most 1000000 a second", rate);
	f->target = &targets[target_count - 1];
	f->period_ns = 1e9 / a_second;
	f->key = strcmp(key, "-") == 0 ? NULL : strdup(key);
	f->path = strdup(path);
}

static void read_plan(void)
{
	char line[8192];

	flows = must_alloc(FLOWS_MAX, sizeof(*flows));
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "target ", 7) == 0)
			add_target(line + 7);
		else if (strncmp(line, "flow ", 5) == 0)
			add_flow(line + 5);
		else if (line[0] != '\0')
			die("neither a target nor a flow: %s", line);
	}
	if (flow_count == 0)
		die("the plan has no flow");
}

/* Within 0 and 1; the same in every run (splitmix64). */
static double chance(void)
{
	static uint64_t state = 20;
	uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (double)((x ^ x >> 31) >> 11) / 9007199254740992.0;
}

/*
 * Each request comes at a random moment of its period: the rate is exact, and flows of one rate do not fall into step
 * with each other or with the bucket, where one of them would always come first.
 */
static void set_due(struct flow *f)
{
	f->due_ns = f->period_begin_ns + f->period_ns * chance();
	f->period_begin_ns += f->period_ns;
}

/* Sends what is due; the moment of the next. */
static double send_due(void)
{
	double next = 1e300;

	for (uint32_t i = 0; i < flow_count; i++) {
		struct flow *f = &flows[i];
		uint64_t now = clock_ns();
		while (f->due_ns <= (double)now) {
			f->target->protocol->send(f->target, i, now);
			set_due(f);
		}
		if (f->due_ns < next)
			next = f->due_ns;
	}
	for (unsigned i = 0; i < target_count; i++)
		targets[i].protocol->flush(&targets[i]);
	return next;
}

static void wait_for_answers(double until_ns)
{
	struct epoll_event events[EVENTS_MAX];
	double left = until_ns - (double)clock_ns();
	uint64_t ns = left > 0 ? (uint64_t)left : 0;
	struct timespec timeout = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };

	int count = epoll_pwait2(poll_fd, events, EVENTS_MAX, &timeout, NULL);
	for (int i = 0; i < count; i++) {
		struct conn *c = events[i].data.ptr;
		if (c->fd >= 0)
			c->target->protocol->readable(c);
	}
}

static void run(double seconds)
{
	uint64_t begin = clock_ns();
	double end = (double)begin + seconds * 1e9;

	for (uint32_t i = 0; i < flow_count; i++) {
		flows[i].period_begin_ns = (double)begin;
		set_due(&flows[i]);
	}
	for (;;) {
		double next = send_due(), now = (double)clock_ns();
		if (now >= end)
			break;
		next = next < now + TURN_NS ? now + TURN_NS : next;
		/* Answers that come before are read at once: their time is what is measured. */
		do
			wait_for_answers(next < end ? next : end);
		while ((double)clock_ns() < next && (double)clock_ns() < end);
	}
	while (open_requests > 0 && (double)clock_ns() < end + (double)LINGER_NS)
		wait_for_answers(end + (double)LINGER_NS);
}

static void print_samples(void)
{
	for (uint32_t i = 0; i < sample_count; i++) {
		struct sample *s = &samples[i];
		if (s->got == 0)
			sample_end(i, 0, "no_answer", 9);
		printf("%u %llu %llu %d %s\n", s->flow, (unsigned long long)s->sent, (unsigned long long)s->got,
		       s->status, s->code[0] != '\0' ? s->code : "-");
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	char *rest = NULL;

	double seconds = argc == 2 ? strtod(argv[1], &rest) : 0.0;
	if (argc != 2 || *rest != '\0' || !(seconds > 0.0 && seconds <= 3600.0)) {
		fputs("usage: pacer SECONDS <PLAN\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (poll_fd < 0)
		die("epoll_create1: %s", strerror(errno));
	read_plan();
	for (unsigned i = 0; i < target_count; i++)
		targets[i].protocol->open(&targets[i]);
	run(seconds);
	print_samples();
	return fflush(stdout) == 0 ? 0 : 1;
}
