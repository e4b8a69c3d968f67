#include "cli/policy_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/sv.h"
#include "cli/args.h"

#define NAME_MAX_CHARS 255
#define URL_MAX_CHARS  255
#define EMAIL_MIN      3
#define EMAIL_MAX      254

size_t policy_value_length(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static enum err check_email(const char *text)
{
	const char *at = strchr(text, '@');
	size_t n = policy_value_length(text);

	if (n < EMAIL_MIN || n > EMAIL_MAX || at == NULL || at == text || at[1] == '\0' || strchr(at + 1, '@') != NULL)
		return ERR_INVALID;
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return ERR_INVALID;
	return ERR_OK;
}

/* 1500 is "1.5". */
static void put_thousandths(uint64_t value, char canonical[POLICY_VALUE_MAX])
{
	int n = snprintf(canonical, POLICY_VALUE_MAX, "%" PRIu64 ".%03u", value / 1000, (unsigned)(value % 1000));

	while (canonical[n - 1] == '0')
		canonical[--n] = '\0';
	if (canonical[n - 1] == '.')
		canonical[n - 1] = '\0';
}

static bool is_bool(const char *text)
{
	return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

static enum err fail(char *why, const char *what)
{
	snprintf(why, POLICY_VALUE_MAX, "%s", what);
	return ERR_INVALID;
}

static enum err check_number(const struct admin_field_info *f, const char *text, char *why)
{
	struct admin_change change;

	if (args_change(text, f->least, f->most, &change) == ERR_OK)
		return ERR_OK;
	snprintf(why, POLICY_VALUE_MAX, "a number from %" PRIu64 " to %" PRIu64 "%s, or default", f->least, f->most,
	         f->section != SECTION_IMAGE && f->least == 0 ? " (0: no limit)" : "");
	return ERR_INVALID;
}

static enum err take_thousandths(const struct admin_field_info *f, const char *text, char canonical[POLICY_VALUE_MAX],
                                 char *why)
{
	struct admin_change change;

	if (args_thousandths(text, f->least, f->most, &change) != ERR_OK) {
		snprintf(why, POLICY_VALUE_MAX,
		         "a number from %" PRIu64 " to %" PRIu64 " with at most three digits behind the point, or "
		         "default",
		         f->least, f->most);
		return ERR_INVALID;
	}
	if (change.to.own)
		put_thousandths(change.to.value, canonical);
	return ERR_OK;
}

enum err policy_value(enum admin_field field, const char *text, char canonical[POLICY_VALUE_MAX], char *why)
{
	const struct admin_field_info *f = &admin_fields[field];

	if (f->kind == KIND_EMAIL && check_email(text) != ERR_OK)
		return fail(why, "an e-mail address (one @, no blanks, at most 254 characters)");
	if (f->kind == KIND_BOOL && !is_bool(text))
		return fail(why, "true or false");
	if (f->kind == KIND_SWITCH && !is_bool(text) && strcmp(text, "default") != 0)
		return fail(why, "true, false or default");
	if (f->kind == KIND_NUMBER && check_number(f, text, why) != ERR_OK)
		return ERR_INVALID;
	/* An address of 254 characters may have more bytes than fit. */
	if (sv_copy(sv_str(text), canonical, POLICY_VALUE_MAX) != ERR_OK)
		return fail(why, "shorter");
	return f->kind == KIND_THOUSANDTHS ? take_thousandths(f, text, canonical, why) : ERR_OK;
}

static int two(const char *digits)
{
	return (digits[0] - '0') * 10 + digits[1] - '0';
}

enum err policy_value_moment(const char *text, char canonical[POLICY_VALUE_MAX])
{
	static const char form[] = "0000-00-00T00:00:00Z";
	size_t n = strlen(text);
	struct tm tm = { 0 };

	if (strcmp(text, ADMIN_KEY_NEVER) == 0) {
		snprintf(canonical, POLICY_VALUE_MAX, "%s", text);
		return ERR_OK;
	}
	if (n != 10 && n != sizeof(form) - 1)
		return ERR_INVALID;
	for (size_t i = 0; i < n; i++)
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return ERR_INVALID;
	tm.tm_year = two(text) * 100 + two(text + 2) - 1900;
	tm.tm_mon = two(text + 5) - 1;
	tm.tm_mday = two(text + 8);
	if (n > 10) {
		tm.tm_hour = two(text + 11);
		tm.tm_min = two(text + 14);
		tm.tm_sec = two(text + 17);
	}
	struct tm same = tm;
	/* Whatever is no moment of the calendar becomes another one. */
	if (tm.tm_year < 70 || timegm(&same) == -1 || same.tm_mon != tm.tm_mon || same.tm_mday != tm.tm_mday ||
	    same.tm_hour != tm.tm_hour || same.tm_min != tm.tm_min || same.tm_sec != tm.tm_sec)
		return ERR_INVALID;
	snprintf(canonical, POLICY_VALUE_MAX, "%s%s", text, n == 10 ? "T00:00:00Z" : "");
	return ERR_OK;
}

enum err policy_value_backend(const char *text)
{
	size_t n = strlen(text);

	if (n < 1 || n > NAME_MAX_CHARS || !sv_alnum(text[0]))
		return ERR_INVALID;
	for (size_t i = 1; i < n; i++)
		if (!sv_alnum(text[i]) && memchr("._-", text[i], 3) == NULL)
			return ERR_INVALID;
	return ERR_OK;
}

enum err policy_value_username(const char *text)
{
	return strspn(text, "0123456789") == strlen(text) ? ERR_INVALID : policy_value_backend(text);
}

enum err policy_value_url(const char *text)
{
	struct sv rest = sv_str(text);

	if (policy_value_length(text) > URL_MAX_CHARS)
		return ERR_INVALID;
	if (sv_starts(rest, SV("http://")))
		rest = sv_skip(rest, strlen("http://"));
	else if (sv_starts(rest, SV("https://")))
		rest = sv_skip(rest, strlen("https://"));
	else
		return ERR_INVALID;
	if (rest.n > 0 && rest.p[rest.n - 1] == '/')
		rest.n--;
	for (size_t i = 0; i < rest.n; i++)
		if ((unsigned char)rest.p[i] <= ' ' || rest.p[i] == '/' || rest.p[i] == 0x7f)
			return ERR_INVALID;
	return rest.n > 0 ? ERR_OK : ERR_INVALID;
}
