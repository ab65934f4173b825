/*
 * The sum of squares in double, in blocks of fixed size: for norms.
 */
#include "op/cpu/cpu.h"

enum { BLOCK = 1 << 13, BATCH = 1 << 10 };

VECTOR static double
block(const float *x, size_t n)
{
	double lane[LANES] = { 0 }, sum = 0;
	size_t i;

	for (i = 0; i + LANES <= n; i += LANES)
		for (int l = 0; l < LANES; l++)
			lane[l] += (double)x[i + (size_t)l] * (double)x[i + (size_t)l];
	for (; i < n; i++)
		lane[i % LANES] += (double)x[i] * (double)x[i];
	for (int l = 0; l < LANES; l++)
		sum += lane[l];
	return sum;
}

static double
sum(const float *x, size_t n)
{
	size_t blocks = (n + BLOCK - 1) / BLOCK;
	double all = 0;

	for (size_t first = 0; first < blocks; first += BATCH) {
		double part[BATCH];
		size_t count = blocks - first < BATCH ? blocks - first : BATCH;

#pragma omp parallel for schedule(static) if (n > PARALLEL_LEAST)
		for (size_t b = 0; b < count; b++) {
			size_t from = (first + b) * BLOCK;

			part[b] = block(x + from, n - from < BLOCK ? n - from : BLOCK);
		}
		for (size_t b = 0; b < count; b++)
			all += part[b];
	}
	return all;
}

void
cpu_sumsq(double *sums, const float *const *x, const size_t *n, int count)
{
	for (int i = 0; i < count; i++)
		sums[i] = sum(x[i], n[i]);
}
