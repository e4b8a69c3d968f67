/*
 * Usage lines over UDP, one a datagram. A datagram leaves the socket only when its record is kept: it is looked at
 * (MSG_PEEK), recorded, and then taken out, so that a keeper that is killed in between leaves it to the next one. The
 * socket is the parent's.
 */
#pragma once

#include "agent/usage_intake.h"
#include "io/loop.h"

struct usage_datagrams;

/* fd stays the caller's: close it after usage_datagrams_free(). */
struct usage_datagrams *usage_datagrams_new(struct loop *loop, int fd, struct usage_intake *intake,
                                            struct agent_usage *metrics);
/* NULL is allowed. */
void usage_datagrams_free(struct usage_datagrams *d);

/* After the intake was not ready: goes on. */
void usage_datagrams_resume(struct usage_datagrams *d);

/* Takes all that is there now, as far as the intake does. For the end of the program. */
void usage_datagrams_drain(struct usage_datagrams *d);
