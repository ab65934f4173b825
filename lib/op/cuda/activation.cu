/*
 * GELU by erf (Hendrycks, Gimpel 2016) and tanh, forward and backward.
 */
#include "op/cuda/kernel.h"

static __device__ inline float
activated(float x, enum activation act)
{
	if (act == ACT_GELU)
		return 0.5f * x * (1 + erff(x * 0.70710678f));
	return act == ACT_TANH ? tanhf(x) : x;
}

__global__ static void
forward(float *out, bf16 *out16, const float *x, size_t n, enum activation act)
{
	for (size_t i = first_element(); i < n; i += element_step()) {
		const float y = activated(x[i], act);

		if (out)
			out[i] = y;
		if (out16)
			out16[i] = float_to_bfloat(y);
	}
}

void
cuda_activate(float *out, bf16 *out16, const float *x, size_t n, enum activation act)
{
	LAUNCH(forward, elements(n), THREADS, 0, out, out16, x, n, act);
}

/* GELU: d/dx = Phi(x) + x phi(x) */
__global__ static void
backward(float *d, const float *x, size_t n, enum activation act)
{
	for (size_t i = first_element(); i < n; i += element_step())
		d[i] *= act == ACT_TANH ? 1 - x[i] * x[i]
		                        : 0.5f * (1 + erff(x[i] * 0.70710678f)) +
		                                  x[i] * 0.39894228f * expf(-0.5f * x[i] * x[i]);
}

void
cuda_activation_backward(const struct activation_backward *a)
{
	if (a->act != ACT_NONE)
		LAUNCH(backward, elements(a->n), THREADS, 0, a->d, a->x, a->n, a->act);
}
