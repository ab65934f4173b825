/*
 * The average of two, or one alone, through dropout; and dropout itself, which all that drop use.
 */
#include "op/cpu/cpu.h"
#include "sys/philox.h"

enum { BLOCKS = 16, DRAWS = 4 * BLOCKS };

/* DRAWS numbers of a row, from column 4 `first` on: BLOCKS counters of philox4x32 (sys/philox.h) side by side. */
VECTOR static void
draw(uint32_t out[DRAWS], const struct dropout *drop, uint32_t row, uint32_t first)
{
	uint32_t c[4][BLOCKS], k0 = (uint32_t)drop->seed, k1 = (uint32_t)(drop->seed >> 32);

	for (uint32_t b = 0; b < BLOCKS; b++) {
		c[0][b] = drop->step;
		c[1][b] = drop->site;
		c[2][b] = row;
		c[3][b] = first + b;
	}
	for (int round = 0; round < PHILOX_ROUNDS; round++)
		for (int b = 0; b < BLOCKS; b++)
			philox_round(&c[0][b], &c[1][b], &c[2][b], &c[3][b], k0 + (uint32_t)round * PHILOX_W0,
			             k1 + (uint32_t)round * PHILOX_W1);
	for (int b = 0; b < BLOCKS; b++)
		for (int lane = 0; lane < 4; lane++)
			out[4 * b + lane] = c[lane][b];
}

VECTOR static void
keep(float *x, const uint32_t *drawn, int n, uint32_t bound, float scale)
{
	for (int i = 0; i < n; i++)
		x[i] *= drawn[i] >= bound ? scale : 0;
}

void
cpu_drop(float *x, int n, const struct dropout *drop, uint32_t row)
{
	const uint32_t bound = (uint32_t)ceil((double)drop->p * 4294967296.0);

	for (int i = 0; i < n; i += DRAWS) {
		uint32_t drawn[DRAWS];

		draw(drawn, drop, row, (uint32_t)i / 4);
		keep(x + i, drawn, n - i < DRAWS ? n - i : DRAWS, bound, 1 / (1 - drop->p));
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
			if (a->out16)
				cpu_narrow(a->out16 + (size_t)r * D, out, D);
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
