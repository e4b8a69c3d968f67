/* Inside of imgurl's options: what the table and the functions behind it share. */
#pragma once

#include "imgurl/args.h"
#include "imgurl/options.h"

#define IMGURL_MILLI 1000

struct imgurl_option {
	struct sv brief; /* the name under which it is written */
	struct sv full;
	unsigned most; /* arguments */
	/* Checks the arguments, writes them, and notes in *o what has bounds together with other options. */
	enum imgurl_result (*apply)(struct imgurl_options *o, struct imgurl_args *a);
};

/* By either name; NULL: it is not one that a client may use. */
const struct imgurl_option *imgurl_option_find(struct sv name);

/* "The option <name><what>.", with a number of thousandths and its unit unless milli is NULL. */
void imgurl_option_say(struct imgurl_options *o, struct sv name, const char *what, const uint64_t *milli,
                       const char *unit);

/* The present option has arguments of another form. */
enum imgurl_result imgurl_option_malformed(struct imgurl_options *o);

/* The option of this name asks for more than it may. */
enum imgurl_result imgurl_option_beyond(struct imgurl_options *o, struct sv name, uint64_t most_milli,
                                        const char *unit);

/* The bound of a side, in thousandths. */
static inline uint64_t imgurl_most_pixels(const struct imgurl_options *o)
{
	return (uint64_t)o->tenant->bounds.max_dimension * IMGURL_MILLI;
}
