/*
 * GELU by erf (Hendrycks, Gimpel 2016) and tanh, forward and backward.
 */
#include "op/cuda/activation.h"
#include "op/cuda/columns.h"

static __device__ inline float
activated(float x, enum activation act)
{
	if (act == ACT_GELU)
		return 0.5f * x * (1 + erff(x * 0.70710678f));
	return act == ACT_TANH ? tanhf(x) : x;
}

__global__ static void
activation_forward(float *out, bf16 *out16, const float *x, size_t n, enum activation act)
{
	for (size_t i = COLUMNS * first_element(); i < n; i += COLUMNS * element_step()) {
		const int left = columns_left(i, n);
		float y[COLUMNS];

		load_columns(y, x + i, left);
		for (int k = 0; k < COLUMNS; k++)
			y[k] = activated(y[k], act);
		if (out)
			store_columns(out + i, y, left);
		if (out16)
			store_narrow(out16 + i, y, left);
	}
}

void
cuda_activate(float *out, bf16 *out16, const float *x, size_t n, enum activation act)
{
	LAUNCH(activation_forward, pieces(n), THREADS, 0, out, out16, x, n, act);
}

/* GELU: d/dx = Phi(x) + x phi(x) */
static __device__ inline float
slope(float x, enum activation act)
{
	return act == ACT_TANH ? 1 - x * x : 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
}

__global__ static void
activation_gradients(float *d, const float *x, size_t n, enum activation act)
{
	for (size_t i = COLUMNS * first_element(); i < n; i += COLUMNS * element_step()) {
		const int left = columns_left(i, n);
		float y[COLUMNS], g[COLUMNS];

		load_columns(y, x + i, left);
		load_columns(g, d + i, left);
		for (int k = 0; k < COLUMNS; k++)
			g[k] *= slope(y[k], act);
		store_columns(d + i, g, left);
	}
}

void
cuda_activation_backward(const struct activation_backward *a)
{
	if (a->act != ACT_NONE)
		LAUNCH(activation_gradients, pieces(a->n), THREADS, 0, a->d, a->x, a->n, a->act);
}
