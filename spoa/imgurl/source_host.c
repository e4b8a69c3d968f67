/* The host and port of a URL. */
#include <arpa/inet.h>

#include "imgurl/source_int.h"
#include "imgurl/text.h"

#define HOST_MAX  253
#define LABEL_MAX 63
#define PORT_MAX  65535

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What programs may take for a number: digits, or 0x and hex digits (perhaps none). */
static bool looks_numeric(struct sv label)
{
	bool hex = label.n >= 2 && label.p[0] == '0' && (label.p[1] | 0x20) == 'x';

	for (size_t i = hex ? 2 : 0; i < label.n; i++)
		if (!is_digit(label.p[i]) && !(hex && imgurl_hex_value(label.p[i]) >= 0))
			return false;
	return true;
}

static bool is_label(struct sv label)
{
	if (label.n == 0 || label.n > LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++)
		if (!sv_alnum(label.p[i]) && label.p[i] != '-')
			return false;
	return true;
}

/* Writes what inet_ntop() makes of the text when inet_pton() reads it: the canonical spelling. */
static bool write_address(struct wcur *w, int family, struct sv text, bool must_be_canonical)
{
	char buf[INET6_ADDRSTRLEN];
	uint8_t bytes[sizeof(struct in6_addr)];
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	/* A NUL would end the text for inet_pton(). */
	if (memchr(text.p, '\0', text.n) != NULL || sv_copy(text, buf, sizeof(buf)) != ERR_OK ||
	    inet_pton(family, buf, bytes) != 1 || inet_ntop(family, bytes, buf, sizeof(buf)) == NULL)
		return false;
	if (family == AF_INET6 && memcmp(bytes, mapped, sizeof(mapped)) == 0)
		return false;
	if (must_be_canonical && !sv_eq(text, sv_str(buf)))
		return false;
	wcur_sv(w, sv_str(buf));
	return true;
}

static const char *write_v6(struct wcur *w, struct sv text)
{
	if (text.n == 0)
		return "the address in brackets is empty";
	wcur_u8(w, '[');
	if (!write_address(w, AF_INET6, text, false))
		return "in brackets stands an IPv6 address without a zone, and no IPv4 address";
	wcur_u8(w, ']');
	return NULL;
}

static const char *write_name(struct wcur *w, struct sv host)
{
	struct sv rest = host;
	struct sv label = { NULL, 0 };

	if (host.n == 0)
		return "it has no host";
	if (host.n > HOST_MAX)
		return "the host is too long";
	while (sv_split(&rest, '.', &label))
		if (!is_label(label))
			return "a host has letters, digits and hyphens between dots; other names are written in "
			       "punycode";
	/* A host whose last label is a number is an address to a browser (WHATWG URL, "ends in a number"). */
	if (looks_numeric(label))
		return write_address(w, AF_INET, host, true)
		               ? NULL
		               : "an IPv4 address has the form 192.0.2.1, without zeros before a number";
	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i];
		wcur_u8(w, (uint8_t)(c >= 'A' && c <= 'Z' ? c | 0x20 : c));
	}
	return NULL;
}

static const char *write_port(struct wcur *w, struct sv text, unsigned default_port)
{
	uint64_t port;

	if (sv_to_u64(text, &port) != ERR_OK || port == 0 || port > PORT_MAX)
		return "the port must be a number from 1 to 65535";
	if (port != default_port) {
		wcur_u8(w, ':');
		wcur_u64(w, port);
	}
	return NULL;
}

const char *imgurl_host_write(struct wcur *w, struct sv authority, unsigned default_port)
{
	struct sv rest = authority;
	struct sv host;
	const char *why;

	if (authority.n == 0)
		return "it has no host";
	if (memchr(authority.p, '@', authority.n) != NULL)
		return "it must have no user name";
	if (authority.p[0] != '[') {
		if (!sv_split(&rest, ':', &host))
			return "it has no host";
		why = write_name(w, host);
		return why != NULL || rest.p == NULL ? why : write_port(w, rest, default_port);
	}
	rest = sv_skip(authority, 1);
	if (!sv_split(&rest, ']', &host) || rest.p == NULL)
		return "a bracket is not closed";
	why = write_v6(w, host);
	if (why != NULL || rest.n == 0)
		return why;
	if (rest.p[0] != ':')
		return "behind the bracket stands a port or nothing";
	return write_port(w, sv_skip(rest, 1), default_port);
}
