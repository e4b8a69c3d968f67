/* Arguments of options, as imgproxy reads them with Go's strconv. Each returns false for what is none. */
#pragma once

#include "options.h"

bool arg_int(const char *text, long min, long max, long *out);
bool arg_side(const char *text, int *out);
bool arg_number(const char *text, double *out);
/* What is no boolean is false, and no mistake. */
bool arg_bool(const char *text);
/* RRGGBB or RGB */
bool arg_hex_colour(const char *text, struct colour *out);
/* "123" within 0 to 255 */
bool arg_byte(const char *text, double *out);

#define GRAVITY_SMART     1u
#define GRAVITY_FOCUS     2u
#define GRAVITY_REPLICATE 4u
/* "type[:x:y]"; `kinds`: which of the above may stand there beside the nine common ones. */
bool arg_gravity(int argc, char **argv, unsigned kinds, struct gravity *out);
