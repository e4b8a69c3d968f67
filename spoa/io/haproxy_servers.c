#include "io/haproxy_servers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "io/stream.h"

#define ANSWER_MAX ((size_t)1 << 20)
#define NONE       SIZE_MAX

/* ---- what it says ---- */

/* The next field of a line; quotes around it are left in. False: there is none. */
static bool next_field(struct sv *rest, struct sv *field)
{
	bool quoted = false;
	size_t n = 0;

	if (rest->p == NULL)
		return false;
	for (; n < rest->n && (quoted || rest->p[n] != ','); n++)
		quoted ^= rest->p[n] == '"';
	*field = sv_from(rest->p, n);
	*rest = n < rest->n ? sv_skip(*rest, n + 1) : sv_from(NULL, 0);
	return true;
}

/* The place of a column in the head, or NONE. */
static size_t column(struct sv head, struct sv name)
{
	struct sv field;

	for (size_t i = 0; next_field(&head, &field); i++)
		if (sv_eq(field, name))
			return i;
	return NONE;
}

static bool is_name(struct sv v)
{
	for (size_t i = 0; i < v.n; i++)
		if (!sv_alnum(v.p[i]) && v.p[i] != '.' && v.p[i] != '_' && v.p[i] != '-')
			return false;
	return v.n > 0 && v.n < HAPROXY_SERVER_NAME;
}

static bool is_up(struct sv status)
{
	return sv_starts(status, SV("UP")) || sv_starts(status, SV("DRAIN")) || sv_eq(status, SV("no check"));
}

/* One line. ERR_NOT_FOUND: its server is left out. */
static enum err parse_server(struct sv line, size_t name_at, size_t status_at, size_t weight_at,
                             struct haproxy_server *out)
{
	struct sv field, name = { 0 }, status = { 0 }, weight = { 0 };
	uint64_t number;

	for (size_t i = 0; next_field(&line, &field); i++) {
		name = i == name_at ? field : name;
		status = i == status_at ? field : status;
		weight = i == weight_at ? field : weight;
	}
	if (name.p == NULL || status.p == NULL || sv_to_u64(weight, &number) != ERR_OK || number > UINT32_MAX)
		return ERR_INVALID;
	if (!is_name(name) || sv_copy(name, out->name, sizeof(out->name)) != ERR_OK)
		return ERR_NOT_FOUND;
	out->up = is_up(status);
	out->weight = (uint32_t)number;
	return ERR_OK;
}

enum err haproxy_servers_parse(struct sv answer, struct haproxy_server items[HAPROXY_SERVERS_MAX], size_t *count)
{
	struct sv line = { 0 };

	*count = 0;
	if (!sv_starts(answer, SV("# ")))
		return ERR_INVALID;
	answer = sv_skip(answer, 2);
	(void)sv_split(&answer, '\n', &line);
	size_t name = column(line, SV("svname")), status = column(line, SV("status")),
	       weight = column(line, SV("weight"));
	if (name == NONE || status == NONE || weight == NONE)
		return ERR_INVALID;
	while (sv_split(&answer, '\n', &line)) {
		if (line.n == 0)
			continue;
		if (*count == HAPROXY_SERVERS_MAX)
			return ERR_SPACE;
		enum err err = parse_server(line, name, status, weight, &items[*count]);
		if (err == ERR_OK)
			(*count)++;
		else if (err != ERR_NOT_FOUND)
			return err;
	}
	return ERR_OK;
}

/* ---- asking ---- */

struct haproxy_asker {
	struct loop *loop;
	const char *path;
	struct stream *stream; /* NULL: nothing is under way */
	struct loop_timer deadline;
	haproxy_answer_cb *cb; /* NULL: nobody waits */
	void *arg;
	enum err err; /* of the question, when it ends otherwise than by the end of the answer */
	char *answer;
	size_t n;
	bool freed; /* the asker goes when the stream has ended */
};

static void release(struct haproxy_asker *a)
{
	free(a->answer);
	free(a);
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
	struct haproxy_asker *a = arg;

	if (n > ANSWER_MAX - a->n) {
		a->err = ERR_SPACE;
		stream_close(a->stream, STREAM_DONE);
		return n;
	}
	char *more = realloc(a->answer, a->n + n);
	CHECK(more != NULL);
	a->answer = more;
	memcpy(a->answer + a->n, p, n);
	a->n += n;
	return n;
}

static void on_close(void *arg, unsigned reason)
{
	struct haproxy_asker *a = arg;
	haproxy_answer_cb *cb = a->cb;

	a->stream = NULL;
	a->cb = NULL;
	if (a->freed) {
		release(a);
		return;
	}
	loop_timer_stop(&a->deadline);
	enum err err = a->err;
	if (err == ERR_OK && reason != STREAM_EOF)
		err = ERR_CLOSED;
	/* The callback may ask again. */
	char *answer = a->answer;
	size_t n = err == ERR_OK ? a->n : 0;
	a->answer = NULL;
	a->n = 0;
	cb(a->arg, err, sv_from(answer, n));
	free(answer);
}

static void on_deadline(void *arg)
{
	struct haproxy_asker *a = arg;

	a->err = ERR_TIMEOUT;
	stream_close(a->stream, STREAM_DONE);
}

struct haproxy_asker *haproxy_asker_new(struct loop *loop, const char *path)
{
	struct haproxy_asker *a = check_calloc(1, sizeof(*a));

	a->loop = loop;
	a->path = path;
	loop_timer_init(&a->deadline, loop, on_deadline, a);
	return a;
}

void haproxy_asker_free(struct haproxy_asker *a)
{
	if (a == NULL)
		return;
	loop_timer_stop(&a->deadline);
	if (a->stream == NULL) {
		release(a);
		return;
	}
	a->freed = true;
	stream_close(a->stream, STREAM_DONE);
}

/* A unix socket connects at once or not at all. */
static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (sv_copy(sv_str(path), addr.sun_path, sizeof(addr.sun_path)) != ERR_OK)
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

enum err haproxy_ask(struct haproxy_asker *a, const char *command, unsigned timeout_ms, haproxy_answer_cb *cb,
                     void *arg)
{
	static const struct stream_ops ops = { .on_data = on_data, .on_close = on_close };
	static const struct stream_limits limits = { .in_max = ANSWER_MAX, .out_max = ANSWER_MAX };

	if (a->stream != NULL)
		return ERR_BAD_STATE;
	int fd = connect_to(a->path);
	if (fd < 0)
		return ERR_UNAVAILABLE;
	a->err = ERR_OK;
	a->cb = cb;
	a->arg = arg;
	a->stream = stream_new(a->loop, fd, limits, &ops, a);
	loop_timer_start(&a->deadline, timeout_ms, 0);
	/* What cannot be written ends the stream, and is told by its end. */
	if (stream_write(a->stream, command, strlen(command)) == ERR_OK && stream_write(a->stream, "\n", 1) != ERR_OK)
		a->err = ERR_CLOSED;
	return ERR_OK;
}
