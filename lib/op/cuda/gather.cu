/*
 * Rows by their index, and back.
 */
#include "op/cuda/kernel.h"

__global__ static void
take(float *out, const float *in, const int *index, int n, int D)
{
	const int r = own_row();

	if (r >= n)
		return;
	for (int i = own_lane(); i < D; i += WARP)
		out[(size_t)r * D + i] = in[(size_t)index[r] * D + i];
}

void
cuda_gather(const struct gather *g)
{
	const int *index = cuda_mirror(g->index, (size_t)g->n);

	if (index)
		LAUNCH(take, by_rows(g->n), THREADS, 0, g->out, g->in, index, g->n, g->D);
}

__global__ static void
put_back(float *din, const float *dout, const int *index, int n, int D)
{
	const int r = own_row();

	if (r >= n)
		return;
	for (int i = own_lane(); i < D; i += WARP)
		din[(size_t)index[r] * D + i] += dout[(size_t)r * D + i];
}

void
cuda_gather_backward(const struct gather_backward *g)
{
	const int *index = cuda_mirror(g->index, (size_t)g->n);

	if (index)
		LAUNCH(put_back, by_rows(g->n), THREADS, 0, g->din, g->dout, index, g->n, g->D);
}
