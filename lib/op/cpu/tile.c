/*
 * Small matrix products, of the size of one head's attention: tiles of the result stay in registers while K is walked.
 */
#include "op/cpu/cpu.h"

/* LANES floats, wherever they lie; the compiler makes of them what a clone's processor has. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

enum { ROWS = 4, WIDE = 2 };

/* Rows [i, i + rows) and columns [j, j + LANES wide) of the result. rows and wide are constants once this is inlined. */
static inline __attribute__((always_inline)) void
tile(const struct tiled *t, int i, int j, int rows, int wide)
{
	lanes sum[ROWS][WIDE] = { 0 };
	const float *a = t->a + i * t->a_row, *b = t->b + j;

	for (int k = 0; k < t->K; k++, a += t->a_column, b += t->b_row) {
		lanes right[WIDE];

#pragma GCC unroll 2
		for (int v = 0; v < wide; v++)
			right[v] = *(const lanes *)(b + v * LANES);
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
			for (int v = 0; v < wide; v++)
				sum[r][v] += a[r * t->a_row] * right[v];
	}
#pragma GCC unroll 4
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int v = 0; v < wide; v++) {
			lanes *c = (lanes *)(t->c + (i + r) * t->c_row + j + v * LANES);

			*c = t->add ? *c + sum[r][v] * t->scale : sum[r][v] * t->scale;
		}
}

static inline __attribute__((always_inline)) void
row_of_tiles(const struct tiled *t, int i, int rows)
{
	int j;

	for (j = 0; j + WIDE * LANES <= t->N; j += WIDE * LANES)
		tile(t, i, j, rows, WIDE);
	if (j < t->N)
		tile(t, i, j, rows, 1);
}

VECTOR void
cpu_tiled(const struct tiled *t)
{
	int i;

	for (i = 0; i + ROWS <= t->M; i += ROWS)
		row_of_tiles(t, i, ROWS);
	switch (t->M - i) {
	case 3:
		row_of_tiles(t, i, 3);
		break;
	case 2:
		row_of_tiles(t, i, 2);
		break;
	case 1:
		row_of_tiles(t, i, 1);
		break;
	}
}
