/* LDFLAGS: -Wl,--wrap=pg_sync_exec,--wrap=pg_sync_begin,--wrap=pg_sync_rollback */
/* LDFLAGS: -Wl,--wrap=pg_sync_constraint,--wrap=pg_sync_sqlstate,--wrap=pg_sync_error */
/* What the admin functions say and leave behind when the database refuses. */
#include "unit.h"

#include <string.h>

#include "policy/scope.h"
#include "store/admin_key.h"
#include "store/admin_user.h"

static struct {
	enum err err; /* the answer to every statement */
	const char *constraint;
	const char *sqlstate;
	int statements;
	int rollbacks;
} fake;

static char error[ADMIN_ERROR_MAX];

enum err __wrap_pg_sync_exec(struct pg_sync *s, const char *sql, int nparams, const char *const *params,
                             struct pg_result **out);
enum err __wrap_pg_sync_begin(struct pg_sync *s);
void __wrap_pg_sync_rollback(struct pg_sync *s);
const char *__wrap_pg_sync_constraint(const struct pg_sync *s);
const char *__wrap_pg_sync_sqlstate(const struct pg_sync *s);
const char *__wrap_pg_sync_error(const struct pg_sync *s);

enum err __wrap_pg_sync_exec(struct pg_sync *s, const char *sql, int nparams, const char *const *params,
                             struct pg_result **out)
{
	(void)s;
	(void)sql;
	(void)nparams;
	(void)params;
	fake.statements++;
	if (out != NULL)
		*out = NULL;
	return fake.err;
}

enum err __wrap_pg_sync_begin(struct pg_sync *s)
{
	(void)s;
	return ERR_OK;
}

void __wrap_pg_sync_rollback(struct pg_sync *s)
{
	(void)s;
	fake.rollbacks++;
}

const char *__wrap_pg_sync_constraint(const struct pg_sync *s)
{
	(void)s;
	return fake.constraint;
}

const char *__wrap_pg_sync_sqlstate(const struct pg_sync *s)
{
	(void)s;
	return fake.sqlstate;
}

const char *__wrap_pg_sync_error(const struct pg_sync *s)
{
	(void)s;
	return "the server's words";
}

static void answer(enum err err, const char *constraint, const char *sqlstate)
{
	memset(&fake, 0, sizeof(fake));
	fake.err = err;
	fake.constraint = constraint;
	fake.sqlstate = sqlstate;
	memset(error, 'x', sizeof(error));
}

static void refusals_are_sentences(void **state)
{
	static const struct {
		const char *constraint, *sqlstate;
		enum err from, to;
		const char *text;
	} rows[] = {
		{ "users_username_unique", "23505", ERR_REFUSED, ERR_EXISTS, "a user of this name exists already" },
		{ "users_email_unique", "23505", ERR_REFUSED, ERR_EXISTS,
		  "this e-mail address belongs to another user" },
		{ "users_username_grammar", "23514", ERR_REFUSED, ERR_INVALID, "a user's name has 1 to 255" },
		{ "users_email_grammar", "23514", ERR_REFUSED, ERR_INVALID, "this is no e-mail address" },
		{ "api_keys_name_length", "23514", ERR_REFUSED, ERR_INVALID, "a key's name has" },
		{ "", "42P01", ERR_REFUSED, ERR_REFUSED, "gatewayctl migrate up" },
		{ "", "", ERR_CLOSED, ERR_CLOSED, "database: the server's words" },
		{ "another", "23505", ERR_REFUSED, ERR_REFUSED, "database: the server's words" },
	};
	struct admin_users list;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		answer(rows[i].from, rows[i].constraint, rows[i].sqlstate);
		assert_int_equal(admin_user_add(NULL, "ann", "a@b", &list, error), rows[i].to);
		assert_non_null(strstr(error, rows[i].text));
		assert_null(list.items);
		assert_null(list.rows);
		admin_users_free(&list);
	}
}

static void ids_beyond_the_column_are_unknown_without_asking(void **state)
{
	static const char *const ids[] = { "9223372036854775808", "18446744073709551616", "007" };
	struct admin_users users;
	struct admin_keys keys;

	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		answer(ERR_CLOSED, "", "");
		assert_int_equal(admin_user_find(NULL, ids[i], &users, error), ERR_NOT_FOUND);
		assert_int_equal(fake.statements, 0);
		assert_non_null(strstr(error, ids[i]));
	}
	assert_int_equal(admin_key_revoke(NULL, UINT64_MAX, &keys, error), ERR_NOT_FOUND);
	assert_int_equal(fake.statements, 0);
	assert_int_equal(admin_user_find(NULL, "9223372036854775807", &users, error), ERR_CLOSED);
	assert_int_equal(fake.statements, 1);
}

static void a_failed_change_is_rolled_back_and_leaves_no_key(void **state)
{
	struct admin_key_wish wish = { .user = "ann", .scopes = SCOPE_READ };
	char text[KEY_TEXT_MAX];
	struct admin_users users;
	struct admin_keys keys;
	uint64_t revoked = 7;

	(void)state;
	answer(ERR_CLOSED, "", "");
	memset(text, 'k', sizeof(text));
	assert_int_equal(admin_key_create(NULL, "a pepper", &wish, text, &keys, error), ERR_CLOSED);
	assert_int_equal(fake.rollbacks, 1);
	assert_string_equal(text, "");
	assert_null(keys.items);

	answer(ERR_CLOSED, "", "");
	assert_int_equal(admin_user_delete(NULL, "ann", &users, &revoked, error), ERR_CLOSED);
	assert_int_equal(fake.rollbacks, 1);
	assert_int_equal(revoked, 0);
	assert_null(users.items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals_are_sentences),
		cmocka_unit_test(ids_beyond_the_column_are_unknown_without_asking),
		cmocka_unit_test(a_failed_change_is_rolled_back_and_leaves_no_key),
	};
	return cmocka_run_group_tests_name("store/admin", tests, NULL, NULL);
}
