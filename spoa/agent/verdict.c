/* A verdict worker: accepts HAProxy's SPOP connections and answers what comes over them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/answer.h"
#include "agent/child.h"
#include "base/check.h"
#include "base/log.h"
#include "io/listener.h"
#include "io/stream.h"
#include "spop/conn.h"

/* HAProxy stops sending on a connection that answers nothing: more than this waits only for a peer that is stuck. */
#define OUT_MAX ((size_t)4 << 20)
/* What a draining connection may still bring before DISCONNECT, and how long HAProxy has to close after it. */
#define QUIET_MS      20
#define DISCONNECT_MS 300
#define READY_POLL_MS 20
#define FILE_CHECK_MS 1000
#define TURN_MS       50
#define HOSTS_POLL_MS 10
#define HOSTS_WAITS   20

struct session {
	struct session *next;
	struct session *prev;
	struct worker *worker;
	struct stream *stream;
	struct spop_conn conn;
	bool counted; /* in the gauge: it said hello, and was no health check */
};

struct worker {
	struct child child;
	struct answerer answerer;
	struct listener *listener;
	struct session *sessions;
	struct loop_task release; /* gives the view up at the end of a turn */
	struct loop_timer poll;   /* until the policy can be read */
	struct loop_timer hosts;  /* until it is known who shares the limits */
	unsigned hosts_waits;     /* so many times more */
	struct loop_timer turn;   /* that no turn is longer ago than TURN_MS */
	struct leases *leases;    /* NULL without redis.addr */
	struct loop_timer file;   /* whether the policy's file is still the one that is open */
	struct loop_timer drain;
	struct loop_timer drain_end;
	bool disconnecting; /* sessions were told to go */
	bool finished;
};

static void count_frame(struct worker *w, int type)
{
	enum agent_frame frame;

	switch (type) {
	case SPOP_FRAME_HAPROXY_HELLO:
		frame = AGENT_FRAME_HAPROXY_HELLO;
		break;
	case SPOP_FRAME_HAPROXY_DISCONNECT:
		frame = AGENT_FRAME_HAPROXY_DISCONNECT;
		break;
	case SPOP_FRAME_NOTIFY:
		frame = AGENT_FRAME_NOTIFY;
		break;
	case SPOP_FRAME_AGENT_HELLO:
		frame = AGENT_FRAME_AGENT_HELLO;
		break;
	case SPOP_FRAME_AGENT_DISCONNECT:
		frame = AGENT_FRAME_AGENT_DISCONNECT;
		break;
	default:
		frame = AGENT_FRAME_UNKNOWN;
		break;
	}
	agent_count(&w->child.shared->metrics.frames[frame]);
}

/* One view of the policy for all that is read in a turn. */
static void renew_view(struct worker *w)
{
	if (loop_task_pending(&w->release))
		return;
	answer_renew(&w->answerer, w->child.settings->agent_state_dir);
	loop_defer(&w->release);
}

static void on_release(void *arg)
{
	struct worker *w = arg;
	answer_release(&w->answerer);
}

static void on_protocol_error(struct session *s, const struct spop_event *ev)
{
	agent_count(&s->worker->child.shared->metrics.errors[ev->reason]);
	log_warn("spop: connection refused: reason=%s", spop_reason_str(ev->reason));
}

/* Handles one event. False: the connection ends with what was written. */
static bool on_event(struct session *s, struct spop_event *ev, struct wcur *out)
{
	struct worker *w = s->worker;

	if (ev->frame_type >= 0)
		count_frame(w, ev->frame_type);
	switch (ev->type) {
	case SPOP_EVENT_HELLO:
		s->counted = true;
		agent_count(&w->child.slot->connections);
		count_frame(w, SPOP_FRAME_AGENT_HELLO);
		break;
	case SPOP_EVENT_HEALTHCHECK:
		count_frame(w, SPOP_FRAME_AGENT_HELLO);
		break;
	case SPOP_EVENT_NOTIFY:
		renew_view(w);
		answer_turn(&w->answerer, loop_now_ns(w->child.loop));
		/* Without an ACK HAProxy waits for its time-out, and asks the other worker: log, and go on. */
		if (answer_notify(&w->answerer, &s->conn, ev, out, s) != ERR_OK)
			log_error("spop: an answer does not fit into a frame of %" PRIu32 " bytes", s->conn.send_max);
		break;
	case SPOP_EVENT_DISCONNECT:
		count_frame(w, SPOP_FRAME_AGENT_DISCONNECT);
		log_debug("spop: HAProxy disconnects: status=%" PRIu32, ev->disconnect.status);
		break;
	case SPOP_EVENT_ERROR:
		count_frame(w, SPOP_FRAME_AGENT_DISCONNECT);
		on_protocol_error(s, ev);
		break;
	default:
		break;
	}
	return !ev->close;
}

/* A request of this session that waited for Redis can be answered. */
static void on_ready(void *owner, struct answer_parked *p)
{
	struct session *s = owner;
	struct wcur out;

	/* On a closed stream on_close() follows, and forgets it. */
	if (stream_out(s->stream, ANSWER_MAX, &out) != ERR_OK)
		return;
	if (answer_parked_write(p, &s->conn, &out) != ERR_OK)
		log_error("spop: an answer does not fit into a frame of %" PRIu32 " bytes", s->conn.send_max);
	if (stream_commit(s->stream, &out) != ERR_OK)
		log_debug("spop: closed while an answer was written");
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
	struct session *s = arg;
	size_t done = 0;

	for (;;) {
		struct spop_event ev;
		struct wcur out;
		size_t consumed = 0;
		if (stream_out(s->stream, ANSWER_MAX + SPOP_REPLY_MAX, &out) != ERR_OK)
			return n;
		enum spop_event_type type = spop_conn_next(&s->conn, p + done, n - done, &consumed, &out, &ev);
		if (type == SPOP_EVENT_INCOMPLETE)
			return done;
		bool open = on_event(s, &ev, &out);
		done += consumed;
		if (stream_commit(s->stream, &out) != ERR_OK)
			return n;
		if (!open) {
			stream_close_after_flush(s->stream, STREAM_DONE);
			return n;
		}
	}
}

static void finish_if_empty(struct worker *w)
{
	if (w->disconnecting && w->sessions == NULL && !w->finished) {
		w->finished = true;
		loop_stop(w->child.loop);
	}
}

static void on_close(void *arg, unsigned reason)
{
	struct session *s = arg;
	struct worker *w = s->worker;

	if (reason == STREAM_OUT_FULL)
		agent_count(&w->child.shared->metrics.errors[AGENT_ERROR_OUT_FULL]);
	else if (reason == STREAM_ERROR)
		agent_count(&w->child.shared->metrics.errors[AGENT_ERROR_SOCKET]);
	log_debug("spop: connection closed: reason=%s state=%s", stream_reason_str(reason),
	          spop_conn_state_str(s->conn.state));
	if (s->counted)
		atomic_fetch_sub_explicit(&w->child.slot->connections, 1, memory_order_relaxed);
	if (s->prev != NULL)
		s->prev->next = s->next;
	else
		w->sessions = s->next;
	if (s->next != NULL)
		s->next->prev = s->prev;
	answer_forget(&w->answerer, s);
	spop_conn_fini(&s->conn);
	free(s);
	finish_if_empty(w);
}

static void on_accept(void *arg, int fd)
{
	static const struct stream_ops ops = { .on_data = on_data, .on_close = on_close };
	const struct stream_limits limits = { .in_max = SPOP_FRAME_HARD_MAX + SPOP_LENGTH_BYTES, .out_max = OUT_MAX };
	struct worker *w = arg;
	struct session *s = check_calloc(1, sizeof(*s));

	s->worker = w;
	s->next = w->sessions;
	if (s->next != NULL)
		s->next->prev = s;
	w->sessions = s;
	spop_conn_init(&s->conn, (uint32_t)w->child.settings->agent_max_frame_size);
	s->stream = stream_new(w->child.loop, fd, limits, &ops, s);
}

/* ---- the end: no new connections, a moment for what HAProxy has sent already, DISCONNECT, close ---- */

static void on_drain_end(void *arg)
{
	struct worker *w = arg;

	for (struct session *s = w->sessions; s != NULL; s = s->next)
		stream_close(s->stream, STREAM_DONE);
	finish_if_empty(w);
}

static void disconnect(struct session *s)
{
	struct wcur out;

	/* A health check, or a connection that says its hello just now. */
	if (!s->counted) {
		stream_close(s->stream, STREAM_DONE);
		return;
	}
	if (stream_out(s->stream, SPOP_REPLY_MAX, &out) != ERR_OK)
		return;
	if (spop_conn_disconnect(&s->conn, &out, SPOP_STATUS_NORMAL, SV("the agent stops")) == ERR_OK)
		count_frame(s->worker, SPOP_FRAME_AGENT_DISCONNECT);
	if (stream_commit(s->stream, &out) != ERR_OK)
		log_debug("spop: closed while draining");
}

static void on_drain(void *arg)
{
	struct worker *w = arg;

	for (struct session *s = w->sessions; s != NULL; s = s->next)
		disconnect(s);
	w->disconnecting = true;
	loop_timer_start(&w->drain_end, DISCONNECT_MS, 0);
	finish_if_empty(w);
}

static void on_stop(void *arg)
{
	struct worker *w = arg;

	loop_timer_stop(&w->poll);
	loop_timer_stop(&w->hosts);
	listener_free(w->listener);
	w->listener = NULL;
	/* A verdict takes one turn: what was read is answered, and so is what arrives until the timer. */
	loop_timer_start(&w->drain, QUIET_MS, 0);
}

/* ---- the start ---- */

static void on_file(void *arg)
{
	struct worker *w = arg;

	/* A view is in use in this turn: the next second will do. */
	if (!loop_task_pending(&w->release))
		answer_check_file(&w->answerer, w->child.settings->agent_state_dir);
}

static void on_turn(void *arg)
{
	struct worker *w = arg;
	answer_turn(&w->answerer, loop_now_ns(w->child.loop));
}

/* Without redis.addr this host is alone. */
static enum err start_leases(struct worker *w)
{
	const struct settings *s = w->child.settings;
	const struct leases_config config = {
		.addr = s->redis_addr,
		.password = s->redis_password,
		.db = (unsigned)s->redis_db,
		.tls = s->redis_tls,
		.tls_ca = s->redis_tls_ca,
		.memory = &w->child.shared->counters.limits,
		.host_id = w->child.shared->host_id,
		.counters = w->child.shared->metrics.leases,
	};
	char error[256];

	if (s->redis_addr[0] == '\0')
		return ERR_OK;
	enum err err = leases_new(w->child.loop, &config, &w->leases, error, sizeof(error));
	if (err != ERR_OK)
		log_error("redis: %s", error);
	return err;
}

static void on_poll(void *arg)
{
	struct worker *w = arg;

	renew_view(w);
	if (!w->answerer.view_ok)
		return;
	loop_timer_stop(&w->poll);
	atomic_store_explicit(&w->child.slot->ready, 1, memory_order_relaxed);
	log_debug("verdict worker %u: policy can be read", w->child.index + 1);
}

static void listen_now(struct worker *w)
{
	w->listener = listener_new(w->child.loop, w->child.listen_fd, on_accept, w);
}

/*
 * An agent that has just started does not know yet how many hosts share, and would take itself for the only one. Redis
 * tells within some milliseconds.
 */
static void on_hosts(void *arg)
{
	struct worker *w = arg;
	bool known = atomic_load_explicit(&w->child.shared->counters.limits.cluster.hosts, memory_order_relaxed) != 0;

	if ((!known || leases_mode(w->leases) != LIMITS_SHARED) && w->hosts_waits-- > 0)
		return;
	loop_timer_stop(&w->hosts);
	listen_now(w);
}

static void on_go(void *arg)
{
	struct worker *w = arg;

	if (w->leases != NULL &&
	    atomic_load_explicit(&w->child.shared->counters.limits.cluster.hosts, memory_order_relaxed) == 0)
		loop_timer_start(&w->hosts, HOSTS_POLL_MS, HOSTS_POLL_MS);
	else
		listen_now(w);
	/* Without a policy every answer is 503: better than none, for which requests would wait. */
	loop_timer_start(&w->poll, READY_POLL_MS, READY_POLL_MS);
	loop_timer_start(&w->file, FILE_CHECK_MS, FILE_CHECK_MS);
	loop_timer_start(&w->turn, TURN_MS, TURN_MS);
	on_poll(w);
}

int verdict_run(const struct settings *settings, unsigned index, unsigned slot)
{
	struct worker w = { .child = { .on_go = on_go, .on_stop = on_stop }, .hosts_waits = HOSTS_WAITS };
	int code = EXIT_FAILURE;

	w.child.arg = &w;
	struct loop *loop = loop_new();
	if (loop == NULL)
		return EXIT_FAILURE;
	enum err err = child_init(&w.child, loop, settings, index, slot);
	if (err != ERR_OK) {
		log_error("cannot start as a child: %s", err_str(err));
		goto end_loop;
	}
	loop_task_init(&w.release, loop, on_release, &w);
	loop_timer_init(&w.poll, loop, on_poll, &w);
	loop_timer_init(&w.hosts, loop, on_hosts, &w);
	loop_timer_init(&w.file, loop, on_file, &w);
	loop_timer_init(&w.turn, loop, on_turn, &w);
	loop_timer_init(&w.drain, loop, on_drain, &w);
	loop_timer_init(&w.drain_end, loop, on_drain_end, &w);
	if (start_leases(&w) != ERR_OK)
		goto end_child;
	if (answer_init(&w.answerer, settings, w.child.shared, w.leases, on_ready) != ERR_OK)
		goto end_leases;
	if (child_ready(&w.child) != ERR_OK)
		goto end_answerer;
	loop_run(loop);
	code = EXIT_SUCCESS;
end_answerer:
	loop_task_cancel(&w.release);
	listener_free(w.listener);
	answer_fini(&w.answerer);
end_leases:
	leases_free(w.leases);
end_child:
	loop_timer_stop(&w.poll);
	loop_timer_stop(&w.hosts);
	loop_timer_stop(&w.turn);
	loop_timer_stop(&w.file);
	loop_timer_stop(&w.drain);
	loop_timer_stop(&w.drain_end);
	child_fini(&w.child);
end_loop:
	loop_free(loop);
	return code;
}
