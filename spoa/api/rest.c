#include "api/rest.h"

#include "api/rest_images.h"

static const struct {
	const char *path;
	bool below; /* everything that begins so; else this path alone */
	rest_function *function;
} routes[] = {
	{ "/api/v1/images", false, rest_images },
	{ "/api/v1/images/", true, rest_image },
};

rest_function *rest_find(struct sv path, struct sv *rest)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		struct sv route = sv_str(routes[i].path);
		if (!sv_starts(path, route) || (path.n > route.n && !routes[i].below))
			continue;
		*rest = sv_skip(path, route.n);
		return routes[i].function;
	}
	return NULL;
}

bool rest_list_has(struct sv list, struct sv word)
{
	struct sv part;

	while (sv_split(&list, ',', &part)) {
		if (sv_eq(sv_trim(part), word))
			return true;
	}
	return false;
}

bool rest_has_scope(const struct rest_call *call, struct sv scope)
{
	return rest_list_has(sv_str(MHD_lookup_connection_value(call->conn, MHD_HEADER_KIND, "X-GW-Scopes")), scope);
}

struct sv rest_argument(const struct rest_call *call, const char *name)
{
	return sv_str(MHD_lookup_connection_value(call->conn, MHD_GET_ARGUMENT_KIND, name));
}

void rest_refuse(struct rest_answer *answer, enum problem problem, const char *detail)
{
	answer->status = 0;
	answer->problem = problem;
	answer->detail = detail;
}

void rest_refuse_method(struct rest_answer *answer, const char *allow)
{
	answer->allow = allow;
	rest_refuse(answer, PROBLEM_METHOD_NOT_ALLOWED, "This address does not take the method.");
}
