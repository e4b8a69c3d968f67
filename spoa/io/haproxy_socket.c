#include "io/haproxy_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

#define READ_STEP 65536

static int left_ms(uint64_t deadline_ns)
{
	uint64_t now = clock_mono_ns();

	return now < deadline_ns ? (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS) : 0;
}

static enum err wait_for(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int n = poll(&p, 1, left_ms(deadline_ns));
		if (n > 0)
			return ERR_OK;
		if (n == 0)
			return ERR_TIMEOUT;
		if (errno != EINTR)
			return ERR_IO;
	}
}

static enum err connect_to(const char *path, uint64_t deadline_ns, int *fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (sv_copy(sv_str(path), addr.sun_path, sizeof(addr.sun_path)) != ERR_OK) {
		errno = ENAMETOOLONG;
		return ERR_IO;
	}
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0)
		return ERR_IO;
	/* EAGAIN: its queue of connections is full, for which there is no event to wait. */
	while (connect(*fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		if (errno != EAGAIN && errno != EINTR)
			return ERR_IO;
		if (left_ms(deadline_ns) == 0)
			return ERR_TIMEOUT;
		poll(NULL, 0, 10);
	}
	return ERR_OK;
}

static enum err send_all(int fd, const char *command, uint64_t deadline_ns)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "%s\n", command);

	CHECK(n > 0 && (size_t)n < sizeof(line));
	struct sv rest = sv_from(line, (size_t)n);
	while (rest.n > 0) {
		ssize_t sent = send(fd, rest.p, rest.n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return ERR_IO;
		if (sent > 0) {
			rest = sv_skip(rest, (size_t)sent);
			continue;
		}
		enum err err = wait_for(fd, POLLOUT, deadline_ns);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

static enum err read_all(int fd, uint64_t deadline_ns, char **buf, size_t *n)
{
	size_t size = READ_STEP;

	*n = 0;
	*buf = check_calloc(1, size + 1);
	for (;;) {
		if (*n == size) {
			if (size >= HAPROXY_ANSWER_MAX)
				return ERR_SPACE;
			size *= 2;
			char *more = realloc(*buf, size + 1);
			CHECK(more != NULL);
			*buf = more;
		}
		enum err err = wait_for(fd, POLLIN, deadline_ns);
		if (err != ERR_OK)
			return err;
		ssize_t got = read(fd, *buf + *n, size - *n);
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return ERR_IO;
		if (got == 0)
			break;
		*n += got > 0 ? (size_t)got : 0;
	}
	(*buf)[*n] = '\0';
	return ERR_OK;
}

enum err haproxy_socket_ask(const char *path, const char *command, unsigned timeout_ms, char **answer, size_t *n,
                            char *error, size_t error_size)
{
	uint64_t deadline_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
	int fd = -1;

	*answer = NULL;
	*n = 0;
	enum err err = connect_to(path, deadline_ns, &fd);
	if (err == ERR_OK)
		err = send_all(fd, command, deadline_ns);
	if (err == ERR_OK)
		err = read_all(fd, deadline_ns, answer, n);
	int saved = errno;
	if (fd >= 0)
		close(fd);
	if (err == ERR_OK)
		return ERR_OK;
	free(*answer);
	*answer = NULL;
	*n = 0;
	if (err == ERR_TIMEOUT)
		snprintf(error, error_size, "%s: no answer within %u ms", path, timeout_ms);
	else if (err == ERR_SPACE)
		snprintf(error, error_size, "%s: an answer of more than %zu bytes", path, HAPROXY_ANSWER_MAX);
	else
		snprintf(error, error_size, "%s: %s", path, strerror(saved));
	return err == ERR_IO ? ERR_UNAVAILABLE : err;
}

/* The value of a line `name: value`. */
static bool find_line(struct sv answer, struct sv name, uint64_t *value)
{
	struct sv line;

	while (sv_split(&answer, '\n', &line))
		if (sv_starts(line, name))
			return sv_to_u64(sv_trim(sv_skip(line, name.n)), value) == ERR_OK;
	return false;
}

enum err haproxy_info_process(struct sv answer, char process[HAPROXY_PROCESS_MAX])
{
	uint64_t pid, start;

	if (!find_line(answer, SV("Pid: "), &pid) || !find_line(answer, SV("Start_time_sec: "), &start))
		return ERR_INVALID;
	snprintf(process, HAPROXY_PROCESS_MAX, "%" PRIu64 "@%" PRIu64, pid, start);
	return ERR_OK;
}

static enum err parse_number(struct sv word, struct sv name, uint64_t *out)
{
	return sv_starts(word, name) ? sv_to_u64(sv_skip(word, name.n), out) : ERR_OK;
}

/* `0x55c6840e1b28: key=7 use=0 exp=863999858 conn_cur=0 http_req_cnt=3 …` */
static enum err parse_entry(struct sv line, struct haproxy_counter *c)
{
	bool keyed = false;
	struct sv word;

	memset(c, 0, sizeof(*c));
	while (sv_split(&line, ' ', &word)) {
		keyed = keyed || sv_starts(word, SV("key="));
		if (parse_number(word, SV("key="), &c->key) != ERR_OK ||
		    parse_number(word, SV("http_req_cnt="), &c->requests) != ERR_OK ||
		    parse_number(word, SV("conn_cur="), &c->in_flight) != ERR_OK ||
		    parse_number(word, SV("bytes_in_cnt="), &c->bytes_in) != ERR_OK ||
		    parse_number(word, SV("bytes_out_cnt="), &c->bytes_out) != ERR_OK)
			return ERR_INVALID;
	}
	return keyed ? ERR_OK : ERR_INVALID;
}

/* `# table: st_user, type: integer, size:204800, used:1` */
static enum err parse_head(struct sv line, uint64_t *size)
{
	struct sv word;
	bool integer = false, sized = false;

	if (!sv_starts(line, SV("# table: ")))
		return sv_starts(line, SV("No such table")) ? ERR_NOT_FOUND : ERR_INVALID;
	while (sv_split(&line, ',', &word)) {
		word = sv_trim(word);
		integer = integer || sv_eq(word, SV("type: integer"));
		if (sv_starts(word, SV("size:")))
			sized = sv_to_u64(sv_skip(word, 5), size) == ERR_OK;
	}
	return integer && sized ? ERR_OK : ERR_INVALID;
}

static int by_key(const void *a, const void *b)
{
	const struct haproxy_counter *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

enum err haproxy_table_parse(struct sv answer, struct haproxy_table *out)
{
	size_t room = 0;
	struct sv line, count = answer;

	memset(out, 0, sizeof(*out));
	if (!sv_split(&answer, '\n', &line))
		return ERR_INVALID;
	enum err err = parse_head(line, &out->size);
	if (err != ERR_OK)
		return err;
	while (sv_split(&count, '\n', &line))
		room++;
	out->items = check_calloc(room + 1, sizeof(*out->items));
	while (err == ERR_OK && sv_split(&answer, '\n', &line)) {
		line = sv_trim(line);
		if (line.n > 0)
			err = parse_entry(line, &out->items[out->count++]);
	}
	if (err != ERR_OK) {
		haproxy_table_free(out);
		return err;
	}
	qsort(out->items, out->count, sizeof(*out->items), by_key);
	return ERR_OK;
}

void haproxy_table_free(struct haproxy_table *t)
{
	free(t->items);
	memset(t, 0, sizeof(*t));
}
