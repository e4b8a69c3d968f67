/*
 * Usage lines for `make bench`, as haproxy.cfg logs them (spoa/usage/line.h), from one thread.
 *
 *     usage-load --port P --count N [--over tcp,udp] [--rate R] [--users 1000] [--run 1] [--age SECONDS]
 *
 * The token is in the environment, USAGE_TOKEN. Line n is of user 1 + n % users and that user's first key (tests/bench/
 * gwbench/data.py), with an id made of --run and n; so no two lines of a bench have one id. Each line goes over TCP
 * with its octets counted, over UDP as a datagram, or over both, in this order. Without --rate the lines go as fast as
 * TCP takes them; with it they are due at even distances, and what is late goes at once. The requests started when
 * their lines are made, or --age seconds before, one after the other at even distances up to now.
 *
 * It prints one JSON object; billed_bytes is what all lines together must be billed.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH    64
#define LINE_MAX 1024
#define SECOND   UINT64_C(1000000000)
/* Bytes of an image, and of the headers that an image server sends with it. */
#define BODY_LEAST 500
#define BODY_RANGE 200000
#define HEAD_BYTES 188

static struct {
	unsigned port, users, run;
	uint64_t count;
	double rate, age;
	bool tcp, udp;
	const char *token;
} options = { .users = 1000, .run = 1, .tcp = true };

static char lines[BATCH][LINE_MAX];
static size_t sizes[BATCH];
static char stream[BATCH * (LINE_MAX + 8)]; /* the same with their octets counted */
static uint64_t billed_bytes;

static void die(const char *what)
{
	fprintf(stderr, "usage-load: %s: %s\n", what, errno != 0 ? strerror(errno) : "invalid");
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static int connected(int type)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
		                        .sin_port = htons((uint16_t)options.port),
		                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
		die("cannot connect");
	return fd;
}

static size_t make_line(char *out, uint64_t n)
{
	const uint64_t user = n % options.users;
	const uint64_t body = BODY_LEAST + n * 7919 % BODY_RANGE;
	const uint64_t age = (uint64_t)(options.age * 1e9);
	const uint64_t start = (now_ns(CLOCK_REALTIME) - age + (options.age > 0 ? age / options.count * n : 0)) /
	                       UINT64_C(1000000);
	int size = snprintf(out, LINE_MAX,
	                    "<142>1 2026-11-28T07:00:48.922077+00:00 - haproxy 2219 - gwu1\t%s\t"
	                    "be9c0000-%04x-4000-8000-%012" PRIx64 "\t%" PRIu64 "\t%" PRIu64 "\tallow\t200\t%" PRIu64
	                    "\t213\t%" PRIu64 "\t%d\t-\t%" PRIu64 "\t18\t17\t----\tbe_imgproxy\timg%d\timage\tGET\t"
	                    "203.0.113.%u\t/img/unsafe/rs:fill:300:200/plain/local:///photo%u.jpg\t"
	                    " 203.0.113.9 GET /img/unsafe/rs:fill:300:200/plain/local:///photo.jpg 200 -- 18 ms",
	                    options.token, options.run, n, user + 1, user * 2 + 1, body + HEAD_BYTES, body, HEAD_BYTES,
	                    start, (int)(n % 10 < 7 ? 1 : 2), (unsigned)(n % 254) + 1, (unsigned)(n % 97));

	if (size < 0 || size >= LINE_MAX) {
		errno = 0;
		die("a line is too long");
	}
	billed_bytes += body;
	return (size_t)size;
}

static void send_stream(int fd, size_t n)
{
	size_t size = 0, sent = 0;

	for (size_t i = 0; i < n; i++) {
		size += (size_t)sprintf(stream + size, "%zu ", sizes[i]);
		memcpy(stream + size, lines[i], sizes[i]);
		size += sizes[i];
	}
	while (sent < size) {
		ssize_t some = send(fd, stream + sent, size - sent, MSG_NOSIGNAL);
		if (some < 0 && errno != EINTR)
			die("cannot send over TCP");
		sent += some > 0 ? (size_t)some : 0;
	}
}

static void send_datagrams(int fd, size_t n)
{
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec parts[BATCH];

	for (size_t i = 0; i < n; i++) {
		lines[i][sizes[i]] = '\n'; /* in the place of the NUL; so HAProxy sends it */
		parts[i] = (struct iovec){ .iov_base = lines[i], .iov_len = sizes[i] + 1 };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	for (size_t sent = 0; sent < n;) {
		int some = sendmmsg(fd, messages + sent, (unsigned)(n - sent), 0);
		if (some < 0 && errno != EINTR)
			die("cannot send over UDP");
		sent += some > 0 ? (size_t)some : 0;
	}
}

/* How many lines are due now of those that are left, at least one; waits for it. */
static size_t wait_due(uint64_t began, uint64_t done)
{
	const uint64_t left = options.count - done;
	const size_t most = left < BATCH ? (size_t)left : BATCH;

	if (options.rate <= 0)
		return most;
	const uint64_t due_ns = began + (uint64_t)((double)(done + 1) / options.rate * 1e9);
	const struct timespec due = { .tv_sec = (time_t)(due_ns / SECOND), .tv_nsec = (long)(due_ns % SECOND) };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
		;
	const double due_now = (double)(now_ns(CLOCK_MONOTONIC) - began) / 1e9 * options.rate - (double)done;
	return due_now < 1 ? 1 : due_now > (double)most ? most : (size_t)due_now;
}

static double cpu_seconds(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) != 0)
		die("getrusage");
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run(void)
{
	const int tcp = options.tcp ? connected(SOCK_STREAM) : -1;
	const int udp = options.udp ? connected(SOCK_DGRAM) : -1;
	const uint64_t began = now_ns(CLOCK_MONOTONIC);

	for (uint64_t done = 0; done < options.count;) {
		const size_t n = wait_due(began, done);
		for (size_t i = 0; i < n; i++)
			sizes[i] = make_line(lines[i], done + i);
		if (options.tcp)
			send_stream(tcp, n);
		if (options.udp)
			send_datagrams(udp, n);
		done += n;
	}
	printf("{\"sent\": %" PRIu64 ", \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"billed_bytes\": %" PRIu64 "}\n",
	       options.count, (double)(now_ns(CLOCK_MONOTONIC) - began) / 1e9, cpu_seconds(), billed_bytes);
}

static double get_number(const char *text, double least, double most)
{
	char *end;
	double value = strtod(text, &end);

	errno = 0;
	if (end == text || *end != '\0' || !(value >= least && value <= most))
		die(text);
	return value;
}

static void get_transports(const char *text)
{
	options.tcp = strstr(text, "tcp") != NULL;
	options.udp = strstr(text, "udp") != NULL;
	errno = 0;
	if (strcmp(text, "tcp") != 0 && strcmp(text, "udp") != 0 && strcmp(text, "tcp,udp") != 0)
		die(text);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "port", required_argument, NULL, 'p' },  { "count", required_argument, NULL, 'n' },
		{ "over", required_argument, NULL, 'o' },  { "rate", required_argument, NULL, 'r' },
		{ "users", required_argument, NULL, 'u' }, { "run", required_argument, NULL, 'i' },
		{ "age", required_argument, NULL, 'a' },   { NULL, 0, NULL, 0 },
	};
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (name) {
		case 'p':
			options.port = (unsigned)get_number(optarg, 1, 65535);
			break;
		case 'n':
			options.count = (uint64_t)get_number(optarg, 1, 1e9);
			break;
		case 'o':
			get_transports(optarg);
			break;
		case 'r':
			options.rate = get_number(optarg, 0, 1e7);
			break;
		case 'u':
			options.users = (unsigned)get_number(optarg, 1, 1e7);
			break;
		case 'i':
			options.run = (unsigned)get_number(optarg, 0, 65535);
			break;
		case 'a':
			options.age = get_number(optarg, 0, 86400);
			break;
		default:
			return 2;
		}
	}
	options.token = getenv("USAGE_TOKEN");
	errno = 0;
	if (optind != argc || options.port == 0 || options.count == 0)
		die("arguments: --port and --count are needed");
	if (options.token == NULL)
		die("USAGE_TOKEN: it is not in the environment");
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	run();
	return 0;
}
