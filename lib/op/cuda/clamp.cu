/*
 * Keep values within [low, high]; NaN stays NaN.
 */
#include "op/cuda/kernel.h"

__global__ static void
clamp(float *x, size_t n, float low, float high)
{
	for (size_t i = first_element(); i < n; i += element_step())
		x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}

void
cuda_clamp(float *x, size_t n, float low, float high)
{
	LAUNCH(clamp, elements(n), THREADS, 0, x, n, low, high);
}
