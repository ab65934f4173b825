/*
 * The sum of squares in double, in blocks of fixed size: for norms.
 */
#include "op/cuda/tensors.h"

struct sumsq_tensor {
	const float *x;
	size_t n;
};

__global__ static void
squares(double *part, struct tensors<struct sumsq_tensor> all)
{
	const struct chunk c = own_chunk(all);
	const float *from = all.at[c.tensor].x;
	double sum = 0;

	for (size_t i = c.begin; i < c.end; i += STRIDE) {
		float x[COLUMNS];

		load_columns(x, from + i, columns_left(i, c.end));
		for (int k = 0; k < COLUMNS; k++)
			sum += (double)x[k] * (double)x[k];
	}
	sum = sum_block(sum);
	if (threadIdx.x == 0)
		part[blockIdx.x] = sum;
}

/* A block adds up what its tensor's blocks have found. */
__global__ static void
total(double *sums, const double *part, struct tensors<struct sumsq_tensor> all)
{
	const int tensor = (int)blockIdx.x;
	double sum = 0;

	for (int i = all.first[tensor] + (int)threadIdx.x; i < all.first[tensor + 1]; i += THREADS)
		sum += part[i];
	sum = sum_block(sum);
	if (threadIdx.x == 0)
		sums[tensor] = sum;
}

/* -1 (and a fault) when there is no memory. */
static int
add_up(double *sums, struct tensors<struct sumsq_tensor> all)
{
	const size_t count = (size_t)all.count;
	double *out = (double *)cuda_scratch(SCRATCH_SUMS, (count + (size_t)all.blocks) * sizeof *out);

	if (!all.at || !out)
		return -1;
	LAUNCH(squares, dim3((unsigned)all.blocks), THREADS, 0, out + count, all);
	LAUNCH(total, dim3((unsigned)count), THREADS, 0, out, out + count, all);
	cuda_get(sums, out, count * sizeof *out);
	return 0;
}

void
cuda_sumsq(double *sums, const float *const *x, const size_t *n, int count)
{
	struct sumsq_tensor *host = tensors_room<struct sumsq_tensor>(count);

	for (int i = 0; i < count && host; i++)
		host[i] = { x[i], n[i] };
	if (host && !add_up(sums, tensors_send(host, count)))
		return;
	for (int i = 0; i < count; i++)
		sums[i] = NAN;
}
