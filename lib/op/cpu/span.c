/*
 * The mask of an adaptive span over one head's keys (op.h, struct span), forward and backward: LANES queries at once, a lane each,
 * keys one below the other.
 */
#include "op/cpu/cpu.h"

static const double EPS = 1e-8; /* reference: models/adaptive_span.py */

/* The value that a place has. */
static float
value_of(const struct span *span, int heads, int place, int head)
{
	double sum = 0;

	if (span->by_place)
		return span->value[place * heads + head];
	for (int row = 0; row < span->rows; row++)
		sum += (double)span->value[row * heads + head];
	return (float)(sum / span->rows);
}

void
cpu_span_mask(float *mask, float *moves, const struct span *span, int heads, int place, int head, int keys)
{
	float v;

	if (!span->value) {
		for (int j = 0; j < keys; j++) {
			mask[j] = 1;
			moves[j] = 0;
		}
		return;
	}
	v = value_of(span, heads, place, head);
	for (int j = 0; j < keys; j++) {
		float m = ((float)(j - (span->length - 1)) + v * (float)span->length) / (float)span->ramp + 1;

		mask[j] = m < 0 ? 0 : m > 1 ? 1 : m;
		moves[j] = m > 0 && m < 1;
	}
}

VECTOR void
cpu_span_apply(float *out, const float *x, const float *mask, int stride, int keys, double sum[LANES])
{
	for (int l = 0; l < LANES; l++)
		sum[l] = EPS;
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++) {
			out[j * stride + l] = x[j * stride + l] * mask[j];
			sum[l] += (double)out[j * stride + l];
		}
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			out[j * stride + l] = (float)((double)out[j * stride + l] / sum[l]);
}

/* In double, since a small sum raises what is left of a difference. */
VECTOR void
cpu_span_backward(float *d, float *dmask, const float *x, const float *mask, int stride, int keys,
                  const double sum[LANES])
{
	double dot[LANES] = { 0 };

	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			dot[l] += (double)d[j * stride + l] * (double)x[j * stride + l] * (double)mask[j];
	for (int l = 0; l < LANES; l++)
		dot[l] /= sum[l];
	for (int j = 0; j < keys; j++) {
		double lane[LANES], all = 0;

		for (int l = 0; l < LANES; l++) {
			const double by_product = ((double)d[j * stride + l] - dot[l]) / sum[l];

			lane[l] = by_product * (double)x[j * stride + l];
			d[j * stride + l] = (float)(by_product * (double)mask[j]);
		}
		for (int l = 0; l < LANES; l++)
			all += lane[l];
		dmask[j] += (float)all;
	}
}
