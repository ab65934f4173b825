/*
 * float32 rounded to bf16.
 */
#include "op/cuda/kernel.h"

__global__ static void
narrow(bf16 *out, const float *x, size_t n)
{
	for (size_t i = first_element(); i < n; i += element_step())
		out[i] = float_to_bfloat(x[i]);
}

void
cuda_narrow(bf16 *out, const float *x, size_t n)
{
	LAUNCH(narrow, elements(n), THREADS, 0, out, x, n);
}
