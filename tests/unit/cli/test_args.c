#include "unit.h"

#include <string.h>

#include "cli/args.h"

static char error[ARGS_ERROR_MAX];

/* Splits a line at its blanks; "gatewayctl" comes first. */
static enum err parse(const char *line, struct args *out)
{
	static char buf[512];
	static char program[] = "gatewayctl";
	char *argv[32] = { program };
	int argc = 1;

	assert_true(strlen(line) < sizeof(buf));
	strcpy(buf, line);
	for (char *w = strtok(buf, " "); w != NULL; w = strtok(NULL, " "))
		argv[argc++] = w;
	return args_parse(argc, argv, out, error);
}

static void options_may_stand_anywhere(void **state)
{
	static const char *const lines[] = {
		"user add ann --email a@b --json --config f",    "--json --config f --email a@b user add ann",
		"user --email=a@b add --json ann --config=f",    "--config f user --json add --email a@b -- ann",
		"user add --json --config f --email a@b -- ann",
	};
	struct args a;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		assert_int_equal(parse(lines[i], &a), ERR_OK);
		assert_non_null(a.command);
		assert_string_equal(a.command->group, "user");
		assert_string_equal(a.command->verb, "add");
		assert_int_equal(a.nwords, 1);
		assert_string_equal(a.words[0], "ann");
		assert_string_equal(a.options[0], "a@b");
		assert_string_equal(a.config, "f");
		assert_true(a.json);
	}
}

static void options_go_to_their_place(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(parse("key create 7 --expires 30d --name n", &a), ERR_OK);
	assert_string_equal(a.options[0], "n");
	assert_null(a.options[1]);
	assert_string_equal(a.options[2], "30d");
	assert_int_equal(parse("key create 7 --name=", &a), ERR_OK);
	assert_string_equal(a.options[0], "");
	assert_int_equal(parse("user show -- --odd", &a), ERR_OK);
	assert_string_equal(a.words[0], "--odd");
	assert_int_equal(parse("key list", &a), ERR_OK);
	assert_int_equal(a.nwords, 0);
}

static void wrong_lines_say_what_is_wrong(void **state)
{
	static const struct {
		const char *line;
		const char *error;
	} rows[] = {
		{ "", "no command was given" },
		{ "user", "user needs one of its commands" },
		{ "users list", "there is no command users" },
		{ "user ad ann", "there is no command user ad" },
		{ "user add --email a@b", "user add needs NAME" },
		{ "user add ann", "user add needs --email ADDRESS" },
		{ "user add ann --email", "--email needs a value" },
		{ "user add ann --email a --email b", "--email was given twice" },
		{ "user add ann bob --email a", "user add: too many arguments" },
		{ "user add 1 2 3 4 5 6 7", "too many arguments" },
		{ "user list --email a", "user list has no option --email" },
		{ "user list --emails a", "there is no option --emails" },
		{ "user list --jso", "there is no option --jso" },
		{ "user list --json=1", "there is no option --json=1" },
		{ "user list -x", "there is no option -x" },
		{ "user list --config", "--config needs a value" },
		{ "user list --config a --config b", "--config was given twice" },
		{ "user list --dir a --email b --name c --scopes d --expires e", "too many options" },
		{ "key revoke", "key revoke needs KEY_ID" },
		{ "limit set ann", "there is no command limit" },
	};
	struct args a;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(parse(rows[i].line, &a), ERR_INVALID);
		assert_string_equal(error, rows[i].error);
	}
}

static void json_is_known_though_the_line_is_wrong(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(parse("user list --bogus --json", &a), ERR_INVALID);
	assert_true(a.json);
	assert_int_equal(parse("user list --bogus -- --json", &a), ERR_INVALID);
	assert_false(a.json);
}

static void help_needs_no_finished_command(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(parse("--help", &a), ERR_OK);
	assert_null(a.group);
	assert_int_equal(parse("user -h", &a), ERR_OK);
	assert_string_equal(a.group, "user");
	assert_null(a.command);
	assert_int_equal(parse("user add --help", &a), ERR_OK);
	assert_non_null(a.command);
	assert_int_equal(parse("frob --help", &a), ERR_INVALID);
	assert_int_equal(parse("--check-config --config f", &a), ERR_OK);
	assert_true(a.check_config);
	assert_int_equal(parse("--version", &a), ERR_OK);
	assert_true(a.version);
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		enum err err;
		uint64_t seconds;
	} rows[] = {
		{ "1s", ERR_OK, 1 },
		{ "90s", ERR_OK, 90 },
		{ "45m", ERR_OK, 2700 },
		{ "12h", ERR_OK, 43200 },
		{ "30d", ERR_OK, 2592000 },
		{ "36500d", ERR_OK, UINT64_C(3153600000) },
		{ "36501d", ERR_RANGE, 0 },
		{ "3153600000s", ERR_OK, UINT64_C(3153600000) },
		{ "3153600001s", ERR_RANGE, 0 },
		{ "0s", ERR_RANGE, 0 },
		{ "0d", ERR_RANGE, 0 },
		{ "", ERR_INVALID, 0 },
		{ "d", ERR_INVALID, 0 },
		{ "30", ERR_INVALID, 0 },
		{ "-1d", ERR_INVALID, 0 },
		{ "+1d", ERR_INVALID, 0 },
		{ " 1d", ERR_INVALID, 0 },
		{ "1 d", ERR_INVALID, 0 },
		{ "1d1h", ERR_INVALID, 0 },
		{ "1ms", ERR_INVALID, 0 },
		{ "1w", ERR_INVALID, 0 },
		{ "1D", ERR_INVALID, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t seconds = 0;
		assert_int_equal(args_duration(rows[i].text, &seconds), rows[i].err);
		assert_int_equal(seconds, rows[i].seconds);
	}
	uint64_t kept = 7;
	assert_int_not_equal(args_duration("99999999999999999999d", &kept), ERR_OK);
	assert_int_equal(kept, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_may_stand_anywhere),
		cmocka_unit_test(options_go_to_their_place),
		cmocka_unit_test(wrong_lines_say_what_is_wrong),
		cmocka_unit_test(json_is_known_though_the_line_is_wrong),
		cmocka_unit_test(help_needs_no_finished_command),
		cmocka_unit_test(durations),
	};
	return cmocka_run_group_tests_name("cli/args", tests, NULL, NULL);
}
