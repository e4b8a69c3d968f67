#include "io/addr.h"

#include <stdio.h>
#include <string.h>

#include "base/sv.h"

static enum err fail(struct addr *out, char *error, size_t size, const char *text, const char *what)
{
	memset(out, 0, sizeof(*out));
	snprintf(error, size, "%.300s: %s", text, what);
	return ERR_INVALID;
}

enum err addr_parse(const char *text, struct addr *out, char *error, size_t error_size)
{
	struct sv v = sv_str(text), host, port;
	uint64_t number;
	const char *colon;

	memset(out, 0, sizeof(*out));
	if (sv_starts(v, SV("unix@"))) {
		v = sv_skip(v, 5);
		if (v.n == 0 || v.p[0] != '/')
			return fail(out, error, error_size, text, "the path of a unix socket must begin with /");
		if (sv_copy(v, out->path, sizeof(out->path)) != ERR_OK)
			return fail(out, error, error_size, text,
			            "the path of a unix socket has more than 107 characters");
		out->is_unix = true;
		return ERR_OK;
	}
	colon = v.n > 0 ? strrchr(v.p, ':') : NULL;
	if (colon == NULL)
		return fail(out, error, error_size, text, "neither host:port nor unix@/path");
	host = sv_from(v.p, (size_t)(colon - v.p));
	port = sv_str(colon + 1);
	if (host.n > 0 && host.p[0] == '[') {
		if (host.n < 3 || host.p[host.n - 1] != ']')
			return fail(out, error, error_size, text, "the brackets of the address do not match");
		host = sv_from(host.p + 1, host.n - 2);
	} else if (memchr(v.p, ':', host.n) != NULL) {
		return fail(out, error, error_size, text, "an IPv6 address needs brackets: [address]:port");
	}
	if (sv_to_u64(port, &number) != ERR_OK || number > 65535 ||
	    sv_copy(port, out->port, sizeof(out->port)) != ERR_OK)
		return fail(out, error, error_size, text, "the port is not a number from 0 to 65535");
	out->port_number = (uint16_t)number;
	if (sv_copy(host, out->host, sizeof(out->host)) != ERR_OK)
		return fail(out, error, error_size, text, "the host name is too long");
	return ERR_OK;
}
