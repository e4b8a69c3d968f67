#include "unit.h"

#include "policy/scope.h"

static void test_lists(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err err;
		uint32_t set;
	} rows[] = {
		{ "read", ERR_OK, SCOPE_READ },
		{ "upload,read", ERR_OK, SCOPE_READ | SCOPE_UPLOAD },
		{ "read, upload ,admin", ERR_OK, SCOPE_READ | SCOPE_UPLOAD | SCOPE_ADMIN },
		{ "", ERR_INVALID, 0 },
		{ "read,", ERR_INVALID, 0 },
		{ ",", ERR_INVALID, 0 },
		{ "read,read", ERR_INVALID, 0 },
		{ "write", ERR_INVALID, 0 },
		{ "Read", ERR_INVALID, 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t set = 77;
		assert_int_equal(scopes_parse(sv_str(rows[i].text), &set), rows[i].err);
		assert_int_equal(set, rows[i].err == ERR_OK ? rows[i].set : 77);
	}
}

static void test_format(void **state)
{
	(void)state;
	char buf[SCOPES_TEXT_MAX];
	assert_string_equal(scopes_format(0, buf, sizeof(buf)), "");
	assert_string_equal(scopes_format(SCOPE_UPLOAD, buf, sizeof(buf)), "upload");
	assert_string_equal(scopes_format(SCOPE_ADMIN | SCOPE_UPLOAD | SCOPE_READ, buf, sizeof(buf)),
	                    "read,upload,admin");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_lists), cmocka_unit_test(test_format) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
