/*
 * Inside of imgurl: the options of one path. Each is looked up by its name, checked, and written under its short name;
 * at the end the sizes are held against the bounds, as the last of each option has set them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cursor.h"
#include "base/sv.h"
#include "imgurl/rewrite.h"

enum imgurl_side { SIDE_WIDTH = 0, SIDE_HEIGHT, SIDE_MIN_WIDTH, SIDE_MIN_HEIGHT, SIDE_COUNT };

struct imgurl_options {
	const struct imgurl_tenant *tenant;
	int64_t now;
	struct wcur *w;         /* of the target */
	struct imgurl_out *out; /* for the sentence of a refusal */
	struct sv name;         /* of the present option, as the client wrote it */
	struct {
		uint64_t pixels; /* 0: not given */
		struct sv by;    /* the option that gave it */
	} sides[SIDE_COUNT];
	uint64_t zoom[2]; /* thousandths, of width and height */
	uint64_t dpr;
	uint64_t padding[2]; /* left and right, top and bottom */
	struct sv padding_by;
	struct sv enlarge_by;
	struct sv aspect_by;
	bool enlarge;
	bool extend_aspect_ratio;
	bool expires;
};

/* `out` gets the sentence of a refusal; what is allowed is written to w, each option with a "/" before it. */
void imgurl_options_begin(struct imgurl_options *o, const struct imgurl_tenant *tenant, int64_t now, struct wcur *w,
                          struct imgurl_out *out);

/*
 * One option: its name, and *rest behind the colon, off whose front the arguments and the slash behind them are taken.
 * Both views live until imgurl_options_end().
 */
enum imgurl_result imgurl_options_add(struct imgurl_options *o, struct sv name, struct sv *rest);

/* The bounds that options have together. */
enum imgurl_result imgurl_options_end(struct imgurl_options *o);

/* Refuses an option of this name, which the sentence contains if it is a word. */
enum imgurl_result imgurl_options_refuse(struct imgurl_options *o, struct sv name);
