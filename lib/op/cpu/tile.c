/*
 * Small matrix products, of the size of one head's attention: tiles of the result stay in registers while K is walked. And small
 * transposes.
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

typedef float four __attribute__((vector_size(4 * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t which __attribute__((vector_size(4 * sizeof(int32_t))));

/* Four rows of four become columns: out's rows are `stride` apart. */
static inline __attribute__((always_inline)) void
transpose_four(float *out, int stride, const float *const in[4], int w)
{
	const four a = *(const four *)(in[0] + w), b = *(const four *)(in[1] + w);
	const four c = *(const four *)(in[2] + w), d = *(const four *)(in[3] + w);
	const four ab_low = __builtin_shuffle(a, b, (which){ 0, 4, 1, 5 });
	const four ab_high = __builtin_shuffle(a, b, (which){ 2, 6, 3, 7 });
	const four cd_low = __builtin_shuffle(c, d, (which){ 0, 4, 1, 5 });
	const four cd_high = __builtin_shuffle(c, d, (which){ 2, 6, 3, 7 });

	*(four *)(out + w * stride) = __builtin_shuffle(ab_low, cd_low, (which){ 0, 1, 4, 5 });
	*(four *)(out + (w + 1) * stride) = __builtin_shuffle(ab_low, cd_low, (which){ 2, 3, 6, 7 });
	*(four *)(out + (w + 2) * stride) = __builtin_shuffle(ab_high, cd_high, (which){ 0, 1, 4, 5 });
	*(four *)(out + (w + 3) * stride) = __builtin_shuffle(ab_high, cd_high, (which){ 2, 3, 6, 7 });
}

VECTOR void
cpu_transpose(float *restrict out, int Q, const float *restrict x, int stride, int n, int W)
{
	int j, w;

	for (j = 0; j + 4 <= n; j += 4) {
		const float *const rows[4] = { x + (size_t)j * (size_t)stride, x + (size_t)(j + 1) * (size_t)stride,
			                       x + (size_t)(j + 2) * (size_t)stride,
			                       x + (size_t)(j + 3) * (size_t)stride };

		for (w = 0; w + 4 <= W; w += 4)
			transpose_four(out + j, Q, rows, w);
		for (; w < W; w++)
			for (int r = 0; r < 4; r++)
				out[w * Q + j + r] = rows[r][w];
	}
	for (; j < n; j++)
		for (w = 0; w < W; w++)
			out[w * Q + j] = x[(size_t)j * (size_t)stride + (size_t)w];
	for (w = 0; w < W; w++)
		for (j = n; j < Q; j++)
			out[w * Q + j] = 0;
}
