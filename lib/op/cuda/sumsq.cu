/*
 * The sum of squares in double, in blocks of fixed size: for norms.
 */
#include "op/cuda/kernel.h"

__global__ static void
squares(double *part, const float *x, size_t n)
{
	double sum = 0;

	for (size_t i = first_element(); i < n; i += element_step())
		sum += (double)x[i] * (double)x[i];
	sum = sum_block(sum);
	if (threadIdx.x == 0)
		part[blockIdx.x] = sum;
}

/* *out = the sum of part (n) */
__global__ static void
total(double *out, const double *part, int n)
{
	double sum = 0;

	for (int i = (int)threadIdx.x; i < n; i += THREADS)
		sum += part[i];
	sum = sum_block(sum);
	if (threadIdx.x == 0)
		*out = sum;
}

void
cuda_sumsq(double *sums, const float *const *x, const size_t *n, int count)
{
	const size_t bytes = (size_t)count * sizeof(double);
	double *part = (double *)cuda_scratch(SCRATCH_SUMS, PARTS * sizeof *part + bytes);

	for (int i = 0; i < count && !part; i++)
		sums[i] = NAN;
	if (!part)
		return;
	cuda_zero(part + PARTS, bytes);
	for (int i = 0; i < count; i++) {
		const dim3 blocks = elements(n[i], PARTS);

		if (!n[i])
			continue;
		LAUNCH(squares, blocks, THREADS, 0, part, x[i], n[i]);
		LAUNCH(total, dim3(1), THREADS, 0, part + PARTS + i, part, (int)blocks.x);
	}
	cuda_get(sums, part + PARTS, bytes);
}
