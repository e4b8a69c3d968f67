#include "agent/parent.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/process.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/datagram.h"
#include "io/loop.h"

#define TICK_MS        50
#define READY_MAX_NS   (15 * NS_PER_SEC)
#define KILL_AFTER_NS  (3 * NS_PER_SEC) /* beyond agent.drain_timeout */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
/* A worker that died more often than this within the window, though it had been ready, waits before its next start. */
#define DEATHS_MAX 50
#define SETTLED_NS NS_PER_SEC /* a process that served as long has started well */
/* The keeper may wait for a slow disk, and no request waits for the keeper. */
#define KEEPER_PATIENCE 10 /* times agent.freeze_timeout */
#define DEATHS_WINDOW   (10 * NS_PER_SEC)
#define DEATHS_WAIT_MS  500

enum proc_state { PROC_STARTING = 0, PROC_READY, PROC_RUNNING, PROC_STOPPING };

struct worker;

struct proc {
	struct proc *next;
	struct worker *worker;
	pid_t pid;
	unsigned slot;
	int control;
	struct loop_io io;
	enum proc_state state;
	bool was_ready;
	uint64_t went_ns;     /* when it was told to serve; 0: not yet */
	bool frozen;          /* killed for want of a heartbeat */
	uint64_t deadline_ns; /* of STARTING and STOPPING */
};

/* One of the processes that there shall be. */
struct worker {
	struct parent *parent;
	char name[32];
	enum agent_role role;
	unsigned index;
	int listen_fd;
	struct proc *current; /* the one that serves, or will */
	struct proc *next;    /* of a reload, until all are ready */
	struct loop_timer restart;
	unsigned backoff_ms;
	uint64_t deaths_since_ns;
	unsigned deaths;
	bool replacing; /* its last process ended unasked, and no other is ready yet */
};

struct parent {
	const char *program;
	const char *config; /* --config option, or NULL: where a reload reads the settings */
	struct settings *settings;
	struct settings started; /* what the sockets were opened with; from the first reload on */
	bool has_started;
	struct loop *loop;
	struct agent_sockets sockets;
	struct agent_shared *shared;
	int shared_fd;
	struct worker workers[AGENT_WORKERS_MAX + 1];
	unsigned count;
	struct proc *procs; /* all that were not yet waited for */
	bool slot_used[AGENT_SLOTS];
	struct loop_timer tick;
	uint64_t last_tick_ns;
	uint64_t calm_ns; /* until then nobody counts as frozen */
	struct loop_signal signals[4];
	bool reloading;
	bool reload_again; /* SIGHUP came during a reload */
	bool stopping;
	struct settings reloaded; /* of the reload under way */
	int config_fd;            /* the settings, for children */
	int reload_config_fd;     /* of the reload under way */
};

static void on_control(void *arg, unsigned events);
static void stop_in_order(struct parent *p);
static void on_restart(void *arg);
static void reload(struct parent *p);

/* ---- processes ---- */

/* config_fd is the settings that it shall have. */
static struct proc *proc_start(struct worker *w, int config_fd)
{
	struct parent *p = w->parent;
	struct proc *proc = check_calloc(1, sizeof(*proc));
	unsigned slot = 0;

	while (slot < AGENT_SLOTS && p->slot_used[slot])
		slot++;
	if (slot == AGENT_SLOTS) {
		log_error("%s: cannot start: too many processes that do not end", w->name);
		free(proc);
		return NULL;
	}
	memset(&p->shared->slots[slot], 0, sizeof(p->shared->slots[slot]));
	const struct process_start start = {
		.program = p->program,
		.config_fd = config_fd,
		.role = w->role,
		.index = w->index,
		.slot = slot,
		.shared_fd = p->shared_fd,
		.listen_fd = w->listen_fd,
		.usage_tcp_fd = w->role == AGENT_KEEPER ? p->sockets.usage_tcp : -1,
		.usage_udp_fd = w->role == AGENT_KEEPER ? p->sockets.usage_udp : -1,
	};
	if (process_spawn(&start, &proc->pid, &proc->control) != ERR_OK) {
		log_error("%s: cannot start: %s", w->name, strerror(errno));
		free(proc);
		return NULL;
	}
	p->slot_used[slot] = true;
	proc->slot = slot;
	proc->worker = w;
	proc->deadline_ns = clock_mono_ns() + READY_MAX_NS;
	proc->next = p->procs;
	p->procs = proc;
	loop_io_init(&proc->io, p->loop, on_control, proc);
	loop_io_start(&proc->io, proc->control, LOOP_READ);
	return proc;
}

/* Tells a ready process to serve. */
static void proc_go(struct proc *proc)
{
	const char byte = CHILD_GO;

	CHECK(proc->state == PROC_READY);
	proc->state = PROC_RUNNING;
	proc->went_ns = clock_mono_ns();
	if (write(proc->control, &byte, 1) != 1)
		log_warn("%s: pid=%d does not listen: %s", proc->worker->name, (int)proc->pid, strerror(errno));
}

static void proc_stop(struct proc *proc)
{
	if (proc->state == PROC_STOPPING)
		return;
	proc->state = PROC_STOPPING;
	proc->deadline_ns = clock_mono_ns() +
	                    (uint64_t)proc->worker->parent->settings->agent_drain_timeout * NS_PER_MS + KILL_AFTER_NS;
	kill(proc->pid, SIGTERM);
}

/* Verdict workers overlap. Only one keeper may write: a new one goes when those before it have ended. */
static void go_if_alone(struct worker *w)
{
	if (w->current == NULL || w->current->state != PROC_READY)
		return;
	if (w->role == AGENT_KEEPER)
		for (struct proc *other = w->parent->procs; other != NULL; other = other->next)
			if (other->worker == w && other != w->current && other != w->next)
				return;
	proc_go(w->current);
}

static void proc_free(struct parent *p, struct proc *proc)
{
	struct proc **link = &p->procs;

	while (*link != proc)
		link = &(*link)->next;
	*link = proc->next;
	loop_io_stop(&proc->io);
	close(proc->control);
	memset(&p->shared->slots[proc->slot], 0, sizeof(p->shared->slots[proc->slot]));
	p->slot_used[proc->slot] = false;
	free(proc);
}

/* ---- reload: all new processes are ready before any old one goes ---- */

static void reload_end(struct parent *p)
{
	p->reloading = false;
	if (p->reload_again && !p->stopping) {
		p->reload_again = false;
		reload(p);
	}
}

static void reload_failed(struct parent *p, const char *why)
{
	log_error("reload: %s: the old processes stay", why);
	for (unsigned i = 0; i < p->count; i++) {
		struct proc *next = p->workers[i].next;
		p->workers[i].next = NULL;
		if (next == NULL)
			continue;
		next->state = PROC_STOPPING;
		kill(next->pid, SIGKILL);
	}
	settings_free(&p->reloaded);
	close(p->reload_config_fd);
	reload_end(p);
}

/*
 * Old verdict workers go one after the other: a request that loses its worker asks the other one, which must not go at
 * the same moment.
 */
static void stop_old(struct parent *p)
{
	struct proc *next = NULL;

	for (struct proc *proc = p->procs; proc != NULL; proc = proc->next) {
		if (proc->worker->role != AGENT_VERDICT)
			continue;
		if (proc->state == PROC_STOPPING)
			return;
		if (proc != proc->worker->current && proc != proc->worker->next)
			next = proc;
	}
	if (next != NULL)
		proc_stop(next);
}

static void reload_check(struct parent *p)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->workers[i].next == NULL || p->workers[i].next->state != PROC_READY)
			return;
	if (!p->has_started)
		p->started = *p->settings;
	else
		settings_free(p->settings);
	p->has_started = true;
	*p->settings = p->reloaded;
	memset(&p->reloaded, 0, sizeof(p->reloaded));
	close(p->config_fd);
	p->config_fd = p->reload_config_fd;
	log_init("gateway-agent", (enum log_level)p->settings->log_level, settings_log_format(p->settings));
	for (unsigned i = 0; i < p->count; i++) {
		struct worker *w = &p->workers[i];
		struct proc *old = w->current;
		loop_timer_stop(&w->restart);
		w->current = w->next;
		w->next = NULL;
		if (old != NULL && w->role == AGENT_KEEPER)
			proc_stop(old);
		go_if_alone(w);
	}
	stop_old(p);
	log_info("reload: done");
	reload_end(p);
}

/* Names what the settings have in vain, also when a reload before this one has changed it. */
static void warn_restart(const struct parent *p)
{
	const struct settings *started = p->has_started ? &p->started : p->settings;
	size_t count;
	const struct setting_info *table = settings_table(&count);

	for (size_t i = 0; i < count; i++)
		if ((table[i].flags & SETTING_RESTART) != 0 && !settings_equal(&p->reloaded, started, i))
			log_warn("reload: %s was changed, and needs a restart", table[i].name);
	if ((p->reloaded.usage_token[0] == '\0') != (started->usage_token[0] == '\0'))
		log_warn("reload: whether there is a usage.token was changed, and needs a restart");
}

static void reload(struct parent *p)
{
	char error[SETTINGS_ERROR_MAX];

	if (p->reloading || p->stopping) {
		p->reload_again = true;
		return;
	}
	if (settings_load(&p->reloaded, p->config, error) != ERR_OK) {
		log_error("reload: %s: the old settings stay", error);
		return;
	}
	warn_restart(p);
	if (strcmp(p->reloaded.agent_state_dir, p->settings->agent_state_dir) != 0) {
		log_error("reload: agent.state_dir changes with a restart only: the old settings stay");
		settings_free(&p->reloaded);
		return;
	}
	if (process_config(&p->reloaded, &p->reload_config_fd) != ERR_OK) {
		log_error("reload: cannot keep the settings: %s: the old ones stay", strerror(errno));
		settings_free(&p->reloaded);
		return;
	}
	log_info("reload: starting new processes");
	p->reloading = true;
	for (unsigned i = 0; i < p->count; i++) {
		struct worker *w = &p->workers[i];
		w->next = proc_start(w, p->reload_config_fd);
		if (w->next == NULL) {
			reload_failed(p, "a process cannot be started");
			return;
		}
	}
}

/* ---- what happens to processes ---- */

static void on_control(void *arg, unsigned events)
{
	struct proc *proc = arg;
	struct worker *w = proc->worker;
	char byte;

	(void)events;
	ssize_t n = read(proc->control, &byte, 1);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* Its end is seen by SIGCHLD; a process without control socket that lives on loses its heartbeat with it. */
	if (n <= 0) {
		loop_io_stop(&proc->io);
		return;
	}
	if (byte != CHILD_READY || proc->state != PROC_STARTING)
		return;
	proc->state = PROC_READY;
	proc->was_ready = true;
	if (proc == w->current) {
		if (w->replacing)
			log_info("%s: pid=%d is ready, in place of the one that ended", w->name, (int)proc->pid);
		w->replacing = false;
		go_if_alone(w);
	} else if (proc == w->next) {
		reload_check(w->parent);
	}
}

static void start_worker(struct worker *w)
{
	w->current = proc_start(w, w->parent->config_fd);
	if (w->current == NULL)
		loop_timer_start(&w->restart, BACKOFF_MAX_MS, 0);
}

static void on_restart(void *arg)
{
	struct worker *w = arg;

	if (w->current == NULL && !w->parent->stopping)
		start_worker(w);
}

/* How long to wait before the next start of a worker whose process ended. */
static unsigned restart_delay_ms(struct worker *w, const struct proc *proc, bool killed)
{
	uint64_t now = clock_mono_ns();

	/* One that ends by itself as soon as it shall serve will do so again. */
	if (!proc->was_ready || (!killed && (proc->went_ns == 0 || now - proc->went_ns < SETTLED_NS))) {
		w->backoff_ms = w->backoff_ms == 0 ? BACKOFF_MIN_MS : w->backoff_ms * 2;
		if (w->backoff_ms > BACKOFF_MAX_MS)
			w->backoff_ms = BACKOFF_MAX_MS;
		return w->backoff_ms;
	}
	if (now - w->deaths_since_ns > DEATHS_WINDOW) {
		w->deaths_since_ns = now;
		w->deaths = 0;
	}
	w->backoff_ms = 0;
	return ++w->deaths > DEATHS_MAX ? DEATHS_WAIT_MS : 0;
}

static void log_end(const struct proc *proc, int status)
{
	const char *name = proc->worker->name;

	if (WIFSIGNALED(status))
		log_warn("%s: pid=%d ended by signal %d (%s)%s", name, (int)proc->pid, WTERMSIG(status),
		         strsignal(WTERMSIG(status)), proc->frozen ? ", it was frozen" : "");
	else
		log_warn("%s: pid=%d ended by itself: status=%d", name, (int)proc->pid, WEXITSTATUS(status));
}

static void current_ended(struct worker *w, const struct proc *proc, int status)
{
	enum agent_restart reason = WIFSIGNALED(status) ? AGENT_RESTART_KILLED : AGENT_RESTART_EXITED;
	unsigned row = w->role == AGENT_KEEPER ? AGENT_WORKERS_MAX : w->index;

	if (!proc->was_ready)
		reason = AGENT_RESTART_NOT_READY;
	else if (proc->frozen)
		reason = AGENT_RESTART_FROZEN;
	w->current = NULL;
	w->replacing = true;
	agent_count(&w->parent->shared->metrics.restarts[row][reason]);
	unsigned delay = restart_delay_ms(w, proc, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	if (delay == 0)
		start_worker(w);
	else
		loop_timer_start(&w->restart, delay, 0);
}

static void proc_ended(struct parent *p, struct proc *proc, int status)
{
	struct worker *w = proc->worker;
	bool expected = proc->state == PROC_STOPPING;

	if (!expected)
		log_end(proc, status);
	if (p->stopping) {
		if (proc == w->current)
			w->current = NULL;
	} else if (proc == w->current) {
		current_ended(w, proc, status);
	} else if (proc == w->next) {
		w->next = NULL;
		reload_failed(p, "a new process ended before it was ready");
	}
	proc_free(p, proc);
	go_if_alone(w);
	if (!p->stopping)
		stop_old(p);
	else
		stop_in_order(p);
}

static void on_child(void *arg, int signo)
{
	struct parent *p = arg;
	int status;
	pid_t pid;

	(void)signo;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct proc *proc = p->procs;
		while (proc != NULL && proc->pid != pid)
			proc = proc->next;
		if (proc != NULL)
			proc_ended(p, proc, status);
	}
}

static void check_proc(struct parent *p, struct proc *proc, uint64_t now)
{
	uint64_t beat = atomic_load_explicit(&p->shared->slots[proc->slot].beat_ns, memory_order_relaxed);
	uint64_t freeze = (uint64_t)p->settings->agent_freeze_timeout * NS_PER_MS;

	if (proc->worker->role == AGENT_KEEPER)
		freeze *= KEEPER_PATIENCE;
	if (proc->state == PROC_STARTING || proc->state == PROC_STOPPING) {
		if (now < proc->deadline_ns)
			return;
		log_warn("%s: pid=%d is killed: %s", proc->worker->name, (int)proc->pid,
		         proc->state == PROC_STARTING ? "it does not get ready" : "it does not stop");
		proc->deadline_ns = UINT64_MAX;
		kill(proc->pid, SIGKILL);
		return;
	}
	/* When this process itself had no time, the others had none either: that is no freeze. */
	if (now < p->calm_ns || proc->frozen || beat == 0 || now < beat + freeze)
		return;
	log_warn("%s: pid=%d is killed: no heartbeat for %" PRIu64 " ms", proc->worker->name, (int)proc->pid,
	         (now - beat) / NS_PER_MS);
	proc->frozen = true;
	kill(proc->pid, SIGKILL);
}

static void on_tick(void *arg)
{
	struct parent *p = arg;
	uint64_t now = clock_mono_ns();

	/* After a pause of this process the others get the time that they are normally allowed. */
	if (now - p->last_tick_ns > 4 * TICK_MS * NS_PER_MS)
		p->calm_ns = now + (uint64_t)p->settings->agent_freeze_timeout * NS_PER_MS;
	p->last_tick_ns = now;
	for (struct proc *proc = p->procs; proc != NULL; proc = proc->next)
		check_proc(p, proc, now);
}

/* ---- start and end ---- */

/* The keeper ends last: it takes care of what the verdict workers have counted. */
static void stop_in_order(struct parent *p)
{
	bool deciding = false;

	for (struct proc *proc = p->procs; proc != NULL; proc = proc->next) {
		if (proc->worker->role != AGENT_VERDICT)
			continue;
		deciding = true;
		proc_stop(proc);
	}
	/*
	 * What HAProxy sends from now on waits in its ring for the next agent, instead of in a socket that nobody will
	 * read: a connection to it is refused.
	 */
	if (!deciding && p->sockets.usage_tcp >= 0 && !p->sockets.usage_given)
		shutdown(p->sockets.usage_tcp, SHUT_RDWR);
	for (struct proc *proc = p->procs; !deciding && proc != NULL; proc = proc->next)
		proc_stop(proc);
	if (p->procs == NULL)
		loop_stop(p->loop);
}

static void on_stop(void *arg, int signo)
{
	struct parent *p = arg;

	if (p->stopping) {
		log_warn("signal %d again: killing all processes", signo);
		for (struct proc *proc = p->procs; proc != NULL; proc = proc->next)
			kill(proc->pid, SIGKILL);
		return;
	}
	log_info("stopping");
	p->stopping = true;
	stop_in_order(p);
}

static void on_hup(void *arg, int signo)
{
	(void)signo;
	reload(arg);
}

static void add_worker(struct parent *p, enum agent_role role, unsigned index, int listen_fd)
{
	struct worker *w = &p->workers[p->count++];

	w->parent = p;
	w->role = role;
	w->index = index;
	w->listen_fd = listen_fd;
	if (role == AGENT_VERDICT)
		snprintf(w->name, sizeof(w->name), "verdict-%u", index + 1);
	else
		snprintf(w->name, sizeof(w->name), "keeper");
	loop_timer_init(&w->restart, p->loop, on_restart, w);
	start_worker(w);
}

static void watch_signals(struct parent *p)
{
	loop_signal_init(&p->signals[0], p->loop, on_child, p);
	loop_signal_start(&p->signals[0], SIGCHLD);
	loop_signal_init(&p->signals[1], p->loop, on_stop, p);
	loop_signal_start(&p->signals[1], SIGTERM);
	loop_signal_init(&p->signals[2], p->loop, on_stop, p);
	loop_signal_start(&p->signals[2], SIGINT);
	loop_signal_init(&p->signals[3], p->loop, on_hup, p);
	loop_signal_start(&p->signals[3], SIGHUP);
	signal(SIGPIPE, SIG_IGN);
}

static void run(struct parent *p)
{
	watch_signals(p);
	atomic_store(&p->shared->workers, p->sockets.workers);
	loop_timer_init(&p->tick, p->loop, on_tick, p);
	loop_timer_start(&p->tick, TICK_MS, TICK_MS);
	p->last_tick_ns = clock_mono_ns();
	/* The keeper first: it makes the file that the others read. */
	add_worker(p, AGENT_KEEPER, 0, p->sockets.stats);
	for (unsigned i = 0; i < p->sockets.workers; i++)
		add_worker(p, AGENT_VERDICT, i, p->sockets.spop[i]);
	log_info("started: version=%s verdict_workers=%u spop=%s stats=%s usage=%s", GATEWAY_VERSION,
	         p->sockets.workers, p->settings->agent_spop_bind,
	         p->settings->metrics_enabled ? p->settings->metrics_bind : "off",
	         p->sockets.usage_udp >= 0 ? p->settings->usage_bind : "off");
	if (p->sockets.usage_udp < 0)
		log_warn("usage.token is not set: usage is not recorded");
	else if (p->sockets.usage_buffer < 2 * (size_t)DATAGRAM_BUFFER)
		log_warn("usage.bind: the system limits the buffer for usage to %zu bytes of %zu (net.core.rmem_max)",
		         p->sockets.usage_buffer / 2, (size_t)DATAGRAM_BUFFER);
	loop_run(p->loop);
	for (unsigned i = 0; i < p->count; i++)
		loop_timer_stop(&p->workers[i].restart);
	for (size_t i = 0; i < sizeof(p->signals) / sizeof(p->signals[0]); i++)
		loop_signal_stop(&p->signals[i]);
	loop_timer_stop(&p->tick);
	if (p->reloading) {
		settings_free(&p->reloaded);
		close(p->reload_config_fd);
	}
	log_info("stopped");
}

int parent_run(const char *program, const char *config, struct settings *settings, struct agent_sockets *sockets)
{
	struct parent *p = check_calloc(1, sizeof(*p));
	int code = EXIT_FAILURE;

	p->program = program;
	p->config = config;
	p->settings = settings;
	p->sockets = *sockets;
	p->loop = loop_new();
	if (p->loop == NULL) {
		log_error("cannot make an event loop: %s", strerror(errno));
		goto end;
	}
	if (agent_shared_make(&p->shared_fd, &p->shared) != ERR_OK) {
		log_error("cannot make shared memory: %s", strerror(errno));
		goto end_loop;
	}
	if (process_config(settings, &p->config_fd) != ERR_OK) {
		log_error("cannot keep the settings: %s", strerror(errno));
		goto end_shared;
	}
	run(p);
	code = EXIT_SUCCESS;
	close(p->config_fd);
end_shared:
	agent_shared_unmap(p->shared);
	close(p->shared_fd);
end_loop:
	loop_free(p->loop);
end:
	if (p->has_started)
		settings_free(&p->started);
	free(p);
	return code;
}
