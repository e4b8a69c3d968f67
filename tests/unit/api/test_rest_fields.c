/* Bodies and arguments: what is taken, and that each refusal begins with the field's name. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "api/rest_fields.h"
#include "api/rest_handlers.h"
#include "policy/scope.h"
#include "store/admin_error.h"

static struct rest_db_call c;
static struct settings settings;

static void body(const char *text)
{
	json_decref(c.body);
	json_decref(c.json);
	memset(&c, 0, sizeof(c));
	c.settings = &settings;
	if (text == NULL)
		return;
	c.body = json_loads(text, 0, NULL);
	assert_non_null(c.body);
}

static int teardown(void **state)
{
	(void)state;
	body(NULL);
	return 0;
}

static void assert_refused(enum problem problem, const char *start)
{
	assert_true(c.refused);
	assert_int_equal(c.problem, problem);
	assert_ptr_equal(strstr(c.detail, start), c.detail);
}

static void unknown_fields(void **state)
{
	static const char *const names[] = { "a", "b", NULL };

	(void)state;
	body("{\"a\": 1, \"b\": null}");
	assert_true(rest_fields(&c, names));
	body("{}");
	assert_true(rest_fields(&c, names));
	body(NULL);
	assert_true(rest_fields(&c, names));
	body("{\"a\": 1, \"B\": 1}");
	assert_false(rest_fields(&c, names));
	assert_refused(PROBLEM_BAD_REQUEST, "B: there is no such field");
	body("{\"\\u0007\\u00e9\": 1}");
	assert_false(rest_fields(&c, names));
	assert_refused(PROBLEM_BAD_REQUEST, "???: ");
}

static void texts(void **state)
{
	const char *out = "x";

	(void)state;
	body("{\"a\": \"b\", \"n\": 7, \"z\": null}");
	assert_true(rest_text(&c, "a", REST_REQUIRED, &out));
	assert_string_equal(out, "b");
	assert_true(rest_text(&c, "z", REST_OPTIONAL, &out));
	assert_null(out);
	assert_true(rest_text(&c, "q", REST_OPTIONAL, &out));
	assert_null(out);
	assert_false(rest_text(&c, "n", REST_OPTIONAL, &out));
	assert_refused(PROBLEM_BAD_REQUEST, "n: ");
	/* The first refusal stays. */
	assert_false(rest_text(&c, "z", REST_REQUIRED, &out));
	assert_refused(PROBLEM_BAD_REQUEST, "n: ");
	body("{}");
	assert_false(rest_text(&c, "z", REST_REQUIRED, &out));
	assert_refused(PROBLEM_BAD_REQUEST, "z: this field is needed");
}

static void numbers(void **state)
{
	static const char *const wrong[] = { "2",   "10",    "-3",
		                             "3.0", "\"3\"", "true",
		                             "[3]", "{}",    "-9223372036854775808" };
	char text[64];
	uint64_t n = 0;
	bool given;

	(void)state;
	body("{\"n\": 3, \"m\": 9}");
	assert_true(rest_number(&c, "n", REST_REQUIRED, 3, 9, &given, &n));
	assert_true(given && n == 3);
	assert_true(rest_number(&c, "m", REST_REQUIRED, 3, 9, &given, &n));
	assert_int_equal(n, 9);
	assert_true(rest_number(&c, "x", REST_OPTIONAL, 3, 9, &given, &n));
	assert_true(!given && n == 9);
	assert_false(rest_number(&c, "x", REST_REQUIRED, 3, 9, &given, &n));
	assert_refused(PROBLEM_BAD_REQUEST, "x: ");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct admin_change change;
		snprintf(text, sizeof(text), "{\"n\": %s}", wrong[i]);
		body(text);
		assert_false(rest_number(&c, "n", REST_OPTIONAL, 3, 9, &given, &n));
		assert_refused(PROBLEM_BAD_REQUEST, "n: a whole number from 3 to 9");
		body(text);
		assert_false(rest_change(&c, "n", 3, 9, &change));
		assert_refused(PROBLEM_BAD_REQUEST, "n: a whole number from 3 to 9, or null");
		assert_false(change.to.own);
	}
}

static void changes(void **state)
{
	struct admin_change change;

	(void)state;
	body("{\"n\": 0, \"z\": null}");
	assert_true(rest_change(&c, "n", 0, 9, &change));
	assert_true(change.given && change.to.own && change.to.value == 0);
	assert_true(rest_change(&c, "z", 0, 9, &change));
	assert_true(change.given && !change.to.own);
	assert_true(rest_change(&c, "x", 0, 9, &change));
	assert_true(!change.given && !change.to.own);
}

static void booleans(void **state)
{
	bool given, value;

	(void)state;
	body("{\"t\": true, \"f\": false, \"n\": 1}");
	assert_true(rest_bool(&c, "t", &given, &value) && given && value);
	assert_true(rest_bool(&c, "f", &given, &value) && given && !value);
	assert_true(rest_bool(&c, "x", &given, &value) && !given && !value);
	assert_false(rest_bool(&c, "n", &given, &value));
	assert_refused(PROBLEM_BAD_REQUEST, "n: true or false");
}

static void names(void **state)
{
	static const char *const known[] = { "minute", "hour" };
	static const char *const wrong[] = { "\"hour\"", "[\"day\"]",    "[\"hour\", \"hour\"]",
		                             "[null]",   "[[\"hour\"]]", "{}" };
	unsigned set = 7;
	char text[64];
	bool given;

	(void)state;
	body("{\"a\": [], \"b\": [\"hour\"], \"c\": [\"hour\", \"minute\"]}");
	assert_true(rest_names(&c, "a", known, 2, &given, &set) && given && set == 0);
	assert_true(rest_names(&c, "b", known, 2, &given, &set) && given && set == 2);
	assert_true(rest_names(&c, "c", known, 2, &given, &set) && given && set == 3);
	assert_true(rest_names(&c, "d", known, 2, &given, &set) && !given && set == 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "{\"s\": %s}", wrong[i]);
		body(text);
		assert_false(rest_names(&c, "s", known, 2, &given, &set));
		assert_refused(PROBLEM_BAD_REQUEST, "s: a list of some of minute, hour");
	}
}

static void errors_of_the_database(void **state)
{
	static const struct {
		enum err err;
		enum problem problem;
		const char *detail;
	} rows[] = {
		{ ERR_NOT_FOUND, PROBLEM_NOT_FOUND, "There is no user 7." },
		{ ERR_BAD_STATE, PROBLEM_NOT_FOUND, "There is no user 7." },
		{ ERR_EXISTS, PROBLEM_CONFLICT, "There is no user 7." },
		{ ERR_INVALID, PROBLEM_BAD_REQUEST, "There is no user 7." },
		/* The server's own words stay here. */
		{ ERR_REFUSED, PROBLEM_UNAVAILABLE, "The database did not do it. Try again." },
		{ ERR_CLOSED, PROBLEM_UNAVAILABLE, "The database did not do it. Try again." },
	};
	static const struct rest_route route = { .method = "GET", .path = "/x" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		body(NULL);
		c.route = &route;
		rest_fail(&c, rows[i].err, "there is no user 7");
		assert_int_equal(c.problem, rows[i].problem);
		assert_string_equal(c.detail, rows[i].detail);
	}
	/* A detail is always text. */
	body(NULL);
	rest_deny(&c, PROBLEM_BAD_REQUEST, "x\xff%s", "y");
	assert_string_equal(c.detail, "x?y");
}

static unsigned opened;

static struct pg_sync *no_connection(void *arg)
{
	(void)arg;
	opened++;
	return NULL;
}

/* What is wrong is told before the database is asked, so also without one. */
static void wrong_calls_need_no_database(void **state)
{
	static const struct {
		void (*run)(struct rest_db_call *);
		const char *body;
		const char *start;
	} rows[] = {
		{ rest_users_add, "{\"username\": \"a\"}", "email: " },
		{ rest_users_patch, "{}", "email, is_active: " },
		{ rest_keys_create, "{\"scopes\": [\"root\"]}", "scopes: " },
		{ rest_keys_create, "{\"scopes\": []}", "scopes: " },
		{ rest_keys_create, "{\"expires\": \"1w\"}", "expires: " },
		{ rest_keys_create, "{\"signing\": true}", "signing: this service has no master key" },
		{ rest_keys_create, "{\"signing\": 1}", "signing: true or false" },
		{ rest_keys_rotate, "{\"grace\": \"soon\"}", "grace: " },
		{ rest_limits_patch, "{}", "The body changes nothing" },
		{ rest_limits_put, "{\"burst\": 0}", "burst: " },
		{ rest_quota_put, "{\"reset_day\": 32}", "reset_day: " },
		{ rest_image_bounds_patch, "{}", "The body changes nothing" },
		{ rest_image_bounds_put, "{\"max_dpr\": 1.0005}", "max_dpr: " },
		{ rest_image_bounds_put, "{\"require_expires\": \"on\"}", "require_expires: " },
		{ rest_image_bounds_put, "{\"presets\": \"a\"}", "presets: " },
		{ rest_image_bounds_put, "{\"presets\": [\"a,b\"]}", "presets: " },
		{ rest_image_bounds_put, "{\"presets\": [\"a\", \"a\"]}", "presets: " },
		{ rest_image_bounds_put, "{\"presets\": [\"a\", 1]}", "presets: " },
		{ rest_image_bounds_put, "{\"presets\": [\"\"]}", "presets: " },
		{ rest_allow_add, "{\"cidr\": \"10.0.0.1/8\"}", "cidr: " },
		{ rest_backends_add, "{\"name\": \"a\", \"url\": \"http://h:1\"}", "weight: " },
		{ rest_backends_patch, "{\"weight\": 257}", "weight: " },
	};
	static char pepper[] = "a pepper of more than 32 characters", none[] = "";

	(void)state;
	settings.auth_key_pepper = pepper;
	settings.auth_master_key = none;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		body(rows[i].body);
		c.open = no_connection;
		opened = 0;
		rows[i].run(&c);
		assert_refused(PROBLEM_BAD_REQUEST, rows[i].start);
		assert_int_equal(opened, 0);
	}
	body("{\"username\": \"a\", \"email\": \"a@b\"}");
	c.open = no_connection;
	rest_users_add(&c);
	assert_refused(PROBLEM_UNAVAILABLE, "The database cannot be reached");
	assert_int_equal(opened, 1);
}

static struct pg_sync *a_connection(void *arg)
{
	return arg;
}

/* Without a pepper no key is made. */
static void no_pepper_no_key(void **state)
{
	static char none[] = "";
	static int db;

	(void)state;
	settings.auth_key_pepper = settings.auth_master_key = none;
	body("{}");
	c.open = a_connection;
	c.open_arg = &db;
	rest_keys_create(&c);
	assert_refused(PROBLEM_UNAVAILABLE, "This service has no pepper");
}

static void changes_in_thousandths(void **state)
{
	static const struct {
		const char *body;
		uint64_t value;
	} right[] = {
		{ "{\"n\": 1}", 1000 },   { "{\"n\": 1.1}", 1100 },    { "{\"n\": 3.999}", 3999 },
		{ "{\"n\": 4.0}", 4000 }, { "{\"n\": 2.0000}", 2000 }, { "{\"n\": 12e-1}", 1200 },
	};
	static const char *const wrong[] = {
		"{\"n\": 0.999}", "{\"n\": 4.001}", "{\"n\": 1.0001}", "{\"n\": \"2\"}",
		"{\"n\": true}",  "{\"n\": -2}",    "{\"n\": 1e300}",  "{\"n\": [2]}",
	};
	struct admin_change change;

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		body(right[i].body);
		assert_true(rest_change_thousandths(&c, "n", 1, 4, &change));
		assert_true(change.given && change.to.own);
		assert_int_equal(change.to.value, right[i].value);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		body(wrong[i]);
		assert_false(rest_change_thousandths(&c, "n", 1, 4, &change));
		assert_refused(PROBLEM_BAD_REQUEST, "n: a number from 1 to 4");
	}
	body("{\"n\": null}");
	assert_true(rest_change_thousandths(&c, "n", 1, 4, &change));
	assert_true(change.given && !change.to.own);
	assert_true(rest_change_thousandths(&c, "m", 1, 4, &change));
	assert_false(change.given);
}

static void changes_of_yes_and_no(void **state)
{
	struct admin_change change;

	(void)state;
	body("{\"t\": true, \"f\": false, \"n\": null, \"i\": 1}");
	assert_true(rest_change_bool(&c, "t", &change) && change.given && change.to.own && change.to.value == 1);
	assert_true(rest_change_bool(&c, "f", &change) && change.given && change.to.own && change.to.value == 0);
	assert_true(rest_change_bool(&c, "n", &change) && change.given && !change.to.own);
	assert_true(rest_change_bool(&c, "x", &change) && !change.given);
	assert_false(rest_change_bool(&c, "i", &change));
	assert_refused(PROBLEM_BAD_REQUEST, "i: true or false");
}

static void arguments(void **state)
{
	static const struct rest_route route = { .args = { "limit", "after" } };
	static const char *const wrong[] = { "", "0", "10", "x", "1 ", "01", "-1", "99999999999999999999" };
	uint64_t n = 5;

	(void)state;
	body(NULL);
	c.route = &route;
	assert_true(rest_arg_number(&c, 0, 1, 9, &n));
	assert_int_equal(n, 5);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		body(NULL);
		c.route = &route;
		c.given[1] = true;
		snprintf(c.args[1], REST_ARG_MAX, "%s", wrong[i]);
		assert_false(rest_arg_number(&c, 1, 1, 9, &n));
		assert_refused(PROBLEM_BAD_REQUEST, "after: a whole number from 1 to 9");
	}
}

#define T(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(unknown_fields),
		T(texts),
		T(numbers),
		T(changes),
		T(booleans),
		T(names),
		T(arguments),
		T(errors_of_the_database),
		T(no_pepper_no_key),
		T(wrong_calls_need_no_database),
		T(changes_in_thousandths),
		T(changes_of_yes_and_no),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
