/* Sizes on the way from the source to the result, as imgproxy works them out. */
#pragma once

#include "options.h"

/* libvips's own bound; imgproxy has none but memory. */
#define SIDE_MAX 65500

struct plan {
	int scaled_width; /* the source is scaled to this */
	int scaled_height;
	int crop_width; /* and cut to this */
	int crop_height;
	int extended_width; /* and put into this */
	int extended_height;
	int padding[4]; /* top, right, bottom, left */
};

/* For a source of this size, already turned upright. */
struct plan plan_make(const struct job *job, int src_width, int src_height);

/* Where a part of `part` pixels begins in `whole`: 0 to whole - part. `at` is the gravity's share, 0 to 1. */
int plan_position(int whole, int part, double at, double offset);

/* A side of a crop: pixels, a share of the whole, or 0 for the whole. */
int plan_crop_side(int whole, double crop);

/* Rounded, at least 1 and at most a thousand million. */
int plan_side(double v);
