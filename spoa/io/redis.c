#include "io/redis.h"

#include <fcntl.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/addr.h"
#include "io/backoff.h"
#include "io/redis_tls.h"
#include "io/resolver.h"

#define CONNECT_TIMEOUT_MS 1000
#define PING_INTERVAL_MS   1000
#define INFLIGHT_MAX       4096
#define LOG_EVERY_SECS     30

enum redis_state {
	STATE_WAITING = 0, /* for the timer of the next attempt */
	STATE_RESOLVING,
	STATE_CONNECTING, /* until AUTH, SELECT and PING are answered */
	STATE_UP,
};

struct command {
	TAILQ_ENTRY(command) link; /* while it is in `refused` or `unused` */
	struct redis *r;
	struct loop_timer timer;
	redis_command_cb *cb; /* NULL: nobody wants to know, or told already (deadline) */
	void *arg;
};

TAILQ_HEAD(command_list, command);

struct redis {
	struct loop *loop;
	struct redis_config config;
	char name[ADDR_TEXT_MAX]; /* the setting, for the log */
	struct addr addr;
	char *password;
	struct redis_tls *tls; /* NULL: in the clear */
	enum redis_state state;
	struct resolver *resolver;
	redisAsyncContext *ac;
	struct loop_io io;
	unsigned events;          /* what hiredis wants to be watched */
	struct loop_timer timer;  /* STATE_WAITING: next attempt; connecting: deadline; up: PING */
	struct loop_task refuse;  /* calls back the commands in `refused` */
	struct loop_task give_up; /* drops a connection whose set-up failed, outside of hiredis' callbacks */
	struct command_list refused;
	struct command_list unused; /* kept for the next ones: nothing is allocated once there are enough */
	size_t count;               /* commands that hiredis knows */
	unsigned setup;             /* answers that are due before the connection is up */
	bool received;              /* since the last tick */
	bool ping_out;              /* its answer is due */
	size_t addr_at;             /* which address of the host is tried */
	size_t addr_count;
	struct backoff backoff;
	uint64_t up_ns;
	struct log_gate gate;
	char error[256];
};

static void view(const redisReply *from, struct redis_reply *to)
{
	*to = (struct redis_reply){ .type = REDIS_NIL };
	switch (from->type) {
	case REDIS_REPLY_STRING:
	case REDIS_REPLY_STATUS:
	case REDIS_REPLY_ERROR:
		to->type = from->type == REDIS_REPLY_STRING   ? REDIS_STRING
		           : from->type == REDIS_REPLY_STATUS ? REDIS_STATUS
		                                              : REDIS_ERROR;
		to->str = sv_from(from->str, (size_t)from->len);
		break;
	case REDIS_REPLY_INTEGER:
		to->type = REDIS_INTEGER;
		to->integer = from->integer;
		break;
	case REDIS_REPLY_ARRAY:
		to->type = REDIS_ARRAY;
		to->count = from->elements;
		to->elements = from->element;
		break;
	default:
		break;
	}
}

struct redis_reply redis_reply_at(const struct redis_reply *r, size_t i)
{
	struct redis_reply element;
	CHECK(r->type == REDIS_ARRAY && i < r->count);
	view(((redisReply *const *)r->elements)[i], &element);
	return element;
}

/* Tells the caller, once. The memory stays as long as hiredis has the pointer. */
static void command_tell(struct command *c, enum err err, const struct redis_reply *reply)
{
	redis_command_cb *cb = c->cb;
	c->cb = NULL;
	loop_timer_stop(&c->timer);
	if (cb != NULL)
		cb(c->arg, err, reply);
}

static void command_free(struct command *c)
{
	TAILQ_INSERT_HEAD(&c->r->unused, c, link);
}

static void retry_later(struct redis *r, bool was_up)
{
	char value[sizeof(r->error)];
	uint64_t skipped;
	unsigned delay = 0;

	if (was_up) {
		r->gate.next_ns = 0;
		/* A server that takes connections and drops them again must not be asked ten times a second. */
		if (loop_now_ns(r->loop) - r->up_ns > BACKOFF_MAX_MS * NS_PER_MS)
			backoff_reset(&r->backoff);
	}
	r->addr_at++;
	if (was_up || r->addr_at >= r->addr_count) {
		r->addr_at = 0;
		delay = backoff_next_ms(&r->backoff);
	}
	loop_timer_start(&r->timer, delay, 0);
	if (log_gate(&r->gate, loop_now_ns(r->loop), LOG_EVERY_SECS * NS_PER_SEC, &skipped))
		log_warn("redis: no connection: addr=%s error=\"%s\" retry_ms=%u skipped=%llu", r->name,
		         log_value(value, sizeof(value), r->error), delay, (unsigned long long)skipped);
}

/* The attempt has failed, or the connection is lost: from here on commands are refused. */
static void went_down(struct redis *r, const char *why)
{
	bool was_up = r->state == STATE_UP;
	if (r->state == STATE_WAITING)
		return;
	const char *refused = r->tls != NULL && !was_up ? redis_tls_refused(r->tls) : NULL;
	if (refused != NULL)
		snprintf(r->error, sizeof(r->error), "certificate verify failed: %s", refused);
	else if (why != r->error)
		snprintf(r->error, sizeof(r->error), "%s", why);
	r->state = STATE_WAITING;
	resolver_cancel(r->resolver);
	r->resolver = NULL;
	loop_task_cancel(&r->give_up);
	retry_later(r, was_up);
	if (was_up && r->config.on_down != NULL)
		r->config.on_down(r->config.arg, r->error);
}

/* The watcher goes before hiredis closes the socket. The commands that hiredis has get a NULL reply inside of this. */
static void disconnect(struct redis *r)
{
	redisAsyncContext *ac = r->ac;
	loop_io_stop(&r->io);
	r->events = 0;
	r->ac = NULL;
	if (ac != NULL)
		redisAsyncFree(ac);
}

static void drop(struct redis *r, const char *why)
{
	went_down(r, why);
	disconnect(r);
}

static void on_give_up(void *arg)
{
	struct redis *r = arg;
	drop(r, r->error);
}

static void on_reply(redisAsyncContext *ac, void *reply, void *privdata)
{
	struct command *c = privdata;
	struct redis *r = c->r;
	struct redis_reply v;
	r->count--;
	if (reply == NULL) {
		/* When hiredis itself gives up the connection, its callbacks are the first to tell. */
		if (r->ac == ac)
			went_down(r, ac->errstr != NULL && ac->errstr[0] != '\0' ? ac->errstr : "connection lost");
		command_tell(c, ERR_CLOSED, NULL);
	} else {
		r->received = true;
		view(reply, &v);
		command_tell(c, v.type == REDIS_ERROR ? ERR_REFUSED : ERR_OK, &v);
	}
	command_free(c);
}

static void on_deadline(void *arg)
{
	command_tell(arg, ERR_TIMEOUT, NULL);
}

static struct command *command_new(struct redis *r, redis_command_cb *cb, void *arg)
{
	struct command *c = TAILQ_FIRST(&r->unused);
	if (c != NULL) {
		TAILQ_REMOVE(&r->unused, c, link);
	} else {
		c = check_calloc(1, sizeof(*c));
		c->r = r;
		loop_timer_init(&c->timer, r->loop, on_deadline, c);
	}
	c->cb = cb;
	c->arg = arg;
	return c;
}

static bool command_send(struct command *c, int argc, const char *const *argv, const size_t *argvlen,
                         unsigned timeout_ms)
{
	struct redis *r = c->r;
	/* hiredis reads the words only; its type lacks a const. */
	union {
		const char *const *in;
		const char **out;
	} words = { .in = argv };
	if (redisAsyncCommandArgv(r->ac, on_reply, c, argc, words.out, argvlen) != REDIS_OK)
		return false;
	r->count++;
	loop_timer_start(&c->timer, timeout_ms, 0);
	return true;
}

/* The answers to all but EXEC are of no interest: when one is an error, so is EXEC's. */
static bool batch_send(struct command *c, const struct redis_batch *batch, unsigned timeout_ms)
{
	static const char multi[] = "*1\r\n$5\r\nMULTI\r\n", exec[] = "*1\r\n$4\r\nEXEC\r\n";
	struct redis *r = c->r;
	int sent = redisAsyncFormattedCommand(r->ac, NULL, NULL, multi, sizeof(multi) - 1);
	if (sent != REDIS_OK)
		return false;
	for (size_t i = 0; sent == REDIS_OK && i < batch->count; i++) {
		struct sv command = redis_batch_at(batch, i);
		sent = redisAsyncFormattedCommand(r->ac, NULL, NULL, command.p, command.n);
	}
	if (sent == REDIS_OK)
		sent = redisAsyncFormattedCommand(r->ac, on_reply, c, exec, sizeof(exec) - 1);
	/* hiredis refuses a connection that it closes, and it does not close in between: there was no memory. */
	CHECK(sent == REDIS_OK);
	r->count++;
	loop_timer_start(&c->timer, timeout_ms, 0);
	return true;
}

static void watch(struct redis *r, unsigned set, unsigned clear)
{
	r->events = (r->events | set) & ~clear;
	if (r->ac != NULL)
		loop_io_start(&r->io, r->ac->c.fd, r->events);
}

static void hook_add_read(void *data)
{
	watch(data, LOOP_READ, 0);
}

static void hook_del_read(void *data)
{
	watch(data, 0, LOOP_READ);
}

static void hook_add_write(void *data)
{
	watch(data, LOOP_WRITE, 0);
}

static void hook_del_write(void *data)
{
	watch(data, 0, LOOP_WRITE);
}

/* hiredis frees the context, because we said so (r->ac is NULL then) or by itself after an error. */
static void hook_cleanup(void *data)
{
	struct redis *r = data;
	if (r->ac == NULL)
		return;
	went_down(r, r->ac->errstr != NULL && r->ac->errstr[0] != '\0' ? r->ac->errstr : "connection lost");
	loop_io_stop(&r->io);
	r->events = 0;
	r->ac = NULL;
}

static void on_io(void *arg, unsigned events)
{
	struct redis *r = arg;
	if ((events & LOOP_READ) != 0)
		redisAsyncHandleRead(r->ac);
	if ((events & LOOP_WRITE) != 0 && r->ac != NULL)
		redisAsyncHandleWrite(r->ac);
}

static void on_pong(void *arg, enum err err, const struct redis_reply *reply)
{
	struct redis *r = arg;
	(void)reply;
	if (err != ERR_TIMEOUT)
		r->ping_out = false;
}

static void tick(struct redis *r)
{
	static const char *const ping[] = { "PING" };
	if (r->ping_out) {
		drop(r, "no answer to PING");
		return;
	}
	if (!r->received) {
		struct command *c = command_new(r, on_pong, r);
		r->ping_out = command_send(c, 1, ping, NULL, 2 * r->config.ping_interval_ms);
		if (!r->ping_out)
			command_free(c);
	}
	r->received = false;
}

static void up(struct redis *r)
{
	r->state = STATE_UP;
	r->up_ns = loop_now_ns(r->loop);
	r->error[0] = '\0';
	r->ping_out = false;
	loop_timer_start(&r->timer, r->config.ping_interval_ms, r->config.ping_interval_ms);
	log_info("redis: connected: addr=%s", r->name);
	if (r->config.on_up != NULL)
		r->config.on_up(r->config.arg);
}

static void on_setup(void *arg, enum err err, const struct redis_reply *reply)
{
	struct redis *r = arg;
	if (r->state != STATE_CONNECTING || loop_task_pending(&r->give_up))
		return;
	/* A server that cannot save its data answers PING with MISCONF; it serves nevertheless. */
	if (err == ERR_REFUSED && !(r->setup == 1 && sv_starts(reply->str, SV("MISCONF")))) {
		snprintf(r->error, sizeof(r->error), "%.*s", SV_ARG(reply->str));
		loop_defer(&r->give_up);
		return;
	}
	/* With a time-out or a loss the connection's own deadline or hiredis goes on. */
	if ((err == ERR_OK || err == ERR_REFUSED) && --r->setup == 0)
		up(r);
}

static void setup_send(struct redis *r, const char *word, const char *value)
{
	const char *argv[2] = { word, value };
	struct command *c = command_new(r, on_setup, r);
	r->setup++;
	if (!command_send(c, value != NULL ? 2 : 1, argv, NULL, 2 * r->config.connect_timeout_ms)) {
		command_free(c);
		snprintf(r->error, sizeof(r->error), "cannot send %s", word);
		loop_defer(&r->give_up);
	}
}

static void connected(struct redis *r, redisAsyncContext *ac)
{
	char db[16];
	if (ac == NULL || ac->err != 0) {
		char why[sizeof(r->error)];
		snprintf(why, sizeof(why), "%s", ac != NULL ? ac->errstr : "out of memory");
		if (ac != NULL)
			redisAsyncFree(ac);
		drop(r, why);
		return;
	}
	fcntl(ac->c.fd, F_SETFD, FD_CLOEXEC); /* hiredis does not */
	if (r->tls != NULL && redis_tls_begin(r->tls, &ac->c) != ERR_OK) {
		redisAsyncFree(ac);
		drop(r, "the TLS handshake failed");
		return;
	}
	r->ac = ac;
	ac->ev.data = r;
	ac->ev.addRead = hook_add_read;
	ac->ev.delRead = hook_del_read;
	ac->ev.addWrite = hook_add_write;
	ac->ev.delWrite = hook_del_write;
	ac->ev.cleanup = hook_cleanup;
	r->state = STATE_CONNECTING;
	r->setup = 0;
	if (r->password != NULL)
		setup_send(r, "AUTH", r->password);
	if (r->config.db != 0) {
		snprintf(db, sizeof(db), "%u", r->config.db);
		setup_send(r, "SELECT", db);
	}
	setup_send(r, "PING", NULL);
}

static void on_resolved(void *arg, enum err err, const struct resolver_addr *addrs, size_t count, const char *error)
{
	struct redis *r = arg;
	r->resolver = NULL;
	r->addr_count = count;
	if (err != ERR_OK) {
		drop(r, error);
		return;
	}
	/* The address is numeric, so hiredis does not look anything up. */
	connected(r, redisAsyncConnect(addrs[r->addr_at % count].text, r->addr.port_number));
}

static void on_timer(void *arg)
{
	struct redis *r = arg;
	if (r->state == STATE_UP) {
		tick(r);
		return;
	}
	if (r->state != STATE_WAITING) {
		drop(r, "connecting took too long");
		return;
	}
	r->state = STATE_RESOLVING;
	loop_timer_start(&r->timer, r->config.connect_timeout_ms, 0);
	if (r->addr.is_unix)
		connected(r, redisAsyncConnectUnix(r->addr.path));
	else
		r->resolver = resolver_start(r->loop, r->addr.host, r->addr.port_number, on_resolved, r);
}

static void list_end(struct command_list *list, enum err err)
{
	struct command *c;
	while ((c = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, c, link);
		command_tell(c, err, NULL);
		command_free(c);
	}
}

static void on_refuse(void *arg)
{
	struct redis *r = arg;
	struct command_list list;
	/* What the callbacks submit is for the next turn, or a caller that tries again at once would hold the loop. */
	TAILQ_INIT(&list);
	TAILQ_CONCAT(&list, &r->refused, link);
	list_end(&list, ERR_UNAVAILABLE);
}

enum err redis_new(struct loop *loop, const struct redis_config *config, struct redis **out, char *error,
                   size_t error_size)
{
	struct redis *r = check_calloc(1, sizeof(*r));
	enum err err = addr_parse(config->addr, &r->addr, error, error_size);
	*out = NULL;
	if (r->addr.host[0] == '\0' && !r->addr.is_unix)
		snprintf(r->addr.host, sizeof(r->addr.host), "localhost");
	if (err == ERR_OK && config->tls && r->addr.is_unix) {
		snprintf(error, error_size, "a unix socket has no TLS");
		err = ERR_INVALID;
	}
	if (err == ERR_OK && config->tls)
		err = redis_tls_new(r->addr.host, config->tls_ca != NULL ? config->tls_ca : "", &r->tls, error,
		                    error_size);
	if (err != ERR_OK) {
		free(r);
		return err;
	}
	r->loop = loop;
	r->config = *config;
	snprintf(r->name, sizeof(r->name), "%s", config->addr);
	r->config.addr = r->config.password = r->config.tls_ca = NULL; /* the caller's memory */
	if (config->password != NULL && config->password[0] != '\0') {
		r->password = strdup(config->password);
		CHECK(r->password != NULL);
	}
	if (r->config.connect_timeout_ms == 0)
		r->config.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	if (r->config.ping_interval_ms == 0)
		r->config.ping_interval_ms = PING_INTERVAL_MS;
	if (r->config.inflight_max == 0)
		r->config.inflight_max = INFLIGHT_MAX;
	r->backoff.max_ms = r->config.reconnect_max_ms;
	TAILQ_INIT(&r->refused);
	TAILQ_INIT(&r->unused);
	loop_io_init(&r->io, loop, on_io, r);
	loop_timer_init(&r->timer, loop, on_timer, r);
	loop_task_init(&r->refuse, loop, on_refuse, r);
	loop_task_init(&r->give_up, loop, on_give_up, r);
	loop_timer_start(&r->timer, 0, 0);
	*out = r;
	return ERR_OK;
}

void redis_free(struct redis *r)
{
	struct command *c;
	if (r == NULL)
		return;
	r->state = STATE_WAITING;
	resolver_cancel(r->resolver);
	loop_timer_stop(&r->timer);
	loop_task_cancel(&r->give_up);
	disconnect(r);
	list_end(&r->refused, ERR_CLOSED);
	loop_task_cancel(&r->refuse);
	while ((c = TAILQ_FIRST(&r->unused)) != NULL) {
		TAILQ_REMOVE(&r->unused, c, link);
		free(c);
	}
	free(r->password);
	redis_tls_free(r->tls);
	free(r);
}

bool redis_is_up(const struct redis *r)
{
	return r->state == STATE_UP;
}

const char *redis_last_error(const struct redis *r)
{
	return r->error;
}

static void refuse(struct command *c)
{
	TAILQ_INSERT_TAIL(&c->r->refused, c, link);
	loop_defer(&c->r->refuse);
}

static bool has_room(const struct redis *r)
{
	return r->state == STATE_UP && r->count < r->config.inflight_max;
}

void redis_command(struct redis *r, int argc, const char *const *argv, const size_t *argvlen, unsigned timeout_ms,
                   redis_command_cb *cb, void *arg)
{
	CHECK(timeout_ms > 0 && argc >= 1);
	struct command *c = command_new(r, cb, arg);
	if (!has_room(r) || !command_send(c, argc, argv, argvlen, timeout_ms))
		refuse(c);
}

void redis_transaction(struct redis *r, const struct redis_batch *batch, unsigned timeout_ms, redis_command_cb *cb,
                       void *arg)
{
	CHECK(timeout_ms > 0 && redis_batch_ok(batch));
	struct command *c = command_new(r, cb, arg);
	if (!has_room(r) || !batch_send(c, batch, timeout_ms))
		refuse(c);
}

void redis_flush(struct redis *r)
{
	/* Without anything to write hiredis does not ask to be told when it can. */
	if (r->state == STATE_UP && (r->events & LOOP_WRITE) != 0)
		redisAsyncHandleWrite(r->ac);
}
