#include "base/dsn_shown.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/sv.h"

#define HOSTS_MAX  16
#define NUMBER_MAX 9

static bool has_only(struct sv v, const char *more)
{
	for (size_t i = 0; i < v.n; i++)
		if (!sv_alnum(v.p[i]) && strchr(more, v.p[i]) == NULL)
			return false;
	return true;
}

static bool is_number(struct sv v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
	return v.n <= NUMBER_MAX;
}

static bool is_mode(struct sv v)
{
	static const struct sv modes[] = { SV("allow"),   SV("disable"),   SV("prefer"),
		                           SV("require"), SV("verify-ca"), SV("verify-full") };

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (sv_eq(v, modes[i]))
			return true;
	return false;
}

static bool is_text(struct sv v)
{
	return has_only(v, "%+,-./:_~");
}

/* A parameter that holds no secret, with a value of its kind: a password may stand behind a wrong name. */
static bool is_harmless(struct sv name, struct sv value)
{
	static const struct {
		struct sv name;
		bool (*fits)(struct sv value);
	} rows[] = {
		{ SV("application_name"), is_text },
		{ SV("connect_timeout"), is_number },
		{ SV("dbname"), is_text },
		{ SV("host"), is_text },
		{ SV("hostaddr"), is_text },
		{ SV("port"), is_number },
		{ SV("sslcert"), is_text },
		{ SV("sslkey"), is_text },
		{ SV("sslmode"), is_mode },
		{ SV("sslrootcert"), is_text },
		{ SV("user"), is_text },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (sv_eq(name, rows[i].name))
			return rows[i].fits(value);
	return false;
}

/* name=value pairs with one sign between them. */
static bool is_harmless_list(struct sv list, char sign)
{
	struct sv pair, name;

	while (sv_split(&list, sign, &pair)) {
		if (pair.n == 0)
			continue;
		(void)sv_split(&pair, '=', &name);
		if (pair.p == NULL || !is_harmless(name, pair))
			return false;
	}
	return true;
}

/* An IPv6 address, which may have a zone. */
static bool is_ipv6(struct sv v)
{
	struct sv address;

	(void)sv_split(&v, '%', &address);
	for (size_t i = 0; i < address.n; i++)
		if (strchr("0123456789abcdefABCDEF:.", address.p[i]) == NULL)
			return false;
	return has_only(v, "");
}

/* host, host:port, [address], [address]:port; none of them is an empty one. */
static bool is_host(struct sv v)
{
	const char *end = v.n > 0 && v.p[0] == '[' ? memchr(v.p, ']', v.n) : NULL;
	struct sv host;

	if (end != NULL) {
		host = sv_from(v.p + 1, (size_t)(end - v.p - 1));
		v = sv_skip(v, host.n + 2);
		if (!is_ipv6(host) || (v.n > 0 && v.p[0] != ':'))
			return false;
		return is_number(sv_skip(v, 1));
	}
	(void)sv_split(&v, ':', &host);
	return has_only(host, "%-._") && is_number(v);
}

static struct sv take_until(struct sv *rest, const char *signs)
{
	size_t n = 0;

	while (n < rest->n && strchr(signs, rest->p[n]) == NULL)
		n++;
	struct sv part = sv_from(rest->p, n);
	*rest = sv_skip(*rest, n);
	return part;
}

/* What stands behind the scheme, as user and what is behind the password. */
static bool url_parts(struct sv rest, struct sv *user, struct sv *tail)
{
	struct sv authority = take_until(&rest, "/?"), host, place;
	size_t at = authority.n;

	*user = sv_from(authority.p, 0);
	while (at > 0 && authority.p[at - 1] != '@')
		at--;
	if (at > 0) {
		place = sv_from(authority.p, at - 1);
		(void)sv_split(&place, ':', user);
		at--;
	}
	*tail = sv_from(authority.p + at, authority.n - at + rest.n);
	place = sv_skip(authority, at + (at < authority.n && authority.p[at] == '@'));
	for (size_t i = 0; sv_split(&place, ',', &host); i++)
		if (i == HOSTS_MAX || !is_host(host))
			return false;
	if (rest.n > 0 && rest.p[0] == '/') {
		rest = sv_skip(rest, 1);
		if (!has_only(take_until(&rest, "?"), "%-._~"))
			return false;
	}
	return has_only(*user, "%-._~") && is_harmless_list(sv_skip(rest, 1), '&');
}

const char *dsn_shown(const char *dsn, char *buf, size_t size)
{
	static const struct sv schemes[] = { SV("postgres://"), SV("postgresql://") };
	const struct sv text = sv_str(dsn);
	struct sv user, tail;

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (!sv_starts(text, schemes[i]))
			continue;
		if (url_parts(sv_skip(text, schemes[i].n), &user, &tail))
			snprintf(buf, size, "%.*s%.*s%.*s", SV_ARG(schemes[i]), SV_ARG(user), SV_ARG(tail));
		else
			snprintf(buf, size, "(set)");
		return buf;
	}
	snprintf(buf, size, "%s", is_harmless_list(text, ' ') ? dsn : "(set)");
	return buf;
}
