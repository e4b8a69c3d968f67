/* LDFLAGS: -Wl,--wrap=pg_sync_exec,--wrap=pg_sync_begin,--wrap=pg_sync_rollback */
/* LDFLAGS: -Wl,--wrap=pg_sync_constraint,--wrap=pg_sync_sqlstate,--wrap=pg_sync_error */
/* What the admin functions say and leave behind when the database refuses. */
#include "unit.h"

#include <string.h>

#include "policy/scope.h"
#include "store/admin_allow.h"
#include "store/admin_image.h"
#include "store/admin_key.h"
#include "store/admin_limit.h"
#include "store/admin_source.h"
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
		{ "ip_whitelist_unique", "23505", ERR_REFUSED, ERR_EXISTS, "on the user's list already" },
		{ "ip_whitelist_description_length", "23514", ERR_REFUSED, ERR_INVALID,
		  "a description has at most 1000" },
		{ "allowed_sources_unique", "23505", ERR_REFUSED, ERR_EXISTS, "on the user's list already" },
		{ "allowed_sources_most", "23514", ERR_REFUSED, ERR_INVALID, "at most 1000 allowed sources" },
		{ "allowed_sources_prefix_grammar", "23514", ERR_REFUSED, ERR_INVALID, "in its canonical form" },
		{ "allowed_sources_prefix_length", "23514", ERR_REFUSED, ERR_INVALID, "at most 512 bytes" },
		{ "allowed_sources_description_length", "23514", ERR_REFUSED, ERR_INVALID,
		  "a description has at most 1000" },
		{ "image_policies_presets_most", "23514", ERR_REFUSED, ERR_INVALID, "at most 100 presets" },
		{ "image_policies_presets_grammar", "23514", ERR_REFUSED, ERR_INVALID, "the name of a preset" },
		{ "api_keys_name_length", "23514", ERR_REFUSED, ERR_INVALID, "a key's name has" },
		{ "backends_name_unique", "23505", ERR_REFUSED, ERR_EXISTS, "a backend of this name exists already" },
		{ "backends_name_grammar", "23514", ERR_REFUSED, ERR_INVALID, "a backend's name has" },
		{ "backends_url_grammar", "23514", ERR_REFUSED, ERR_INVALID, "a backend's URL is" },
		{ "backends_weight_range", "23514", ERR_REFUSED, ERR_INVALID, "from 0 to 256" },
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
	const struct admin_key_maker maker = { .pepper = "a pepper" };
	struct admin_key_secrets secrets;
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
	assert_int_equal(admin_key_rotate(NULL, &maker, UINT64_MAX, 0, &secrets, &keys, error), ERR_NOT_FOUND);
	assert_int_equal(fake.statements, 0);
	assert_int_equal(admin_user_find(NULL, "9223372036854775807", &users, error), ERR_CLOSED);
	assert_int_equal(fake.statements, 1);
}

static void a_failed_change_is_rolled_back_and_leaves_no_key(void **state)
{
	struct admin_key_wish wish = { .user = "ann", .scopes = SCOPE_READ };
	const struct admin_key_maker maker = { .pepper = "a pepper" };
	static const struct admin_key_secrets nothing;
	struct admin_key_secrets secrets;
	struct admin_users users;
	struct admin_keys keys;
	uint64_t revoked = 7;

	(void)state;
	answer(ERR_CLOSED, "", "");
	memset(&secrets, 'k', sizeof(secrets));
	assert_int_equal(admin_key_create(NULL, &maker, &wish, &secrets, &keys, error), ERR_CLOSED);
	assert_int_equal(fake.rollbacks, 1);
	assert_memory_equal(&secrets, &nothing, sizeof(secrets));
	assert_null(keys.items);

	answer(ERR_CLOSED, "", "");
	memset(&secrets, 'k', sizeof(secrets));
	assert_int_equal(admin_key_rotate(NULL, &maker, 7, 60, &secrets, &keys, error), ERR_CLOSED);
	assert_int_equal(fake.rollbacks, 1);
	assert_memory_equal(&secrets, &nothing, sizeof(secrets));
	assert_null(keys.items);

	answer(ERR_CLOSED, "", "");
	assert_int_equal(admin_user_delete(NULL, "ann", &users, &revoked, error), ERR_CLOSED);
	assert_int_equal(fake.rollbacks, 1);
	assert_int_equal(revoked, 0);
	assert_null(users.items);
}

static void blocks(void **state)
{
	static const struct {
		const char *text;
		const char *block; /* or, in the sentence of the refusal */
		enum err err;
	} rows[] = {
		{ "10.0.0.0/8", "10.0.0.0/8", ERR_OK },
		{ "192.0.2.7", "192.0.2.7/32", ERR_OK },
		{ "192.0.2.7/32", "192.0.2.7/32", ERR_OK },
		{ "0.0.0.0/0", "0.0.0.0/0", ERR_OK },
		{ "2001:DB8::/32", "2001:db8::/32", ERR_OK },
		{ "2001:db8:0:0::1", "2001:db8::1/128", ERR_OK },
		{ "::/0", "::/0", ERR_OK },
		{ "::1", "::1/128", ERR_OK },
		{ "::ffff:10.0.0.0/104", "10.0.0.0/8", ERR_OK },
		{ "::ffff:a00:0/104", "10.0.0.0/8", ERR_OK },
		{ "::ffff:192.0.2.7", "192.0.2.7/32", ERR_OK },
		{ "::ffff:0:0/96", "0.0.0.0/0", ERR_OK },
		{ "::fffe:0:0/96", "::fffe:0:0/96", ERR_OK },
		{ "10.0.0.1/8", "did you mean 10.0.0.0/8?", ERR_INVALID },
		{ "10.0.0.129/25", "did you mean 10.0.0.128/25?", ERR_INVALID },
		{ "0.0.0.1/0", "did you mean 0.0.0.0/0?", ERR_INVALID },
		{ "2001:db8::1/64", "did you mean 2001:db8::/64?", ERR_INVALID },
		{ "2001:db8::/31", "2001:db8::/31", ERR_OK },
		{ "2001:db9::/31", "did you mean 2001:db8::/31?", ERR_INVALID },
		{ "::ffff:10.0.0.1/104", "did you mean 10.0.0.0/8?", ERR_INVALID },
		{ "::ffff:10.0.0.0/95", "did you mean ::fffe:0:0/95?", ERR_INVALID },
		{ "", "is no address block", ERR_INVALID },
		{ "/8", "is no address block", ERR_INVALID },
		{ "10/8", "is no address block", ERR_INVALID },
		{ "10.0.0/8", "is no address block", ERR_INVALID },
		{ "010.0.0.0/8", "is no address block", ERR_INVALID },
		{ "10.0.0.256", "is no address block", ERR_INVALID },
		{ " 10.0.0.0", "is no address block", ERR_INVALID },
		{ "fe80::1%eth0", "is no address block", ERR_INVALID },
		{ "[::1]", "is no address block", ERR_INVALID },
		{ "localhost", "is no address block", ERR_INVALID },
		{ "2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa/1", "is no address block", ERR_INVALID },
		{ "10.0.0.0/", "number from 0 to 32", ERR_INVALID },
		{ "10.0.0.0/33", "number from 0 to 32", ERR_INVALID },
		{ "10.0.0.0/-1", "number from 0 to 32", ERR_INVALID },
		{ "10.0.0.0/08", "number from 0 to 32", ERR_INVALID },
		{ "10.0.0.0/8/8", "number from 0 to 32", ERR_INVALID },
		{ "10.0.0.0/255.0.0.0", "number from 0 to 32", ERR_INVALID },
		{ "10.0.0.0/18446744073709551624", "number from 0 to 32", ERR_INVALID },
		{ "::/129", "number from 0 to 128", ERR_INVALID },
	};
	char block[ADMIN_BLOCK_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		answer(ERR_CLOSED, "", "");
		assert_int_equal(admin_allow_block(rows[i].text, block, error), rows[i].err);
		if (rows[i].err == ERR_OK)
			assert_string_equal(block, rows[i].block);
		else
			assert_non_null(strstr(error, rows[i].block));
	}
}

static void a_bad_block_is_refused_without_asking(void **state)
{
	struct admin_allows list;

	(void)state;
	answer(ERR_CLOSED, "", "");
	assert_int_equal(admin_allow_add(NULL, "ann", "10.0.0.1/8", NULL, &list, error), ERR_INVALID);
	assert_null(list.items);
	assert_int_equal(admin_allow_remove(NULL, "ann", "nonsense", &list, error), ERR_INVALID);
	assert_null(list.items);
	assert_int_equal(fake.statements, 0);
}

static void failed_limits_leave_nothing(void **state)
{
	struct admin_limits_wish limits_wish = { .per_minute = { .given = true } };
	struct admin_quotas_wish quotas_wish = { .requests = { .given = true } };
	struct admin_limits limits;
	struct admin_quotas quotas;

	(void)state;
	answer(ERR_REFUSED, "", "42703");
	assert_int_equal(admin_limits_set(NULL, "ann", &limits_wish, &limits, error), ERR_REFUSED);
	assert_non_null(strstr(error, "gatewayctl migrate up"));
	assert_null(limits.rows);
	assert_int_equal(admin_quotas_set(NULL, "ann", &quotas_wish, &quotas, error), ERR_REFUSED);
	assert_null(quotas.rows);
}

static void failed_sources_and_bounds_leave_nothing(void **state)
{
	const struct admin_images_wish wish = { .max_dpr = { .given = true }, .presets_given = true };
	struct admin_images images;
	struct admin_sources list;

	(void)state;
	answer(ERR_REFUSED, "", "42P01");
	assert_int_equal(admin_images_set(NULL, "ann", &wish, &images, error), ERR_REFUSED);
	assert_non_null(strstr(error, "gatewayctl migrate up"));
	assert_null(images.rows);
	assert_int_equal(admin_images_find(NULL, "ann", &images, error), ERR_REFUSED);
	assert_null(images.rows);
	assert_int_equal(admin_source_add(NULL, "ann", "https://a/", NULL, &list, error), ERR_REFUSED);
	assert_null(list.rows);
	assert_int_equal(admin_source_remove(NULL, "ann", NULL, UINT64_MAX, &list, error), ERR_REFUSED);
	assert_null(list.items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals_are_sentences),
		cmocka_unit_test(ids_beyond_the_column_are_unknown_without_asking),
		cmocka_unit_test(a_failed_change_is_rolled_back_and_leaves_no_key),
		cmocka_unit_test(blocks),
		cmocka_unit_test(a_bad_block_is_refused_without_asking),
		cmocka_unit_test(failed_limits_leave_nothing),
		cmocka_unit_test(failed_sources_and_bounds_leave_nothing),
	};
	return cmocka_run_group_tests_name("store/admin", tests, NULL, NULL);
}
