/*
 * Layer norm (Ba, Kiros, Hinton 2016) of dropout(in) + residual; eps 1e-12 as BERT has it. A lane's columns are its own from the
 * first pass to the last, so that nobody waits for another.
 */
#include "op/cuda/dropout.h"
#include "op/cuda/linear.h"

static const float EPS = 1e-12f;

struct forward {
	struct layernorm n;
	const int *off;
	struct drop drop;
	int N;
};

constexpr int TURN = AHEAD * WARP * COLUMNS; /* columns that a warp takes at once */
constexpr int STAGED = 3072; /* columns of a row that waits in shared memory; a longer one does in its output */

/* Floats of a row in shared memory: whole pieces. */
static __host__ __device__ inline int
staged(int D)
{
	return (D + COLUMNS - 1) / COLUMNS * COLUMNS;
}

/* x (D) = dropout(in) + residual; returns the lane's share of its sum. */
static __device__ inline float
take_row(const struct forward *w, float *x, size_t at, uint32_t row)
{
	const int D = w->n.D;
	float sum = 0;

	for (int first = 0; first < D; first += TURN) {
		float in[AHEAD][COLUMNS], residual[AHEAD][COLUMNS];

		load_ahead(in, w->n.in + at, first, D);
		load_ahead(residual, w->n.residual ? w->n.residual + at : NULL, first, D);
		for (int i = 0; i < AHEAD; i++) {
			const int c = own_column(first, i);
			float factor[COLUMNS];

			if (c >= D)
				continue;
			if (w->drop.any)
				drop_factors(factor, &w->drop, row, c);
			for (int k = 0; k < COLUMNS; k++) {
				in[i][k] = (w->drop.any ? in[i][k] * factor[k] : in[i][k]) + residual[i][k];
				sum += in[i][k];
			}
			store_columns(x + c, in[i], D - c);
		}
	}
	return sum;
}

/* x -= mean; returns the lane's share of the sum of its squares. */
static __device__ inline float
center_row(float *x, int D, float mean)
{
	float sum = 0;

	for (int c = own_column(0, 0); c < D; c += WARP * COLUMNS)
		for (int k = 0; k < COLUMNS && c + k < D; k++) {
			x[c + k] -= mean;
			sum += x[c + k] * x[c + k];
		}
	return sum;
}

static __device__ inline void
scale_row(const struct forward *w, const float *x, size_t at, float rstd)
{
	const int D = w->n.D;

	for (int first = 0; first < D; first += TURN) {
		float gain[AHEAD][COLUMNS], bias[AHEAD][COLUMNS];

		load_ahead(gain, w->n.gain, first, D);
		load_ahead(bias, w->n.bias, first, D);
		for (int i = 0; i < AHEAD && own_column(first, i) < D; i++) {
			const int c = own_column(first, i);
			float y[COLUMNS];

			load_columns(y, x + c, D - c);
			for (int k = 0; k < COLUMNS; k++)
				y[k] *= rstd;
			if (w->n.xhat)
				store_columns(w->n.xhat + at + c, y, D - c);
			for (int k = 0; k < COLUMNS; k++)
				y[k] = y[k] * gain[i][k] + bias[i][k];
			store_columns(w->n.out + at + c, y, D - c);
			if (w->n.out16)
				store_narrow(w->n.out16 + at + c, y, D - c);
		}
	}
}

__global__ static void
__launch_bounds__(THREADS, 4) layernorm_forward(struct forward w)
{
	DYNAMIC_SHARED(float4, shared);
	const int r = own_row(), D = w.n.D;
	const size_t at = (size_t)r * D;
	float *x, mean, rstd;

	if (r >= w.N)
		return;
	x = D <= STAGED ? (float *)shared + threadIdx.x / WARP * staged(D) : w.n.out + at;
	mean = sum_lanes(take_row(&w, x, at, ragged_dropout_row(&w.drop, w.off, w.n.rows.n, r)), WARP) / (float)D;
	rstd = 1 / sqrtf(sum_lanes(center_row(x, D, mean), WARP) / (float)D + EPS);
	if (w.n.rstd && own_lane() == 0)
		w.n.rstd[r] = rstd;
	scale_row(&w, x, at, rstd);
}

void
cuda_layernorm(const struct layernorm *n)
{
	struct forward w = { .n = *n,
		             .off = cuda_mirror(n->rows.off, (size_t)n->rows.n + 1),
		             .drop = drop_of(&n->drop),
		             .N = rows_total(&n->rows) };
	const size_t room = n->D <= STAGED ? WARPS * (size_t)staged(n->D) * sizeof(float) : 0;

	if (w.off)
		LAUNCH(layernorm_forward, by_rows(w.N), THREADS, room, w);
}

struct backward {
	struct layernorm_backward n;
	const int *off;
	struct drop drop;
	int N;
};

/* The lane's shares of the sums of g = dout gain and of g xhat. */
static __device__ inline void
sum_row(const struct backward *w, size_t at, float *sum, float *dot)
{
	for (int first = 0; first < w->n.D; first += TURN) {
		float g[AHEAD][COLUMNS], gain[AHEAD][COLUMNS], xhat[AHEAD][COLUMNS];

		load_ahead(g, w->n.dout + at, first, w->n.D);
		load_ahead(gain, w->n.gain, first, w->n.D);
		load_ahead(xhat, w->n.xhat + at, first, w->n.D);
		for (int i = 0; i < AHEAD; i++)
			for (int k = 0; k < COLUMNS; k++) {
				const float each = g[i][k] * gain[i][k];

				*sum += each;
				*dot += each * xhat[i][k];
			}
	}
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dout gain, of a piece; what is in g becomes it. */
static __device__ inline void
piece_backward(const struct backward *w, size_t at, int c, float g[COLUMNS], uint32_t row)
{
	const int left = w->n.D - c;
	float factor[COLUMNS], residual[COLUMNS];

	if (w->n.dresidual) {
		load_columns(residual, w->n.dresidual + at + c, w->n.add_residual ? left : 0);
		for (int k = 0; k < COLUMNS; k++)
			residual[k] += g[k];
		store_columns(w->n.dresidual + at + c, residual, left);
	}
	if (w->drop.any) {
		drop_factors(factor, &w->drop, row, c);
		for (int k = 0; k < COLUMNS; k++)
			g[k] *= factor[k];
	}
	store_columns(w->n.din + at + c, g, left);
}

/* din may be dout. */
__global__ static void
__launch_bounds__(THREADS, 4) layernorm_gradients(struct backward w)
{
	const int r = own_row(), D = w.n.D;
	const size_t at = (size_t)r * D;
	float sum = 0, dot = 0, rstd;
	uint32_t row;

	if (r >= w.N)
		return;
	row = ragged_dropout_row(&w.drop, w.off, w.n.rows.n, r);
	sum_row(&w, at, &sum, &dot);
	sum = sum_lanes(sum, WARP) / (float)D;
	dot = sum_lanes(dot, WARP) / (float)D;
	rstd = w.n.rstd[r];
	for (int first = 0; first < D; first += TURN) {
		float g[AHEAD][COLUMNS], gain[AHEAD][COLUMNS], xhat[AHEAD][COLUMNS];

		load_ahead(g, w.n.dout + at, first, D);
		load_ahead(gain, w.n.gain, first, D);
		load_ahead(xhat, w.n.xhat + at, first, D);
		for (int i = 0; i < AHEAD && own_column(first, i) < D; i++) {
			for (int k = 0; k < COLUMNS; k++)
				g[i][k] = rstd * (g[i][k] * gain[i][k] - sum - xhat[i][k] * dot);
			piece_backward(&w, at, own_column(first, i), g[i], row);
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
	LAUNCH(layernorm_gradients, by_rows(w.N), THREADS, 0, w);
}
