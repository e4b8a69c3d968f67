/* What has to be done for one policy to become another: the changes that are told, and the rows that are written. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "store/admin_policy.h"

static struct admin_policy_errors errors;
static struct admin_policy have, want;
static struct admin_policy_diff diff;

static int setup(void **state)
{
	(void)state;
	memset(&errors, 0, sizeof(errors));
	errors.file = "p";
	memset(&have, 0, sizeof(have));
	memset(&want, 0, sizeof(want));
	have.users_given = want.users_given = have.backends_given = true;
	snprintf(have.now, sizeof(have.now), "2026-06-01T00:00:00Z");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	admin_policy_diff_free(&diff);
	admin_policy_free(&have);
	admin_policy_free(&want);
	return 0;
}

/* One of the database: all its values are there. */
static struct admin_policy_user *stored(const char *name)
{
	struct admin_policy_user *u = admin_policy_add_user(&have);

	u->name = name;
	for (size_t i = 0; i < FIELDS; i++)
		u->values[i] = admin_field_default((enum admin_field)i);
	u->values[FIELD_EMAIL] = "u@x.y";
	return u;
}

static struct admin_policy_user *wanted(const char *name)
{
	struct admin_policy_user *u = admin_policy_add_user(&want);

	u->name = name;
	u->line = want.users_count;
	return u;
}

static struct admin_policy_key *stored_key(struct admin_policy_user *u, uint64_t id, const char *name)
{
	struct admin_policy_key *k = admin_policy_add_key(&u->keys);

	*k = (struct admin_policy_key){ .id = id, .values = { name, "read", ADMIN_KEY_NEVER, "false", "false" } };
	return k;
}

static struct admin_policy_key *wanted_key(struct admin_policy_user *u, uint64_t id, const char *name)
{
	struct admin_policy_key *k = admin_policy_add_key(&u->keys);

	u->keys.given = true;
	*k = (struct admin_policy_key){ .id = id, .line = 9, .values = { name } };
	return k;
}

static void entry(struct admin_policy_list *list, uint64_t id, const char *text, const char *description)
{
	list->given = true;
	*admin_policy_add_entry(
	        list) = (struct admin_policy_entry){ .id = id, .text = text, .description = description };
}

static void compare(bool prune)
{
	admin_policy_sort(&have);
	admin_policy_sort(&want);
	admin_policy_compare(&have, &want, prune, &errors, &diff);
}

/* The changes, a line each. */
static void told(const char *lines)
{
	char text[2048] = "";
	size_t n = 0;

	for (size_t i = 0; i < diff.count && n < sizeof(text); i++) {
		const struct admin_policy_change *c = &diff.changes[i];
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%c %s", c->how, c->what);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s%s%s", c->user != NULL ? " " : "",
		                      c->user != NULL ? c->user : "", c->name != NULL ? " " : "",
		                      c->name != NULL ? c->name : "");
		if (c->field != NULL)
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %s %s -> %s", c->field, c->from, c->to);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\n");
	}
	assert_string_equal(text, lines);
}

/* The rows of one statement. */
static void written(enum admin_policy_rows rows, const char *json)
{
	char text[1024];
	size_t n = json_dumpb(diff.rows[rows], text, sizeof(text) - 1, JSON_COMPACT);

	assert_in_range(n, 1, sizeof(text) - 1);
	text[n] = '\0';
	assert_string_equal(text, json);
}

static void wrong(const char *error)
{
	assert_int_equal(errors.count, 1);
	assert_string_equal(errors.text[0], error);
	assert_int_equal(diff.count, 0);
}

static void same(void **state)
{
	struct admin_policy_user *u = stored("u");

	(void)state;
	entry(&u->allow, 1, "10.0.0.0/8", "d");
	(void)stored_key(u, 3, "k");
	(void)stored("v");
	struct admin_policy_user *w = wanted("u");
	w->values[FIELD_BURST] = "default";
	entry(&w->allow, 0, "10.0.0.0/8", "d");
	(void)wanted_key(w, 0, "k");
	compare(false);
	told("");
	for (size_t i = 0; i < ROWS; i++)
		assert_int_equal(json_array_size(diff.rows[i]), 0);
}

/* A row is written whole: what is not named in it is what it was. */
static void a_section(void **state)
{
	(void)state;
	stored("u")->values[FIELD_PER_HOUR] = "5";
	struct admin_policy_user *w = wanted("u");
	w->values[FIELD_PER_MINUTE] = "120";
	w->values[FIELD_LIMIT_SHADOW] = "minute,hour";
	compare(false);
	told("~ limit u requests_per_minute default -> 120\n~ limit u shadow none -> minute,hour\n");
	written(ROWS_LIMIT, "[{\"user\":\"u\",\"requests_per_minute\":\"120\",\"requests_per_hour\":\"5\",\"burst\":"
	                    "\"default\",\"shadow\":\"minute,hour\"}]");
	written(ROWS_QUOTA, "[]");
}

static void a_new_user(void **state)
{
	(void)state;
	struct admin_policy_user *w = wanted("u");
	w->values[FIELD_EMAIL] = "a@b.c";
	w->values[FIELD_DISABLED] = "true";
	w->values[FIELD_STORAGE_MB] = "5";
	w->values[FIELD_BURST] = "default";
	entry(&w->sources, 0, "s3://b/", "");
	compare(false);
	told("+ user u\n~ user u disabled false -> true\n~ quota u storage_mb default -> 5\n+ source u s3://b/\n");
	written(ROWS_USER_ADD, "[{\"user\":\"u\",\"email\":\"a@b.c\",\"disabled\":\"true\"}]");
	written(ROWS_USER_SET, "[]");
	written(ROWS_LIMIT, "[]");
	written(ROWS_SOURCE_ADD, "[{\"user\":\"u\",\"entry\":\"s3://b/\",\"description\":\"\"}]");
}

static void a_new_user_without_an_address(void **state)
{
	(void)state;
	wanted("u")->values[FIELD_BURST] = "5";
	compare(false);
	wrong("p:1: users.u.email: the user is not there yet, and needs one");
}

static void lists_are_replaced(void **state)
{
	struct admin_policy_user *u = stored("u");

	(void)state;
	entry(&u->allow, 11, "a", "");
	entry(&u->allow, 12, "b", "x");
	entry(&u->allow, 13, "d", "");
	struct admin_policy_user *w = wanted("u");
	entry(&w->allow, 0, "d", "");
	entry(&w->allow, 0, "c", "new");
	entry(&w->allow, 0, "b", "y");
	compare(false);
	told("- allow u a\n~ allow u b description x -> y\n+ allow u c\n");
	written(ROWS_ALLOW_REMOVE, "[{\"id\":11}]");
	written(ROWS_ALLOW_SET, "[{\"id\":12,\"description\":\"y\"}]");
	written(ROWS_ALLOW_ADD, "[{\"user\":\"u\",\"entry\":\"c\",\"description\":\"new\"}]");
}

static void keys_by_name_and_id(void **state)
{
	struct admin_policy_user *u = stored("u");

	(void)state;
	(void)stored_key(u, 5, NULL);
	(void)stored_key(u, 4, "b");
	stored_key(u, 6, "b")->rotated = true;
	(void)stored_key(u, 3, "a");
	struct admin_policy_user *w = wanted("u");
	wanted_key(w, 5, "named")->values[KEY_EXPIRES] = "2027-01-01T00:00:00Z";
	wanted_key(w, 0, "b")->values[KEY_DISABLED] = "true";
	(void)wanted_key(w, 0, "new");
	compare(false);
	told("~ key u b disabled false -> true\n~ key u 5 name  -> named\n"
	     "~ key u 5 expires never -> 2027-01-01T00:00:00Z\n+ key u new\n");
	written(ROWS_KEY_SET,
	        "[{\"id\":4,\"name\":null,\"scopes\":null,\"expires\":null,\"disabled\":\"true\",\"signing\":"
	        "null},{\"id\":5,\"name\":\"named\",\"scopes\":null,\"expires\":\"2027-01-01T00:00:00Z\","
	        "\"disabled\":null,\"signing\":null}]");
	written(ROWS_KEY_ADD, "[{\"user\":\"u\",\"name\":\"new\",\"scopes\":\"read,upload\",\"expires\":\"never\","
	                      "\"disabled\":\"false\",\"signing\":\"false\"}]");
	written(ROWS_KEY_REMOVE, "[]");
}

static void keys_that_are_refused(void **state)
{
	struct admin_policy_user *u = stored("u");

	(void)state;
	(void)stored_key(u, 4, "b");
	(void)stored_key(u, 5, "b");
	(void)stored_key(u, 6, "c");
	struct admin_policy_user *w = wanted("u");
	(void)wanted_key(w, 0, "b");
	(void)wanted_key(w, 6, NULL);
	(void)wanted_key(w, 0, "c");
	(void)wanted_key(w, 7, NULL);
	wanted_key(w, 4, NULL)->values[KEY_SIGNING] = "true";
	wanted_key(w, 0, "past")->values[KEY_EXPIRES] = "2026-06-01T00:00:00Z";
	compare(true);
	static const char *const expected[] = {
		"p:9: users.u.keys.signing: key 4 was made without a signing key, and that stays so",
		"p:9: users.u.keys.id: the user has no key 7 that was not revoked; a key that is to be made has a name "
		"and "
		"no id",
		"p:9: users.u.keys.name: the user has 2 keys of the name \"b\": give the id of the one that is meant",
		"p:9: users.u.keys: key 6 is named twice",
		"p:9: users.u.keys.expires: the key past is not there yet, and would have expired at "
		"2026-06-01T00:00:00Z",
	};
	assert_int_equal(errors.count, sizeof(expected) / sizeof(expected[0]));
	for (size_t i = 0; i < errors.count; i++)
		assert_string_equal(errors.text[i], expected[i]);
}

/* Without --prune nobody goes; with it those whom a list leaves out, and keys only of users whose keys are named. */
static void prune(void **state)
{
	for (int pruned = 0; pruned < 2; pruned++) {
		setup(state);
		struct admin_policy_user *a = stored("a");
		(void)stored_key(a, 1, "k");
		struct admin_policy_user *b = stored("b");
		(void)stored_key(b, 2, NULL);
		stored_key(b, 3, "rotated")->rotated = true;
		(void)stored("c");
		admin_policy_add_backend(&have)->name = "x";
		(void)wanted("a");
		wanted("b")->keys.given = true;
		compare(pruned == 1);
		told(pruned == 1 ? "- key b 2\n- user c\n" : "");
		if (pruned == 1) {
			written(ROWS_KEY_REMOVE, "[{\"id\":2}]");
			written(ROWS_USER_REMOVE, "[{\"user\":\"c\"}]");
		}
		written(ROWS_BACKEND_REMOVE, "[]");
		if (pruned == 0)
			teardown(state);
	}
}

static void backends(void **state)
{
	(void)state;
	want.backends_given = true;
	*admin_policy_add_backend(
	        &have) = (struct admin_policy_backend){ .name = "a", .url = "http://a:1", .weight = "1" };
	*admin_policy_add_backend(
	        &have) = (struct admin_policy_backend){ .name = "b", .url = "http://b:1", .weight = "1" };
	*admin_policy_add_backend(&want) = (struct admin_policy_backend){ .name = "b", .weight = "2" };
	*admin_policy_add_backend(&want) = (struct admin_policy_backend){ .name = "c", .url = "http://c:1" };
	compare(true);
	told("- backend a\n~ backend b weight 1 -> 2\n+ backend c\n");
	written(ROWS_BACKEND_REMOVE, "[{\"name\":\"a\"}]");
	written(ROWS_BACKEND_SET, "[{\"name\":\"b\",\"url\":null,\"weight\":\"2\"}]");
	written(ROWS_BACKEND_ADD, "[{\"name\":\"c\",\"url\":\"http://c:1\",\"weight\":\"1\"}]");
}

static void texts_live_together(void **state)
{
	struct admin_policy_texts *all = NULL;
	static char large[100000];
	const char *kept[3000];

	(void)state;
	memset(large, 'x', sizeof(large));
	for (size_t i = 0; i < 3000; i++) {
		char text[64];
		snprintf(text, sizeof(text), "the text of number %zu", i);
		kept[i] = admin_policy_text(&all, sv_str(text));
		if (i % 1000 == 0)
			assert_int_equal(strlen(admin_policy_text(&all, sv_from(large, sizeof(large)))), sizeof(large));
	}
	for (size_t i = 0; i < 3000; i++) {
		char text[64];
		snprintf(text, sizeof(text), "the text of number %zu", i);
		assert_string_equal(kept[i], text);
	}
	admin_policy_texts_free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(same, setup, teardown),
		cmocka_unit_test_setup_teardown(a_section, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_user, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_user_without_an_address, setup, teardown),
		cmocka_unit_test_setup_teardown(lists_are_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_by_name_and_id, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_that_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(prune, setup, teardown),
		cmocka_unit_test_setup_teardown(backends, setup, teardown),
		cmocka_unit_test(texts_live_together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
