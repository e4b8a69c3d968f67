#include "unit.h"

#include <stdio.h>
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

static void a_command_may_be_one_word(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(parse("--json usage ann --month 2026-01", &a), ERR_OK);
	assert_non_null(a.command);
	assert_string_equal(a.command->group, "usage");
	assert_null(a.command->verb);
	assert_int_equal(a.nwords, 1);
	assert_string_equal(a.words[0], "ann");
	assert_string_equal(a.options[0], "2026-01");
	/* What would be a verb elsewhere. */
	assert_int_equal(parse("usage show", &a), ERR_OK);
	assert_string_equal(a.words[0], "show");
	assert_int_equal(parse("usage --help", &a), ERR_OK);
	assert_non_null(a.command);
	assert_int_equal(a.nwords, 0);
}

static void the_first_option_of_several_is_enough(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(parse("limit set ann --burst 5", &a), ERR_OK);
	assert_string_equal(a.options[2], "5");
	assert_int_equal(
	        parse("quota set ann --requests -5 --bandwidth-mb 1 --storage-mb 2 --reset-day 3 --shadow none", &a),
	        ERR_OK);
	assert_string_equal(a.options[0], "-5");
	assert_string_equal(a.options[4], "none");
	assert_int_equal(parse("limit set ann --help", &a), ERR_OK);
}

/* What the parser and the help take for granted of the table. */
static void the_table_is_sound(void **state)
{
	size_t count;
	const struct cli_command *table = cli_commands(&count);
	char name[CLI_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < count; i++) {
		assert_true(table[i].min_args <= table[i].max_args && table[i].max_args <= CLI_ARGS_MAX);
		assert_true(strlen(cli_command_name(&table[i], name)) < CLI_NAME_MAX - 1);
		assert_true(!table[i].needs_option || table[i].options[0].name != NULL);
		for (size_t k = 0; k < count; k++)
			assert_true(k == i || strcmp(table[k].group, table[i].group) != 0 ||
			            (table[k].verb != NULL && table[i].verb != NULL &&
			             strcmp(table[k].verb, table[i].verb) != 0));
	}
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
		{ "user list --dir a --email b --name c --scopes d --expires e --grace f --burst g --month h --from i",
		  "too many options" },
		{ "key revoke", "key revoke needs KEY_ID" },
		{ "limits set ann", "there is no command limits" },
		{ "limit set ann", "limit set needs at least one of --per-minute, --per-hour, --burst, --shadow" },
		{ "quota set", "quota set needs USER" },
		{ "quota set ann --per-hour 1", "quota set has no option --per-hour" },
		{ "usage", "usage needs USER" },
		{ "usage ann bob", "usage: too many arguments" },
		{ "usage ann --grace 1h", "usage has no option --grace" },
		{ "usage 1 2 3 4 5 6 7", "too many arguments" },
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

static void changes(void **state)
{
	static const struct {
		const char *text;
		enum err err;
		struct admin_change change;
	} rows[] = {
		{ NULL, ERR_OK, { false, { false, 0 } } },
		{ "default", ERR_OK, { true, { false, 0 } } },
		{ "3", ERR_OK, { true, { true, 3 } } },
		{ "9", ERR_OK, { true, { true, 9 } } },
		{ "2", ERR_RANGE, { false, { false, 0 } } },
		{ "10", ERR_RANGE, { false, { false, 0 } } },
		{ "18446744073709551615", ERR_RANGE, { false, { false, 0 } } },
		{ "18446744073709551619", ERR_RANGE, { false, { false, 0 } } },
		{ "", ERR_INVALID, { false, { false, 0 } } },
		{ "-3", ERR_INVALID, { false, { false, 0 } } },
		{ "+3", ERR_INVALID, { false, { false, 0 } } },
		{ "3.0", ERR_INVALID, { false, { false, 0 } } },
		{ "03", ERR_INVALID, { false, { false, 0 } } },
		{ "3 ", ERR_INVALID, { false, { false, 0 } } },
		{ "Default", ERR_INVALID, { false, { false, 0 } } },
		{ "none", ERR_INVALID, { false, { false, 0 } } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct admin_change c = { 0 };
		assert_int_equal(args_change(rows[i].text, 3, 9, &c), rows[i].err);
		assert_int_equal(c.given, rows[i].change.given);
		assert_int_equal(c.to.own, rows[i].change.to.own);
		assert_int_equal(c.to.value, rows[i].change.to.value);
	}
}

static void thousandths(void **state)
{
	static const struct {
		const char *text;
		enum err err;
		uint64_t value;
	} rows[] = {
		{ "1", ERR_OK, 1000 },
		{ "4", ERR_OK, 4000 },
		{ "1.5", ERR_OK, 1500 },
		{ "1.50", ERR_OK, 1500 },
		{ "1.05", ERR_OK, 1050 },
		{ "3.999", ERR_OK, 3999 },
		{ "4.000", ERR_OK, 4000 },
		{ "4.001", ERR_RANGE, 0 },
		{ "0.999", ERR_RANGE, 0 },
		{ "0", ERR_RANGE, 0 },
		{ "18446744073709552.385", ERR_RANGE, 0 },
		{ "18446744073709551.999", ERR_RANGE, 0 },
		{ "99999999999999999999", ERR_RANGE, 0 },
		{ "", ERR_INVALID, 0 },
		{ ".", ERR_INVALID, 0 },
		{ "1.", ERR_INVALID, 0 },
		{ ".5", ERR_INVALID, 0 },
		{ "1.0000", ERR_INVALID, 0 },
		{ "1.5.0", ERR_INVALID, 0 },
		{ "1,5", ERR_INVALID, 0 },
		{ "1.-5", ERR_INVALID, 0 },
		{ "+1", ERR_INVALID, 0 },
		{ "-1", ERR_INVALID, 0 },
		{ "01", ERR_INVALID, 0 },
		{ "1e0", ERR_INVALID, 0 },
		{ "1.5 ", ERR_INVALID, 0 },
		{ "Default", ERR_INVALID, 0 },
	};
	struct admin_change c;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c = (struct admin_change){ 0 };
		if (args_thousandths(rows[i].text, 1, 4, &c) != rows[i].err)
			fail_msg("%s", rows[i].text);
		assert_int_equal(c.given, rows[i].err == ERR_OK);
		assert_int_equal(c.to.own, rows[i].err == ERR_OK);
		assert_int_equal(c.to.value, rows[i].value);
	}
	assert_int_equal(args_thousandths("default", 1, 4, &c), ERR_OK);
	assert_true(c.given && !c.to.own);
	assert_int_equal(args_thousandths(NULL, 1, 4, &c), ERR_OK);
	assert_false(c.given);
	assert_int_equal(args_thousandths("0", 0, 4, &c), ERR_OK);
	assert_true(c.to.own && c.to.value == 0);
}

static void lists_of_names(void **state)
{
	static const char *const names[] = { "minute", "hour" };
	static const char *const wrong[] = { "",      ",",       "minute,",   ",hour",       "minute,minute",
		                             "minut", "minutes", "hour,none", "minute hour", "Hour" };
	unsigned set = 7;

	(void)state;
	assert_int_equal(args_names("none", names, 2, &set), ERR_OK);
	assert_int_equal(set, 0);
	assert_int_equal(args_names("minute", names, 2, &set), ERR_OK);
	assert_int_equal(set, 1);
	assert_int_equal(args_names("hour,minute", names, 2, &set), ERR_OK);
	assert_int_equal(set, 3);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(args_names(wrong[i], names, 2, &set), ERR_INVALID);
		assert_int_equal(set, 3);
	}
}

static void a_flag_has_no_value(void **state)
{
	struct args a;

	(void)state;
	assert_int_equal(parse("reconcile --fix --from 2026-01-31", &a), ERR_OK);
	assert_string_equal(a.options[0], "");
	assert_string_equal(a.options[1], "2026-01-31");
	assert_null(a.options[2]);
	assert_int_equal(parse("--fix reconcile", &a), ERR_OK);
	assert_string_equal(a.options[0], "");
	assert_int_equal(parse("reconcile", &a), ERR_OK);
	assert_null(a.options[0]);
	assert_int_equal(parse("reconcile --fix=yes", &a), ERR_INVALID);
	assert_string_equal(error, "--fix takes no value");
	assert_int_equal(parse("reconcile --fix yes", &a), ERR_INVALID);
	assert_int_equal(parse("reconcile --fix --fix", &a), ERR_INVALID);
	assert_int_equal(parse("user list --fix", &a), ERR_INVALID);
}

static void hours(void **state)
{
	static const char *const wrong[] = {
		"",
		"x",
		"2026",
		"2026-01",
		"2026-02-29",
		"2026-13-01",
		"2026-00-10",
		"2026-01-00",
		"2026-01-32",
		"1969-12-31",
		"2026-1-1",
		"2026-01-31T24:00Z",
		"2026-01-31T13:30Z",
		"2026-01-31T13:00",
		"2026-01-31T13:00z",
		"2026-01-31 13:00Z",
		"2026-01-31T13:00Z ",
		"2026-01-3\xc3",
		"+026-01-31",
	};
	char hour[ARGS_HOUR_MAX];

	(void)state;
	assert_int_equal(args_hour("2026-01-31", hour), ERR_OK);
	assert_string_equal(hour, "2026-01-31T00:00Z");
	assert_int_equal(args_hour("2024-02-29T23:00Z", hour), ERR_OK);
	assert_string_equal(hour, "2024-02-29T23:00Z");
	assert_int_equal(args_hour("1970-01-01", hour), ERR_OK);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(args_hour(wrong[i], hour), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_may_stand_anywhere),
		cmocka_unit_test(options_go_to_their_place),
		cmocka_unit_test(a_command_may_be_one_word),
		cmocka_unit_test(the_first_option_of_several_is_enough),
		cmocka_unit_test(the_table_is_sound),
		cmocka_unit_test(wrong_lines_say_what_is_wrong),
		cmocka_unit_test(json_is_known_though_the_line_is_wrong),
		cmocka_unit_test(help_needs_no_finished_command),
		cmocka_unit_test(changes),
		cmocka_unit_test(thousandths),
		cmocka_unit_test(lists_of_names),
		cmocka_unit_test(a_flag_has_no_value),
		cmocka_unit_test(hours),
	};
	return cmocka_run_group_tests_name("cli/args", tests, NULL, NULL);
}
