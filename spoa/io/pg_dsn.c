#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/sv.h"
#include "io/pg.h"
#include "io/pg_int.h"

#define URL_HINT "; in a URL the characters @ / : ? # of a password must be percent-encoded"

void pg_one_line(char *dst, size_t size, const char *text)
{
	size_t n = 0;
	CHECK(size > 0);
	for (const char *p = text != NULL ? text : ""; *p != '\0' && n + 1 < size; p++) {
		bool blank = *p == '\n' || *p == '\t' || *p == '\r' || *p == ' ';
		if (!blank)
			dst[n++] = *p;
		else if (n > 0 && dst[n - 1] != ' ')
			dst[n++] = ' ';
	}
	while (n > 0 && dst[n - 1] == ' ')
		n--;
	dst[n] = '\0';
}

/* libpq quotes what it did not understand, which may be the password: all from the first to the last quote goes. */
static void hide_quoted(char *dst, size_t size, const char *text)
{
	const char *first = strchr(text, '"'), *last = strrchr(text, '"');
	char line[PG_ERROR_MAX];
	if (first == NULL || first == last)
		snprintf(line, sizeof(line), "%s", first == NULL ? text : "");
	else
		snprintf(line, sizeof(line), "%.*s\"...\"%s", (int)(first - text), text, last + 1);
	pg_one_line(dst, size, line);
}

void pg_start_error(char *dst, size_t size, const char *text)
{
	if (strncmp(text, "invalid ", 8) == 0)
		hide_quoted(dst, size, text);
	else
		pg_one_line(dst, size, text);
}

static const char *option(const struct pg_dsn *dsn, const char *keyword)
{
	for (const PQconninfoOption *o = dsn->options; o->keyword != NULL; o++) {
		if (strcmp(o->keyword, keyword) == 0)
			return o->val != NULL && o->val[0] != '\0' ? o->val : NULL;
	}
	return NULL;
}

static const char *option_or_env(const struct pg_dsn *dsn, const char *keyword, const char *env)
{
	const char *v = option(dsn, keyword);
	if (v == NULL)
		v = getenv(env);
	return v != NULL ? v : "";
}

static size_t count_parts(const char *list)
{
	size_t n = 1;
	for (; *list != '\0'; list++)
		n += *list == ',';
	return n;
}

/* Part i of a comma list; a list of one part has it for every i. */
static char *part(const char *list, size_t i)
{
	char *copy;
	if (count_parts(list) == 1)
		i = 0;
	for (; i > 0; i--)
		list = strchr(list, ',') + 1;
	copy = strndup(list, strcspn(list, ","));
	CHECK(copy != NULL);
	return copy;
}

static enum err fail(struct pg_dsn *dsn, char *error, size_t size, const char *what)
{
	snprintf(error, size, "database DSN: %s", what);
	pg_dsn_free(dsn);
	return ERR_INVALID;
}

/* Hosts and ports that look like a piece of a password are turned down here: libpq's own errors would print them. */
static enum err check_hosts(struct pg_dsn *dsn, char *error, size_t size)
{
	for (size_t i = 0; i < dsn->count; i++) {
		const struct pg_host *h = &dsn->hosts[i];
		uint64_t port;
		if (h->port[0] != '\0' && (sv_to_u64(sv_str(h->port), &port) != ERR_OK || port == 0 || port > 65535))
			return fail(dsn, error, size, "the port is not a number from 1 to 65535" URL_HINT);
		if (pg_host_needs_lookup(h) && strpbrk(h->host, "@/?# ") != NULL)
			return fail(dsn, error, size, "the host name is not valid" URL_HINT);
	}
	return ERR_OK;
}

/* user:pa/ss@host: libpq ends the authority at the slash and takes the rest for the name of the database. */
static bool url_at_after_slash(const char *text)
{
	const char *p = strstr(text, "://"), *slash, *query;
	if (p == NULL || (strncmp(text, "postgres://", 11) != 0 && strncmp(text, "postgresql://", 13) != 0))
		return false;
	slash = strchr(p + 3, '/');
	if (slash == NULL)
		return false;
	query = strchr(slash, '?');
	return memchr(slash, '@', query != NULL ? (size_t)(query - slash) : strlen(slash)) != NULL;
}

enum err pg_dsn_parse(const char *text, struct pg_dsn *out, char *error, size_t error_size)
{
	const char *host, *hostaddr, *port;
	char *message = NULL, hidden[PG_ERROR_MAX], what[PG_ERROR_MAX + 64];
	size_t ports;

	memset(out, 0, sizeof(*out));
	if (url_at_after_slash(text))
		return fail(out, error, error_size, "there is an @ after the first /" URL_HINT);
	out->options = PQconninfoParse(text, &message);
	if (out->options == NULL) {
		hide_quoted(hidden, sizeof(hidden), message != NULL ? message : "out of memory");
		PQfreemem(message);
		snprintf(what, sizeof(what), "neither a URL nor key=value pairs: %s", hidden);
		return fail(out, error, error_size, what);
	}
	host = option_or_env(out, "host", "PGHOST");
	hostaddr = option_or_env(out, "hostaddr", "PGHOSTADDR");
	port = option_or_env(out, "port", "PGPORT");
	out->count = count_parts(hostaddr[0] != '\0' ? hostaddr : host);
	ports = count_parts(port);
	if (out->count > PG_HOSTS_MAX) {
		out->count = 0;
		return fail(out, error, error_size, "more than 16 hosts");
	}
	if ((ports != 1 && ports != out->count) ||
	    (hostaddr[0] != '\0' && host[0] != '\0' && count_parts(host) != out->count)) {
		out->count = 0;
		return fail(out, error, error_size, "the lists of hosts, addresses and ports differ in length");
	}
	for (size_t i = 0; i < out->count; i++) {
		out->hosts[i].host = part(host, i);
		out->hosts[i].hostaddr = part(hostaddr, i);
		out->hosts[i].port = part(port, i);
	}
	return check_hosts(out, error, error_size);
}

void pg_dsn_free(struct pg_dsn *dsn)
{
	for (size_t i = 0; i < dsn->count; i++) {
		free(dsn->hosts[i].host);
		free(dsn->hosts[i].hostaddr);
		free(dsn->hosts[i].port);
	}
	PQconninfoFree(dsn->options);
	memset(dsn, 0, sizeof(*dsn));
}

bool pg_host_needs_lookup(const struct pg_host *h)
{
	return h->hostaddr[0] == '\0' && h->host[0] != '\0' && h->host[0] != '/' && h->host[0] != '@';
}

void pg_params_set(struct pg_params *p, const char *keyword, const char *value)
{
	size_t i = 0;
	while (i < p->count && strcmp(p->keywords[i], keyword) != 0)
		i++;
	CHECK(i + 1 < PG_PARAMS_MAX);
	p->keywords[i] = keyword;
	p->values[i] = value;
	if (i == p->count)
		p->count++;
	p->keywords[p->count] = NULL;
	p->values[p->count] = NULL;
}

void pg_params_init(struct pg_params *p, const struct pg_dsn *dsn, const char *application_name)
{
	p->count = 0;
	for (const PQconninfoOption *o = dsn->options; o->keyword != NULL; o++) {
		if (o->val != NULL)
			pg_params_set(p, o->keyword, o->val);
	}
	if (application_name != NULL)
		pg_params_set(p, "application_name", application_name);
	if (option(dsn, "client_encoding") == NULL)
		pg_params_set(p, "client_encoding", "UTF8");
	if (option(dsn, "gssencmode") == NULL && getenv("PGGSSENCMODE") == NULL)
		pg_params_set(p, "gssencmode", "disable");
}

enum err pg_check_dsn(const char *dsn, char *error, size_t error_size)
{
	struct pg_dsn parsed;
	enum err err = pg_dsn_parse(dsn, &parsed, error, error_size);

	if (err == ERR_OK)
		pg_dsn_free(&parsed);
	return err;
}
