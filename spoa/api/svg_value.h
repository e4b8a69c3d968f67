/* What image_svg.c asks of values and texts: where they lead, and which size they give. See image_svg.h for the rules.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/sv.h"

enum svg_value {
	SVG_VALUE_PLAIN = 0, /* an attribute */
	SVG_VALUE_LINK,      /* href, src: leads to a part of the file, or holds pixels */
	SVG_VALUE_CSS,       /* style and what browsers read as it, the text of the element style */
	SVG_VALUE_RAW_CSS,   /* the same without references, as in CDATA */
	SVG_VALUE_TEXT,      /* text: its references alone */
	SVG_VALUE_ANIMATED,  /* attributeName: what an animation changes, which is no link and no handler */
};

/* Whether the value may stand there; otherwise *why gets a static text. */
bool svg_value_ok(struct sv value, enum svg_value kind, const char **why);

/* Well-formed UTF-8 (RFC 3629) without control characters but tab and line ends. */
bool svg_utf8_ok(struct sv text);

/* Width and height of the root; 0 is "not said". Start with {0}. */
struct svg_size {
	double width, height;         /* px */
	double box_width, box_height; /* of the viewBox */
};

/* Takes note of an attribute of the root, when it says something of the size. */
void svg_size_attribute(struct svg_size *size, struct sv name, struct sv value);

/* Whole pixels, 1 to INT32_MAX. */
void svg_size_get(const struct svg_size *size, uint32_t *width, uint32_t *height);
