/*
 * Usage lines over TCP, as the ring of HAProxy sends them (usage/octets.h). HAProxy keeps what it could not send, and
 * connects again by itself; what was sent and not yet read when a keeper is killed comes over UDP.
 */
#pragma once

#include "agent/usage_intake.h"
#include "io/loop.h"

struct usage_ring;

/* fd listens, and stays the caller's: close it after usage_ring_free(). */
struct usage_ring *usage_ring_new(struct loop *loop, int fd, struct usage_intake *intake, struct agent_usage *metrics);
/* Closes the connections, after what they hold was taken. NULL is allowed. */
void usage_ring_free(struct usage_ring *r);

/* After the intake was not ready: goes on. */
void usage_ring_resume(struct usage_ring *r);
