#include "args.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool arg_int(const char *text, long min, long max, long *out)
{
	const char *digits = text + (text[0] == '+' || text[0] == '-');

	if (digits[0] == '\0' || strspn(digits, "0123456789") != strlen(digits))
		return false;
	errno = 0;
	long v = strtol(text, NULL, 10);
	if (errno != 0 || v < min || v > max)
		return false;
	*out = v;
	return true;
}

bool arg_side(const char *text, int *out)
{
	long v;

	if (!arg_int(text, 0, LONG_MAX, &v))
		return false;
	/* 64 bits there; everything beyond 32 is cut by the bounds of an image anyway. */
	*out = v > INT_MAX ? INT_MAX : (int)v;
	return true;
}

bool arg_number(const char *text, double *out)
{
	char *end;

	/* Go takes "inf" and "nan" as well, with results that nobody wants to have repeated. */
	if (text[0] == '\0' || strspn(text, "+-.0123456789eExXpPabcdefABCDEF") != strlen(text))
		return false;
	errno = 0;
	double v = strtod(text, &end);
	if (*end != '\0' || !isfinite(v) || (errno == ERANGE && fabs(v) > 1))
		return false;
	*out = v;
	return true;
}

bool arg_bool(const char *text)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcmp(text, yes[i]) == 0)
			return true;
	}
	return false;
}

bool arg_hex_colour(const char *text, struct colour *out)
{
	size_t n = strlen(text);

	if ((n != 3 && n != 6) || strspn(text, "0123456789abcdefABCDEF") != n)
		return false;
	unsigned long v = strtoul(text, NULL, 16);
	for (int i = 0; i < 3; i++)
		out->rgb[i] = n == 3 ? (double)(v >> (8 - 4 * i) & 15) * 17 : (double)(v >> (16 - 8 * i) & 255);
	out->given = true;
	return true;
}

bool arg_byte(const char *text, double *out)
{
	long v;

	if (text[0] == '+' || text[0] == '-' || !arg_int(text, 0, 255, &v))
		return false;
	*out = (double)v;
	return true;
}

bool arg_gravity(int argc, char **argv, unsigned kinds, struct gravity *out)
{
	static const struct {
		const char *name;
		double x;
		double y;
		unsigned kind;
	} table[] = {
		{ "ce", 0.5, 0.5, 0 },
		{ "no", 0.5, 0, 0 },
		{ "so", 0.5, 1, 0 },
		{ "ea", 1, 0.5, 0 },
		{ "we", 0, 0.5, 0 },
		{ "noea", 1, 0, 0 },
		{ "nowe", 0, 0, 0 },
		{ "soea", 1, 1, 0 },
		{ "sowe", 0, 1, 0 },
		{ "sm", 0.5, 0.5, GRAVITY_SMART },
		{ "fp", 0.5, 0.5, GRAVITY_FOCUS },
		{ "re", 0.5, 0.5, GRAVITY_REPLICATE },
	};
	double offset[2] = { 0, 0 };
	size_t i = 0;

	while (i < sizeof(table) / sizeof(table[0]) && strcmp(argv[0], table[i].name) != 0)
		i++;
	if (i == sizeof(table) / sizeof(table[0]) || (table[i].kind & ~kinds) != 0)
		return false;
	if (argc > (table[i].kind == GRAVITY_SMART ? 1 : 3) || (table[i].kind == GRAVITY_FOCUS && argc != 3))
		return false;
	for (int a = 1; a < argc; a++) {
		if (!arg_number(argv[a], &offset[a - 1]))
			return false;
		if (table[i].kind == GRAVITY_FOCUS && (offset[a - 1] < 0 || offset[a - 1] > 1))
			return false;
	}
	*out = (struct gravity){ table[i].x, table[i].y, offset[0], offset[1] };
	if (table[i].kind == GRAVITY_FOCUS)
		*out = (struct gravity){ offset[0], offset[1], 0, 0 };
	return true;
}
