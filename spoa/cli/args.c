#include "cli/args.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/sv.h"

__attribute__((format(printf, 2, 3))) static enum err fail(char *error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, ARGS_ERROR_MAX, fmt, ap);
	va_end(ap);
	return ERR_INVALID;
}

/* The command of that name; without a verb the first of the group. */
static const struct cli_command *find_command(const char *group, const char *verb)
{
	size_t count;
	const struct cli_command *table = cli_commands(&count);

	for (size_t i = 0; i < count; i++)
		if (strcmp(table[i].group, group) == 0 &&
		    (verb == NULL || (table[i].verb != NULL && strcmp(table[i].verb, verb) == 0)))
			return &table[i];
	return NULL;
}

/* If word is `name` or `name=…`; *value is then what follows the sign, or NULL. */
static bool is_option(const char *word, const char *name, const char **value)
{
	size_t n = strlen(name);

	if (strncmp(word, name, n) != 0 || (word[n] != '\0' && word[n] != '='))
		return false;
	*value = word[n] == '=' ? word + n + 1 : NULL;
	return true;
}

static bool *find_flag(struct args *a, const char *word)
{
	if (strcmp(word, "--json") == 0)
		return &a->json;
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return &a->help;
	if (strcmp(word, "--version") == 0)
		return &a->version;
	if (strcmp(word, "--check-config") == 0)
		return &a->check_config;
	return NULL;
}

/* Where the value of an option goes: --config, or an option that any command of the table has. */
struct pending {
	const char *name;
	const char *value;
};

/* Options stand in front of the command too, so that they are kept until it is known. */
struct words {
	const char *plain[2 + CLI_ARGS_MAX];
	size_t nplain;
	struct pending options[CLI_OPTIONS_MAX + 1];
	size_t noptions;
};

/* An option of that name is a flag in every command that has it, or in none. */
static const char *known_option(const char *word, const char **value, bool *flag)
{
	size_t count;
	const struct cli_command *table = cli_commands(&count);

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < CLI_OPTIONS_MAX && table[i].options[k].name != NULL; k++)
			if (is_option(word, table[i].options[k].name, value)) {
				*flag = table[i].options[k].value == NULL;
				return table[i].options[k].name;
			}
	return NULL;
}

static enum err take_option(struct args *a, struct words *w, int argc, char **argv, int *i, char *error)
{
	const char *word = argv[*i], *value = NULL, *name = "--config";
	bool *common = find_flag(a, word);
	bool flag = false;

	if (common != NULL) {
		*common = true;
		return ERR_OK;
	}
	if (!is_option(word, name, &value)) {
		name = known_option(word, &value, &flag);
		if (name == NULL)
			return fail(error, "there is no option %s", word);
	}
	if (flag && value != NULL)
		return fail(error, "%s takes no value", name);
	if (flag) {
		value = "";
	} else if (value == NULL) {
		if (*i + 1 >= argc)
			return fail(error, "%s needs a value", name);
		value = argv[++*i];
	}
	if (strcmp(name, "--config") == 0) {
		if (a->config != NULL)
			return fail(error, "--config was given twice");
		a->config = value;
		return ERR_OK;
	}
	for (size_t k = 0; k < w->noptions; k++)
		if (strcmp(w->options[k].name, name) == 0)
			return fail(error, "%s was given twice", name);
	if (w->noptions == CLI_OPTIONS_MAX)
		return fail(error, "too many options");
	w->options[w->noptions++] = (struct pending){ .name = name, .value = value };
	return ERR_OK;
}

static enum err split_words(struct args *a, struct words *w, int argc, char **argv, char *error)
{
	bool options_end = false;

	for (int i = 1; i < argc; i++) {
		if (!options_end && strcmp(argv[i], "--") == 0) {
			options_end = true;
		} else if (!options_end && argv[i][0] == '-' && argv[i][1] != '\0') {
			enum err err = take_option(a, w, argc, argv, &i, error);
			if (err != ERR_OK)
				return err;
		} else if (w->nplain == sizeof(w->plain) / sizeof(w->plain[0])) {
			return fail(error, "too many arguments");
		} else {
			w->plain[w->nplain++] = argv[i];
		}
	}
	return ERR_OK;
}

static enum err find_named(struct args *a, const struct words *w, char *error)
{
	bool unfinished = a->help || a->version || a->check_config;

	if (w->nplain == 0)
		return unfinished ? ERR_OK : fail(error, "no command was given");
	a->group = w->plain[0];
	const struct cli_command *first = find_command(a->group, NULL);
	if (first == NULL)
		return fail(error, "there is no command %s", a->group);
	if (first->verb == NULL) {
		a->command = first;
		return ERR_OK;
	}
	if (w->nplain == 1)
		return unfinished ? ERR_OK : fail(error, "%s needs one of its commands", a->group);
	a->command = find_command(a->group, w->plain[1]);
	return a->command != NULL ? ERR_OK : fail(error, "there is no command %s %s", a->group, w->plain[1]);
}

static enum err miss_option(const struct cli_command *c, char *error)
{
	char name[CLI_NAME_MAX], list[ARGS_ERROR_MAX / 2] = "";
	size_t n = 0;

	for (size_t k = 0; k < CLI_OPTIONS_MAX && c->options[k].name != NULL && n < sizeof(list); k++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", k > 0 ? ", " : "", c->options[k].name);
	return fail(error, "%s needs at least one of %s", cli_command_name(c, name), list);
}

static enum err bind_options(struct args *a, const struct words *w, char *error)
{
	const struct cli_command *c = a->command;
	char name[CLI_NAME_MAX];

	for (size_t i = 0; i < w->noptions; i++) {
		size_t k = 0;
		while (k < CLI_OPTIONS_MAX && c->options[k].name != NULL &&
		       strcmp(c->options[k].name, w->options[i].name) != 0)
			k++;
		if (k == CLI_OPTIONS_MAX || c->options[k].name == NULL)
			return fail(error, "%s has no option %s", cli_command_name(c, name), w->options[i].name);
		a->options[k] = w->options[i].value;
	}
	for (size_t k = 0; k < CLI_OPTIONS_MAX && c->options[k].name != NULL; k++)
		if (c->options[k].required && a->options[k] == NULL && !a->help)
			return fail(error, "%s needs %s %s", cli_command_name(c, name), c->options[k].name,
			            c->options[k].value);
	if (c->needs_option && w->noptions == 0 && !a->help)
		return miss_option(c, error);
	return ERR_OK;
}

enum err args_parse(int argc, char **argv, struct args *out, char *error)
{
	struct words w = { 0 };

	memset(out, 0, sizeof(*out));
	error[0] = '\0';
	/* An error in an earlier word is to be told as JSON too. */
	bool json = false;
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		json = json || strcmp(argv[i], "--json") == 0;
	out->json = json;
	enum err err = split_words(out, &w, argc, argv, error);
	if (err == ERR_OK)
		err = find_named(out, &w, error);
	if (err != ERR_OK || out->command == NULL)
		return err;
	const struct cli_command *c = out->command;
	char name[CLI_NAME_MAX];
	size_t skip = c->verb != NULL ? 2 : 1;
	out->nwords = w.nplain - skip;
	if (out->nwords > c->max_args)
		return fail(error, "%s: too many arguments", cli_command_name(c, name));
	if (out->nwords < c->min_args && !out->help)
		return fail(error, "%s needs %s", cli_command_name(c, name), c->args);
	for (size_t i = 0; i < out->nwords; i++)
		out->words[i] = w.plain[i + skip];
	return bind_options(out, &w, error);
}

enum err args_change(const char *text, uint64_t least, uint64_t most, struct admin_change *out)
{
	struct admin_change c = { .given = text != NULL };
	enum err err = ERR_OK;

	if (text != NULL && strcmp(text, "default") != 0) {
		c.to.own = true;
		err = sv_to_u64(sv_str(text), &c.to.value);
		if (err == ERR_OK && (c.to.value < least || c.to.value > most))
			err = ERR_RANGE;
	}
	if (err == ERR_OK)
		*out = c;
	return err;
}

/* Errors as sv_to_u64(). */
static enum err thousandths(const char *text, uint64_t *out)
{
	static const uint64_t places[] = { 0, 100, 10, 1 };
	struct sv fraction = sv_str(text), whole;
	uint64_t value;

	(void)sv_split(&fraction, '.', &whole);
	enum err err = sv_to_u64(whole, &value);
	if (err != ERR_OK)
		return err;
	if (value > UINT32_MAX)
		return ERR_RANGE;
	value *= 1000;
	if (fraction.p == NULL) {
		*out = value;
		return ERR_OK;
	}
	if (fraction.n < 1 || fraction.n > 3)
		return ERR_INVALID;
	for (size_t i = 0; i < fraction.n; i++) {
		if (fraction.p[i] < '0' || fraction.p[i] > '9')
			return ERR_INVALID;
		value += (uint64_t)(fraction.p[i] - '0') * places[i + 1];
	}
	*out = value;
	return ERR_OK;
}

enum err args_thousandths(const char *text, uint64_t least, uint64_t most, struct admin_change *out)
{
	struct admin_change c = { .given = text != NULL };
	enum err err = ERR_OK;

	if (text != NULL && strcmp(text, "default") != 0) {
		c.to.own = true;
		err = thousandths(text, &c.to.value);
		if (err == ERR_OK && (c.to.value < least * 1000 || c.to.value > most * 1000))
			err = ERR_RANGE;
	}
	if (err == ERR_OK)
		*out = c;
	return err;
}

enum err args_names(const char *text, const char *const *names, size_t count, unsigned *set)
{
	struct sv rest = sv_str(text), part;
	unsigned found = 0;

	if (strcmp(text, "none") == 0) {
		*set = 0;
		return ERR_OK;
	}
	while (sv_split(&rest, ',', &part)) {
		size_t i = 0;
		while (i < count && !sv_eq(part, sv_str(names[i])))
			i++;
		if (i == count || (found & 1u << i) != 0)
			return ERR_INVALID;
		found |= 1u << i;
	}
	*set = found;
	return ERR_OK;
}

/* Two digits. */
static int two(const char *digits)
{
	return (digits[0] - '0') * 10 + digits[1] - '0';
}

enum err args_hour(const char *text, char hour[ARGS_HOUR_MAX])
{
	static const char form[] = "0000-00-00T00:00Z";
	size_t n = strlen(text);
	struct tm tm = { 0 };

	if (n != 10 && n != sizeof(form) - 1)
		return ERR_INVALID;
	for (size_t i = 0; i < n; i++)
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return ERR_INVALID;
	int year = two(text) * 100 + two(text + 2), month = two(text + 5), day = two(text + 8);
	int at = n > 10 ? two(text + 11) : 0;
	if (year < 1970 || (n > 10 && strcmp(text + 13, ":00Z") != 0))
		return ERR_INVALID;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = day;
	tm.tm_hour = at;
	/* Whatever is no day or hour of its month becomes another one. */
	if (timegm(&tm) == -1 || tm.tm_mon != month - 1 || tm.tm_mday != day || tm.tm_hour != at)
		return ERR_INVALID;
	memcpy(hour, text, 10);
	snprintf(hour + 10, ARGS_HOUR_MAX - 10, "T%02u:00Z", (unsigned)at % 24);
	return ERR_OK;
}
