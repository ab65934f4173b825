/*
 * alpha-entmax of a row, exactly, and its gradients; a row is GROUP threads' (tile.h), and all rows of a warp go through the same
 * steps together.
 *
 * With x' = (alpha-1)(x - max) and e = 1/(alpha-1), p = z^e where z = max(0, x' - tau), and tau in [-1, 0) makes the sum one. Newton's
 * method for the norm of z, which is convex in tau for alpha <= 2, climbs from tau = -1: in float32 as far as that goes, then in double.
 * For alpha > 2, bisection. The CPU's entmax.c says why.
 */
#ifndef VQA_OP_CUDA_ENTMAX_H
#define VQA_OP_CUDA_ENTMAX_H

#include "op/cuda/tile.h"

constexpr int NEWTON_MOST = 60, BISECTIONS = 60;

static const float NEAR_F32 = 1e-5f;
static const double NEAR_F64 = 3e-5;

struct entmax {
	double alpha, e;
	float max;
	double tau;     /* of x' */
	double inverse; /* 1/sum that p was multiplied with */
	int finite;     /* whether the row is; not a number is its p else */
};

/* What backward needs of each of a row's keys: p, and g = p^(2 - alpha), 0 where p is. */
struct entmax_row {
	double *p, *g;
};

static __device__ inline double
entmax_x(const struct entmax *w, float x)
{
	return (w->alpha - 1) * ((double)x - (double)w->max);
}

/* z^(e-1), 0 for z <= 0 */
static __device__ inline double
entmax_low(double z, double e)
{
	return z > 0 ? exp((e - 1) * log(z)) : 0;
}

/* Newton's steps in float32 from -1, until the warp's rows are near. */
static __device__ inline void
entmax_approach(struct entmax *w, const float *x, int keys)
{
	const float e = (float)w->e;
	float tau = -1;
	int moving = w->finite;

	for (int i = 0; i < NEWTON_MOST && __any_sync(ALL_LANES, moving); i++) {
		float sum = 0, slope = 0, step;

		for (int j = own_part(); j < keys; j += GROUP) {
			const float z = (float)entmax_x(w, x[j]) - tau, low = z > 0 ? expf((e - 1) * logf(z)) : 0;

			sum += low * z;
			slope += low;
		}
		sum = sum_lanes(sum, GROUP);
		slope = sum_lanes(slope, GROUP);
		/* (S^(1/e) - 1) / (S^(1/e - 1) T) */
		step = (sum - expf((1 - 1 / e) * logf(sum))) / slope;
		if (moving)
			tau += step;
		moving = moving && fabsf(step) * e > NEAR_F32;
	}
	w->tau = (double)tau;
}

static __device__ inline double
entmax_sum(const struct entmax *w, const float *x, int keys, double tau, double *slope)
{
	double sum = 0, slopes = 0;

	for (int j = own_part(); j < keys; j += GROUP) {
		const double z = entmax_x(w, x[j]) - tau, low = entmax_low(z, w->e);

		sum += low * z;
		slopes += low;
	}
	*slope = sum_lanes(slopes, GROUP);
	return sum_lanes(sum, GROUP);
}

static __device__ inline void
entmax_newton(struct entmax *w, const float *x, int keys)
{
	int moving = w->finite;

	for (int i = 0; i < NEWTON_MOST && __any_sync(ALL_LANES, moving); i++) {
		double slope;
		const double sum = entmax_sum(w, x, keys, w->tau, &slope);
		/* Near the root its first order, where the difference would lose digits. */
		const double step = fabs(sum - 1) < 1e-4 ? (sum - 1) / (w->e * slope)
		                                         : (sum - exp((1 - 1 / w->e) * log(sum))) / slope;

		if (moving)
			w->tau += step;
		moving = moving && fabs(step) * w->e > NEAR_F64;
	}
}

static __device__ inline void
entmax_bisection(struct entmax *w, const float *x, int keys)
{
	double low = -1, high = 0;

	for (int i = 0; i < BISECTIONS; i++) {
		const double middle = (low + high) / 2;
		double slope;

		if (entmax_sum(w, x, keys, middle, &slope) >= 1)
			low = middle;
		else
			high = middle;
	}
	w->tau = low;
}

/* x becomes p. known: w->tau is near the solution already. row.p and row.g may be NULL. */
static __device__ inline void
entmax_forward(struct entmax *w, float *x, int keys, double alpha, int known, struct entmax_row row)
{
	float zero = 0;
	double sum = 0;

	w->alpha = alpha;
	w->e = 1 / (alpha - 1);
	w->max = -INFINITY;
	for (int j = own_part(); j < keys; j += GROUP) {
		w->max = fmaxf(w->max, x[j]);
		zero += x[j] * 0; /* NaN for what is not finite */
	}
	w->max = max_lanes(w->max, GROUP);
	w->finite = sum_lanes(zero, GROUP) == 0 && alpha > 1; /* the reference turns NaN there, too */
	if (alpha > 2 && !known) {
		entmax_bisection(w, x, keys);
	} else if (!(alpha > 2)) {
		if (!known)
			entmax_approach(w, x, keys);
		entmax_newton(w, x, keys);
	}
	for (int j = own_part(); j < keys; j += GROUP) {
		const double z = entmax_x(w, x[j]) - w->tau, low = entmax_low(z, w->e), p = z > 0 ? low * z : 0;

		sum += p;
		x[j] = (float)p;
		if (row.p) {
			row.p[j] = p;
			row.g[j] = w->finite ? low : NAN;
		}
	}
	w->inverse = w->finite ? 1 / sum_lanes(sum, GROUP) : NAN;
	for (int j = own_part(); j < keys; j += GROUP) {
		if (row.p)
			row.p[j] *= w->inverse;
		x[j] = (float)(row.p ? row.p[j] : (double)x[j] * w->inverse);
	}
}

/*
 * With r = g / sum g and s = p log p, of p before it was divided by its sum (reference: models/entmax.py):
 * dx = g (dy - sum r dy), dalpha = sum dy (p - r) / (alpha-1)^2 - sum dy (s - r sum s) / (alpha-1).
 * d, the gradient by p, becomes the one by x; returns the row's share of the gradient by alpha.
 */
static __device__ inline double
entmax_backward(float *d, const struct entmax *w, struct entmax_row row, int keys)
{
	const double a = w->alpha - 1;
	double g = 0, gd = 0, s = 0, pd = 0, sd = 0, mean;

	for (int j = own_part(); j < keys; j += GROUP) {
		const double dy = (double)d[j], p = row.p[j] / w->inverse, p_log_p = p > 0 ? p * log(p) : p;

		g += row.g[j];
		gd += row.g[j] * dy;
		s += p_log_p;
		pd += row.p[j] * dy;
		sd += p_log_p * dy;
	}
	g = sum_lanes(g, GROUP);
	s = sum_lanes(s, GROUP);
	mean = sum_lanes(gd, GROUP) / g;
	pd = sum_lanes(pd, GROUP);
	sd = sum_lanes(sd, GROUP);
	for (int j = own_part(); j < keys; j += GROUP)
		d[j] = (float)(row.g[j] * ((double)d[j] - mean));
	return (pd - mean) / (a * a) - (sd - mean * s) / a;
}

#endif
