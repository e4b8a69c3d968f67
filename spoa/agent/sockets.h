/*
 * The sockets that the parent opens, once, for all processes to come: one for each verdict worker, the stats port, and
 * two for HAProxy's usage lines, which keep what arrives while one keeper ends and the next one starts.
 */
#pragma once

#include <stdbool.h>
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
	/* Listening, and for datagrams, on usage.bind; -1 without usage.token. */
	int usage_tcp;
	int usage_udp;
	size_t usage_buffer; /* of usage_udp (io/datagram.h) */
	bool usage_given;    /* they are of whoever started the agent (io/activation.h), and stay open there */
};

/* Splits agent.spop_bind into the addresses. ERR_INVALID with a text in `error` that does not name the setting. */
MUST_CHECK enum err agent_sockets_parse(const struct settings *settings, struct agent_sockets *out, char *error,
                                        size_t error_size);

/*
 * Opens all of them (after agent_sockets_parse()), but for those on usage.bind that were given; socket files get mode
 * 0660 and, with `owner`, that user. On an error none is open, and `error` names the setting and the address.
 */
MUST_CHECK enum err agent_sockets_open(const struct settings *settings, const struct privileges *owner,
                                       struct agent_sockets *s, char *error, size_t error_size);

/* Closes them and removes the socket files. */
void agent_sockets_close(struct agent_sockets *s);
