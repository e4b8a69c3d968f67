/* The sockets that the parent opens, once, for all processes to come: one for each verdict worker, and the stats port.
 */
#pragma once

#include <stddef.h>

#include "agent/shared.h"
#include "base/privileges.h"
#include "base/settings.h"

struct agent_sockets {
	unsigned workers; /* addresses in agent.spop_bind */
	char addresses[AGENT_WORKERS_MAX][256];
	int spop[AGENT_WORKERS_MAX];
	char stats_address[256];
	int stats; /* -1 when metrics.enabled is false */
};

/* Splits agent.spop_bind into the addresses. ERR_INVALID with a text in `error` that does not name the setting. */
MUST_CHECK enum err agent_sockets_parse(const struct settings *settings, struct agent_sockets *out, char *error,
                                        size_t error_size);

/*
 * Opens all of them (after agent_sockets_parse()); socket files get mode 0660 and, with `owner`, that user. On an error
 * none is open, and `error` names the setting and the address.
 */
MUST_CHECK enum err agent_sockets_open(const struct settings *settings, const struct privileges *owner,
                                       struct agent_sockets *s, char *error, size_t error_size);

/* Closes them and removes the socket files. */
void agent_sockets_close(struct agent_sockets *s);
