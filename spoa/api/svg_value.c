#include "api/svg_value.h"

#define TAIL_SIZE 32u

/* A value as it goes by: decoded, without blanks, in lower case; the last bytes of it, and what is expected next. */
struct flow {
	char tail[2 * TAIL_SIZE];
	size_t n; /* bytes of tail */
	size_t total;
	unsigned url; /* 1: behind url(, then one more for each byte of data: */
	bool css;
	const char *why;
};

static bool ends_with(const struct flow *f, const char *word)
{
	struct sv w = sv_str(word);

	return f->n >= w.n && sv_eq(sv_from(f->tail + f->n - w.n, w.n), w);
}

static bool refuse(struct flow *f, const char *why)
{
	f->why = why;
	return false;
}

static bool check_words(struct flow *f)
{
	static const char *const words[] = { "javascript:",  "vbscript:",        "livescript:", "data:text",
		                             "data:image/s", "data:application", "@import",     "expression(" };

	/* They take an address in quotes, without url(). */
	static const char *const functions[] = { "image(", "image-set(", "src(" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (ends_with(f, words[i]))
			return refuse(f, "The SVG has a script in a value, or a link to something else than pixels.");
	}
	for (size_t i = 0; f->css && i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (ends_with(f, functions[i]))
			return refuse(f, "The SVG has image(), image-set() or src() in a style.");
	}
	return true;
}

/* url() leads to a part of the file, or holds data, whose kind check_words() looks at. */
static bool url_char(struct flow *f, char c)
{
	static const char data[] = "data:";

	if (f->url == 0 || (f->url == 1 && (c == '"' || c == '\'')))
		return true;
	if (f->url == 1 && c == '#') {
		f->url = 0;
		return true;
	}
	if (c != data[f->url - 1])
		return false;
	f->url = f->url == sizeof(data) - 1 ? 0 : f->url + 1;
	return true;
}

static bool flow_char(struct flow *f, uint32_t c)
{
	if (c <= 0x20 || c == 0x7f)
		return true;
	if (f->css && c == '\\')
		return refuse(f, "The SVG has a backslash in a style.");
	/* What is above ASCII is part of no word that counts. */
	char byte = c < 0x80 ? (char)(c >= 'A' && c <= 'Z' ? c + 0x20 : c) : '\x01';
	if (!url_char(f, byte))
		return refuse(f, "The SVG has a url() that leads out of the file.");
	if (f->n == sizeof(f->tail)) {
		memmove(f->tail, f->tail + TAIL_SIZE, TAIL_SIZE);
		f->n = TAIL_SIZE;
	}
	f->tail[f->n++] = byte;
	f->total++;
	if (ends_with(f, "url("))
		f->url = 1;
	return check_words(f);
}

/* The character of a reference, whose name is between & and ;. False when it is none of those that are allowed. */
static bool reference(struct sv name, uint32_t *out)
{
	static const struct {
		const char *name;
		char c;
	} five[] = { { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' } };
	uint32_t value = 0;
	unsigned base = 10;

	for (size_t i = 0; i < sizeof(five) / sizeof(five[0]); i++) {
		if (sv_eq(name, sv_str(five[i].name))) {
			*out = (unsigned char)five[i].c;
			return true;
		}
	}
	if (!sv_starts(name, SV("#")))
		return false;
	name = sv_skip(name, 1);
	if (sv_starts(name, SV("x"))) {
		base = 16;
		name = sv_skip(name, 1);
	}
	if (name.n == 0 || name.n > 8)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0')
		                 : sv_alnum(c)        ? (unsigned)((c | 0x20) - 'a' + 10)
		                                      : 99;
		if (digit >= base)
			return false;
		value = value * base + digit;
	}
	*out = value;
	return value > 0 && value <= 0x10ffff && !(value >= 0xd800 && value <= 0xdfff);
}

/* A link's beginning, once it is known. */
static bool link_ok(const struct flow *f)
{
	static const char *const pixels[] = { "data:image/png", "data:image/jpeg", "data:image/jpg", "data:image/gif",
		                              "data:image/webp" };

	if (f->total == 0 || f->tail[0] == '#')
		return true;
	for (size_t i = 0; i < sizeof(pixels) / sizeof(pixels[0]); i++) {
		if (sv_starts(sv_from(f->tail, f->n), sv_str(pixels[i])))
			return true;
	}
	return false;
}

/* The name of an attribute that leads somewhere, or runs. Longer ones than the tail are none that a program writes. */
static bool animates_link(const struct flow *f)
{
	struct sv name = sv_from(f->tail, f->n);
	struct sv part = name;

	if (f->total > TAIL_SIZE)
		return true;
	while (sv_split(&name, ':', &part))
		;
	return sv_eq(part, SV("href")) || sv_eq(part, SV("src")) || (part.n > 2 && sv_starts(part, SV("on")));
}

bool svg_value_ok(struct sv value, enum svg_value kind, const char **why)
{
	struct flow f = { .css = kind == SVG_VALUE_CSS || kind == SVG_VALUE_RAW_CSS };
	bool started = false;
	bool leads_out = false;

	while (value.n > 0) {
		uint32_t c = (unsigned char)value.p[0];
		value = sv_skip(value, 1);
		if (c == '&' && kind != SVG_VALUE_RAW_CSS) {
			const char *end = value.n > 0 ? memchr(value.p, ';', value.n < 12 ? value.n : 12) : NULL;
			if (end == NULL || !reference(sv_from(value.p, (size_t)(end - value.p)), &c)) {
				*why = "The SVG has an entity that is not allowed.";
				return false;
			}
			value = sv_skip(value, (size_t)(end - value.p) + 1);
		}
		if (kind == SVG_VALUE_TEXT)
			continue;
		if (!flow_char(&f, c)) {
			*why = f.why;
			return false;
		}
		/* Before the first bytes are pushed out. */
		if (kind == SVG_VALUE_LINK && !started && f.n == TAIL_SIZE) {
			started = true;
			leads_out = !link_ok(&f);
		}
	}
	if (kind == SVG_VALUE_LINK && !started)
		leads_out = !link_ok(&f);
	if (kind == SVG_VALUE_ANIMATED && animates_link(&f)) {
		*why = "The SVG has an animation of a link, or of an event handler.";
		return false;
	}
	if (leads_out || f.url > 0)
		*why = "The SVG has a link that leads out of the file.";
	return !leads_out && f.url == 0;
}

bool svg_utf8_ok(struct sv text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c < 0x80) {
			if (c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r'))
				return false;
			continue;
		}
		unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		if (c < 0xc2 || c > 0xf4 || text.n - i <= more)
			return false;
		uint32_t code = c & (0x3fu >> more);
		for (unsigned k = 1; k <= more; k++) {
			unsigned char next = (unsigned char)text.p[i + k];
			if ((next & 0xc0) != 0x80)
				return false;
			code = code << 6 | (next & 0x3f);
		}
		static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
		if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ||
		    (code >= 0x80 && code < 0xa0))
			return false;
		i += more;
	}
	return true;
}

/* A number at the front of *v, not negative and with no exponent above two digits; false when there is none. */
static bool take_number(struct sv *v, double *out)
{
	double value = 0, unit = 1;
	size_t digits = 0;

	*v = sv_trim(*v);
	if (sv_starts(*v, SV("+")))
		*v = sv_skip(*v, 1);
	for (bool behind_point = false; v->n > 0; *v = sv_skip(*v, 1)) {
		char c = v->p[0];
		if (c == '.' && !behind_point) {
			behind_point = true;
			continue;
		}
		if (c < '0' || c > '9')
			break;
		digits++;
		value = value * 10 + (c - '0');
		unit = behind_point ? unit * 10 : unit;
	}
	/* e and two digits; `em` and `ex` are units. */
	if (v->n >= 2 && (v->p[0] | 0x20) == 'e' && v->p[1] >= '0' && v->p[1] <= '9') {
		unsigned exponent = (unsigned)(v->p[1] - '0');
		*v = sv_skip(*v, 2);
		for (; v->n > 0 && v->p[0] >= '0' && v->p[0] <= '9'; *v = sv_skip(*v, 1))
			exponent = exponent < 100 ? exponent * 10 + (unsigned)(v->p[0] - '0') : exponent;
		for (; exponent > 0 && value < 1e12; exponent--)
			value *= 10;
	}
	*out = value / unit;
	return digits > 0;
}

/* Pixels of a length, with letters of the usual size; 0 for a percentage, other units, or nothing. */
static double length_px(struct sv v)
{
	static const struct {
		const char *name;
		double px;
	} units[] = { { "", 1 },           { "px", 1 },  { "pt", 96.0 / 72 }, { "pc", 16 },  { "mm", 96 / 25.4 },
		      { "cm", 96 / 2.54 }, { "in", 96 }, { "em", 16 },        { "rem", 16 }, { "ex", 8 } };
	double value;

	if (!take_number(&v, &value))
		return 0;
	v = sv_trim(v);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (sv_ieq(v, sv_str(units[i].name)))
			return value * units[i].px;
	}
	return 0;
}

/* Four numbers with blanks or commas between; the first two may be negative, and do not matter. */
static bool take_box(struct sv value, double box[4])
{
	for (int i = 0; i < 4; i++) {
		value = sv_trim(value);
		if (i < 2 && sv_starts(value, SV("-")))
			value = sv_skip(value, 1);
		if (!take_number(&value, &box[i]))
			return false;
		value = sv_trim(value);
		if (sv_starts(value, SV(",")))
			value = sv_skip(value, 1);
	}
	return true;
}

void svg_size_attribute(struct svg_size *size, struct sv name, struct sv value)
{
	double box[4];

	if (sv_eq(name, SV("width"))) {
		size->width = length_px(value);
	} else if (sv_eq(name, SV("height"))) {
		size->height = length_px(value);
	} else if (sv_eq(name, SV("viewBox")) && take_box(value, box)) {
		size->box_width = box[2];
		size->box_height = box[3];
	}
}

static uint32_t whole(double px, double box, double otherwise)
{
	double v = px > 0 ? px : box > 0 ? box : otherwise;

	if (v >= INT32_MAX)
		return INT32_MAX;
	uint32_t n = (uint32_t)v;
	return n < v || n == 0 ? n + 1 : n;
}

void svg_size_get(const struct svg_size *size, uint32_t *width, uint32_t *height)
{
	*width = whole(size->width, size->box_width, 300);
	*height = whole(size->height, size->box_height, 150);
}
