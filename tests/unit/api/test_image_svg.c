/* image_svg_check(): what drawing programs write passes, what can run, lead elsewhere or blow up does not. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "api/image_svg.h"

#define NS      "xmlns=\"http://www.w3.org/2000/svg\" "
#define ROOT    "<svg " NS "xmlns:xlink=\"http://www.w3.org/1999/xlink\">"
#define IN(s)   ROOT s "</svg>"
#define ATTR(s) "<svg " NS s "/>"

/* In a block of exactly that size. */
static enum err check_bytes(const char *text, size_t len, struct image_info *out, const char **why)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, text, len);
	enum err err = image_svg_check(copy, len, false, out, why);
	free(copy);
	return err;
}

static void test_good(void **state)
{
	static const char *const good[] = {
		"<svg/>",
		"<svg></svg>\n",
		"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n<!-- made by x -->\n" ROOT
		"</svg>\n",
		"<?xml version='1.0' encoding='utf-8'?><svg/>",
		"<?xml version='1.0'?><svg/>",
		IN("<g id='a'><path d=\"M0 0L1 1\" fill='url(#b)'/></g><use xlink:href=\"#a\"/><use href='#a'></use>"),
		IN("<style type=\"text/css\"><![CDATA[ .a > .b { fill: url( '#g' ); } ]]></style>"),
		IN("<style>.a{fill:red;stroke:url(#x)}</style><text>caf\xc3\xa9 &amp; &lt;b&gt; "
		   "&#8364;&#x20AC;</text>"),
		IN("<image href=\"data:image/png;base64,iVBORw0KGgo=\"/><image "
		   "xlink:href='data:image/jpeg;base64,/9j/'/>"),
		IN("<sodipodi:namedview pagecolor=\"#ffffff\"/><metadata><rdf:RDF/></metadata>"),
		IN("<a xlink:href=''>t</a><title>on the road: description</title><style><![CDATA[]]></style>"),
		IN("<rect style=\"fill:url(&quot;#a&quot;);background:url(data:image/png;base64,AA)\"/>"),
		IN("<style>\n<![CDATA[\n.a{fill:red}\n]]>\n</style><!-- a --><style>.b{fill:url(#c)}</style><g/>"),
		IN("<style></style><style/><style> <![CDATA[]]> <![CDATA[a{fill:red}]]></style>"),
		IN("<circle r='1'><animate attributeName='r' from='1' to='2' by='1' values='1;2' dur='1s'/></circle>"),
		IN("<set attributeName='fill' to='url(#a)'/><animateTransform attributeName='transform' "
		   "type='rotate'/><animate attributeName='opacity' values='0;1'/>"),
		IN("<g inkscape:label='an image (1)' inkscape:export-filename='C:\\a\\b.png' fill='#fff'/>"),
		IN("<text>background: image(x) src(y)</text><desc>C:\\a</desc><g aria-label='src(x)'/>"),
		"<svg><!----><g\n a='1'\tb=\"'\" c = '\"'></g\n></svg >",
	};
	struct image_info info;
	const char *why;
	(void)state;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		enum err err = check_bytes(good[i], strlen(good[i]), &info, &why);
		if (err != ERR_OK)
			fail_msg("%s: %s", good[i], why);
		assert_int_equal(info.type, IMAGE_SVG);
		assert_true(image_svg_matches((const uint8_t *)good[i], strlen(good[i])));
		/* cut off anywhere it is not whole */
		size_t len = strlen(good[i]);
		while (good[i][len - 1] != '>')
			len--;
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(check_bytes(good[i], cut, &info, &why), ERR_INVALID);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"hello",
		"<html/>",
		"<SVG/>",
		"<x:svg/>",
		"<svg/><svg/>",
		"<svg/>text",
		"text<svg/>",
		"<g><svg/></g>",
		"<svg",
		"<svg>",
		"<svg></g>",
		"<svg><g></svg></g>",
		"</svg>",
		"<svg/></svg>",
		"<svg / >",
		"< svg/>",
		/* what XML can do */
		"<!DOCTYPE svg><svg/>",
		"<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" "
		"\"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd\"><svg/>",
		"<!DOCTYPE svg [<!ENTITY a \"b\">]><svg>&a;</svg>",
		"<svg>&a;</svg>",
		"<svg>&nbsp;</svg>",
		"<svg>&</svg>",
		"<svg>&#0;</svg>",
		"<svg>&#xd800;</svg>",
		"<svg>&#x110000;</svg>",
		"<svg>&#;</svg>",
		"<svg>&#x;</svg>",
		"<svg>&#99999999999;</svg>",
		"<svg a='&b;'/>",
		"<?xml-stylesheet href='x.css'?><svg/>",
		"<svg><?php x ?></svg>",
		"<?xml version='1.0' encoding='UTF-16'?><svg/>",
		"<?xml version='1.0' encoding='UTF-7'?><svg/>",
		"<?xml version='1.0' encoding=?><svg/>",
		"<?xml version='1.0' encoding?><svg/>",
		" <?xml version='1.0'?><svg/>",
		"<svg><!-- a -- b --></svg>",
		"<svg><!-- a ---></svg>",
		"<svg><!-- </svg>",
		"<svg><![CDATA[ </svg>",
		"<![CDATA[a]]><svg/>",
		"<svg><!ELEMENT a></svg>",
		"<svg a=1/>",
		"<svg a/>",
		"<svg a='<'/>",
		"<svg a='1'b='2'/>",
		"<svg a='1/>",
		"<svg \xc3\xa9='1'/>",
		"<svg>\x01</svg>",
		"<svg>\x7f</svg>",
		"<svg>\xff</svg>",
		"<svg>\xc0\x80</svg>",
		"<svg>\xed\xa0\x80</svg>",
		"<svg>\xc2\x80</svg>",
		"<svg>\xe2\x82</svg>",
		"\xff\xfe<\0s\0v\0g\0",
		"+ADw-svg/>",
		/* what can run */
		IN("<script>x()</script>"),
		IN("<script/>"),
		IN("<SCRIPT/>"),
		IN("<svg:script/>"),
		IN("<a:b:script/>"),
		IN("<foreignObject/>"),
		IN("<foreignobject/>"),
		IN("<iframe/>"),
		IN("<x:handler/>"),
		IN("<audio/>"),
		ATTR("onload=\"x()\""),
		ATTR("OnLoad='x()'"),
		ATTR("x:onclick='x()'"),
		IN("<g onmouseover='x()'/>"),
		IN("<a href='javascript:x()'/>"),
		IN("<a href=' java\nscript :x()'/>"),
		IN("<a href='&#106;avascript:x()'/>"),
		IN("<a href='&#x6A;ava&#x0a;script&#58;x()'/>"),
		IN("<a xlink:href='JaVaScRiPt:x()'/>"),
		IN("<set attributeName='href' to='javascript:x()'/>"),
		IN("<animate values='#a;javascript:x()'/>"),
		IN("<a foo='vbscript:x'/>"),
		IN("<rect style='width:expression(x)'/>"),
		/* what leads elsewhere */
		IN("<image href='http://x/y.png'/>"),
		IN("<image xlink:href='file:///etc/passwd'/>"),
		IN("<use href='x.svg#a'/>"),
		IN("<image href='//x/y'/>"),
		IN("<image href='data:image/svg+xml;base64,AA'/>"),
		IN("<image href='data:text/html,x'/>"),
		IN("<image href='data:image/pn'/>"),
		IN("<image href=' &#100;ata:text/html,x'/>"),
		IN("<a href='d'/>"),
		IN("<image src='y.png'/>"),
		IN("<style>@import 'x.css';</style>"),
		IN("<style><![CDATA[@import 'x.css';]]></style>"),
		IN("<style>a{fill:url(http://x)}</style>"),
		IN("<style>a{fill:url( \"y.svg#a\")}</style>"),
		IN("<style>a{fill:URL(d.svg)}</style>"),
		IN("<style>a{fill:\\75rl(x)}</style>"),
		IN("<rect fill='url(http://x#a)'/>"),
		IN("<rect style='fill:url(&quot;x&quot;)'/>"),
		IN("<rect style='a:url('/>"),
		IN("<rect style='fill:u&#x72;l(//x)'/>"),
		IN("<rect style='a\\b'/>"),
		IN("<rect fill='url(data:text/html,x)'/>"),
		/* a style that is checked in pieces, and read as one */
		IN("<style>a{fill:ur<!-- -->l(http://x)}</style>"),
		IN("<style>a{fill:ur<![CDATA[l(http://x)}]]></style>"),
		IN("<style><![CDATA[a{fill:ur]]>l(http://x)}</style>"),
		IN("<style><![CDATA[@imp]]><![CDATA[ort 'x']]></style>"),
		IN("<style>@im<g/>port 'x'</style>"),
		IN("<style>@im<style/>port 'x'</style>"),
		IN("<style><!-- a{} --></style>"),
		IN("<svg:style>@im<!-- -->port 'x'</svg:style>"),
		IN("<style>a{}<![CDATA[ ]]>b{}</style>"),
		/* animations */
		IN("<image><set attributeName=\"href\" to=\"http://x/y.png\"/></image>"),
		IN("<image><animate attributeName='xlink:href' values='#a;http://x'/></image>"),
		IN("<image><animate attributeName=' &#104;REF ' from='#a' to='#b'/></image>"),
		IN("<set attributeName='x:onclick' to='y()'/>"),
		IN("<set attributeName='src' to='y'/>"),
		IN("<set attributeName='xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:href' "
		   "to='y'/>"),
		IN("<set attributeName='fill' to='\\75rl(http://x)'/>"),
		/* CSS that needs no url() */
		IN("<rect style='background:image-set(\"http://x\" 1x)'/>"),
		IN("<rect style='background:-webkit-image-set (\"http://x\" 1x)'/>"),
		IN("<style>a{background:image('http://x')}</style>"),
		IN("<style><![CDATA[a{background:IMAGE-SET('http://x' 1x)}]]></style>"),
		IN("<style>a{background:src('http://x')}</style>"),
		IN("<rect mask='image(&quot;http://x&quot;)'/>"),
		IN("<rect fill='\\75rl(http://x)'/>"),
		IN("<rect clip-path='u\\72l(http://x)'/>"),
	};
	struct image_info info;
	const char *why;
	(void)state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why = NULL;
		if (check_bytes(bad[i], strlen(bad[i]), &info, &why) != ERR_INVALID)
			fail_msg("taken: %s", bad[i]);
		assert_non_null(why);
	}
	assert_int_equal(check_bytes("<svg>\0</svg>", 12, &info, &why), ERR_INVALID);
}

static void test_depth(void **state)
{
	static char text[SVG_DEPTH_MAX * 16];
	struct image_info info;
	const char *why;
	(void)state;

	for (unsigned depth = SVG_DEPTH_MAX; depth <= SVG_DEPTH_MAX + 1; depth++) {
		strcpy(text, "<svg>");
		for (unsigned i = 1; i < depth; i++)
			strcat(text, "<g>");
		for (unsigned i = 1; i < depth; i++)
			strcat(text, "</g>");
		strcat(text, "</svg>");
		assert_int_equal(check_bytes(text, strlen(text), &info, &why),
		                 depth == SVG_DEPTH_MAX ? ERR_OK : ERR_INVALID);
	}
}

static void test_size(void **state)
{
	static const struct {
		const char *text;
		uint32_t width, height;
	} rows[] = {
		{ ATTR(""), 300, 150 },
		{ ATTR("width='40' height='30'"), 40, 30 },
		{ ATTR("width='40px' height='30.2px'"), 40, 31 },
		{ ATTR("width=' 1in ' height='2.54cm'"), 96, 96 },
		{ ATTR("width='25.4mm' height='72pt'"), 96, 96 },
		{ ATTR("width='100%' height='2em' viewBox='0 0 640 480'"), 640, 32 },
		{ ATTR("width='1rem' height='1.5ex' viewBox='0 0 640 480'"), 16, 12 },
		{ ATTR("width='1vw' height='2ch' viewBox='0 0 640 480'"), 640, 480 },
		{ ATTR("viewBox='-10,-20.5, 12.1 ,7'"), 13, 7 },
		{ ATTR("viewBox='0 0 9'"), 300, 150 },
		{ ATTR("width='0' height='-5' viewBox='0 0 9 8'"), 9, 8 },
		{ ATTR("width='0.1' height='1e3'"), 1, 1000 },
		{ ATTR("width='1e99' height='99999999999999999999999'"), INT32_MAX, INT32_MAX },
		{ ATTR("width='' height='.'"), 300, 150 },
		/* of the root alone */
		{ "<svg width='5' height='6'><rect width='50' height='60'/></svg>", 5, 6 },
		{ "<svg><svg width='50' height='60'/></svg>", 300, 150 },
	};
	struct image_info info;
	const char *why;
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(check_bytes(rows[i].text, strlen(rows[i].text), &info, &why), ERR_OK);
		assert_int_equal(info.width, rows[i].width);
		assert_int_equal(info.height, rows[i].height);
		assert_int_equal(info.frames, 1);
		/* the head alone is enough for it */
		const char *tag_end = strchr(strstr(rows[i].text, "<svg"), '>');
		assert_int_equal(image_svg_check((const uint8_t *)rows[i].text, (size_t)(tag_end - rows[i].text) + 1,
		                                 true, &info, &why),
		                 ERR_OK);
		assert_int_equal(info.width, rows[i].width);
	}
}

static void test_matches(void **state)
{
	static const char *const no[] = { "",     "<",     "<html>",  "svg",   "<!-- <svg> -->",
		                          "<!--", "<?xml", "\x89PNG", "<svgx>" };
	static const char *const yes[] = { "<svg", "<SVG>", " \n<!DOCTYPE svg>\n<svg>", "<?xml ?><!-- a --><svg:svg>" };
	(void)state;

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(image_svg_matches((const uint8_t *)no[i], strlen(no[i])));
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(image_svg_matches((const uint8_t *)yes[i], strlen(yes[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_bad),     cmocka_unit_test(test_depth),
		cmocka_unit_test(test_size), cmocka_unit_test(test_matches),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
