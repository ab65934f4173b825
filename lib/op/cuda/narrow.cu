/*
 * float32 rounded to bf16.
 */
#include "op/cuda/columns.h"

__global__ static void
narrow(bf16 *out, const float *x, size_t n)
{
	for (size_t i = COLUMNS * first_element(); i < n; i += COLUMNS * element_step()) {
		const int left = columns_left(i, n);
		float y[COLUMNS];

		load_columns(y, x + i, left);
		store_narrow(out + i, y, left);
	}
}

void
cuda_narrow(bf16 *out, const float *x, size_t n)
{
	LAUNCH(narrow, pieces(n), THREADS, 0, out, x, n);
}
