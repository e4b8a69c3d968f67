/*
 * The event loop: file descriptors, timers, signals, deferred tasks and wake-ups from other threads.
 *
 * A loop belongs to one thread; every function here but loop_wake_send() is called from that thread. There is no
 * default loop: whoever needs one gets it as an argument.
 *
 * Watchers are embedded in the structs that use them and are set up once with their _init function. Afterwards start
 * and stop may be called in any state: starting a running watcher changes it, stopping an idle one does nothing, and
 * stopping one that is all zero bytes does nothing either. Once stop has returned the callback does not come any more,
 * also when its event was waiting already. A watcher must be stopped before its memory is freed, and before its file
 * descriptor is closed.
 *
 * One turn: wait for events → callbacks of descriptors, timers, signals and wake-ups → deferred tasks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct loop;

/*
 * NULL when the system gives no loop (no memory or no descriptor). SIGPIPE is ignored in the whole process from then
 * on: some libraries write to sockets without a way to switch it off.
 */
MUST_CHECK struct loop *loop_new(void);

/*
 * Runs the tasks that are still deferred (so that memory which waits for the end of a turn is freed, and the last
 * callbacks are made), then frees. Watchers that are still active must not be touched afterwards. NULL is allowed.
 */
void loop_free(struct loop *loop);

/* Turns until loop_stop(). A stop asked for before the run counts: the run then returns at once. */
void loop_run(struct loop *loop);

/* One turn; with wait == false it does not block. For tests and for draining at the end of a program. */
void loop_run_once(struct loop *loop, bool wait);

/* Ends loop_run() after the present turn, its deferred tasks included. */
void loop_stop(struct loop *loop);

/* CLOCK_MONOTONIC in ns, read once a turn after the wait; outside of a run it is read anew. */
uint64_t loop_now_ns(const struct loop *loop);

/* Watchers that are started at present, and tasks that are deferred: 0 after a clean teardown. */
size_t loop_active(const struct loop *loop);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

#define LOOP_EV_SIZE 64

struct loop_io {
	struct loop *loop;
	void (*cb)(void *arg, unsigned events);
	void *arg;
	int fd;
	unsigned events; /* what is watched; 0 while stopped */
	_Alignas(8) unsigned char ev[LOOP_EV_SIZE];
};

/* cb gets LOOP_READ and LOOP_WRITE as they are ready; errors and hang-ups show as what was watched. */
void loop_io_init(struct loop_io *w, struct loop *loop, void (*cb)(void *arg, unsigned events), void *arg);
/* events == 0 stops. */
void loop_io_start(struct loop_io *w, int fd, unsigned events);
void loop_io_stop(struct loop_io *w);

struct loop_timer {
	struct loop *loop;
	void (*cb)(void *arg);
	void *arg;
	_Alignas(8) unsigned char ev[LOOP_EV_SIZE];
};

void loop_timer_init(struct loop_timer *w, struct loop *loop, void (*cb)(void *arg), void *arg);
/* Fires after delay_ms, then every repeat_ms when that is not 0. A running timer starts anew. */
void loop_timer_start(struct loop_timer *w, uint64_t delay_ms, uint64_t repeat_ms);
void loop_timer_stop(struct loop_timer *w);
bool loop_timer_active(const struct loop_timer *w);

struct loop_signal {
	struct loop *loop;
	void (*cb)(void *arg, int signo);
	void *arg;
	_Alignas(8) unsigned char ev[LOOP_EV_SIZE];
};

/* cb is ordinary code: it runs from the loop, not in the signal handler. One loop a signal in a process. */
void loop_signal_init(struct loop_signal *w, struct loop *loop, void (*cb)(void *arg, int signo), void *arg);
void loop_signal_start(struct loop_signal *w, int signo);
/* The signal's default action is back afterwards. */
void loop_signal_stop(struct loop_signal *w);

/* A task runs once, at the end of the turn in which it was deferred. One deferred by a task runs in the next turn. */
struct loop_task {
	struct loop *loop;
	void (*cb)(void *arg);
	void *arg;
	struct loop_task *next; /* NULL while not deferred */
	struct loop_task *prev;
};

void loop_task_init(struct loop_task *t, struct loop *loop, void (*cb)(void *arg), void *arg);
/* Does nothing when it is deferred already. The callback may free the task's memory, or defer it again. */
void loop_defer(struct loop_task *t);
void loop_task_cancel(struct loop_task *t);
bool loop_task_pending(const struct loop_task *t);

struct loop_wake {
	struct loop *loop;
	void (*cb)(void *arg);
	void *arg;
	_Alignas(8) unsigned char ev[LOOP_EV_SIZE];
};

void loop_wake_init(struct loop_wake *w, struct loop *loop, void (*cb)(void *arg), void *arg);
void loop_wake_start(struct loop_wake *w);
/* The owner must make sure that no thread calls loop_wake_send() during or after this. */
void loop_wake_stop(struct loop_wake *w);
/* From any thread, on a started wake: its callback comes once or more often after this, in the loop's thread. */
void loop_wake_send(struct loop_wake *w);
