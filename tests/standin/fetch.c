#include "fetch.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handler.h"

/* With no limit in the settings a source may still not eat the machine. */
#define SIZE_MAX_EVER (1024L * 1024 * 1024)

struct transfer {
	const struct config *config;
	char *data;
	size_t len;
	size_t room;
	long max;
	bool too_large;
};

bool fetch_init(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static bool is_allowed_v4(const struct config *c, uint32_t a)
{
	if (!c->allow_loopback && (a >> 24 == 127 || a == 0))
		return false;
	if (!c->allow_link_local && (a >> 16 == 0xa9fe || a >> 8 == 0xe00000))
		return false;
	return c->allow_private || (a >> 24 != 10 && a >> 20 != 0xac1 && a >> 16 != 0xc0a8);
}

static bool is_allowed_v6(const struct config *c, const struct in6_addr *a)
{
	uint32_t v4;

	if (IN6_IS_ADDR_V4MAPPED(a)) {
		memcpy(&v4, a->s6_addr + 12, sizeof(v4));
		return is_allowed_v4(c, ntohl(v4));
	}
	if (!c->allow_loopback && (IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a)))
		return false;
	if (!c->allow_link_local && (IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_MC_LINKLOCAL(a)))
		return false;
	return c->allow_private || (a->s6_addr[0] & 0xfe) != 0xfc;
}

/* The address is checked where it is used, after the look-up of the name: as imgproxy does. */
static curl_socket_t on_socket(void *user, curlsocktype purpose, struct curl_sockaddr *to)
{
	const struct config *c = user;
	bool allowed = false;
	(void)purpose;

	if (to->family == AF_INET) {
		struct sockaddr_in v4;
		memcpy(&v4, &to->addr, sizeof(v4));
		allowed = is_allowed_v4(c, ntohl(v4.sin_addr.s_addr));
	} else if (to->family == AF_INET6) {
		struct sockaddr_in6 v6;
		memcpy(&v6, &to->addr, sizeof(v6) < to->addrlen ? sizeof(v6) : to->addrlen);
		allowed = is_allowed_v6(c, &v6.sin6_addr);
	}
	return allowed ? socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol) : CURL_SOCKET_BAD;
}

static size_t on_data(char *bytes, size_t size, size_t count, void *user)
{
	struct transfer *t = user;
	size_t n = size * count;

	if (t->len + n > (size_t)t->max) {
		t->too_large = true;
		return 0;
	}
	if (t->len + n > t->room) {
		size_t room = 2 * (t->len + n);
		char *grown = realloc(t->data, room);
		if (grown == NULL)
			return 0;
		t->data = grown;
		t->room = room;
	}
	memcpy(t->data + t->len, bytes, n);
	t->len += n;
	return n;
}

static void copy_header(CURL *curl, const char *name, char *out, size_t size)
{
	struct curl_header *header;

	out[0] = '\0';
	if (curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
		snprintf(out, size, "%s", header->value);
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
	char line[1024];

	if (value == NULL)
		return list;
	snprintf(line, sizeof(line), "%s: %s", name, value);
	struct curl_slist *longer = curl_slist_append(list, line);
	return longer != NULL ? longer : list;
}

/* Whether a Location says its scheme. */
static bool is_absolute(const char *url)
{
	size_t n = strspn(url, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-.");
	return n > 0 && url[n] == ':';
}

static bool read_answer(CURL *curl, struct transfer *t, struct source *out, char **location)
{
	long status = 0;
	char *to = NULL;
	struct curl_header *given;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &to);
	/* libcurl would make a path of a scheme that it does not know. */
	if (to != NULL && curl_easy_header(curl, "Location", 0, CURLH_HEADER, -1, &given) == CURLHE_OK &&
	    is_absolute(given->value))
		to = given->value;
	copy_header(curl, "Content-Type", out->type, sizeof(out->type));
	copy_header(curl, "ETag", out->etag, sizeof(out->etag));
	copy_header(curl, "Last-Modified", out->modified, sizeof(out->modified));
	copy_header(curl, "Content-Range", out->range, sizeof(out->range));
	out->status = (unsigned)status;
	out->data = t->data;
	out->len = t->len;
	*location = to != NULL ? strdup(to) : NULL;
	return to == NULL || *location != NULL;
}

bool fetch_once(const struct config *c, const char *url, long max_size, long timeout_ms,
                const struct conditions *conditions, struct source *out, char **location, struct url_error *error)
{
	struct transfer t = { .config = c, .max = max_size > 0 ? max_size : SIZE_MAX_EVER };
	struct curl_slist *headers = NULL;
	CURL *curl = curl_easy_init();

	*location = NULL;
	*error = (struct url_error){ 404, "Source is unreachable" };
	if (curl == NULL)
		return false;
	headers = add_header(headers, "If-None-Match", conditions->match);
	headers = add_header(headers, "If-Modified-Since", conditions->since);
	headers = add_header(headers, "Range", conditions->range);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, SERVER_NAME);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	/* A void * that is only read from again. */
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, c);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t);
	CURLcode rc = curl_easy_perform(curl);
	bool ok = rc == CURLE_OK && read_answer(curl, &t, out, location);
	if (t.too_large)
		*error = (struct url_error){ 422, "Invalid source image" };
	else if (rc == CURLE_OPERATION_TIMEDOUT)
		error->status = 504;
	else if (rc == CURLE_PARTIAL_FILE)
		error->status = 422;
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	if (!ok)
		free(t.data);
	return ok;
}
