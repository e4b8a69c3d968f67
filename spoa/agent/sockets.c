#include "agent/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sv.h"
#include "io/activation.h"
#include "io/addr.h"
#include "io/datagram.h"
#include "io/listener.h"

/* HAProxy's user shares the group. */
#define SOCKET_MODE 0660

enum err agent_sockets_parse(const struct settings *settings, struct agent_sockets *out, char *error, size_t error_size)
{
	struct sv rest = sv_str(settings->agent_spop_bind);
	struct sv item;
	struct addr addr;
	char why[160];

	memset(out, 0, sizeof(*out));
	out->stats = -1;
	out->usage_tcp = -1;
	out->usage_udp = -1;
	for (int i = 0; i < AGENT_WORKERS_MAX; i++)
		out->spop[i] = -1;
	/* The table bounds its length. */
	if (sv_copy(sv_str(settings->metrics_bind), out->stats_address, sizeof(out->stats_address)) != ERR_OK)
		out->stats_address[0] = '\0';
	while (sv_split(&rest, ',', &item)) {
		if (out->workers == AGENT_WORKERS_MAX) {
			snprintf(error, error_size, "at most %d addresses", AGENT_WORKERS_MAX);
			return ERR_INVALID;
		}
		char *text = out->addresses[out->workers++];
		if (sv_copy(sv_trim(item), text, sizeof(out->addresses[0])) != ERR_OK ||
		    addr_parse(text, &addr, why, sizeof(why)) != ERR_OK) {
			snprintf(error, error_size, "address %u: \"%.*s\" is not host:port or unix@PATH", out->workers,
			         (int)(item.n < 128 ? item.n : 128), item.p);
			return ERR_INVALID;
		}
	}
	return ERR_OK;
}

static enum err open_one(const char *setting, const char *address, const struct privileges *owner, int *fd, char *error,
                         size_t error_size)
{
	char why[256];
	struct addr addr;

	enum err err = listener_open(address, SOCKET_MODE, fd, why, sizeof(why));
	if (err != ERR_OK) {
		snprintf(error, error_size, "%s: %s", setting, why);
		return err;
	}
	if (owner == NULL || addr_parse(address, &addr, why, sizeof(why)) != ERR_OK || !addr.is_unix)
		return ERR_OK;
	if (lchown(addr.path, owner->uid, owner->gid) == 0)
		return ERR_OK;
	snprintf(error, error_size, "%s: %s: %s", setting, address, strerror(errno));
	return ERR_IO;
}

/* Both or none. */
static enum err take_given(struct agent_sockets *s, char *error, size_t error_size)
{
	enum err err = activation_socket(SOCK_STREAM, &s->usage_tcp);

	if (err == ERR_OK)
		err = activation_socket(SOCK_DGRAM, &s->usage_udp);
	s->usage_given = err == ERR_OK && s->usage_tcp >= 0 && s->usage_udp >= 0;
	if (err == ERR_OK && s->usage_given)
		err = datagram_adopt(s->usage_udp, &s->usage_buffer);
	else if (err == ERR_OK && (s->usage_tcp >= 0 || s->usage_udp >= 0))
		err = ERR_NOT_FOUND;
	if (err != ERR_OK)
		snprintf(error, error_size, "usage.bind: LISTEN_FDS must give one TCP and one UDP socket: %s",
		         err_str(err));
	return err;
}

static enum err open_usage(const struct settings *settings, struct agent_sockets *s, char *error, size_t error_size)
{
	char why[256];

	enum err err = take_given(s, error, error_size);
	if (err != ERR_OK || s->usage_given)
		return err;
	err = open_one("usage.bind", settings->usage_bind, NULL, &s->usage_tcp, error, error_size);
	if (err != ERR_OK)
		return err;
	err = datagram_open(settings->usage_bind, &s->usage_udp, &s->usage_buffer, why, sizeof(why));
	if (err != ERR_OK)
		snprintf(error, error_size, "usage.bind: %s", why);
	return err;
}

enum err agent_sockets_open(const struct settings *settings, const struct privileges *owner, struct agent_sockets *s,
                            char *error, size_t error_size)
{
	enum err err = ERR_OK;

	for (unsigned i = 0; i < s->workers && err == ERR_OK; i++)
		err = open_one("agent.spop_bind", s->addresses[i], owner, &s->spop[i], error, error_size);
	if (err == ERR_OK && settings->metrics_enabled)
		err = open_one("metrics.bind", settings->metrics_bind, owner, &s->stats, error, error_size);
	if (err == ERR_OK && settings->usage_token[0] != '\0')
		err = open_usage(settings, s, error, error_size);
	if (err != ERR_OK)
		agent_sockets_close(s);
	return err;
}

void agent_sockets_close(struct agent_sockets *s)
{
	for (unsigned i = 0; i < s->workers; i++) {
		if (s->spop[i] < 0)
			continue;
		close(s->spop[i]);
		listener_unlink(s->addresses[i]);
		s->spop[i] = -1;
	}
	if (s->stats >= 0) {
		close(s->stats);
		listener_unlink(s->stats_address);
	}
	s->stats = -1;
	if (s->usage_tcp >= 0)
		close(s->usage_tcp);
	if (s->usage_udp >= 0)
		close(s->usage_udp);
	s->usage_tcp = -1;
	s->usage_udp = -1;
}
