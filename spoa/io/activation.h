/*
 * Sockets that whoever started this program opened before, and keeps when it dies (the protocol of sd_listen_fds(3),
 * systemd 252, "Socket activation"): LISTEN_PID is this process, LISTEN_FDS how many descriptors there are, from 3 on.
 * What is sent to them while no program runs waits in them for the next one.
 */
#pragma once

#include "base/err.h"

/*
 * The only one among them of this type (SOCK_STREAM: that listens; SOCK_DGRAM), made non-blocking and close-on-exec; it
 * is the caller's. *fd is -1 when there is none, or when none were given to this process. ERR_EXISTS when there are
 * several.
 */
MUST_CHECK enum err activation_socket(int type, int *fd);
