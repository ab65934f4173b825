/*
 * The average of two, or one alone, through dropout.
 */
#include "op/cpu/cpu.h"

VECTOR static void
row_average(float *out, const float *a, const float *b, int D)
{
	for (int i = 0; i < D; i++)
		out[i] = b ? (a[i] + b[i]) * 0.5f : a[i];
}

VECTOR static void
row_scale(float *out, const float *in, float factor, int D)
{
	for (int i = 0; i < D; i++)
		out[i] = in[i] * factor;
}

void
cpu_average(const struct average *a)
{
	size_t D = (size_t)a->D;

#pragma omp parallel for schedule(static) if ((size_t)rows_total(&a->rows) * D > PARALLEL_LEAST)
	for (int b = 0; b < a->rows.n; b++)
		for (int r = a->rows.off[b]; r < a->rows.off[b + 1]; r++) {
			float *out = a->out + (size_t)r * D;

			row_average(out, a->a + (size_t)r * D, a->b ? a->b + (size_t)r * D : NULL, a->D);
			if (a->drop.p > 0)
				cpu_drop(out, a->D, &a->drop, dropout_row(&a->drop, b, r - a->rows.off[b]));
			if (a->out16)
				cpu_narrow_row(a->out16 + (size_t)r * D, out, D);
		}
}

void
cpu_average_backward(const struct average_backward *a)
{
	size_t D = (size_t)a->D;

#pragma omp parallel for schedule(static) if ((size_t)rows_total(&a->rows) * D > PARALLEL_LEAST)
	for (int b = 0; b < a->rows.n; b++)
		for (int r = a->rows.off[b]; r < a->rows.off[b + 1]; r++) {
			float *d = a->d + (size_t)r * D;

			row_scale(d, a->dout + (size_t)r * D, a->parts == 2 ? 0.5f : 1, a->D);
			if (a->drop.p > 0)
				cpu_drop(d, a->D, &a->drop, dropout_row(&a->drop, b, r - a->rows.off[b]));
		}
}
