/*
 * The mask of an adaptive span over one head's keys (op.h, struct span), forward and backward.
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

double
cpu_span_apply(float *out, const float *x, const float *mask, int n)
{
	double sum = EPS;

	for (int j = 0; j < n; j++) {
		out[j] = x[j] * mask[j];
		sum += (double)out[j];
	}
	for (int j = 0; j < n; j++)
		out[j] = (float)((double)out[j] / sum);
	return sum;
}

/* In double, since a small sum raises what is left of a difference. */
void
cpu_span_backward(float *d, float *dmask, const float *x, const float *mask, double sum, int n)
{
	double dot = 0;

	for (int j = 0; j < n; j++)
		dot += (double)d[j] * (double)x[j] * (double)mask[j];
	dot /= sum;
	for (int j = 0; j < n; j++) {
		double by_product = ((double)d[j] - dot) / sum;

		dmask[j] += (float)(by_product * (double)x[j]);
		d[j] = (float)(by_product * (double)mask[j]);
	}
}
