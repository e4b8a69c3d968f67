/* The table of routes: which path and method is whose, and that configs/openapi.yaml names just these. */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "api/rest_handlers.h"
#include "api/rest_route.h"
#include "policy/decide.h"
#include "policy/scope.h"

#define OPENAPI "configs/openapi.yaml"
#define API_DOC "docs/api.md"

static void paths_and_methods(void **state)
{
	static const struct {
		const char *method, *path;
		void (*run)(struct rest_db_call *c);
		const char *first, *second;
	} rows[] = {
		{ "GET", "/api/v1/me", rest_me_get, "", "" },
		{ "HEAD", "/api/v1/me", rest_me_get, "", "" },
		{ "POST", "/api/v1/users", rest_users_add, "", "" },
		{ "GET", "/api/v1/users/7", rest_users_get, "7", "" },
		{ "GET", "/api/v1/users/9223372036854775807", rest_users_get, "9223372036854775807", "" },
		{ "DELETE", "/api/v1/users/7/keys/12", rest_keys_revoke, "7", "12" },
		{ "POST", "/api/v1/users/7/keys/12/rotate", rest_keys_rotate, "7", "12" },
		{ "PUT", "/api/v1/users/7/limits", rest_limits_put, "7", "" },
		{ "PATCH", "/api/v1/users/7/images", rest_image_bounds_patch, "7", "" },
		{ "PATCH", "/api/v1/users/7/quota", rest_quota_patch, "7", "" },
		{ "GET", "/api/v1/users/7/usage", rest_usage_user, "7", "" },
		{ "DELETE", "/api/v1/users/7/allow/10.0.0.0/8", rest_allow_remove, "7", "10.0.0.0/8" },
		{ "DELETE", "/api/v1/users/7/allow/2001:db8::%2f32", rest_allow_remove, "7", "2001:db8::/32" },
		{ "DELETE", "/api/v1/users/7/allow/5", rest_allow_remove, "7", "5" },
		{ "PATCH", "/api/v1/backends/img-1.a", rest_backends_patch, "img-1.a", "" },
		{ "PATCH", "/api/v1/backends/a%2Fb", rest_backends_patch, "a/b", "" },
	};
	struct rest_match m;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(rest_route_find(rows[i].method, rows[i].path, &m), ERR_OK);
		assert_non_null(m.route);
		assert_true(m.route->run == rows[i].run);
		assert_string_equal(m.params[0], rows[i].first);
		assert_string_equal(m.params[1], rows[i].second);
	}
}

static void paths_that_are_none(void **state)
{
	static const char *const paths[] = {
		"",
		"/",
		"me",
		"/api/v1",
		"/api/v1/",
		"/api/v1/me/",
		"/api/v1//me",
		"/api/v1/ME",
		"/api/v1/%6de",
		"/api/v1/me%00",
		"/api/v1/users/",
		"/api/v1/users/0",
		"/api/v1/users/-1",
		"/api/v1/users/01",
		"/api/v1/users/%31",
		"/api/v1/users/9223372036854775808",
		"/api/v1/users/7/",
		"/api/v1/users/7/key",
		"/api/v1/users/7/keys/x",
		"/api/v1/users/7/keys/1/2",
		"/api/v1/users/7/allow/",
		"/api/v1/backends/",
		"/api/v1/backends/a/b",
		"/api/v1/backends/a%0ab",
		"/api/v1/backends/%",
		"/api/v1/backends/%4",
		"/api/v1/backends/%zz",
		"/api/v1/backends/\xc3\xa9",
		"/api/v1/backends/%00",
		"/x/api/v1/me",
		"/api/v1/upload",
		"/healthz",
	};
	char long_name[REST_PARAM_MAX + 64] = "/api/v1/backends/";
	struct rest_match m;

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(rest_route_find("GET", paths[i], &m), ERR_NOT_FOUND);
	size_t n = strlen(long_name);
	memset(long_name + n, 'a', REST_PARAM_MAX - 1);
	assert_int_equal(rest_route_find("GET", long_name, &m), ERR_OK);
	long_name[n + REST_PARAM_MAX - 1] = 'a';
	assert_int_equal(rest_route_find("GET", long_name, &m), ERR_NOT_FOUND);
}

static void other_methods_are_told(void **state)
{
	struct rest_match m;

	(void)state;
	assert_int_equal(rest_route_find("PUT", "/api/v1/users", &m), ERR_OK);
	assert_null(m.route);
	assert_string_equal(m.allow, "GET, HEAD, POST");
	assert_int_equal(m.scope, SCOPE_ADMIN);
	assert_int_equal(rest_route_find("BREW", "/api/v1/users/7/keys/1/rotate", &m), ERR_OK);
	assert_null(m.route);
	assert_string_equal(m.allow, "POST");
	assert_int_equal(rest_route_find("get", "/api/v1/me", &m), ERR_OK);
	assert_null(m.route);
	assert_int_equal(m.scope, SCOPE_READ);
}

/* The verdict knows nothing of the table: a route of the administration must be one there too, whatever its words. */
static void the_verdict_asks_for_the_same_scope(void **state)
{
	const struct rest_route *routes;
	uint32_t scope;
	bool spends;
	size_t count;

	(void)state;
	routes = rest_routes(&count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(policy_route(sv_str(routes[i].method), sv_str(routes[i].path), &scope, &spends),
		                 ROUTE_API);
		assert_int_equal(scope, routes[i].scope);
		assert_false(spends);
		for (size_t k = 0; k < i; k++)
			assert_true(strcmp(routes[i].path, routes[k].path) != 0 ||
			            (strcmp(routes[i].method, routes[k].method) != 0 &&
			             routes[i].scope == routes[k].scope));
	}
}

static const char *text_of(yaml_document_t *doc, int node)
{
	const yaml_node_t *n = yaml_document_get_node(doc, node);

	assert_true(n != NULL && n->type == YAML_SCALAR_NODE);
	return (const char *)n->data.scalar.value;
}

static const yaml_node_t *child(yaml_document_t *doc, const yaml_node_t *map, const char *name)
{
	assert_int_equal(map->type, YAML_MAPPING_NODE);
	for (const yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++)
		if (strcmp(text_of(doc, p->key), name) == 0)
			return yaml_document_get_node(doc, p->value);
	fail_msg("no %s", name);
	return NULL;
}

/* Whether the table, or what the rest of the program answers, has it. */
static bool is_known(const char *method, const char *path)
{
	static const char *const others[][2] = {
		{ "post", "/api/v1/upload" },
		{ "get", "/api/v1/images" },
		{ "get", "/api/v1/images/{id}" },
		{ "delete", "/api/v1/images/{id}" },
	};
	size_t count;
	const struct rest_route *routes = rest_routes(&count);

	for (size_t i = 0; i < count; i++)
		if (strcasecmp(routes[i].method, method) == 0 && strcmp(routes[i].path, path) == 0)
			return true;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(others[i][0], method) == 0 && strcmp(others[i][1], path) == 0)
			return true;
	return false;
}

static void openapi_names_just_these(void **state)
{
	yaml_parser_t parser;
	yaml_document_t doc;
	size_t count, described = 0;
	FILE *f = fopen(OPENAPI, "r");

	(void)state;
	assert_non_null(f);
	(void)rest_routes(&count);
	assert_true(yaml_parser_initialize(&parser));
	yaml_parser_set_input_file(&parser, f);
	assert_true(yaml_parser_load(&parser, &doc));
	const yaml_node_t *paths = child(&doc, yaml_document_get_root_node(&doc), "paths");
	for (const yaml_node_pair_t *p = paths->data.mapping.pairs.start; p < paths->data.mapping.pairs.top; p++) {
		const yaml_node_t *item = yaml_document_get_node(&doc, p->value);
		for (const yaml_node_pair_t *m = item->data.mapping.pairs.start; m < item->data.mapping.pairs.top;
		     m++) {
			const char *method = text_of(&doc, m->key), *path = text_of(&doc, p->key);
			if (strcmp(method, "parameters") == 0)
				continue;
			if (!is_known(method, path))
				fail_msg("%s describes %s %s", OPENAPI, method, path);
			described++;
		}
	}
	assert_int_equal(described, count + 4);
	yaml_document_delete(&doc);
	yaml_parser_delete(&parser);
	fclose(f);
}

static void the_documentation_has_every_path(void **state)
{
	static char text[64 * 1024];
	size_t count;
	const struct rest_route *routes = rest_routes(&count);
	FILE *f = fopen(API_DOC, "r");

	(void)state;
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	for (size_t i = 0; i < count; i++)
		if (strstr(text, routes[i].path) == NULL)
			fail_msg("%s does not name %s", API_DOC, routes[i].path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_and_methods),        cmocka_unit_test(paths_that_are_none),
		cmocka_unit_test(other_methods_are_told),   cmocka_unit_test(the_verdict_asks_for_the_same_scope),
		cmocka_unit_test(openapi_names_just_these), cmocka_unit_test(the_documentation_has_every_path),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
