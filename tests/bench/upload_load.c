/*
 * The uploads of `make bench`: files over N kept connections, one thread each.
 *
 *     upload-load --port P --method POST|PUT --path PATH --key KEY --size BYTES --count N [--connections 4]
 *
 * Every file is a JPEG by its header, and differs from all others in bytes behind it, so that none is known already. A
 * PATH that ends in a slash gets the file's number behind it. The API key is read from the environment when KEY is `-`
 * (UPLOAD_KEY). It prints one JSON object: seconds from the first byte to the last answer, files, bytes, CPU seconds,
 * and how often each status came.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define FILLER          (1024 * 1024)
#define ANSWER_MAX      16384
#define STATUSES        600
/* SOI, one APP0, SOF0 of 64 x 48 pixels, SOS: enough for whoever looks. Then come the bytes of its own. */
#define HEAD_SIZE   64
#define UNIQUE_SIZE 24

static const uint8_t jpeg[] = { 0xff, 0xd8, 0xff, 0xe0, 0,    16,   'J',  'F', 'I', 'F', 0, 1,  1, 0,  0,
	                        1,    0,    1,    0,    0,    0xff, 0xc0, 0,   11,  8,   0, 48, 0, 64, 1,
	                        1,    0x11, 0,    0xff, 0xda, 0,    8,    1,   1,   0,   0, 63, 0 };

static struct {
	unsigned port, connections;
	const char *method, *path, *key;
	size_t size;
	unsigned long count;
} options = { .connections = 4 };

static uint8_t filler[FILLER];
static uint64_t run_id;
static atomic_ulong next_file;
static atomic_ulong statuses[STATUSES];
static atomic_bool failed;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "upload-load: %s: %s\n", what, strerror(errno));
	atomic_store(&failed, true);
}

static int dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port) };
	struct timeval limit = { .tv_sec = 120 };
	int one = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0) {
		fail("connect");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static bool put(int fd, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		p += sent;
		n -= (size_t)sent;
	}
	return true;
}

/* Reads one answer with a Content-Length; its status, or 0. *kept: whether the connection may be used again. */
static unsigned get(int fd, bool *kept)
{
	char text[ANSWER_MAX + 1];
	size_t have = 0;
	char *end = NULL;

	while (end == NULL) {
		ssize_t n = have < ANSWER_MAX ? recv(fd, text + have, ANSWER_MAX - have, 0) : 0;
		if (n <= 0)
			return 0;
		have += (size_t)n;
		text[have] = '\0';
		end = strstr(text, "\r\n\r\n");
	}
	const char *length = strcasestr(text, "\ncontent-length:");
	size_t body = length != NULL && length < end ? strtoul(length + 16, NULL, 10) : 0;
	const char *close_it = strcasestr(text, "\nconnection: close");
	*kept = close_it == NULL || close_it > end;
	size_t whole = (size_t)(end - text) + 4 + body;
	while (have < whole) {
		ssize_t n = recv(fd, text, whole - have < ANSWER_MAX ? whole - have : ANSWER_MAX, 0);
		if (n <= 0)
			return 0;
		have += (size_t)n;
	}
	return strncmp(text, "HTTP/1.", 7) == 0 ? (unsigned)strtoul(text + 9, NULL, 10) : 0;
}

static bool send_file(int fd, unsigned long number)
{
	char text[2048];
	uint8_t head[HEAD_SIZE + UNIQUE_SIZE] = { 0 };
	bool numbered = options.path[strlen(options.path) - 1] == '/';
	char name[32] = "";

	if (numbered)
		snprintf(name, sizeof(name), "%" PRIx64 "-%lu", run_id & 0xffffffff, number);
	int n = snprintf(text, sizeof(text),
	                 "%s %s%s HTTP/1.1\r\nHost: bench\r\nX-API-Key: %s\r\nContent-Type: image/jpeg\r\n"
	                 "Content-Length: %zu\r\n\r\n",
	                 options.method, options.path, name, options.key, options.size);
	memcpy(head, jpeg, sizeof(jpeg));
	memcpy(head + HEAD_SIZE, &run_id, sizeof(run_id));
	memcpy(head + HEAD_SIZE + sizeof(run_id), &number, sizeof(number));
	if (n < 0 || (size_t)n >= sizeof(text) || !put(fd, text, (size_t)n) || !put(fd, head, sizeof(head)))
		return false;
	for (size_t left = options.size - sizeof(head); left > 0;) {
		size_t piece = left < FILLER ? left : FILLER;
		if (!put(fd, filler, piece))
			return false;
		left -= piece;
	}
	return true;
}

static void *run(void *arg)
{
	int fd = -1;
	(void)arg;

	while (!atomic_load(&failed)) {
		unsigned long number = atomic_fetch_add(&next_file, 1);
		if (number >= options.count)
			break;
		if (fd < 0 && (fd = dial()) < 0)
			break;
		bool kept = false;
		bool sent = send_file(fd, number);
		unsigned status = get(fd, &kept);
		if (!sent && status == 0)
			fail("send");
		atomic_fetch_add(&statuses[status < STATUSES ? status : 0], 1);
		if (!kept || !sent) {
			close(fd);
			fd = -1;
		}
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

static bool parse(int argc, char **argv)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },        { "method", required_argument, NULL, 'm' },
		{ "path", required_argument, NULL, 'u' },        { "key", required_argument, NULL, 'k' },
		{ "size", required_argument, NULL, 's' },        { "count", required_argument, NULL, 'n' },
		{ "connections", required_argument, NULL, 'c' }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'p':
			options.port = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			options.method = optarg;
			break;
		case 'u':
			options.path = optarg;
			break;
		case 'k':
			options.key = optarg;
			break;
		case 's':
			options.size = strtoul(optarg, NULL, 10);
			break;
		case 'n':
			options.count = strtoul(optarg, NULL, 10);
			break;
		case 'c':
			options.connections = (unsigned)strtoul(optarg, NULL, 10);
			break;
		default:
			return false;
		}
	}
	if (options.key != NULL && strcmp(options.key, "-") == 0)
		options.key = getenv("UPLOAD_KEY");
	return optind == argc && options.port > 0 && options.method != NULL && options.path != NULL &&
	       options.path[0] == '/' && options.key != NULL && options.size > HEAD_SIZE + UNIQUE_SIZE &&
	       options.count > 0 && options.connections > 0 && options.connections <= CONNECTIONS_MAX;
}

int main(int argc, char **argv)
{
	pthread_t threads[CONNECTIONS_MAX];
	struct rusage used;
	unsigned started = 0;

	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: upload-load --port P --method M --path PATH --key KEY --size N --count N\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run_id = now_ns();
	for (size_t i = 0; i < FILLER; i++)
		filler[i] = (uint8_t)(i * 2654435761u >> 13);
	uint64_t began = now_ns();
	while (started < options.connections && pthread_create(&threads[started], NULL, run, NULL) == 0)
		started++;
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	double seconds = (double)(now_ns() - began) / 1e9;
	getrusage(RUSAGE_SELF, &used);
	double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
	             (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	printf("{\"seconds\": %.6f, \"files\": %lu, \"bytes\": %zu, \"cpu_seconds\": %.6f, \"statuses\": {", seconds,
	       options.count, options.count * options.size, cpu);
	const char *comma = "";
	for (unsigned i = 0; i < STATUSES; i++) {
		unsigned long n = atomic_load(&statuses[i]);
		if (n > 0) {
			printf("%s\"%u\": %lu", comma, i, n);
			comma = ", ";
		}
	}
	puts("}}");
	return atomic_load(&failed) || started < options.connections ? 1 : 0;
}
