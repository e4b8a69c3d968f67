/*
 * The load of `make bench`: requests over N kept connections, from one thread.
 *
 *     load --port P --requests FILE [--connections 64] [--seconds 2] [--warmup 0.3] [--rate R]
 *     load --buckets NANOSECONDS ...      for the test: the bounds of the histogram's bucket of each number
 *
 * FILE has a path, a blank and an API key on each line; they are asked for in that order, over and over. Without --rate
 * every connection asks again when it has its answer (closed loop). With it requests are due at even distances, whether
 * answers come or not, go out on the connection that has been idle longest, and their time counts from when they were
 * due (open loop). It prints one JSON object; `sent_all` counts warm-up and end too, the rest is what lies between.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX      64
#define CONNECTIONS_MAX 1024
#define REQUESTS_MAX    100000
#define IN_MAX          16384
#define ERRORS_MAX      1000
#define SECOND          UINT64_C(1000000000)
#define DRAIN           (2 * SECOND)
/* Buckets: 32 to each power of two, so that a bound is at most 1/32 off. */
#define SUB_BITS 5
#define SUBS     (1u << SUB_BITS)
#define BUCKETS  ((64 - SUB_BITS + 1) * SUBS)

struct connection {
	int fd;
	bool busy;
	uint64_t due;
	size_t used;
	char in[IN_MAX + 1];
};

struct request {
	char *text;
	size_t size;
};

static struct {
	unsigned port, connections;
	double seconds, warmup, rate;
	const char *requests;
} options = { .connections = 64, .seconds = 2.0, .warmup = 0.3 };

static struct request *requests;
static size_t request_count, next_request;
static struct connection *connections;
static struct connection *idle[CONNECTIONS_MAX]; /* a ring: the one that has waited longest is first */
static size_t idle_first, idle_count;
static int epoll;
static uint64_t count_from, count_until; /* answers within are counted */
static uint64_t buckets[BUCKETS];
static uint64_t statuses[1000];
static uint64_t completed_all, completed, failed;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, errno != 0 ? strerror(errno) : "invalid");
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t v)
{
	if (v < 2 * SUBS)
		return (unsigned)v;
	unsigned shift = 63 - (unsigned)__builtin_clzll(v) - SUB_BITS;
	return shift * SUBS + (unsigned)(v >> shift);
}

/* The least number of a bucket. */
static uint64_t bucket_begin(unsigned b)
{
	if (b < 2 * SUBS)
		return b;
	unsigned shift = b / SUBS - 1;
	return (uint64_t)(b - shift * SUBS) << shift;
}

static uint64_t bucket_end(unsigned b)
{
	return bucket_begin(b + 1) - 1;
}

static void print_buckets(char **numbers)
{
	for (; *numbers != NULL; numbers++) {
		unsigned b = bucket_of(strtoull(*numbers, NULL, 10));
		printf("%" PRIu64 " %" PRIu64 "\n", bucket_begin(b), bucket_end(b));
	}
}

/* ---- requests ---- */

static void read_requests(void)
{
	char line[8192];
	FILE *file = fopen(options.requests, "r");

	requests = calloc(REQUESTS_MAX, sizeof(*requests));
	if (file == NULL || requests == NULL)
		die(options.requests);
	while (request_count < REQUESTS_MAX && fgets(line, sizeof(line), file) != NULL) {
		struct request *r = &requests[request_count];
		char *blank = strchr(line, ' ');
		errno = 0;
		if (blank == NULL)
			die(options.requests);
		*blank = '\0';
		blank[1 + strcspn(blank + 1, "\n")] = '\0';
		int n = asprintf(&r->text, "GET %s HTTP/1.1\r\nHost: bench\r\nX-API-Key: %s\r\n\r\n", line, blank + 1);
		if (n < 0)
			die("memory");
		r->size = (size_t)n;
		request_count++;
	}
	fclose(file);
	if (request_count == 0)
		die(options.requests);
}

/* ---- connections ---- */

static void set_idle(struct connection *c)
{
	c->busy = false;
	idle[(idle_first + idle_count++) % CONNECTIONS_MAX] = c;
}

static struct connection *take_idle(void)
{
	struct connection *c = idle[idle_first];

	idle_first = (idle_first + 1) % CONNECTIONS_MAX;
	idle_count--;
	return c;
}

/* Blocks, which on one machine takes no time. */
static void connection_open(struct connection *c)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port) };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
	int one = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->used = 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0 ||
	    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
		die("connect");
	set_idle(c);
}

static void connection_fail(struct connection *c)
{
	if (++failed > ERRORS_MAX) {
		errno = 0;
		die("too many broken connections");
	}
	close(c->fd);
	/* An idle one stays in the ring, where its place is taken over. */
	bool was_busy = c->busy;
	connection_open(c);
	if (!was_busy)
		idle_count--;
}

static void request_send(struct connection *c, uint64_t due)
{
	const struct request *r = &requests[next_request];

	next_request = next_request + 1 < request_count ? next_request + 1 : 0;
	c->due = due;
	c->busy = true;
	if (send(c->fd, r->text, r->size, MSG_NOSIGNAL) != (ssize_t)r->size)
		connection_fail(c);
}

/* The bytes of the whole answer at the start of c->in, 0 when they are not all there. */
static size_t answer_size(const struct connection *c)
{
	const char *end = strstr(c->in, "\r\n\r\n");
	size_t length = 0;

	if (end == NULL)
		return 0;
	for (const char *line = strstr(c->in, "\r\n"); line < end; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, "content-length:", 15) == 0)
			length = strtoul(line + 17, NULL, 10);
	size_t size = (size_t)(end + 4 - c->in) + length;
	return c->used >= size ? size : 0;
}

static void answer_count(const struct connection *c)
{
	uint64_t now = now_ns();
	unsigned long status = strtoul(c->in + strlen("HTTP/1.1 "), NULL, 10);

	completed_all++;
	if (now < count_from || now > count_until)
		return;
	completed++;
	statuses[status < 1000 ? status : 0]++;
	buckets[bucket_of(now - c->due)]++;
}

/* True: an answer was read whole, and the connection is free again. */
static bool answer_read(struct connection *c)
{
	ssize_t n = recv(c->fd, c->in + c->used, IN_MAX - c->used, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || !c->busy) {
		connection_fail(c);
		return false;
	}
	c->used += (size_t)n;
	c->in[c->used] = '\0';
	size_t size = answer_size(c);
	if (size == 0) {
		if (c->used == IN_MAX)
			connection_fail(c);
		return false;
	}
	answer_count(c);
	if (size != c->used) {
		connection_fail(c);
		return false;
	}
	c->used = 0;
	set_idle(c);
	return true;
}

/* ---- the run ---- */

static void wait_until(uint64_t when)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now = now_ns();
	uint64_t wait = when > now ? when - now : 0;
	struct timespec t = { .tv_sec = (time_t)(wait / SECOND), .tv_nsec = (long)(wait % SECOND) };

	int n = epoll_pwait2(epoll, events, EVENTS_MAX, &t, NULL);
	if (n < 0 && errno != EINTR)
		die("epoll_pwait2");
	for (int i = 0; i < n; i++)
		answer_read(events[i].data.ptr);
}

static void run_closed(uint64_t end)
{
	for (uint64_t now = now_ns(); now < end; now = now_ns()) {
		while (idle_count > 0)
			request_send(take_idle(), now_ns());
		wait_until(end);
	}
}

static void run_open(uint64_t start, uint64_t end)
{
	double distance = (double)SECOND / options.rate;
	uint64_t sent = 0;

	for (uint64_t now = now_ns(); now < end; now = now_ns()) {
		uint64_t due = start + (uint64_t)((double)sent * distance);
		while (due <= now && idle_count > 0) {
			request_send(take_idle(), due);
			due = start + (uint64_t)((double)++sent * distance);
		}
		/* With no connection free only an answer helps. */
		wait_until(idle_count > 0 && due < end ? due : end);
	}
}

static void run(void)
{
	epoll = epoll_create1(EPOLL_CLOEXEC);
	connections = calloc(options.connections, sizeof(*connections));
	if (epoll < 0 || connections == NULL)
		die("start");
	for (unsigned i = 0; i < options.connections; i++)
		connection_open(&connections[i]);
	uint64_t start = now_ns();
	count_from = start + (uint64_t)(options.warmup * (double)SECOND);
	count_until = count_from + (uint64_t)(options.seconds * (double)SECOND);
	if (options.rate > 0)
		run_open(start, count_until);
	else
		run_closed(count_until);
	for (uint64_t give_up = now_ns() + DRAIN; idle_count < options.connections && now_ns() < give_up;)
		wait_until(give_up);
}

static void print_result(void)
{
	const char *comma = "";
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"seconds\": %.3f, \"completed\": %" PRIu64 ", \"completed_all\": %" PRIu64 ", \"failed\": %" PRIu64
	       ", \"cpu_seconds\": %.3f, \"statuses\": {",
	       options.seconds, completed, completed_all, failed,
	       (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	for (unsigned i = 0; i < 1000; i++)
		if (statuses[i] > 0) {
			printf("%s\"%u\": %" PRIu64, comma, i, statuses[i]);
			comma = ", ";
		}
	printf("}, \"histogram_ns\": [");
	comma = "";
	for (unsigned i = 0; i < BUCKETS; i++)
		if (buckets[i] > 0) {
			printf("%s[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", comma, bucket_begin(i), bucket_end(i),
			       buckets[i]);
			comma = ", ";
		}
	printf("]}\n");
}

static bool options_read(int argc, char **argv)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "requests", required_argument, NULL, 'f' },
		{ "seconds", required_argument, NULL, 's' },
		{ "connections", required_argument, NULL, 'c' },
		{ "warmup", required_argument, NULL, 'w' },
		{ "rate", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'p':
			options.port = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'f':
			options.requests = optarg;
			break;
		case 's':
			options.seconds = strtod(optarg, NULL);
			break;
		case 'c':
			options.connections = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			options.warmup = strtod(optarg, NULL);
			break;
		case 'r':
			options.rate = strtod(optarg, NULL);
			break;
		default:
			return false;
		}
	}
	return optind == argc && options.port > 0 && options.port < 65536 && options.requests != NULL &&
	       options.connections > 0 && options.connections <= CONNECTIONS_MAX && options.seconds > 0 &&
	       options.seconds < 3600 && options.warmup >= 0 && options.warmup < 60 && options.rate >= 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--buckets") == 0) {
		print_buckets(argv + 2);
		return EXIT_SUCCESS;
	}
	if (!options_read(argc, argv)) {
		fputs("usage: load --port P --requests FILE [--connections N] [--seconds S] [--warmup S] [--rate R]\n",
		      stderr);
		return 2;
	}
	/* Timers of an open loop are to the microsecond. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	read_requests();
	run();
	print_result();
	return EXIT_SUCCESS;
}
