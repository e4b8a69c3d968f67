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

/* What a resizing type does with an image that has another ratio than width and height. */
enum imgurl_resizing {
	RESIZING_FIT = 0,
	RESIZING_FILL, /* fill-down and auto too: what is over is cut off */
	RESIZING_FORCE,
	RESIZING_ANY, /* whatever a preset says; the bounds take it for fill */
};

enum imgurl_filter { FILTER_BLUR = 0, FILTER_SHARPEN, FILTER_COUNT };

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
	uint64_t crop[2]; /* thousandths, as written: pixels from 1 on, shares below, 0: the whole */
	struct sv crop_by;
	struct sv trim_by;
	uint64_t sigma[FILTER_COUNT]; /* thousandths; 0: not asked for */
	struct sv sigma_by[FILTER_COUNT];
	enum imgurl_resizing resizing;
	bool enlarge; /* or a preset may say so */
	bool enlarge_asked;
	bool trims;
	bool preset;
	bool width_given; /* behind the last preset, like the next one */
	bool height_given;
	bool crop_given[2]; /* anywhere */
	bool extend_aspect_ratio;
	int64_t expires; /* seconds since 1970; 0: never */
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
