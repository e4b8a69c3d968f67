/*
 * Inside of imgurl: the arguments of one option, checked by their type and written in one canonical form each, so that
 * nothing of a client's own spelling goes upstream: integers without leading zeros, decimals without superfluous ones,
 * booleans as 0 and 1, colours as hex digits in lower case.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/sv.h"

#define IMGURL_ARGS_MAX 32
/* Greater numbers are taken for this one. */
#define IMGURL_NUMBER_MAX UINT64_C(1000000000000)

struct imgurl_args {
	struct sv v[IMGURL_ARGS_MAX]; /* empty: left out */
	unsigned n;
	struct wcur *w; /* what is written is ":" and the argument */
};

/*
 * Takes the arguments of one option and the slash behind them off the front of *rest, which stands behind the name's
 * colon. Those left out at the end are dropped; one stays. False: there is no slash, or there are more than
 * IMGURL_ARGS_MAX.
 */
bool imgurl_args_split(struct imgurl_args *a, struct sv *rest, struct wcur *w);

/* True, and written as ":", when argument i is left out in the middle; false too when there are no more than i. */
bool imgurl_arg_blank(struct imgurl_args *a, unsigned i);

/*
 * These write argument i and are false, whatever they have written, when it is not of the type. Values:
 *
 *     integer   digits; *value at most IMGURL_NUMBER_MAX
 *     number    digits with or without a fraction; *milli is its size in thousandths, rounded up, at most some more
 *               than IMGURL_NUMBER_MAX of the whole; negative ones only with `sign`
 *     boolean   of Go's strconv.ParseBool: 1 t T true TRUE True, 0 f F false FALSE False
 *     color     three or six hex digits
 *     format    a name of imgproxy's image types
 *     word      letters, digits, ".", "_", "~", "-"
 */
bool imgurl_arg_integer(struct imgurl_args *a, unsigned i, uint64_t *value);
bool imgurl_arg_number(struct imgurl_args *a, unsigned i, bool sign, uint64_t *milli);
bool imgurl_arg_bool(struct imgurl_args *a, unsigned i, bool *value);
bool imgurl_arg_color(struct imgurl_args *a, unsigned i);
bool imgurl_arg_format(struct imgurl_args *a, unsigned i);
bool imgurl_arg_word(struct imgurl_args *a, unsigned i);
/* One of the words of the list, which ends with NULL. */
bool imgurl_arg_one_of(struct imgurl_args *a, unsigned i, const char *const *words);

/* Of a boolean as above. False: it is none. */
bool imgurl_bool_value(struct sv text, bool *value);

/* Whether imgproxy knows the image type (of version 4, and `best`). */
bool imgurl_is_format(struct sv name);
