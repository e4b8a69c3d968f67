/* Policy files: what they say, how it is written back, and what they are refused for. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "cli/policy_file.h"
#include "cli/policy_value.h"

static struct admin_policy_errors errors;

static struct admin_policy read_text(const char *text)
{
	struct admin_policy p = { 0 };

	memset(&errors, 0, sizeof(errors));
	errors.file = "p";
	policy_file_read(text, strlen(text), &p, &errors);
	return p;
}

static struct admin_policy read_good(const char *text)
{
	struct admin_policy p = read_text(text);

	if (errors.count > 0)
		fail_msg("%s", errors.text[0]);
	return p;
}

/* The file is refused for one reason. */
static void refused(const char *text, const char *error)
{
	struct admin_policy p = read_text(text);

	admin_policy_free(&p);
	if (errors.count == 0)
		fail_msg("nothing is wrong with %s", text);
	assert_string_equal(errors.text[0], error);
	if (errors.count > 1)
		fail_msg("also: %s", errors.text[1]);
}

static void everything(void **state)
{
	struct admin_policy p = read_good("version: 1\n"
	                                  "backends:\n"
	                                  "- {name: b, url: 'http://h:1', weight: 0}\n"
	                                  "- {name: a}\n"
	                                  "users:\n"
	                                  "- name: u\n"
	                                  "  email: u@x.y\n"
	                                  "  disabled: true\n"
	                                  "  limit: {requests_per_minute: 0, requests_per_hour: default, burst: 1, "
	                                  "shadow: [hour, minute]}\n"
	                                  "  quota: {monthly_requests: 1000000000000000, shadow: []}\n"
	                                  "  image: {max_dpr: 2.50, max_zoom: 1.005, max_blur: 0.0, max_quality: 100, "
	                                  "require_expires: false, presets: [b, a]}\n"
	                                  "  allow: [192.0.2.7, {cidr: '::ffff:10.0.0.0/104', description: d}]\n"
	                                  "  sources: ['HTTPS://A:443/x/../y', {description: \"\", prefix: s3://b}]\n"
	                                  "  keys:\n"
	                                  "  - {name: k, scopes: [admin, read], expires: 2027-01-31, signing: true}\n"
	                                  "  - {id: 7, expires: never, disabled: false}\n"
	                                  "- {name: t, image: default}\n");
	const struct admin_policy_user *t = &p.users[0], *u = &p.users[1];

	(void)state;
	assert_int_equal(p.users_count, 2);
	assert_string_equal(t->name, "t");
	assert_int_equal(t->line, 17);
	assert_null(t->values[FIELD_EMAIL]);
	assert_null(t->values[FIELD_BURST]);
	assert_string_equal(t->values[FIELD_MAX_DPR], "default");
	assert_string_equal(t->values[FIELD_PRESETS], "none");
	assert_false(t->allow.given || t->sources.given || t->keys.given);

	static const char *const values[FIELDS] = {
		"u@x.y", "true", "0",     "default", "1",  "minute,hour", "1000000000000000",
		NULL,    NULL,   NULL,    "none",    NULL, "2.5",         "1.005",
		"0",     "100",  "false", "a,b"
	};
	for (size_t i = 0; i < FIELDS; i++) {
		if (values[i] == NULL)
			assert_null(u->values[i]);
		else
			assert_string_equal(u->values[i], values[i]);
	}
	assert_int_equal(u->allow.count, 2);
	assert_string_equal(u->allow.items[0].text, "10.0.0.0/8");
	assert_string_equal(u->allow.items[0].description, "d");
	assert_string_equal(u->allow.items[1].text, "192.0.2.7/32");
	assert_string_equal(u->allow.items[1].description, "");
	assert_string_equal(u->sources.items[0].text, "https://a/y");
	assert_string_equal(u->sources.items[1].text, "s3://b/");
	assert_int_equal(u->keys.items[0].id, 7);
	assert_string_equal(u->keys.items[0].values[KEY_DISABLED], "false");
	assert_null(u->keys.items[0].values[KEY_NAME]);
	assert_string_equal(u->keys.items[1].values[KEY_SCOPES], "read,admin");
	assert_string_equal(u->keys.items[1].values[KEY_EXPIRES], "2027-01-31T00:00:00Z");
	assert_string_equal(u->keys.items[1].values[KEY_SIGNING], "true");
	assert_string_equal(p.backends[0].name, "a");
	assert_null(p.backends[0].url);
	assert_string_equal(p.backends[1].weight, "0");
	admin_policy_free(&p);
}

static void lists_that_are_not_there(void **state)
{
	struct admin_policy p = read_good("\xef\xbb\xbfversion: 1\r\n");

	(void)state;
	assert_false(p.users_given || p.backends_given);
	admin_policy_free(&p);
	p = read_good("{\"users\": [{\"name\": \"u\", \"allow\": [], \"keys\": []}], \"backends\": []}");
	assert_true(p.users_given && p.backends_given && p.users[0].allow.given && p.users[0].keys.given);
	assert_false(p.users[0].sources.given);
	admin_policy_free(&p);
}

static void what_is_wrong(void **state)
{
	(void)state;
	refused("", "p:1: the file is empty");
	refused("users", "p:1: must be a mapping (key: value)");
	refused("user: []", "p:1: user: unknown key; is users meant?");
	refused("users: []\nusers: []", "p:2: users: given twice");
	refused("users: {}", "p:1: users: must be a list");
	refused("users: [x]", "p:1: users[1]: must be a mapping (key: value)");
	refused("users: [{}]", "p:1: users[1]: a user needs a name");
	refused("users: [{name: 12}]",
	        "p:1: users[1].name: \"12\" must be a name of 1 to 255 of the characters A-Z a-z 0-9 "
	        ". _ -, which starts with a letter or digit and is not all digits");
	refused("users: [{name: u, email: u}]",
	        "p:1: users.u.email: \"u\" must be an e-mail address (one @, no blanks, at "
	        "most 254 characters)");
	refused("users: [{name: u, limit: none}]",
	        "p:1: users.u.limit: \"none\" must be a mapping (key: value), or default");
	refused("users: [{name: u, limit: {burst: 0}}]",
	        "p:1: users.u.limit.burst: \"0\" must be a number from 1 to 1000000000, or default");
	refused("users: [{name: u, limit: {burst: 010}}]",
	        "p:1: users.u.limit.burst: \"010\" must be a number from 1 to 1000000000, or default");
	refused("users: [{name: u, limit: {burst: [1]}}]", "p:1: users.u.limit.burst: must be a plain value");
	refused("users: [{name: u, limit: {shadow: minute}}]", "p:1: users.u.limit.shadow: must be a list");
	refused("users: [{name: u, quota: {shadow: [minute]}}]",
	        "p:1: users.u.quota.shadow: \"minute\" must be requests or bandwidth, each at most once");
	refused("users: [{name: u, image: {max_dpr: 1.0005}}]",
	        "p:1: users.u.image.max_dpr: \"1.0005\" must be a number from 1 to 1000 with at most three digits "
	        "behind the "
	        "point, or default");
	refused("users: [{name: u, image: {max_dimension: 0}}]",
	        "p:1: users.u.image.max_dimension: \"0\" must be a number from 1 to 1000000, or default");
	refused("users: [{name: u, image: {require_expires: yes}}]",
	        "p:1: users.u.image.require_expires: \"yes\" must be true, false or default");
	refused("users: [{name: u, image: {presets: [none]}}]", "p:1: users.u.image.presets: \"none\" must be a name "
	                                                        "of 1 to 64 of A-Z a-z 0-9 . _ -, not `none`, each at "
	                                                        "most once");
	refused("users: [{name: u, allow: [10.0.0.0/33]}]",
	        "p:1: users.u.allow: \"10.0.0.0/33\": the length behind the / is a number from 0 to 32");
	refused("users: [{name: u, allow: [{description: d}]}]", "p:1: users.u.allow: needs a cidr");
	refused("users: [{name: u, allow: [10.0.0.0/8,\n 10.0.0.0/8]}]",
	        "p:2: users.u.allow: 10.0.0.0/8 is on line 1 too");
	refused("users: [{name: u, sources: [ftp://x/]}]", "p:1: users.u.sources: \"ftp://x/\" is no prefix of remote "
	                                                   "sources (such as https://cdn.example.com/images/): "
	                                                   "the scheme must be http, https, s3, gs or abs");
	refused("users: [{name: u, keys: [{}]}]",
	        "p:1: users.u.keys: a key needs a name, or the id of one that is there");
	refused("users: [{name: u, keys: [{id: igw_7_secret_x}]}]",
	        "p:1: users.u.keys.id: must be a number, the 7 of igw_7_…");
	refused("users: [{name: u, keys: [{name: k, scopes: []}]}]",
	        "p:1: users.u.keys.scopes: must be a list of at least one of read, upload, admin");
	refused("users: [{name: u, keys: [{name: k, scopes: [read, read]}]}]",
	        "p:1: users.u.keys.scopes: \"read\" must be read, upload or admin, each at most once");
	refused("users: [{name: u, keys: [{name: k, expires: 30d}]}]",
	        "p:1: users.u.keys.expires: \"30d\" must be a moment as 2027-01-31T12:00:00Z or 2027-01-31, or never");
	refused("users: [{name: u, keys: [{name: k},\n {name: k}]}]",
	        "p:2: users.u.keys: the name \"k\" is on line 1 too");
	refused("users: [{name: u, email: a@b.c},\n {name: v, email: A@B.c}]",
	        "p:2: users.v.email: that of line 1 too");
	refused("backends: [{name: b, url: http://h/path}]",
	        "p:1: backends.b.url: \"http://h/path\" must be http://HOST:PORT or https://HOST:PORT, without a path");
	refused("backends: [{name: b, weight: 257}]",
	        "p:1: backends.b.weight: \"257\" must be a number from 0 to 256 (0: no new requests)");
	refused("backends: [{name: b},\n {name: b}]", "p:2: backends.b: on line 1 too");
	refused("users: [{name: u, keys: [&k {name: k}, *k]}]",
	        "p:1: users.u.keys: aliases (*name) are not taken: write it out");
	refused("users: [{name: u, email: \"a@b\\0\"}]", "p:1: users.u.email: must be a plain value");
	refused("users: [{? [x] : y, name: u}]", "p:1: users[1]: must be a mapping whose keys are plain words");
	refused("users: [{name: u, email: \"a\\n\\e[31m\"}]",
	        "p:1: users.u.email: \"a??[31m\" must be an e-mail address (one @, "
	        "no blanks, at most 254 characters)");
	refused("\xff", "p:1: not YAML: invalid leading UTF-8 octet");
	refused("version: 1\n--- {}\n", "p:2: a second document: a policy is one");
}

/* What is left out is not walked without an end. */
static void depth_is_bounded(void **state)
{
	char text[100000] = "users: ";

	(void)state;
	memset(text + strlen(text), '[', sizeof(text) - 1 - strlen(text));
	struct admin_policy p = read_text(text);
	assert_int_equal(errors.count, 2);
	assert_string_equal(errors.text[1], "p:1: users[1]: too deep");
	admin_policy_free(&p);
}

static void errors_are_bounded(void **state)
{
	char text[1024] = "users: [";

	(void)state;
	for (int i = 0; i < 100; i++)
		strcat(text, "1, ");
	strcat(text, "]");
	struct admin_policy p = read_text(text);
	assert_int_equal(errors.count, 100);
	assert_string_equal(errors.text[19], "p:1: users[20]: must be a mapping (key: value)");
	admin_policy_free(&p);
}

/* As it comes from the database: every field has a value. */
static const char written[] = "version: 1\n"
                              "backends:\n"
                              "  - name: b\n"
                              "    url: http://h:1\n"
                              "    weight: 5\n"
                              "users:\n"
                              "  - name: \"3com\"\n"
                              "    email: u@x.y\n"
                              "    disabled: false\n"
                              "    limit: default\n"
                              "    quota:\n"
                              "      monthly_requests: 5\n"
                              "      monthly_bandwidth_mb: default\n"
                              "      storage_mb: default\n"
                              "      reset_day: 31\n"
                              "      shadow: [requests, bandwidth]\n"
                              "    image:\n"
                              "      max_dimension: default\n"
                              "      max_dpr: 1.5\n"
                              "      max_zoom: default\n"
                              "      max_blur: default\n"
                              "      max_quality: default\n"
                              "      require_expires: true\n"
                              "      presets: [\"0\", \"on\", x]\n"
                              "    allow:\n"
                              "      - 10.0.0.0/8\n"
                              "      - 2001:db8::/32\n"
                              "      - cidr: \"::1/128\"\n"
                              "        description: \"two\\x0Alines \\\"\\\\\"\n"
                              "    sources: []\n"
                              "    keys:\n"
                              "      - id: 5\n"
                              "        scopes: [read]\n"
                              "        expires: never\n"
                              "        disabled: false\n"
                              "      - name: only\n"
                              "        scopes: [read, upload]\n"
                              "        expires: 2027-01-31T12:00:00Z\n"
                              "        disabled: true\n"
                              "        signing: true\n"
                              "      - id: 6\n"
                              "        name: twice\n"
                              "        scopes: [read]\n"
                              "        expires: never\n"
                              "        disabled: false\n"
                              "      - id: 7\n"
                              "        name: twice\n"
                              "        scopes: [read]\n"
                              "        expires: never\n"
                              "        disabled: false\n";

/* What the database gives for it. */
static struct admin_policy stored(void)
{
	struct admin_policy p = read_good(written);
	struct admin_policy_keys *keys = &p.users[0].keys;

	for (size_t i = 0; i < keys->count; i++) {
		if (keys->items[i].values[KEY_SIGNING] == NULL)
			keys->items[i].values[KEY_SIGNING] = "false";
		if (keys->items[i].id == 0)
			keys->items[i].id = 1;
	}
	/* One that was rotated is left out, and does not hide the one that has its name. */
	*admin_policy_add_key(keys) = (struct admin_policy_key){
		.id = 8, .rotated = true, .values = { "only", "read", ADMIN_KEY_NEVER, "false", "false" }
	};
	admin_policy_sort(&p);
	return p;
}

static void written_as_it_was_read(void **state)
{
	struct admin_policy p = stored();
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	assert_non_null(f);
	policy_file_write(f, &p);
	fclose(f);
	assert_string_equal(text, written);
	free(text);
	admin_policy_free(&p);
}

/* JSON is YAML, and says the same. */
static void json_is_a_policy_file(void **state)
{
	struct admin_policy p = stored();
	struct admin_policy_diff diff;
	json_t *v = policy_file_json(&p);
	char *text = json_dumps(v, JSON_COMPACT);

	(void)state;
	assert_non_null(text);
	assert_non_null(strstr(text, "\"reset_day\":31,\"shadow\":[\"requests\",\"bandwidth\"]"));
	assert_null(strstr(text, "\"id\":8"));
	struct admin_policy again = read_good(text);
	admin_policy_compare(&p, &again, true, &errors, &diff);
	assert_int_equal(errors.count, 0);
	assert_int_equal(diff.count, 0);
	admin_policy_diff_free(&diff);
	admin_policy_free(&again);
	admin_policy_free(&p);
	free(text);
	json_decref(v);
}

static void moments(void **state)
{
	static const char *const wrong[] = {
		"2027-02-29",           "2027-13-01", "2027-1-1",   "2027-01-01T24:00:00Z",
		"2027-01-01T00:60:00Z", "1969-12-31", "2027-01-0x", "2027-01-01T00:00:00",
		"2027-01-01 00:00:00Z", "Never",      "",           "2027-01-01T00:00:60Z"
	};
	char canonical[POLICY_VALUE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(policy_value_moment(wrong[i], canonical), ERR_INVALID);
	assert_int_equal(policy_value_moment("2028-02-29", canonical), ERR_OK);
	assert_string_equal(canonical, "2028-02-29T00:00:00Z");
	assert_int_equal(policy_value_moment("2027-12-31T23:59:59Z", canonical), ERR_OK);
	assert_string_equal(canonical, "2027-12-31T23:59:59Z");
}

/* What is plain, and what is put between quotes. */
static void texts(void **state)
{
	static const char *const rows[][2] = {
		{ "a", "a" },
		{ "a.b_c-d@e/f:1", "a.b_c-d@e/f:1" },
		{ "10.0.0.0/8", "10.0.0.0/8" },
		{ "", "\"\"" },
		{ "10", "\"10\"" },
		{ "2027-01-01", "\"2027-01-01\"" },
		{ "Yes", "\"Yes\"" },
		{ "null", "\"null\"" },
		{ "~", "\"~\"" },
		{ "a:", "\"a:\"" },
		{ "a b", "\"a b\"" },
		{ "-a", "\"-a\"" },
		{ "\"\\", "\"\\\"\\\\\"" },
		{ "\x1b[31m\x7f", "\"\\x1B[31m\\x7F\"" },
		{ "\xc3\xbc\xf0\x9f\x98\x80", "\"\xc3\xbc\xf0\x9f\x98\x80\"" },
		{ "\xc2\x85\xe2\x80\xae\xef\xbb\xbf", "\"\\x85\\u202E\\uFEFF\"" },
		{ "\xff\xc3", "\"\?\?\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = NULL;
		size_t size = 0;
		FILE *f = open_memstream(&text, &size);
		assert_non_null(f);
		policy_file_put_text(f, rows[i][0]);
		fclose(f);
		assert_string_equal(text, rows[i][1]);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything),
		cmocka_unit_test(lists_that_are_not_there),
		cmocka_unit_test(what_is_wrong),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(errors_are_bounded),
		cmocka_unit_test(written_as_it_was_read),
		cmocka_unit_test(json_is_a_policy_file),
		cmocka_unit_test(moments),
		cmocka_unit_test(texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
