/*
 * pacer: an open-loop load. Requests are sent when they are due, whatever the answers do, and each is told with the
 * moments that bracket its verdict. One thread, so that it leaves the machine to what is measured. main.c says how it
 * is used.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CODE_MAX  24
#define NO_SAMPLE UINT32_MAX

/* One request. Times in ns of CLOCK_MONOTONIC. */
struct sample {
	uint64_t sent; /* taken before the write */
	uint64_t got;  /* taken after the read; 0: no answer yet */
	uint32_t flow;
	int status; /* HTTP's; 0: failed, and code says how */
	char code[CODE_MAX];
};

struct flow {
	struct target *target;
	double period_ns;
	double period_begin_ns;
	double due_ns;
	const char *key; /* NULL: none */
	const char *path;
	char *request; /* HTTP */
	size_t request_len;
};

struct target {
	const struct protocol *protocol;
	const char *address; /* host:port or unix@PATH */
	struct conn *conns;
	unsigned conns_max;
	unsigned conns_used;
	/* HTTP: due, and no connection is free: a ring of flows. */
	uint32_t *waiting;
	unsigned waiting_first;
	unsigned waiting_count;
};

#define WAITING_MAX 4096u

struct conn {
	struct target *target;
	int fd; /* -1: closed */
	bool used;
	uint32_t sample; /* HTTP: the request in flight, or NO_SAMPLE */
	uint32_t again;  /* HTTP: the request that was sent once more, since the kept connection was closed under it */
	char *in;
	size_t in_len;
	char *out; /* SPOP: frames that wait for the end of the turn */
	size_t out_len;
};

struct protocol {
	const char *name;
	/* Before the clock runs; exits with a message when it cannot. */
	void (*open)(struct target *t);
	/* Sends the request of this flow, or lets it wait for a connection. */
	void (*send)(struct target *t, uint32_t flow, uint64_t now);
	/* Writes what the sends of this turn have left. */
	void (*flush)(struct target *t);
	void (*readable)(struct conn *c);
};

extern const struct protocol http_protocol;
extern const struct protocol spop_protocol;

extern struct flow *flows;
extern struct sample *samples;
extern uint32_t sample_count;

uint64_t clock_ns(void);
/* Connects or returns -1. */
int connect_to(const char *address);
/* Watches a connection for what it says. */
void watch(struct conn *c);
uint32_t sample_new(uint32_t flow, uint64_t sent);
/* Notes the answer; `code` is cut. */
void sample_end(uint32_t index, int status, const char *code, size_t len);
void *must_alloc(size_t count, size_t size);
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
