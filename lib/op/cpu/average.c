/*
 * The average of two, or one alone, through dropout; and dropout itself, which all that drop use.
 */
#include "op/cpu/cpu.h"
#include "sys/philox.h"

void
cpu_drop(float *x, int n, const struct dropout *drop, uint32_t row)
{
	const double bound = (double)drop->p * 4294967296.0;
	const float scale = 1 / (1 - drop->p);

	for (int i = 0; i < n; i += 4) {
		uint32_t draw[4];

		philox4x32(draw, drop->seed, drop->step, drop->site, row, (uint32_t)i / 4);
		for (int lane = 0; lane < 4 && i + lane < n; lane++)
			x[i + lane] *= draw[lane] >= bound ? scale : 0;
	}
}

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
				cpu_drop(out, a->D, &a->drop,
				         (uint32_t)b * a->drop.stride + (uint32_t)(r - a->rows.off[b]));
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
				cpu_drop(d, a->D, &a->drop,
				         (uint32_t)b * a->drop.stride + (uint32_t)(r - a->rows.off[b]));
		}
}
