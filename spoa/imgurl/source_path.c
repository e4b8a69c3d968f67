/* The path and query of a URL. */
#include "imgurl/source_int.h"
#include "imgurl/text.h"

static const char bad_byte[] = "it has a byte that must be percent-encoded, a backslash, or a fragment";
static const char bad_escape[] = "it has an escape that names no character, a control character, a slash, a backslash "
                                 "or another escape";

/* RFC 3986: sub-delims, ":" and "@" stand in a path as they are, and mean something else when they are escaped. */
static bool is_reserved(char c)
{
	return c != '\0' && strchr("!$&'()*+,;=:@", c) != NULL;
}

static bool is_unreserved(char c)
{
	return sv_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static void write_escape(struct wcur *w, uint8_t c)
{
	static const char digits[] = "0123456789ABCDEF";

	wcur_u8(w, '%');
	wcur_u8(w, (uint8_t)digits[c >> 4]);
	wcur_u8(w, (uint8_t)digits[c & 15]);
}

/* The byte of an escape at the front of the text; -1 when there is none. */
static int escape_value(struct sv text)
{
	if (text.n < 3 || text.p[0] != '%')
		return -1;
	int high = imgurl_hex_value(text.p[1]);
	int low = imgurl_hex_value(text.p[2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Writes the character that the escape at the front begins, and returns how much of the text it took; 0: it is bad. */
static size_t write_escaped(struct wcur *w, struct sv text)
{
	uint8_t bytes[4];
	size_t n = 0;

	/* Escaped bytes that belong together make one character of UTF-8. */
	for (int value = escape_value(text); n < sizeof(bytes) && value >= 0;
	     value = escape_value(sv_skip(text, 3 * n))) {
		if (n > 0 && (value & 0xc0) != 0x80)
			break;
		bytes[n++] = (uint8_t)value;
	}
	if (n == 0)
		return 0;
	n = imgurl_printable(sv_from(bytes, n));
	if (n == 0 || bytes[0] == '/' || bytes[0] == '\\')
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (is_unreserved((char)bytes[i]))
			wcur_u8(w, bytes[i]);
		else
			write_escape(w, bytes[i]);
	}
	return 3 * n;
}

static const char *write_segment(struct wcur *w, struct sv text)
{
	while (text.n > 0) {
		char c = text.p[0];
		size_t taken = 1;
		if (c == '%') {
			taken = write_escaped(w, text);
			if (taken == 0)
				return bad_escape;
		} else if (is_unreserved(c) || is_reserved(c)) {
			wcur_u8(w, (uint8_t)c);
		} else if (c < 0x20 || c >= 0x7f || c == '\\' || c == '#') {
			return bad_byte;
		} else {
			write_escape(w, (uint8_t)c);
		}
		text = sv_skip(text, taken);
	}
	return NULL;
}

/* "..;x" and ".;x", the semicolon perhaps escaped: to some servers dot segments with parameters. */
static bool is_dotted(struct sv segment)
{
	size_t dots = segment.n > 1 && segment.p[1] == '.' ? 2 : 1;

	if (segment.n <= dots || segment.p[0] != '.')
		return false;
	struct sv rest = sv_skip(segment, dots);
	return rest.p[0] == ';' || sv_starts(rest, SV("%3B"));
}

/* An escaped "%" before two hex digits: a server that decodes twice would see what nobody has looked at. */
static bool has_twice_escaped(struct sv segment)
{
	for (size_t i = 0; i + 5 <= segment.n; i++)
		if (memcmp(segment.p + i, "%25", 3) == 0 && imgurl_hex_value(segment.p[i + 3]) >= 0 &&
		    imgurl_hex_value(segment.p[i + 4]) >= 0)
			return true;
	return false;
}

static const char *write_segments(struct wcur *w, struct sv rest)
{
	struct sv text;

	wcur_u8(w, '/');
	uint8_t *root = w->p;
	while (sv_split(&rest, '/', &text)) {
		uint8_t *start = w->p;
		const char *why = write_segment(w, text);
		if (why != NULL || w->err != ERR_OK)
			return why;
		struct sv segment = sv_from(start, (size_t)(w->p - start));
		if (has_twice_escaped(segment))
			return bad_escape;
		if (is_dotted(segment))
			return "a dot segment has no parameters";
		/* RFC 3986 section 5.2.4; the slash before a dot segment stays. */
		if (sv_eq(segment, SV("."))) {
			w->p = start;
		} else if (sv_eq(segment, SV(".."))) {
			w->p = start;
			if (w->p > root)
				w->p--;
			while (w->p > root && w->p[-1] != '/')
				w->p--;
		} else if (rest.p != NULL) {
			wcur_u8(w, '/');
		}
	}
	return NULL;
}

const char *imgurl_path_write(struct wcur *w, struct sv rest)
{
	struct sv path = rest;
	struct sv query = { NULL, 0 };

	const char *mark = rest.n > 0 ? memchr(rest.p, '?', rest.n) : NULL;
	if (mark != NULL) {
		path = sv_from(rest.p, (size_t)(mark - rest.p));
		query = sv_skip(rest, path.n + 1);
	}
	/* A fragment has no slash before it when it follows the host. */
	if (path.n > 0 && path.p[0] != '/')
		return bad_byte;
	const char *why = write_segments(w, path.n > 0 ? sv_skip(path, 1) : SV(""));
	if (why != NULL || query.n == 0)
		return why;
	for (size_t i = 0; i < query.n; i++)
		if (query.p[i] < 0x21 || query.p[i] >= 0x7f || query.p[i] == '\\' || query.p[i] == '#')
			return bad_byte;
	wcur_u8(w, '?');
	wcur_sv(w, query);
	return NULL;
}
