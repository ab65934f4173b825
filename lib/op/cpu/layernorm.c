/*
 * Layer norm (Ba, Kiros, Hinton 2016) of dropout(in) + residual; eps 1e-12 as BERT has it.
 */
#include "op/cpu/cpu.h"

static const float EPS = 1e-12f;

/* Sum of LANES partial sums, in one order. */
static inline float
lanes_sum(const float *lane)
{
	float sum = 0;

	for (int l = 0; l < LANES; l++)
		sum += lane[l];
	return sum;
}

/* x (D) becomes xhat; returns 1/sqrt(variance + eps). */
VECTOR static float
normalise(float *x, int D)
{
	float lane[LANES] = { 0 }, mean, rstd;
	int i;

	for (i = 0; i + LANES <= D; i += LANES)
		for (int l = 0; l < LANES; l++)
			lane[l] += x[i + l];
	for (; i < D; i++)
		lane[i % LANES] += x[i];
	mean = lanes_sum(lane) / (float)D;
	memset(lane, 0, sizeof lane);
	for (i = 0; i + LANES <= D; i += LANES)
		for (int l = 0; l < LANES; l++) {
			x[i + l] -= mean;
			lane[l] += x[i + l] * x[i + l];
		}
	for (; i < D; i++) {
		x[i] -= mean;
		lane[i % LANES] += x[i] * x[i];
	}
	rstd = 1 / sqrtf(lanes_sum(lane) / (float)D + EPS);
	for (i = 0; i < D; i++)
		x[i] *= rstd;
	return rstd;
}

VECTOR static void
scale_shift(float *out, const float *xhat, const float *gain, const float *bias, int D)
{
	for (int i = 0; i < D; i++)
		out[i] = xhat[i] * gain[i] + bias[i];
}

static void
forward_row(const struct layernorm *n, int r, uint32_t drop_row)
{
	size_t at = (size_t)r * (size_t)n->D;
	float *out = n->out + at, *xhat = n->xhat ? n->xhat + at : out;
	float rstd;

	if (xhat != n->in + at)
		memcpy(xhat, n->in + at, (size_t)n->D * sizeof *xhat);
	if (n->drop.p > 0)
		cpu_drop(xhat, n->D, &n->drop, drop_row);
	if (n->residual)
		cpu_add(xhat, n->residual + at, (size_t)n->D);
	rstd = normalise(xhat, n->D);
	if (n->rstd)
		n->rstd[r] = rstd;
	scale_shift(out, xhat, n->gain, n->bias, n->D);
	if (n->out16)
		cpu_narrow_row(n->out16 + at, out, (size_t)n->D);
}

void
cpu_layernorm(const struct layernorm *n)
{
#pragma omp parallel for schedule(static) if ((size_t)rows_total(&n->rows) * (size_t)n->D > PARALLEL_LEAST)
	for (int b = 0; b < n->rows.n; b++)
		for (int r = n->rows.off[b]; r < n->rows.off[b + 1]; r++)
			forward_row(n, r, dropout_row(&n->drop, b, r - n->rows.off[b]));
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dout gain. out may be dout. */
VECTOR static void
backward_row(float *out, const float *dout, const float *xhat, const float *gain, float rstd, int D)
{
	float sum[LANES] = { 0 }, dot[LANES] = { 0 }, mean_g, mean_gx;
	int i;

	for (i = 0; i + LANES <= D; i += LANES)
		for (int l = 0; l < LANES; l++) {
			float g = dout[i + l] * gain[i + l];

			sum[l] += g;
			dot[l] += g * xhat[i + l];
		}
	for (; i < D; i++) {
		float g = dout[i] * gain[i];

		sum[i % LANES] += g;
		dot[i % LANES] += g * xhat[i];
	}
	mean_g = lanes_sum(sum) / (float)D;
	mean_gx = lanes_sum(dot) / (float)D;
	for (i = 0; i < D; i++)
		out[i] = rstd * (dout[i] * gain[i] - mean_g - xhat[i] * mean_gx);
}

/* Columns [from, to) of the gradients by gain and bias, over all rows in order. */
VECTOR static void
gain_bias(const struct layernorm_backward *n, int rows, int from, int to)
{
	float *restrict dgain = n->dgain, *restrict dbias = n->dbias;

	for (int r = 0; r < rows; r++) {
		const float *d = n->dout + (size_t)r * (size_t)n->D, *x = n->xhat + (size_t)r * (size_t)n->D;

		for (int i = from; i < to; i++) {
			dgain[i] += d[i] * x[i];
			dbias[i] += d[i];
		}
	}
}

enum { COLUMNS = 64 };

void
cpu_layernorm_backward(const struct layernorm_backward *n)
{
	int N = rows_total(&n->rows), D = n->D;

	if (!n->add_weight) {
		memset(n->dgain, 0, (size_t)D * sizeof *n->dgain);
		memset(n->dbias, 0, (size_t)D * sizeof *n->dbias);
	}
#pragma omp parallel for schedule(static) if ((size_t)N * (size_t)D > PARALLEL_LEAST)
	for (int from = 0; from < D; from += COLUMNS)
		gain_bias(n, N, from, from + COLUMNS < D ? from + COLUMNS : D);
#pragma omp parallel for schedule(static) if ((size_t)N * (size_t)D > PARALLEL_LEAST)
	for (int b = 0; b < n->rows.n; b++)
		for (int r = n->rows.off[b]; r < n->rows.off[b + 1]; r++) {
			size_t at = (size_t)r * (size_t)D;
			float *own = n->din + at;

			backward_row(own, n->dout + at, n->xhat + at, n->gain, n->rstd[r], D);
			if (n->dresidual && n->add_residual)
				cpu_add(n->dresidual + at, own, (size_t)D);
			else if (n->dresidual)
				memcpy(n->dresidual + at, own, (size_t)D * sizeof *own);
			if (n->drop.p > 0)
				cpu_drop(n->din + at, D, &n->drop, dropout_row(&n->drop, b, r - n->rows.off[b]));
		}
}
