/*
 * GELU by erf (Hendrycks, Gimpel 2016) and tanh, forward and backward.
 *
 * erf on [-4, 4] is x P(x^2)/Q(x^2), a minimax fit with an error of 2 ulp (its coefficients as published with XLA's and
 * Eigen's erf); beyond, erf is 1 in float32.
 */
#include "op/cpu/cpu.h"

static inline float
erf_f32(float x)
{
	const float y = x < -4 ? -4 : x > 4 ? 4 : x;
	const float q = y * y;
	float a = -2.72614225801306e-10f, b = -1.45660718464996e-05f;

	a = a * q + 2.77068142495902e-08f;
	a = a * q - 2.10102402082508e-06f;
	a = a * q - 5.69250639462346e-05f;
	a = a * q - 7.34990630326855e-04f;
	a = a * q - 2.95459980854025e-03f;
	a = a * q - 1.60960333262415e-02f;
	b = b * q - 2.13374055278905e-04f;
	b = b * q - 1.68282697438203e-03f;
	b = b * q - 7.37332916720468e-03f;
	b = b * q - 1.42647390514189e-02f;
	return y * a / b;
}

VECTOR static void
gelu(float *out, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = 0.5f * x[i] * (1 + erf_f32(x[i] * 0.70710678f));
}

/* d/dx = Phi(x) + x phi(x) */
VECTOR static void
gelu_backward(float *d, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		d[i] *= 0.5f * (1 + erf_f32(x[i] * 0.70710678f)) + x[i] * 0.39894228f * exp_f32(-0.5f * x[i] * x[i]);
}

void
cpu_activate(float *out, const float *x, size_t n, enum activation act)
{
	if (act == ACT_GELU)
		gelu(out, x, n);
	else if (act == ACT_TANH)
		for (size_t i = 0; i < n; i++)
			out[i] = tanhf(x[i]);
	else if (out != x)
		memcpy(out, x, n * sizeof *out);
}

enum { BLOCK = 1 << 13 };

void
cpu_activation_backward(const struct activation_backward *a)
{
	if (a->act == ACT_TANH) {
		for (size_t i = 0; i < a->n; i++)
			a->d[i] *= 1 - a->x[i] * a->x[i];
		return;
	}
	if (a->act != ACT_GELU)
		return;
#pragma omp parallel for schedule(static) if (a->n > PARALLEL_LEAST)
	for (size_t from = 0; from < a->n; from += BLOCK)
		gelu_backward(a->d + from, a->x + from, a->n - from < BLOCK ? a->n - from : BLOCK);
}
