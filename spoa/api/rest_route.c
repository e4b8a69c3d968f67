#include "api/rest_route.h"

#include <string.h>

#include "api/rest_handlers.h"
#include "base/sv.h"
#include "policy/scope.h"

#define V1      "/api/v1/"
#define USERS   V1 "users"
#define USER    USERS "/{id}"
#define KEYS    USER "/keys"
#define KEY     KEYS "/{key}"
#define ALLOW   USER "/allow"
#define SOURCES USER "/sources"
#define BACKEND V1 "backends/{name}"

/* Another resource of a user is a line here, and a file with its handlers. The methods of a path stand together. */
static const struct rest_route routes[] = {
	{ "GET", V1 "me", SCOPE_READ, REST_NO_BODY, { NULL }, rest_me_get },
	{ "GET", V1 "usage", SCOPE_READ, REST_NO_BODY, { "month" }, rest_usage_own },
	{ "GET", USERS, SCOPE_ADMIN, REST_NO_BODY, { "limit", "after" }, rest_users_list },
	{ "POST", USERS, SCOPE_ADMIN, REST_BODY, { NULL }, rest_users_add },
	{ "GET", USER, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_users_get },
	{ "PATCH", USER, SCOPE_ADMIN, REST_BODY, { NULL }, rest_users_patch },
	{ "DELETE", USER, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_users_delete },
	{ "GET", KEYS, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_keys_list },
	{ "POST", KEYS, SCOPE_ADMIN, REST_MAY_HAVE_BODY, { NULL }, rest_keys_create },
	{ "GET", KEY, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_keys_get },
	{ "DELETE", KEY, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_keys_revoke },
	{ "POST", KEY "/rotate", SCOPE_ADMIN, REST_MAY_HAVE_BODY, { NULL }, rest_keys_rotate },
	{ "GET", USER "/limits", SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_limits_get },
	{ "PUT", USER "/limits", SCOPE_ADMIN, REST_BODY, { NULL }, rest_limits_put },
	{ "PATCH", USER "/limits", SCOPE_ADMIN, REST_BODY, { NULL }, rest_limits_patch },
	{ "GET", USER "/quota", SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_quota_get },
	{ "PUT", USER "/quota", SCOPE_ADMIN, REST_BODY, { NULL }, rest_quota_put },
	{ "PATCH", USER "/quota", SCOPE_ADMIN, REST_BODY, { NULL }, rest_quota_patch },
	{ "GET", USER "/images", SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_image_bounds_get },
	{ "PUT", USER "/images", SCOPE_ADMIN, REST_BODY, { NULL }, rest_image_bounds_put },
	{ "PATCH", USER "/images", SCOPE_ADMIN, REST_BODY, { NULL }, rest_image_bounds_patch },
	{ "GET", ALLOW, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_allow_list },
	{ "POST", ALLOW, SCOPE_ADMIN, REST_BODY, { NULL }, rest_allow_add },
	{ "DELETE", ALLOW "/{entry}", SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_allow_remove },
	{ "GET", SOURCES, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_sources_list },
	{ "POST", SOURCES, SCOPE_ADMIN, REST_BODY, { NULL }, rest_sources_add },
	{ "DELETE", SOURCES "/{entry}", SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_sources_remove },
	{ "GET", USER "/usage", SCOPE_ADMIN, REST_NO_BODY, { "month" }, rest_usage_user },
	{ "GET", V1 "backends", SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_backends_list },
	{ "POST", V1 "backends", SCOPE_ADMIN, REST_BODY, { NULL }, rest_backends_add },
	{ "GET", BACKEND, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_backends_get },
	{ "PATCH", BACKEND, SCOPE_ADMIN, REST_BODY, { NULL }, rest_backends_patch },
	{ "DELETE", BACKEND, SCOPE_ADMIN, REST_NO_BODY, { NULL }, rest_backends_remove },
};

#define ROUTES (sizeof(routes) / sizeof(routes[0]))

const struct rest_route *rest_routes(size_t *count)
{
	*count = ROUTES;
	return routes;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool rest_is_plain(struct sv v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] <= 0x20 || v.p[i] >= 0x7f)
			return false;
	return true;
}

enum err rest_unescape(struct sv v, char *buf, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];
		if (c == '%') {
			int high = i + 2 < v.n ? hex_digit(v.p[i + 1]) : -1;
			int low = i + 2 < v.n ? hex_digit(v.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return ERR_INVALID;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (c <= 0x20 || c >= 0x7f)
			return ERR_INVALID;
		if (n + 1 >= size)
			return ERR_SPACE;
		buf[n++] = c;
	}
	buf[n] = '\0';
	return ERR_OK;
}

/* A number that can be the id of a row. */
static bool is_id(struct sv v)
{
	uint64_t id;

	return sv_to_u64(v, &id) == ERR_OK && id > 0 && id <= INT64_MAX;
}

/* Whether the path is that of the pattern; the parameters then stand in params. */
static bool matches(const char *pattern, const char *path, char params[REST_PARAMS_MAX][REST_PARAM_MAX])
{
	struct sv want = sv_str(pattern), have = sv_str(path), word, segment;
	size_t n = 0;

	while (sv_split(&want, '/', &word)) {
		if (sv_eq(word, SV("{entry}")) && have.n > 0) {
			segment = have;
			have = sv_from(NULL, 0);
		} else if (!sv_split(&have, '/', &segment)) {
			return false;
		}
		if (word.n == 0 || word.p[0] != '{') {
			if (!sv_eq(word, segment))
				return false;
			continue;
		}
		bool number = sv_eq(word, SV("{id}")) || sv_eq(word, SV("{key}"));
		if (segment.n == 0 || (number && !is_id(segment)) || n == REST_PARAMS_MAX ||
		    rest_unescape(segment, params[n++], REST_PARAM_MAX) != ERR_OK)
			return false;
	}
	return have.p == NULL;
}

/* The methods of a path have one scope, so that a wrong method tells nobody more than they may know. */
static void add_method(char allow[REST_ALLOW_MAX], const char *method)
{
	size_t n = strlen(allow);

	snprintf(allow + n, REST_ALLOW_MAX - n, "%s%s", n > 0 ? ", " : "", method);
}

enum err rest_route_find(const char *method, const char *path, struct rest_match *out)
{
	bool found = false;

	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < ROUTES; i++) {
		if (!matches(routes[i].path, path, out->params))
			continue;
		found = true;
		out->scope |= routes[i].scope;
		add_method(out->allow, routes[i].method);
		if (strcmp(routes[i].method, "GET") == 0)
			add_method(out->allow, "HEAD");
		if (strcmp(routes[i].method, method) == 0)
			out->route = &routes[i];
	}
	return found ? ERR_OK : ERR_NOT_FOUND;
}
