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
	uint32_t row;

	if (r >= w.N)
		return;
	row = ragged_dropout_row(&w.drop, w.off, w.places, r);
	for (int c = own_column(0, 0); c < w.D; c += COLUMNS * WARP) {
		const size_t at = (size_t)r * w.D + c;
		const int left = w.D - c;
		float factor[COLUMNS], x[COLUMNS], other[COLUMNS];

		load_columns(x, w.a + at, left);
		load_columns(other, w.b ? w.b + at : NULL, w.b ? left : 0);
		if (w.drop.any)
			drop_factors(factor, &w.drop, row, c);
		for (int k = 0; k < COLUMNS; k++) {
			x[k] = (x[k] + other[k]) * w.factor;
			if (w.drop.any)
				x[k] *= factor[k];
		}
		store_columns(w.out + at, x, left);
		if (w.out16)
			store_narrow(w.out16 + at, x, left);
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
