/*
 * The sum of squares in double, in blocks of fixed size: for norms.
 */
#include "op/cuda/kernel.h"

constexpr int MOST = 1 << 10; /* partial sums, of a block of threads each */

/* Thread 0 of a block of THREADS gets the sum over its threads, in one order. */
static __device__ inline double
sum_block(double x)
{
	__shared__ double part[WARPS];

	x = sum_lanes(x, WARP);
	if (own_lane() == 0)
		part[threadIdx.x / WARP] = x;
	__syncthreads();
	x = 0;
	for (int i = 0; i < WARPS; i++)
		x += part[i];
	__syncthreads();
	return x;
}

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

/* part[n] = the sum of part[0] … part[n-1] */
__global__ static void
total(double *part, int n)
{
	double sum = 0;

	for (int i = (int)threadIdx.x; i < n; i += THREADS)
		sum += part[i];
	sum = sum_block(sum);
	if (threadIdx.x == 0)
		part[n] = sum;
}

double
cuda_sumsq(const float *x, size_t n)
{
	double *part = (double *)cuda_scratch(SCRATCH_SUMS, (MOST + 1) * sizeof *part), out = NAN;
	unsigned blocks = elements(n).x < MOST ? elements(n).x : MOST;

	if (!part || !n)
		return n ? NAN : 0;
	LAUNCH(squares, dim3(blocks), THREADS, 0, part, x, n);
	LAUNCH(total, dim3(1), THREADS, 0, part, (int)blocks);
	cuda_get(&out, part + blocks, sizeof out);
	return out;
}
