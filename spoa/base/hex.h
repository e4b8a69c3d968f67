/* Bytes as hex digits, two a byte. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sv.h"

/* Room for n bytes as text, with its NUL. */
#define HEX_SIZE(n) (2 * (n) + 1)

/* Exactly n bytes, digits of either case. ERR_INVALID for everything else; out is then untouched. */
MUST_CHECK enum err hex_decode(struct sv hex, uint8_t *out, size_t n);

/* Lower-case digits and a NUL: HEX_SIZE(n) characters. Returns out. */
const char *hex_encode(const uint8_t *in, size_t n, char *out);
