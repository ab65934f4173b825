/*
 * Layer norm (Ba, Kiros, Hinton 2016) of dropout(in) + residual; eps 1e-12 as BERT has it. A lane's columns are its own from the
 * first pass to the last, so that a row needs no memory but its output's.
 */
#include "op/cuda/dropout.h"

static const float EPS = 1e-12f;

struct forward {
	struct layernorm n;
	const int *off;
	struct drop drop;
	int N;
};

/* x (D) = dropout(in) + residual; returns the lane's share of its sum. */
static __device__ inline float
take_row(const struct forward *w, float *x, size_t at, uint32_t drop_row)
{
	float sum = 0;

	for (int c = COLUMNS * own_lane(); c < w->n.D; c += COLUMNS * WARP) {
		float factor[COLUMNS];

		if (w->drop.any)
			drop_factors(factor, &w->drop, drop_row, c);
		for (int k = 0; k < COLUMNS && c + k < w->n.D; k++) {
			float y = w->n.in[at + c + k];

			if (w->drop.any)
				y *= factor[k];
			if (w->n.residual)
				y += w->n.residual[at + c + k];
			x[c + k] = y;
			sum += y;
		}
	}
	return sum;
}

__global__ static void
forward_rows(struct forward w)
{
	const int r = own_row(), D = w.n.D;
	const size_t at = (size_t)r * D;
	float *out, *x, mean, square = 0, rstd;

	if (r >= w.N)
		return;
	out = w.n.out + at;
	x = w.n.xhat ? w.n.xhat + at : out;
	mean = sum_lanes(take_row(&w, x, at, w.drop.any ? drop_row(&w.drop, w.off, w.n.rows.n, r) : 0), WARP) /
	       (float)D;
	for (int c = COLUMNS * own_lane(); c < D; c += COLUMNS * WARP)
		for (int k = 0; k < COLUMNS && c + k < D; k++) {
			x[c + k] -= mean;
			square += x[c + k] * x[c + k];
		}
	rstd = 1 / sqrtf(sum_lanes(square, WARP) / (float)D + EPS);
	if (w.n.rstd && own_lane() == 0)
		w.n.rstd[r] = rstd;
	for (int c = COLUMNS * own_lane(); c < D; c += COLUMNS * WARP)
		for (int k = 0; k < COLUMNS && c + k < D; k++) {
			const float xhat = x[c + k] * rstd, y = xhat * w.n.gain[c + k] + w.n.bias[c + k];

			x[c + k] = xhat;
			out[c + k] = y;
			if (w.n.out16)
				w.n.out16[at + c + k] = float_to_bfloat(y);
		}
}

void
cuda_layernorm(const struct layernorm *n)
{
	struct forward w = { .n = *n,
		             .off = cuda_mirror(n->rows.off, (size_t)n->rows.n + 1),
		             .drop = drop_of(&n->drop),
		             .N = rows_total(&n->rows) };

	if (w.off)
		LAUNCH(forward_rows, by_rows(w.N), THREADS, 0, w);
}

struct backward {
	struct layernorm_backward n;
	const int *off;
	struct drop drop;
	int N;
};

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dout gain. din may be dout. */
__global__ static void
backward_rows(struct backward w)
{
	const int r = own_row(), D = w.n.D;
	const size_t at = (size_t)r * D;
	const float *dout = w.n.dout + at, *xhat = w.n.xhat + at;
	float sum = 0, dot = 0, rstd;
	uint32_t row;

	if (r >= w.N)
		return;
	row = w.drop.any ? drop_row(&w.drop, w.off, w.n.rows.n, r) : 0;
	for (int c = COLUMNS * own_lane(); c < D; c += COLUMNS * WARP)
		for (int k = 0; k < COLUMNS && c + k < D; k++) {
			const float g = dout[c + k] * w.n.gain[c + k];

			sum += g;
			dot += g * xhat[c + k];
		}
	sum = sum_lanes(sum, WARP) / (float)D;
	dot = sum_lanes(dot, WARP) / (float)D;
	rstd = w.n.rstd[r];
	for (int c = COLUMNS * own_lane(); c < D; c += COLUMNS * WARP) {
		float factor[COLUMNS];

		if (w.drop.any)
			drop_factors(factor, &w.drop, row, c);
		for (int k = 0; k < COLUMNS && c + k < D; k++) {
			const float dx = rstd * (dout[c + k] * w.n.gain[c + k] - sum - xhat[c + k] * dot);
			float *residual = w.n.dresidual ? w.n.dresidual + at + c + k : NULL;

			if (residual)
				*residual = w.n.add_residual ? *residual + dx : dx;
			w.n.din[at + c + k] = w.drop.any ? dx * factor[k] : dx;
		}
	}
}

void
cuda_layernorm_backward(const struct layernorm_backward *n)
{
	struct backward w = { .n = *n,
		              .off = cuda_mirror(n->rows.off, (size_t)n->rows.n + 1),
		              .drop = drop_of(&n->drop),
		              .N = rows_total(&n->rows) };

	if (!w.off)
		return;
	/* Before the rows, since din may be dout. */
	cuda_column_sums(n->dgain, n->dout, n->xhat, w.N, n->D, n->add_weight);
	cuda_column_sums(n->dbias, n->dout, NULL, w.N, n->D, n->add_weight);
	LAUNCH(backward_rows, by_rows(w.N), THREADS, 0, w);
}
