#include "agent/backends.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/haproxy_servers.h"
#include "store/admin_backend.h"

#define EVERY_MS   1000
#define TIMEOUT_MS 2000
#define HAPROXY_BE "be_imgproxy"
#define SQL_ROWS   "SELECT name, weight FROM backends ORDER BY name"
#define LOG_NS     (60 * NS_PER_SEC)
/* Of one server: its name, and what is around it. */
#define COMMAND_MAX (HAPROXY_SERVER_NAME + 64)

/* HAProxy takes a line of its buffer size (16 KB) at most. What is left follows a second later. */
#define COMMANDS_MAX 8192

struct wish {
	char name[HAPROXY_SERVER_NAME];
	uint32_t weight;
};

struct backends {
	struct pg *pg;
	struct haproxy_asker *haproxy;
	struct loop_timer timer;
	struct log_gate gate;
	bool asked;          /* the table is being read */
	bool known;          /* HAProxy has told its servers at the last look */
	bool is_read;        /* the table was read at least once */
	struct wish *wishes; /* the rows of the table that HAProxy could have */
	size_t wish_count;
	struct haproxy_server servers[HAPROXY_SERVERS_MAX];
	size_t count;
	struct wish set[HAPROXY_SERVERS_MAX]; /* the servers whose weight is the table's */
	size_t set_count;
};

static const struct wish *find(const struct wish *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

/* ---- the table ---- */

/* A failure leaves the last rows. */
static void on_rows(void *arg, enum err err, const struct pg_result *r)
{
	struct backends *b = arg;
	uint64_t weight;

	b->asked = false;
	if (err != ERR_OK)
		return;
	free(b->wishes);
	b->wishes = check_calloc(pg_result_rows(r) + 1, sizeof(*b->wishes));
	b->wish_count = 0;
	b->is_read = true;
	for (size_t i = 0; i < pg_result_rows(r); i++) {
		struct wish *w = &b->wishes[b->wish_count];
		if (pg_result_u64(r, i, 1, &weight) != ERR_OK || weight > ADMIN_WEIGHT_MAX ||
		    sv_copy(pg_result_value(r, i, 0), w->name, sizeof(w->name)) != ERR_OK)
			continue;
		w->weight = (uint32_t)weight;
		b->wish_count++;
	}
}

/* ---- HAProxy ---- */

static void forget(struct backends *b, const char *name)
{
	for (size_t i = 0; i < b->set_count; i++)
		if (strcmp(b->set[i].name, name) == 0)
			b->set[i--] = b->set[--b->set_count];
}

static void remember(struct backends *b, const struct wish *w)
{
	forget(b, w->name);
	CHECK(b->set_count < HAPROXY_SERVERS_MAX);
	b->set[b->set_count++] = *w;
}

/* The command for one server, or nothing; returns its length. */
static size_t command_for(struct backends *b, const struct haproxy_server *s, char buf[COMMAND_MAX])
{
	const struct wish *w = find(b->wishes, b->wish_count, s->name);

	if (w != NULL) {
		remember(b, w);
		if (w->weight == s->weight)
			return 0;
		log_info("backends: a weight is set: backend=%s from=%" PRIu32 " to=%" PRIu32, s->name, s->weight,
		         w->weight);
		return (size_t)snprintf(buf, COMMAND_MAX, "set server " HAPROXY_BE "/%s weight %" PRIu32 ";", s->name,
		                        w->weight);
	}
	if (find(b->set, b->set_count, s->name) == NULL)
		return 0;
	forget(b, s->name);
	log_info("backends: the weight of the configuration is set: backend=%s", s->name);
	return (size_t)snprintf(buf, COMMAND_MAX, "set server " HAPROXY_BE "/%s weight 100%%;", s->name);
}

/* HAProxy says something only when it refuses. What was set is seen at the next look. */
static void on_set(void *arg, enum err err, struct sv answer)
{
	struct backends *b = arg;
	uint64_t skipped;

	answer = sv_trim(answer);
	if ((err != ERR_OK || answer.n > 0) && log_gate(&b->gate, clock_mono_ns(), LOG_NS, &skipped))
		log_warn("backends: HAProxy did not set a weight: %s%.*s", err != ERR_OK ? err_str(err) : "",
		         SV_ARG(answer.n > 200 ? sv_from(answer.p, 200) : answer));
}

static void set_weights(struct backends *b)
{
	char command[COMMANDS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < b->count && n + COMMAND_MAX < sizeof(command); i++)
		n += command_for(b, &b->servers[i], command + n);
	if (n == 0)
		return;
	command[n] = '\0';
	if (haproxy_ask(b->haproxy, command, TIMEOUT_MS, on_set, b) != ERR_OK)
		b->known = false;
}

static void on_servers(void *arg, enum err err, struct sv answer)
{
	struct backends *b = arg;

	b->known = err == ERR_OK && haproxy_servers_parse(answer, b->servers, &b->count) == ERR_OK;
	if (b->known && b->is_read)
		set_weights(b);
}

static void on_timer(void *arg)
{
	struct backends *b = arg;

	if (!b->asked && pg_is_up(b->pg)) {
		b->asked = true;
		pg_query(b->pg, SQL_ROWS, 0, NULL, TIMEOUT_MS, on_rows, b);
	}
	enum err err = haproxy_ask(b->haproxy, "show stat " HAPROXY_BE " 4 -1", TIMEOUT_MS, on_servers, b);
	if (err == ERR_UNAVAILABLE)
		b->known = false;
}

/* ---- for the keeper ---- */

struct backends *backends_new(struct loop *loop, struct pg *pg, const struct settings *settings)
{
	if (settings->haproxy_socket[0] == '\0')
		return NULL;
	struct backends *b = check_calloc(1, sizeof(*b));
	b->pg = pg;
	b->haproxy = haproxy_asker_new(loop, settings->haproxy_socket);
	loop_timer_init(&b->timer, loop, on_timer, b);
	loop_timer_start(&b->timer, 0, EVERY_MS);
	return b;
}

void backends_stop(struct backends *b)
{
	if (b == NULL)
		return;
	loop_timer_stop(&b->timer);
	haproxy_asker_free(b->haproxy);
	b->haproxy = NULL;
}

void backends_free(struct backends *b)
{
	if (b == NULL)
		return;
	backends_stop(b);
	free(b->wishes);
	free(b);
}

const struct haproxy_server *backends_servers(const struct backends *b, size_t *count)
{
	*count = b != NULL && b->known ? b->count : 0;
	return *count > 0 ? b->servers : NULL;
}
