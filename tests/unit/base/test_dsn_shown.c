/* A DSN without its password; one that is not understood is not shown. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/dsn_shown.h"

#define SECRET "hunter2SECRET"

static void test_shown(void **state)
{
	static const struct {
		const char *dsn, *shown;
	} rows[] = {
		{ "postgres://localhost/db", NULL },
		{ "postgres:///db?host=/run/postgresql", NULL },
		{ "postgresql://u@h:5432/d?sslmode=verify-full&sslrootcert=/etc/ca.pem", NULL },
		{ "postgres://u:" SECRET "@h/d", "postgres://u@h/d" },
		{ "postgres://u:" SECRET "@[::1]:5432/d?connect_timeout=3",
		  "postgres://u@[::1]:5432/d?connect_timeout=3" },
		{ "postgres://u:" SECRET "@a:1,b:2,[fe80::1%25eth0]/d", "postgres://u@a:1,b:2,[fe80::1%25eth0]/d" },
		{ "postgres://u:" SECRET "@%2Frun%2Fpostgresql/d", "postgres://u@%2Frun%2Fpostgresql/d" },
		{ "postgres://u:hun@" SECRET "@h", "postgres://u@h" },
		{ "postgres://:" SECRET "@h/d", "postgres://@h/d" },
		{ "postgres://u:@h?user=x", "postgres://u@h?user=x" },
		{ "postgres://", NULL },
		{ "host=h  port=5 dbname=d user=u sslmode=require", NULL },
		{ "", NULL },
	};
	char buf[256];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(dsn_shown(rows[i].dsn, buf, sizeof(buf)),
		                    rows[i].shown != NULL ? rows[i].shown : rows[i].dsn);
	assert_string_equal(dsn_shown("postgres://localhost/db", buf, 9), "postgres");
}

static void test_not_understood(void **state)
{
	static const char *const rows[] = {
		"postgres://u:pass/" SECRET "@h/d", /* the authority ends at the slash */
		"postgres://u:12/" SECRET "@h/d",
		"postgres://h:" SECRET "/d",
		"postgres://h:5:" SECRET "/d",
		"postgres://[::1" SECRET "/d",
		"postgres://[::1]" SECRET "/d",
		"postgres://[::1]:" SECRET "/d",
		"postgres://[" SECRET "]/d",
		"postgres://u:p@h/d/" SECRET "!",
		"postgres://h/d?password=" SECRET,
		"postgres://h/d?pasword=" SECRET,
		"postgres://h/d?passwor%64=" SECRET,
		"postgres://h/d?sslpassword=" SECRET,
		"postgres://h/d?sslmode=" SECRET,
		"postgres://h/d?port=" SECRET,
		"postgres://h/d?connect_timeout=1234567890" SECRET,
		"postgres://h/d?" SECRET,
		"postgres://h/d?host=x@" SECRET,
		"postgres://u:" SECRET "@h/d?options=-c",
		"postgres://a b:" SECRET "@h/d",
		"mysql://u:" SECRET "@h/d",
		"Postgres://u:" SECRET "@h/d",
		SECRET,
		"host=h password=" SECRET,
		"host=h password='a " SECRET "'",
		"host=h user=u " SECRET,
		"host=h user='" SECRET "'",
		"host=h\tpassword=" SECRET,
		"host=h user=u\\" SECRET,
	};
	char buf[256];
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		dsn_shown(rows[i], buf, sizeof(buf));
		if (strcmp(buf, "(set)") != 0)
			fail_msg("\"%s\" is shown as \"%s\"", rows[i], buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shown),
		cmocka_unit_test(test_not_understood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
