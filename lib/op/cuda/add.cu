/*
 * y += x
 */
#include "op/cuda/kernel.h"

__global__ static void
add(float *y, const float *x, size_t n)
{
	for (size_t i = first_element(); i < n; i += element_step())
		y[i] += x[i];
}

void
cuda_add(float *y, const float *x, size_t n)
{
	LAUNCH(add, elements(n), THREADS, 0, y, x, n);
}
