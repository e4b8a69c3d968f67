#include "api/image_svg.h"

#include <string.h>

#include "api/svg_value.h"
#include "base/sv.h"

struct scan {
	struct sv rest;
	struct sv open[SVG_DEPTH_MAX]; /* names of the elements that are open */
	size_t depth;
	bool root;   /* it was there */
	bool styled; /* the element style that is open has had text */
	bool head_only;
	struct svg_size size;
	const char *why;
};

static bool refuse(struct scan *s, const char *why)
{
	if (s->why == NULL)
		s->why = why;
	return false;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct scan *s)
{
	while (s->rest.n > 0 && is_blank(s->rest.p[0]))
		s->rest = sv_skip(s->rest, 1);
}

static bool take(struct scan *s, struct sv word)
{
	if (!sv_starts(s->rest, word))
		return false;
	s->rest = sv_skip(s->rest, word.n);
	return true;
}

/* What is before `end`, which is taken too. */
static bool take_until(struct scan *s, struct sv end, struct sv *out)
{
	const char *at = s->rest.n > 0 ? memmem(s->rest.p, s->rest.n, end.p, end.n) : NULL;

	if (at == NULL)
		return refuse(s, "The SVG is cut off.");
	*out = sv_from(s->rest.p, (size_t)(at - s->rest.p));
	s->rest = sv_skip(s->rest, out->n + end.n);
	return true;
}

static bool take_name(struct scan *s, struct sv *out)
{
	size_t n = 0;

	while (n < s->rest.n) {
		char c = s->rest.p[n];
		bool first = (sv_alnum(c) && !(c >= '0' && c <= '9')) || c == '_' || c == ':';
		if (!first && (n == 0 || !(sv_alnum(c) || c == '.' || c == '-')))
			break;
		n++;
	}
	*out = sv_from(s->rest.p, n);
	s->rest = sv_skip(s->rest, n);
	return n > 0 ? true : refuse(s, "The SVG has a tag or an attribute without a plain name.");
}

static struct sv local_name(struct sv name)
{
	struct sv part = name;

	while (sv_split(&name, ':', &part))
		;
	return part;
}

static bool is_one_of(struct sv word, const char *const *list)
{
	for (; *list != NULL; list++) {
		if (sv_ieq(word, sv_str(*list)))
			return true;
	}
	return false;
}

static bool is_script(struct sv element)
{
	static const char *const list[] = { "script",   "foreignObject", "iframe", "object", "embed", "handler",
		                            "listener", "audio",         "video",  "canvas", NULL };

	return is_one_of(local_name(element), list);
}

/* Presentation attributes that browsers read as CSS and that may hold a url(), and the values of animations. */
static bool is_css(struct sv attribute)
{
	static const char *const list[] = { "style",  "fill",         "stroke",     "filter",     "mask", "clip-path",
		                            "marker", "marker-start", "marker-mid", "marker-end", "to",   "from",
		                            "by",     "values",       "cursor",     NULL };

	return is_one_of(attribute, list);
}

static enum svg_value kind_of(struct sv attribute)
{
	if (sv_ieq(attribute, SV("href")) || sv_ieq(attribute, SV("src")))
		return SVG_VALUE_LINK;
	if (sv_ieq(attribute, SV("attributeName")))
		return SVG_VALUE_ANIMATED;
	return is_css(attribute) ? SVG_VALUE_CSS : SVG_VALUE_PLAIN;
}

static bool take_attribute(struct scan *s)
{
	struct sv name, value;

	if (!take_name(s, &name))
		return false;
	skip_blanks(s);
	if (!take(s, SV("=")))
		return refuse(s, "The SVG has an attribute without a value.");
	skip_blanks(s);
	if (s->rest.n == 0 || (s->rest.p[0] != '"' && s->rest.p[0] != '\''))
		return refuse(s, "The SVG has an attribute without quotes.");
	struct sv quote = sv_from(s->rest.p, 1);
	s->rest = sv_skip(s->rest, 1);
	if (!take_until(s, quote, &value))
		return false;
	if (value.n > 0 && memchr(value.p, '<', value.n) != NULL)
		return refuse(s, "The SVG has a \"<\" in an attribute.");
	struct sv local = local_name(name);
	if (local.n > 2 && sv_ieq(sv_from(local.p, 2), SV("on")))
		return refuse(s, "The SVG has an event handler.");
	if (!svg_value_ok(value, kind_of(local), &s->why))
		return false;
	if (s->depth == 1)
		svg_size_attribute(&s->size, name, value);
	return true;
}

static bool in_style(const struct scan *s)
{
	return s->depth > 0 && sv_ieq(local_name(s->open[s->depth - 1]), SV("style"));
}

static bool take_element(struct scan *s)
{
	struct sv name;

	if (!take_name(s, &name))
		return false;
	if (in_style(s))
		return refuse(s, "The SVG has a style in pieces.");
	if (is_script(name))
		return refuse(s, "The SVG has a script, or an element that can hold one.");
	if (s->depth == 0 && (s->root || !sv_eq(name, SV("svg"))))
		return refuse(s, "The SVG has no root element svg, or more beside it.");
	if (s->depth == SVG_DEPTH_MAX)
		return refuse(s, "The elements of the SVG are nested too deep.");
	s->root = true;
	s->open[s->depth++] = name;
	s->styled = false;
	for (;;) {
		size_t before = s->rest.n;
		skip_blanks(s);
		if (take(s, SV(">")))
			return true;
		if (take(s, SV("/>"))) {
			s->depth--;
			return true;
		}
		if (s->rest.n == 0)
			return refuse(s, "The SVG is cut off.");
		if (s->rest.n == before)
			return refuse(s, "The SVG has attributes without a blank between them.");
		if (!take_attribute(s))
			return false;
	}
}

static bool take_end(struct scan *s)
{
	struct sv name;

	if (!take_name(s, &name))
		return false;
	skip_blanks(s);
	if (!take(s, SV(">")) || s->depth == 0 || !sv_eq(s->open[s->depth - 1], name))
		return refuse(s, "The tags of the SVG do not match.");
	s->depth--;
	return true;
}

static bool take_comment(struct scan *s)
{
	struct sv text;

	if (!take_until(s, SV("-->"), &text))
		return false;
	if (in_style(s))
		return refuse(s, "The SVG has a style in pieces.");
	return text.n == 0 || (memmem(text.p, text.n, "--", 2) == NULL && text.p[text.n - 1] != '-')
	               ? true
	               : refuse(s, "The SVG has a broken comment.");
}

/* What a comment, CDATA or an element divides would be checked as two words, and read as one. */
static bool take_style(struct scan *s, struct sv text, enum svg_value kind)
{
	if (sv_trim(text).n > 0 && s->styled)
		return refuse(s, "The SVG has a style in pieces.");
	s->styled = s->styled || sv_trim(text).n > 0;
	return svg_value_ok(text, kind, &s->why);
}

static bool take_text(struct scan *s)
{
	const char *end = memchr(s->rest.p, '<', s->rest.n);
	struct sv text = sv_from(s->rest.p, end != NULL ? (size_t)(end - s->rest.p) : s->rest.n);

	s->rest = sv_skip(s->rest, text.n);
	if (s->depth == 0)
		return sv_trim(text).n == 0 ? true : refuse(s, "There is text outside of the SVG's root element.");
	return in_style(s) ? take_style(s, text, SVG_VALUE_CSS) : svg_value_ok(text, SVG_VALUE_TEXT, &s->why);
}

static bool take_cdata(struct scan *s)
{
	struct sv text;

	if (s->depth == 0)
		return refuse(s, "There is text outside of the SVG's root element.");
	if (!take_until(s, SV("]]>"), &text))
		return false;
	return !in_style(s) || take_style(s, text, SVG_VALUE_RAW_CSS);
}

static bool take_declaration(struct scan *s)
{
	struct sv text;

	if (!take_until(s, SV("?>"), &text))
		return false;
	if (text.n == 0 || !is_blank(text.p[0]))
		return refuse(s, "The SVG has a processing instruction.");
	const char *at = memmem(text.p, text.n, "encoding", 8);
	if (at == NULL)
		return true;
	struct sv value = sv_trim(sv_skip(text, (size_t)(at - text.p) + 8));
	if (value.n < 1 || value.p[0] != '=')
		return refuse(s, "The XML declaration of the SVG is broken.");
	value = sv_trim(sv_skip(value, 1));
	char quote = value.n > 0 ? value.p[0] : '\0';
	value = sv_skip(value, 1);
	struct sv name = value;
	if ((quote != '"' && quote != '\'') || !sv_split(&value, quote, &name) ||
	    !(sv_ieq(name, SV("UTF-8")) || sv_ieq(name, SV("US-ASCII"))))
		return refuse(s, "The SVG is not UTF-8.");
	return true;
}

static bool scan(struct scan *s)
{
	take(s, SV("\xef\xbb\xbf"));
	if (take(s, SV("<?xml")) && !take_declaration(s))
		return false;
	while (s->rest.n > 0) {
		bool ok;
		if (take(s, SV("<!--")))
			ok = take_comment(s);
		else if (take(s, SV("<![CDATA[")))
			ok = take_cdata(s);
		else if (sv_starts(s->rest, SV("<!")))
			ok = refuse(s, "The SVG has a DOCTYPE or another declaration.");
		else if (sv_starts(s->rest, SV("<?")))
			ok = refuse(s, "The SVG has a processing instruction.");
		else if (take(s, SV("</")))
			ok = take_end(s);
		else if (take(s, SV("<")))
			ok = take_element(s);
		else
			ok = take_text(s);
		if (!ok)
			return false;
		if (s->head_only && s->root)
			return true;
	}
	return s->root && s->depth == 0 ? true : refuse(s, "The SVG is cut off.");
}

enum err image_svg_check(const uint8_t *data, size_t len, bool head_only, struct image_info *out, const char **why)
{
	struct scan s = { .rest = sv_from(data, len), .head_only = head_only };

	*why = NULL;
	if (!head_only && !svg_utf8_ok(s.rest))
		refuse(&s, "The SVG is not UTF-8, or has control characters.");
	else
		scan(&s);
	if (s.why != NULL) {
		*why = s.why;
		return ERR_INVALID;
	}
	*out = (struct image_info){ .type = IMAGE_SVG, .frames = 1 };
	svg_size_get(&s.size, &out->width, &out->height);
	return ERR_OK;
}

bool image_svg_matches(const uint8_t *data, size_t len)
{
	struct scan s = { .rest = sv_from(data, len) };
	struct sv text;

	take(&s, SV("\xef\xbb\xbf"));
	for (;;) {
		skip_blanks(&s);
		if (take(&s, SV("<!--"))) {
			if (!take_until(&s, SV("-->"), &text))
				return false;
		} else if (take(&s, SV("<?"))) {
			if (!take_until(&s, SV("?>"), &text))
				return false;
		} else if (take(&s, SV("<!"))) {
			if (!take_until(&s, SV(">"), &text))
				return false;
		} else {
			break;
		}
	}
	if (!take(&s, SV("<")) || !take_name(&s, &text))
		return false;
	return sv_ieq(local_name(text), SV("svg"));
}
