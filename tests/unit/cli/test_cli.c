/* Whole command lines, as far as they go without a database: the answers, the errors, the exit codes. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/rows.h"

/* Beside this file; tests run in the root of the checkout. */
#define HELP_GOLDEN "tests/unit/cli/help.txt"

static char *out, *err;
static size_t out_len, err_len;

static int run(const char *line)
{
	static char buf[512];
	static char program[] = "gatewayctl";
	char *argv[32] = { program };
	int argc = 1;

	assert_true(strlen(line) < sizeof(buf));
	strcpy(buf, line);
	for (char *w = strtok(buf, " "); w != NULL; w = strtok(NULL, " "))
		argv[argc++] = w;
	free(out);
	free(err);
	struct cli_io io = { .out = open_memstream(&out, &out_len), .err = open_memstream(&err, &err_len) };
	assert_true(io.out != NULL && io.err != NULL);
	int code = cli_run(&io, argc, argv);
	fclose(io.out);
	fclose(io.err);
	return code;
}

static void help_is_the_golden_one(void **state)
{
	char golden[8192];
	FILE *f = fopen(HELP_GOLDEN, "r");

	(void)state;
	assert_non_null(f);
	golden[fread(golden, 1, sizeof(golden) - 1, f)] = '\0';
	fclose(f);
	assert_int_equal(run("--help"), CLI_DONE);
	assert_string_equal(out, golden);
	assert_string_equal(err, "");
}

static void help_of_a_group_and_a_command(void **state)
{
	(void)state;
	assert_int_equal(run("key --help"), CLI_DONE);
	assert_non_null(strstr(out, "key revoke KEY_ID"));
	assert_null(strstr(out, "user add"));
	assert_int_equal(run("key create --help"), CLI_DONE);
	assert_non_null(strstr(out, "--scopes LIST"));
	assert_null(strstr(out, "key list"));
	assert_int_equal(run("usage --help"), CLI_DONE);
	assert_non_null(strstr(out, "  usage USER  "));
	assert_non_null(strstr(out, "--month YYYY-MM"));
	assert_null(strstr(out, "user add"));
}

static void version(void **state)
{
	(void)state;
	assert_int_equal(run("--version"), CLI_DONE);
	assert_string_equal(out, "gatewayctl " GATEWAY_VERSION "\n");
	assert_int_equal(run("--version --json"), CLI_DONE);
	assert_string_equal(out, "{\"version\": \"" GATEWAY_VERSION "\"}\n");
}

static void wrong_usage_is_exit_2(void **state)
{
	(void)state;
	assert_int_equal(run("user add ann"), CLI_USAGE);
	assert_string_equal(out, "");
	assert_string_equal(err, "gatewayctl: user add needs --email ADDRESS\nTry `gatewayctl --help`.\n");
	assert_int_equal(run("--json user add ann"), CLI_USAGE);
	assert_string_equal(out, "");
	assert_string_equal(err, "{\"error\": \"user add needs --email ADDRESS\"}\n");
	assert_int_equal(run("limit set ann --json"), CLI_USAGE);
	assert_string_equal(err, "{\"error\": \"limit set needs at least one of --per-minute, --per-hour, --burst, "
	                         "--shadow\"}\n");
	assert_int_equal(run("--json \xff\"x"), CLI_USAGE);
	assert_string_equal(err, "{\"error\": \"there is no command ?\\\"x\"}\n");
}

static void bad_settings_are_exit_1(void **state)
{
	(void)state;
	assert_int_equal(run("config show --config /nonexistent/x.yaml"), CLI_REFUSED);
	assert_non_null(strstr(err, "/nonexistent/x.yaml"));
	assert_int_equal(run("--check-config --config /nonexistent/x.yaml --json"), CLI_REFUSED);
	assert_string_equal(out, "");
	assert_ptr_equal(strstr(err, "{\"error\": \""), err);
}

static void write_config(char *path, const char *text)
{
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void config_show_hides_secrets(void **state)
{
	char path[] = "/tmp/test_cli.XXXXXX", line[128];

	(void)state;
	write_config(path, "server:\n  port: 8181\nauth:\n  key_pepper: 0123456789abcdef0123456789abcdef\n"
	                   "database:\n  dsn: postgres://u:sesame@h/db\n");
	snprintf(line, sizeof(line), "config show --json --config %s", path);
	int code = run(line);
	json_t *v = json_loads(out, 0, NULL);
	snprintf(line, sizeof(line), "--check-config --config %s", path);
	int checked = run(line);
	unlink(path);

	assert_int_equal(code, CLI_DONE);
	assert_int_equal(checked, CLI_DONE);
	assert_non_null(v);
	assert_string_equal(json_string_value(json_object_get(v, "source")), path);
	json_t *list = json_object_get(v, "settings");
	size_t count;
	settings_table(&count);
	assert_int_equal(json_object_size(list), count);
	json_t *port = json_object_get(list, "server.port"), *drain = json_object_get(list, "agent.drain_timeout");
	assert_string_equal(json_string_value(json_object_get(port, "value")), "8181");
	assert_true(json_is_false(json_object_get(port, "default")));
	assert_string_equal(json_string_value(json_object_get(port, "environment")), "SERVER_PORT");
	assert_true(json_is_true(json_object_get(drain, "default")));
	char *all = json_dumps(v, 0);
	assert_null(strstr(all, "sesame"));
	assert_null(strstr(all, "0123456789abcdef"));
	free(all);
	json_decref(v);
}

static void an_answer_that_cannot_be_written_is_exit_1(void **state)
{
	char program[] = "gatewayctl", word[] = "--version";
	char *argv[] = { program, word, NULL };

	(void)state;
	free(err);
	struct cli_io io = { .out = fopen("/dev/full", "w"), .err = open_memstream(&err, &err_len) };
	assert_true(io.out != NULL && io.err != NULL);
	assert_int_equal(cli_run(&io, 2, argv), CLI_REFUSED);
	fclose(io.out);
	fclose(io.err);
	assert_non_null(strstr(err, "cannot be written"));
}

static void an_unreachable_database_is_exit_1(void **state)
{
	(void)state;
	setenv("DB_DSN", "postgres://gateway:sesame@/db?host=/nonexistent", 1);
	assert_int_equal(run("user list"), CLI_REFUSED);
	assert_ptr_equal(strstr(err, "gatewayctl: database: "), err);
	assert_null(strstr(err, "sesame"));
	assert_string_equal(out, "");
}

static void numbers_of_rows(void **state)
{
	char buf[ROWS_TEXT_MAX];

	(void)state;
	assert_string_equal(rows_limit(0, buf), "none");
	assert_string_equal(rows_limit(UINT64_MAX, buf), "18446744073709551615");
	assert_string_equal(rows_percent_text(999, 1000, buf), "99 %");
	assert_string_equal(rows_percent_text(1000, 1000, buf), "100 %");
	assert_string_equal(rows_percent_text(2500, 1000, buf), "250 %");
	assert_string_equal(rows_percent_text(INT64_MAX, INT64_MAX, buf), "0 %");
	assert_string_equal(rows_percent_text(INT64_MAX, 1, buf), "9223372036854775800 %");
	assert_null(rows_percent_text(5, 0, buf));
}

static void tables(void **state)
{
	static const char *const heads[] = { "A", "LONGER", "Z" };
	static const char *const cells[] = { "1", NULL, "z", "\xc3\xa9t\xc3\xa9", "x\x1b[2J", "last" };

	(void)state;
	free(out);
	FILE *f = open_memstream(&out, &out_len);
	output_table(f, 3, heads, cells, 2);
	fclose(f);
	assert_string_equal(out, "A    LONGER  Z\n"
	                         "1    -       z\n"
	                         "\xc3\xa9t\xc3\xa9  x?[2J   last\n");
}

static void health(void **state)
{
	(void)state;
	assert_int_equal(run("health"), CLI_USAGE);
	assert_int_equal(run("health redis"), CLI_REFUSED);
	assert_string_equal(err, "gatewayctl: health: the program is agent or api\n");
	setenv("METRICS_BIND", "127.0.0.1:1", 1);
	assert_int_equal(run("health agent"), CLI_REFUSED);
	assert_string_equal(err, "gatewayctl: health: agent: 127.0.0.1:1: Connection refused\n");
	setenv("METRICS_ENABLED", "false", 1);
	assert_int_equal(run("--json health agent"), CLI_REFUSED);
	assert_string_equal(err, "{\"error\": \"health: the agent's stats port is off (metrics.enabled)\"}\n");
	unsetenv("METRICS_BIND");
	unsetenv("METRICS_ENABLED");
}

static int setup(void **state)
{
	size_t count;
	const struct setting_info *table = settings_table(&count);

	(void)state;
	unsetenv("GATEWAY_CONFIG");
	for (size_t i = 0; i < count; i++)
		unsetenv(table[i].env);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(out);
	free(err);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_is_the_golden_one),
		cmocka_unit_test(help_of_a_group_and_a_command),
		cmocka_unit_test(health),
		cmocka_unit_test(version),
		cmocka_unit_test(wrong_usage_is_exit_2),
		cmocka_unit_test(bad_settings_are_exit_1),
		cmocka_unit_test(config_show_hides_secrets),
		cmocka_unit_test(an_answer_that_cannot_be_written_is_exit_1),
		cmocka_unit_test(an_unreachable_database_is_exit_1),
		cmocka_unit_test(numbers_of_rows),
		cmocka_unit_test(tables),
	};
	return cmocka_run_group_tests_name("cli/cli", tests, setup, teardown);
}
