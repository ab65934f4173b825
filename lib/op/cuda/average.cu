/*
 * The average of two, or one alone, through dropout.
 */
#include "op/cuda/dropout.h"

struct rows_of_average {
	float *out;
	bf16 *out16;
	const float *a, *b;
	float factor;
	const int *off;
	int places, N, D;
	struct drop drop;
};

/* out = dropout(factor (a + b)), or dropout(factor a) where b is NULL; backward is the same with dout for a. */
__global__ static void
average_rows(struct rows_of_average w)
{
	const int r = own_row();
	uint32_t row = 0;

	if (r >= w.N)
		return;
	if (w.drop.any)
		row = drop_row(&w.drop, w.off, w.places, r);
	for (int c = COLUMNS * own_lane(); c < w.D; c += COLUMNS * WARP) {
		float factor[COLUMNS];

		if (w.drop.any)
			drop_factors(factor, &w.drop, row, c);
		for (int k = 0; k < COLUMNS && c + k < w.D; k++) {
			const size_t at = (size_t)r * w.D + c + k;
			float x = (w.b ? w.a[at] + w.b[at] : w.a[at]) * w.factor;

			if (w.drop.any)
				x *= factor[k];
			w.out[at] = x;
			if (w.out16)
				w.out16[at] = float_to_bfloat(x);
		}
	}
}

static void
launch(struct rows_of_average w, struct rows rows, const struct dropout *drop)
{
	w.off = cuda_mirror(rows.off, (size_t)rows.n + 1);
	w.places = rows.n;
	w.N = rows_total(&rows);
	w.drop = drop_of(drop);
	if (w.off)
		LAUNCH(average_rows, by_rows(w.N), THREADS, 0, w);
}

void
cuda_average(const struct average *a)
{
	launch({ .out = a->out, .out16 = a->out16, .a = a->a, .b = a->b, .factor = a->b ? 0.5f : 1, .D = a->D },
	       a->rows, &a->drop);
}

void
cuda_average_backward(const struct average_backward *a)
{
	launch({ .out = a->d, .a = a->dout, .factor = a->parts == 2 ? 0.5f : 1, .D = a->D }, a->rows, &a->drop);
}
