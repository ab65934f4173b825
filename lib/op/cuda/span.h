/*
 * The mask of an adaptive span over one head's keys (op.h, struct span), forward and backward; a row is GROUP threads' (tile.h).
 */
#ifndef VQA_OP_CUDA_SPAN_H
#define VQA_OP_CUDA_SPAN_H

#include "op/cuda/tile.h"

static const double SPAN_EPS = 1e-8; /* reference: models/adaptive_span.py */

/* The value that a place has. */
static __device__ inline float
span_value(const struct span *span, int heads, int place, int head)
{
	double sum = 0;

	if (span->by_place)
		return span->value[place * heads + head];
	for (int row = 0; row < span->rows; row++)
		sum += (double)span->value[row * heads + head];
	return (float)(sum / span->rows);
}

/* mask (keys), and moves: 1 where it moves with the span's value, else 0. By the whole block. */
static __device__ inline void
span_mask(float *mask, float *moves, const struct span *span, int heads, int place, int head, int keys)
{
	const float v = span->value ? span_value(span, heads, place, head) : 0;

	for (int j = (int)threadIdx.x; j < keys; j += THREADS) {
		const float m =
			span->value
				? ((float)(j - (span->length - 1)) + v * (float)span->length) / (float)span->ramp + 1
				: 1;

		mask[j] = m < 0 ? 0 : m > 1 ? 1 : m;
		moves[j] = span->value && m > 0 && m < 1;
	}
}

/* y = mask x / sum of it, a row; returns the sum. y may be x. */
static __device__ inline double
span_apply(float *y, const float *x, const float *mask, int keys)
{
	double sum = 0;

	for (int j = own_part(); j < keys; j += GROUP) {
		y[j] = x[j] * mask[j];
		sum += (double)y[j];
	}
	sum = sum_lanes(sum, GROUP) + SPAN_EPS;
	for (int j = own_part(); j < keys; j += GROUP)
		y[j] = (float)((double)y[j] / sum);
	return sum;
}

/*
 * d, the gradient by y, becomes the one by x; returns the row's share of the gradient by the sum of what moves. In double, since a small
 * sum raises what is left of a difference.
 */
static __device__ inline double
span_backward(float *d, const float *x, const float *mask, const float *moves, int keys, double sum)
{
	double dot = 0, share = 0;

	for (int j = own_part(); j < keys; j += GROUP)
		dot += (double)d[j] * (double)x[j] * (double)mask[j];
	dot = sum_lanes(dot, GROUP) / sum;
	for (int j = own_part(); j < keys; j += GROUP) {
		const double by_product = ((double)d[j] - dot) / sum;

		share += by_product * (double)x[j] * (double)moves[j];
		d[j] = (float)(by_product * (double)mask[j]);
	}
	return sum_lanes(share, GROUP);
}

#endif
