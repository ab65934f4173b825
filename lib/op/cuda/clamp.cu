/*
 * Keep values within [low, high]; NaN stays NaN.
 */
#include "op/cuda/tensors.h"

__global__ static void
keep_within(struct tensors<struct clamp> all)
{
	const struct chunk c = own_chunk(all);
	const struct clamp t = all.at[c.tensor];

	for (size_t i = c.begin; i < c.end; i += STRIDE) {
		const int left = columns_left(i, c.end);
		float x[COLUMNS];

		load_columns(x, t.x + i, left);
		for (int k = 0; k < COLUMNS; k++)
			x[k] = x[k] < t.low ? t.low : x[k] > t.high ? t.high : x[k];
		store_columns(t.x + i, x, left);
	}
}

void
cuda_clamp(const struct clamp *list, int count)
{
	const struct tensors<struct clamp> all = tensors_copy(list, count);

	if (all.at)
		LAUNCH(keep_within, dim3((unsigned)all.blocks), THREADS, 0, all);
}
