/*
 * Whether a file is an SVG that may be stored: a cautious scan (no XML parser), which refuses whatever it does not need
 * to understand. Sources: XML 1.0 (5th edition), SVG 2.
 *
 * What is checked, over the whole file:
 * - UTF-8, no control bytes; at most an XML declaration that says UTF-8 or US-ASCII, and no other processing
 * instruction
 * - no DOCTYPE, no entities but the five of XML and numbers; comments and CDATA (within the root) are allowed
 * - tags balance, at most SVG_DEPTH_MAX deep; attributes are quoted; names are ASCII; the root is `svg`, alone
 * - none of the elements script, foreignObject, iframe, object, embed, handler, listener, audio, video, canvas
 * - no attribute on… (event handlers); href and src lead to `#…` or data:image/ with pixels, and no animation changes
 *   them; nowhere `javascript:` and such, nor other data: types; in attributes and <style>, url() leads to the same
 *   places, and there is no @import. In what browsers read as CSS there is no backslash, and no image(), image-set() or
 *   src(), which take addresses without url()
 * - the text of <style> is in one piece: no comment and no element in it, and text or CDATA, but not both
 * Names are compared without their prefix and without case, values without blanks and with numbers decoded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/image_probe.h"
#include "base/err.h"

#define SVG_DEPTH_MAX 256

/* Whether the first bytes look like an SVG: blanks, declaration, comments and DOCTYPE, then `<svg`. Not a check. */
bool image_svg_matches(const uint8_t *data, size_t len);

/*
 * ERR_INVALID: not a file as above, and *why says what it has, for the client (static text). On success *out is set:
 * the size in CSS pixels from width and height of the root, else from its viewBox, else 300 x 150. With head_only the
 * scan ends behind the root's start tag, and len may be less than the file.
 */
MUST_CHECK enum err image_svg_check(const uint8_t *data, size_t len, bool head_only, struct image_info *out,
                                    const char **why);
