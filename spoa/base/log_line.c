#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/sv.h"

/* Room for the end of a line: brace and line feed. */
#define TAIL 2

struct writer {
	char *buf;
	size_t n;
	enum log_format format;
};

/* There is always room: the bounds of log.h see to that, and this to them. */
static void put(struct writer *w, const char *p, size_t n)
{
	if (n > LOG_LINE_MAX - TAIL - w->n)
		n = LOG_LINE_MAX - TAIL - w->n;
	memcpy(w->buf + w->n, p, n);
	w->n += n;
}

static void put_str(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

/* The bytes of the well-formed UTF-8 character at p (RFC 3629); 0: there is none. NUL ends the text, so no byte is read
 * behind it. */
static size_t utf8_size(const unsigned char *p)
{
	static const struct {
		unsigned char first, last, least, most; /* of the first byte, and of the second */
		size_t size;
	} rows[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (p[0] < rows[i].first || p[0] > rows[i].last)
			continue;
		if (p[1] < rows[i].least || p[1] > rows[i].most)
			return 0;
		for (size_t k = 2; k < rows[i].size; k++)
			if (p[k] < 0x80 || p[k] > 0xbf)
				return 0;
		return rows[i].size;
	}
	return 0;
}

/* Within quotes: quotes, backslashes and control bytes are escaped; JSON has UTF-8 only (RFC 8259). */
static void put_escaped(struct writer *w, struct sv text)
{
	const unsigned char *p = (const unsigned char *)text.p;
	const unsigned char *end = p + text.n;
	char escape[8];

	while (p < end) {
		size_t size = *p < 0x80 ? 1 : utf8_size(p);
		if (size > (size_t)(end - p))
			size = 0;
		if (*p == '"' || *p == '\\') {
			put(w, (const char[]){ '\\', (char)*p }, 2);
		} else if (size > 1 || (*p >= 0x20 && *p < 0x7f)) {
			put(w, (const char *)p, size);
		} else {
			snprintf(escape, sizeof(escape), w->format == LOG_JSON ? "\\u%04x" : "\\x%02x", *p);
			put_str(w, escape);
			size = 1;
		}
		p += size;
	}
}

static void put_quoted(struct writer *w, struct sv text)
{
	put_str(w, "\"");
	put_escaped(w, text);
	put_str(w, "\"");
}

static void put_name(struct writer *w, struct sv name)
{
	if (w->format == LOG_JSON) {
		put_str(w, w->n == 0 ? "{\"" : ",\"");
		put(w, name.p, name.n);
		put_str(w, "\":");
		return;
	}
	if (w->n > 0)
		put_str(w, " ");
	put(w, name.p, name.n);
	put_str(w, "=");
}

/* As a JSON number it has to be exact in a double. */
static bool is_number(struct sv value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < '0' || value.p[i] > '9')
			return false;
	return value.n > 0 && value.n <= 15 && (value.p[0] != '0' || value.n == 1);
}

static bool is_plain(struct sv value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] <= ' ' || value.p[i] > '~' || strchr("\"\\=", value.p[i]) != NULL)
			return false;
	return value.n > 0;
}

static void put_field(struct writer *w, struct sv name, struct sv value)
{
	put_name(w, name);
	if (w->format == LOG_JSON ? is_number(value) : is_plain(value))
		put(w, value.p, value.n);
	else
		put_quoted(w, value);
}

/* A field at the front of *rest: name=word or name="words". False: there is none. */
static bool take_field(struct sv *rest, struct sv *name, struct sv *value)
{
	const char *p = rest->p, *end = p + rest->n;

	while (p < end && ((*p >= 'a' && *p <= 'z') || *p == '_'))
		p++;
	*name = sv_from(rest->p, (size_t)(p - rest->p));
	if (name->n == 0 || p == end || *p != '=')
		return false;
	const char *from = ++p;
	if (p < end && *p == '"') {
		const char *close = memchr(p + 1, '"', (size_t)(end - p - 1));
		if (close == NULL)
			return false;
		*value = sv_from(from + 1, (size_t)(close - from - 1));
		p = close + 1;
	} else {
		while (p < end && *p != ' ' && *p != '"')
			p++;
		*value = sv_from(from, (size_t)(p - from));
	}
	if (p < end && *p != ' ')
		return false;
	if (p < end)
		p++;
	*rest = sv_from(p, (size_t)(end - p));
	return true;
}

const char *log_value(char *buf, size_t size, const char *text)
{
	size_t n = strnlen(text, size - 1);

	for (size_t i = 0; i < n; i++)
		buf[i] = text[i] != '"' ? text[i] : '\'';
	buf[n] = '\0';
	return buf;
}

static bool is_fields(struct sv rest)
{
	struct sv name, value;

	while (rest.n > 0)
		if (!take_field(&rest, &name, &value))
			return false;
	return true;
}

size_t log_line(char out[LOG_LINE_MAX], enum log_format format, const char *time, enum log_level level,
                const char *program, int pid, const char *text)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	struct writer w = { .buf = out, .format = format };
	struct sv all = sv_from(text, strnlen(text, LOG_TEXT_MAX)), rest = sv_from(text, 0), name, value;
	char number[16];

	/* The longest tail that is nothing but fields. */
	size_t msg = all.n;
	for (size_t i = 0; i < all.n; i++) {
		if (all.p[i] != ' ' || !is_fields(sv_skip(all, i + 1)))
			continue;
		msg = i > 0 && all.p[i - 1] == ':' ? i - 1 : i;
		rest = sv_skip(all, i + 1);
		break;
	}
	snprintf(number, sizeof(number), "%d", pid);
	put_field(&w, SV("time"), sv_str(time));
	put_field(&w, SV("level"), sv_str(levels[level]));
	put_field(&w, SV("program"), sv_str(program));
	put_field(&w, SV("pid"), sv_str(number));
	put_name(&w, SV("msg"));
	put_quoted(&w, sv_from(all.p, msg));
	while (take_field(&rest, &name, &value))
		put_field(&w, name, value);
	if (format == LOG_JSON)
		out[w.n++] = '}';
	out[w.n++] = '\n';
	return w.n;
}
