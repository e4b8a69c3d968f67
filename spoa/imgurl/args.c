#include "imgurl/args.h"

#include "imgurl/text.h"

#define WORD_MAX 255
/* Behind the point; a double has fewer. */
#define FRACTION_MAX 32

bool imgurl_args_split(struct imgurl_args *a, struct sv *rest, struct wcur *w)
{
	const char *p = rest->p;
	const char *end = rest->p + rest->n;
	const char *start = p;

	a->n = 0;
	a->w = w;
	for (; p < end && *p != '/'; p++) {
		if (*p != ':')
			continue;
		if (a->n == IMGURL_ARGS_MAX - 1)
			return false;
		a->v[a->n++] = sv_from(start, (size_t)(p - start));
		start = p + 1;
	}
	if (p == end)
		return false;
	a->v[a->n++] = sv_from(start, (size_t)(p - start));
	while (a->n > 1 && a->v[a->n - 1].n == 0)
		a->n--;
	*rest = sv_from(p + 1, (size_t)(end - p - 1));
	return true;
}

static void write_arg(struct imgurl_args *a, struct sv text)
{
	wcur_u8(a->w, ':');
	wcur_sv(a->w, text);
}

bool imgurl_arg_blank(struct imgurl_args *a, unsigned i)
{
	if (i >= a->n || a->v[i].n > 0)
		return false;
	wcur_u8(a->w, ':');
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The digits at the front. */
static struct sv take_digits(struct sv *text)
{
	size_t n = 0;

	while (n < text->n && is_digit(text->p[n]))
		n++;
	struct sv digits = sv_from(text->p, n);
	*text = sv_skip(*text, n);
	return digits;
}

static struct sv without_leading_zeros(struct sv digits)
{
	while (digits.n > 0 && digits.p[0] == '0')
		digits = sv_skip(digits, 1);
	return digits;
}

static uint64_t value_of(struct sv digits)
{
	uint64_t value = 0;

	for (size_t i = 0; i < digits.n && value <= IMGURL_NUMBER_MAX; i++)
		value = value * 10 + (uint64_t)(digits.p[i] - '0');
	return value < IMGURL_NUMBER_MAX ? value : IMGURL_NUMBER_MAX;
}

bool imgurl_arg_integer(struct imgurl_args *a, unsigned i, uint64_t *value)
{
	struct sv rest = i < a->n ? a->v[i] : SV("");
	struct sv digits = take_digits(&rest);

	if (digits.n == 0 || rest.n > 0)
		return false;
	digits = without_leading_zeros(digits);
	*value = value_of(digits);
	write_arg(a, digits.n > 0 ? digits : SV("0"));
	return true;
}

/* Rounded up, so that no bound is passed by a fraction. */
static uint64_t milli_of(struct sv whole, struct sv fraction)
{
	uint64_t milli = value_of(whole) * 1000;
	uint64_t unit = 100;

	for (size_t i = 0; i < fraction.n && i < 3; i++, unit /= 10)
		milli += unit * (uint64_t)(fraction.p[i] - '0');
	/* It has no zeros at its end. */
	return fraction.n > 3 ? milli + 1 : milli;
}

bool imgurl_arg_number(struct imgurl_args *a, unsigned i, bool sign, uint64_t *milli)
{
	struct sv rest = i < a->n ? a->v[i] : SV("");
	struct sv fraction = { NULL, 0 };
	bool negative = rest.n > 0 && rest.p[0] == '-';

	if (negative)
		rest = sv_skip(rest, 1);
	struct sv whole = take_digits(&rest);
	bool digits = whole.n > 0;
	if (rest.n > 0 && rest.p[0] == '.') {
		rest = sv_skip(rest, 1);
		fraction = take_digits(&rest);
		digits = digits || fraction.n > 0;
	}
	if (!digits || rest.n > 0)
		return false;
	whole = without_leading_zeros(whole);
	while (fraction.n > 0 && fraction.p[fraction.n - 1] == '0')
		fraction.n--;
	*milli = milli_of(whole, fraction);
	negative = negative && *milli > 0;
	if ((negative && !sign) || fraction.n > FRACTION_MAX)
		return false;
	wcur_sv(a->w, negative ? SV(":-") : SV(":"));
	wcur_sv(a->w, whole.n > 0 ? whole : SV("0"));
	if (fraction.n > 0) {
		wcur_u8(a->w, '.');
		wcur_sv(a->w, fraction);
	}
	return true;
}

bool imgurl_bool_value(struct sv text, bool *value)
{
	static const char *const words[2][6] = {
		{ "0", "f", "F", "false", "FALSE", "False" },
		{ "1", "t", "T", "true", "TRUE", "True" },
	};

	for (unsigned yes = 0; yes < 2; yes++)
		for (unsigned k = 0; k < sizeof(words[0]) / sizeof(words[0][0]); k++)
			if (imgurl_is_word(text, words[yes][k])) {
				*value = yes == 1;
				return true;
			}
	return false;
}

bool imgurl_arg_bool(struct imgurl_args *a, unsigned i, bool *value)
{
	if (i >= a->n || !imgurl_bool_value(a->v[i], value))
		return false;
	write_arg(a, *value ? SV("1") : SV("0"));
	return true;
}

bool imgurl_arg_color(struct imgurl_args *a, unsigned i)
{
	if (i >= a->n || (a->v[i].n != 3 && a->v[i].n != 6))
		return false;
	wcur_u8(a->w, ':');
	for (size_t k = 0; k < a->v[i].n; k++) {
		char c = a->v[i].p[k];
		if (imgurl_hex_value(c) < 0)
			return false;
		wcur_u8(a->w, (uint8_t)(is_digit(c) ? c : c | 0x20));
	}
	return true;
}

bool imgurl_is_format(struct sv name)
{
	static const char *const formats[] = { "jpg", "png",  "webp", "avif", "jpeg", "gif", "jxl",
		                               "svg", "tiff", "ico",  "bmp",  "heic", "best" };

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (imgurl_is_word(name, formats[i]))
			return true;
	return false;
}

bool imgurl_arg_format(struct imgurl_args *a, unsigned i)
{
	if (i >= a->n || !imgurl_is_format(a->v[i]))
		return false;
	write_arg(a, a->v[i]);
	return true;
}

bool imgurl_arg_word(struct imgurl_args *a, unsigned i)
{
	if (i >= a->n || a->v[i].n == 0 || a->v[i].n > WORD_MAX)
		return false;
	for (size_t k = 0; k < a->v[i].n; k++) {
		char c = a->v[i].p[k];
		if (!sv_alnum(c) && c != '.' && c != '_' && c != '~' && c != '-')
			return false;
	}
	write_arg(a, a->v[i]);
	return true;
}

bool imgurl_arg_one_of(struct imgurl_args *a, unsigned i, const char *const *words)
{
	for (; i < a->n && *words != NULL; words++)
		if (imgurl_is_word(a->v[i], *words)) {
			write_arg(a, a->v[i]);
			return true;
		}
	return false;
}
