/*
 * The parent: opens all sockets and the shared memory, starts the other processes, watches their heartbeat, replaces
 * those that died or froze, and starts new ones on SIGHUP. It has no other logic, so that it has no reason to fail.
 *
 * A process is STARTING until it says that it is ready, READY until it is told to go, then RUNNING, and STOPPING from
 * its SIGTERM to its end. A worker that died before it was ready, or dies again and again, is started with a growing
 * delay; one that somebody killed is replaced at once.
 */
#pragma once

#include "agent/sockets.h"
#include "base/settings.h"

/*
 * Runs until SIGTERM or SIGINT (the second one kills at once) and returns the exit code. `program` is the path that
 * children are started from; `config` is the --config option, or NULL. *settings is replaced on SIGHUP. The sockets are
 * open, and stay the caller's.
 */
int parent_run(const char *program, const char *config, struct settings *settings, struct agent_sockets *sockets);
