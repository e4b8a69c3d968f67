#include "plan.h"

static double least_of(double a, double b)
{
	return a < b ? a : b;
}

static double most_of(double a, double b)
{
	return a > b ? a : b;
}

int plan_side(double v)
{
	return v < 1 ? 1 : v > 1e9 ? 1000000000 : (int)(v + 0.5);
}

int plan_position(int whole, int part, double at, double offset)
{
	double pixels = offset > -1 && offset < 1 ? offset * whole : offset;
	double v = (whole - part) * at + (at >= 1 ? -pixels : pixels);
	return v < 0 ? 0 : v > whole - part ? whole - part : (int)(v + 0.5);
}

int plan_crop_side(int whole, double crop)
{
	if (crop <= 0)
		return whole;
	return (int)least_of(whole, crop < 1 ? most_of(1, whole * crop) : crop);
}

/* How imgproxy scales: shrink factors of both sides, then no enlargement unless asked for. */
static void scale(const struct job *job, int src_width, int src_height, enum resizing resizing, double *x, double *y)
{
	double w = job->width * job->dpr;
	double h = job->height * job->dpr;

	*x = w > 0 ? w / src_width : 0;
	*y = h > 0 ? h / src_height : 0;
	if (resizing == RESIZE_FORCE) {
		*x = *x > 0 ? *x : job->dpr;
		*y = *y > 0 ? *y : job->dpr;
	} else {
		if (*x <= 0)
			*x = *y;
		if (*y <= 0)
			*y = *x;
		if (*x <= 0)
			*x = *y = job->dpr;
		*x = *y = resizing == RESIZE_FIT ? least_of(*x, *y) : most_of(*x, *y);
	}
	*x *= job->zoom_x;
	*y *= job->zoom_y;
	if (!job->enlarge && most_of(*x, *y) > 1) {
		double most = most_of(*x, *y);
		*x /= most;
		*y /= most;
	}
	double least = most_of(job->min_width * job->dpr / (src_width * *x),
	                       job->min_height * job->dpr / (src_height * *y));
	if (least > 1) {
		*x *= least;
		*y *= least;
	}
}

static void cut(const struct job *job, enum resizing resizing, struct plan *p)
{
	double w = job->width > 0 ? job->width * job->dpr : p->scaled_width;
	double h = job->height > 0 ? job->height * job->dpr : p->scaled_height;
	double over = most_of(w / p->scaled_width, h / p->scaled_height);

	if (resizing == RESIZE_FILL_DOWN && over > 1) {
		w /= over;
		h /= over;
	}
	p->crop_width = (int)least_of(plan_side(w), p->scaled_width);
	p->crop_height = (int)least_of(plan_side(h), p->scaled_height);
}

static void extend(const struct job *job, struct plan *p)
{
	double w = job->width * job->dpr;
	double h = job->height * job->dpr;

	if (job->extend) {
		p->extended_width = plan_side(most_of(w, p->extended_width));
		p->extended_height = plan_side(most_of(h, p->extended_height));
	}
	if (job->extend_ratio && w > 0 && h > 0) {
		p->extended_width = plan_side(most_of(p->extended_width, p->extended_height * w / h));
		p->extended_height = plan_side(most_of(p->extended_height, p->extended_width * h / w));
	}
}

/* A result that is larger than the settings allow is made smaller as a whole. */
static void limit(const struct job *job, struct plan *p)
{
	double w = (double)p->extended_width + p->padding[1] + p->padding[3];
	double h = (double)p->extended_height + p->padding[0] + p->padding[2];
	double shrink = job->max_result_dimension > 0 ? (double)job->max_result_dimension / most_of(w, h) : 1;
	int *const sides[] = { &p->scaled_width, &p->scaled_height,  &p->crop_width,
		               &p->crop_height,  &p->extended_width, &p->extended_height };

	if (shrink >= 1)
		return;
	for (size_t i = 0; i < sizeof(sides) / sizeof(sides[0]); i++)
		*sides[i] = *sides[i] * shrink < 1 ? 1 : (int)(*sides[i] * shrink);
	for (int i = 0; i < 4; i++)
		p->padding[i] = (int)(p->padding[i] * shrink);
}

struct plan plan_make(const struct job *job, int src_width, int src_height)
{
	struct plan p = { 0 };
	enum resizing resizing = job->resizing;
	double x;
	double y;

	if (resizing == RESIZE_AUTO)
		resizing = (src_width >= src_height) == (job->width >= job->height) ? RESIZE_FILL : RESIZE_FIT;
	scale(job, src_width, src_height, resizing, &x, &y);
	p.scaled_width = p.crop_width = plan_side(src_width * x);
	p.scaled_height = p.crop_height = plan_side(src_height * y);
	if (resizing == RESIZE_FILL || resizing == RESIZE_FILL_DOWN)
		cut(job, resizing, &p);
	p.extended_width = p.crop_width;
	p.extended_height = p.crop_height;
	extend(job, &p);
	for (int i = 0; i < 4; i++)
		p.padding[i] = (int)least_of(1e6, job->padding[i] * job->dpr + 0.5);
	limit(job, &p);
	return p;
}
