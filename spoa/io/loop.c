/* io/loop.h on libev. */
#include "io/loop.h"

#include <ev.h>
#include <signal.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"

_Static_assert(sizeof(ev_io) <= LOOP_EV_SIZE, "ev_io");
_Static_assert(sizeof(ev_timer) <= LOOP_EV_SIZE, "ev_timer");
_Static_assert(sizeof(ev_signal) <= LOOP_EV_SIZE, "ev_signal");
_Static_assert(sizeof(ev_async) <= LOOP_EV_SIZE, "ev_async");
_Static_assert(_Alignof(ev_io) <= 8 && _Alignof(ev_timer) <= 8, "alignment");
_Static_assert(_Alignof(ev_signal) <= 8 && _Alignof(ev_async) <= 8, "alignment");
_Static_assert((int)LOOP_READ == (int)EV_READ && (int)LOOP_WRITE == (int)EV_WRITE, "event bits");

#define DRAIN_ROUNDS 64

struct loop {
	struct ev_loop *ev;
	ev_prepare prepare;
	ev_check check;
	ev_idle idle;
	struct loop_task tasks; /* head of a ring */
	uint64_t now_ns;
	size_t active; /* watchers */
	bool running;
	bool stop;
};

/* The storage of a watcher is bytes in the header, so that ev.h stays in this file. */
#define EV_OF(type, w) ((type *)(void *)(w)->ev)

static void tasks_run(struct loop *l)
{
	struct loop_task now; /* a ring of its own: what tasks defer waits for the next turn */
	if (l->tasks.next == &l->tasks)
		return;
	now.next = l->tasks.next;
	now.prev = l->tasks.prev;
	now.next->prev = &now;
	now.prev->next = &now;
	l->tasks.next = l->tasks.prev = &l->tasks;
	while (now.next != &now) {
		struct loop_task *t = now.next;
		loop_task_cancel(t);
		t->cb(t->arg);
	}
}

static void on_prepare(struct ev_loop *ev, ev_prepare *w, int revents)
{
	struct loop *l = w->data;
	(void)revents;
	tasks_run(l);
	/* An active idle watcher keeps the loop from blocking while tasks wait. */
	if (l->tasks.next != &l->tasks)
		ev_idle_start(ev, &l->idle);
	else
		ev_idle_stop(ev, &l->idle);
}

static void on_check(struct ev_loop *ev, ev_check *w, int revents)
{
	struct loop *l = w->data;
	(void)ev;
	(void)revents;
	l->now_ns = clock_mono_ns();
}

static void on_idle(struct ev_loop *ev, ev_idle *w, int revents)
{
	(void)ev;
	(void)w;
	(void)revents;
}

struct loop *loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return NULL;
	l->ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (l->ev == NULL) {
		free(l);
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN);
	l->tasks.next = l->tasks.prev = &l->tasks;
	ev_prepare_init(&l->prepare, on_prepare);
	l->prepare.data = l;
	ev_prepare_start(l->ev, &l->prepare);
	/* Before all others of a turn, so that they see the new time. */
	ev_check_init(&l->check, on_check);
	ev_set_priority(&l->check, EV_MAXPRI);
	l->check.data = l;
	ev_check_start(l->ev, &l->check);
	ev_idle_init(&l->idle, on_idle);
	return l;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	for (int i = 0; i < DRAIN_ROUNDS && l->tasks.next != &l->tasks; i++)
		tasks_run(l);
	ev_idle_stop(l->ev, &l->idle);
	ev_check_stop(l->ev, &l->check);
	ev_prepare_stop(l->ev, &l->prepare);
	ev_loop_destroy(l->ev);
	free(l);
}

static void enter(struct loop *l)
{
	CHECK(!l->running);
	l->running = true;
	l->now_ns = clock_mono_ns();
	ev_now_update(l->ev);
}

void loop_run(struct loop *l)
{
	enter(l);
	if (!l->stop)
		ev_run(l->ev, 0);
	tasks_run(l);
	l->stop = false;
	l->running = false;
}

void loop_run_once(struct loop *l, bool wait)
{
	enter(l);
	if (l->tasks.next != &l->tasks)
		wait = false;
	ev_run(l->ev, wait ? EVRUN_ONCE : EVRUN_NOWAIT);
	tasks_run(l);
	l->running = false;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
	ev_break(l->ev, EVBREAK_ONE);
}

uint64_t loop_now_ns(const struct loop *l)
{
	return l->running ? l->now_ns : clock_mono_ns();
}

size_t loop_active(const struct loop *l)
{
	size_t n = l->active;
	for (const struct loop_task *t = l->tasks.next; t != &l->tasks; t = t->next)
		n++;
	return n;
}

/* Outside of a run libev's idea of the time may be old, and a delay would count from then. */
static void refresh(struct loop *l)
{
	if (!l->running)
		ev_now_update(l->ev);
}

static void io_cb(struct ev_loop *ev, ev_io *e, int revents)
{
	struct loop_io *w = e->data;
	(void)ev;
	if (!ev_is_active(e)) { /* libev dropped a descriptor that is not valid */
		w->loop->active--;
		w->events = 0;
	}
	w->cb(w->arg, (unsigned)revents & (LOOP_READ | LOOP_WRITE));
}

void loop_io_init(struct loop_io *w, struct loop *l, void (*cb)(void *arg, unsigned events), void *arg)
{
	ev_io *e = EV_OF(ev_io, w);
	w->loop = l;
	w->cb = cb;
	w->arg = arg;
	w->fd = -1;
	w->events = 0;
	ev_io_init(e, io_cb, -1, 0);
	e->data = w;
}

void loop_io_start(struct loop_io *w, int fd, unsigned events)
{
	ev_io *e = EV_OF(ev_io, w);
	if (events == 0) {
		loop_io_stop(w);
		return;
	}
	CHECK(fd >= 0 && (events & ~(unsigned)(LOOP_READ | LOOP_WRITE)) == 0);
	if (w->events == events && w->fd == fd)
		return;
	if (w->events != 0 && w->fd == fd) {
		ev_io_stop(w->loop->ev, e);
		ev_io_modify(e, (int)events);
		ev_io_start(w->loop->ev, e);
	} else {
		loop_io_stop(w);
		ev_io_set(e, fd, (int)events);
		ev_io_start(w->loop->ev, e);
		w->loop->active++;
	}
	w->fd = fd;
	w->events = events;
}

void loop_io_stop(struct loop_io *w)
{
	if (w->loop == NULL || w->events == 0)
		return;
	ev_io_stop(w->loop->ev, EV_OF(ev_io, w));
	w->loop->active--;
	w->events = 0;
	w->fd = -1;
}

static void timer_cb(struct ev_loop *ev, ev_timer *e, int revents)
{
	struct loop_timer *w = e->data;
	(void)ev;
	(void)revents;
	if (!ev_is_active(e))
		w->loop->active--;
	w->cb(w->arg);
}

void loop_timer_init(struct loop_timer *w, struct loop *l, void (*cb)(void *arg), void *arg)
{
	ev_timer *e = EV_OF(ev_timer, w);
	w->loop = l;
	w->cb = cb;
	w->arg = arg;
	ev_timer_init(e, timer_cb, 0., 0.);
	e->data = w;
}

void loop_timer_start(struct loop_timer *w, uint64_t delay_ms, uint64_t repeat_ms)
{
	ev_timer *e = EV_OF(ev_timer, w);
	loop_timer_stop(w);
	refresh(w->loop);
	ev_timer_set(e, (double)delay_ms / 1000., (double)repeat_ms / 1000.);
	ev_timer_start(w->loop->ev, e);
	w->loop->active++;
}

void loop_timer_stop(struct loop_timer *w)
{
	if (w->loop == NULL)
		return;
	ev_timer *e = EV_OF(ev_timer, w);
	/* A one-shot timer that has expired is no longer active, but its callback may still be pending. */
	if (ev_is_active(e) || ev_is_pending(e))
		w->loop->active--;
	ev_timer_stop(w->loop->ev, e);
}

bool loop_timer_active(const struct loop_timer *w)
{
	const ev_timer *e = (const ev_timer *)(const void *)w->ev;
	return w->loop != NULL && (ev_is_active(e) || ev_is_pending(e));
}

static void signal_cb(struct ev_loop *ev, ev_signal *e, int revents)
{
	struct loop_signal *w = e->data;
	(void)ev;
	(void)revents;
	w->cb(w->arg, e->signum);
}

void loop_signal_init(struct loop_signal *w, struct loop *l, void (*cb)(void *arg, int signo), void *arg)
{
	ev_signal *e = EV_OF(ev_signal, w);
	w->loop = l;
	w->cb = cb;
	w->arg = arg;
	ev_signal_init(e, signal_cb, 1);
	e->data = w;
}

void loop_signal_start(struct loop_signal *w, int signo)
{
	ev_signal *e = EV_OF(ev_signal, w);
	loop_signal_stop(w);
	ev_signal_set(e, signo);
	ev_signal_start(w->loop->ev, e);
	w->loop->active++;
}

void loop_signal_stop(struct loop_signal *w)
{
	if (w->loop == NULL || !ev_is_active(EV_OF(ev_signal, w)))
		return;
	ev_signal_stop(w->loop->ev, EV_OF(ev_signal, w));
	w->loop->active--;
}

void loop_task_init(struct loop_task *t, struct loop *l, void (*cb)(void *arg), void *arg)
{
	t->loop = l;
	t->cb = cb;
	t->arg = arg;
	t->next = t->prev = NULL;
}

void loop_defer(struct loop_task *t)
{
	struct loop_task *head = &t->loop->tasks;
	if (t->next != NULL)
		return;
	t->prev = head->prev;
	t->next = head;
	t->prev->next = t;
	head->prev = t;
}

void loop_task_cancel(struct loop_task *t)
{
	if (t->next == NULL)
		return;
	t->prev->next = t->next;
	t->next->prev = t->prev;
	t->next = t->prev = NULL;
}

bool loop_task_pending(const struct loop_task *t)
{
	return t->next != NULL;
}

static void wake_cb(struct ev_loop *ev, ev_async *e, int revents)
{
	struct loop_wake *w = e->data;
	(void)ev;
	(void)revents;
	w->cb(w->arg);
}

void loop_wake_init(struct loop_wake *w, struct loop *l, void (*cb)(void *arg), void *arg)
{
	ev_async *e = EV_OF(ev_async, w);
	w->loop = l;
	w->cb = cb;
	w->arg = arg;
	ev_async_init(e, wake_cb);
	e->data = w;
}

void loop_wake_start(struct loop_wake *w)
{
	if (ev_is_active(EV_OF(ev_async, w)))
		return;
	ev_async_start(w->loop->ev, EV_OF(ev_async, w));
	w->loop->active++;
}

void loop_wake_stop(struct loop_wake *w)
{
	if (w->loop == NULL || !ev_is_active(EV_OF(ev_async, w)))
		return;
	ev_async_stop(w->loop->ev, EV_OF(ev_async, w));
	w->loop->active--;
}

void loop_wake_send(struct loop_wake *w)
{
	ev_async_send(w->loop->ev, EV_OF(ev_async, w));
}
