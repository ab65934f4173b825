/*
 * The sum of squares in double, in blocks of fixed size: for norms.
 */
#include "op/cuda/kernel.h"

constexpr int MOST = 1 << 10; /* partial sums, of a block of threads each */

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
	double *part = (double *)cuda_scratch(SCRATCH_SUMS, MOST * sizeof *part + bytes);

	for (int i = 0; i < count && !part; i++)
		sums[i] = NAN;
	if (!part)
		return;
	cuda_zero(part + MOST, bytes);
	for (int i = 0; i < count; i++) {
		const unsigned blocks = elements(n[i]).x < MOST ? elements(n[i]).x : MOST;

		if (!n[i])
			continue;
		LAUNCH(squares, dim3(blocks), THREADS, 0, part, x[i], n[i]);
		LAUNCH(total, dim3(1), THREADS, 0, part + MOST + i, part, (int)blocks);
	}
	cuda_get(sums, part + MOST, bytes);
}
