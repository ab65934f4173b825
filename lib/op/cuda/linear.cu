/*
 * Linear layers: a product with its bias, then the activation. In bf16, what comes as float32 is rounded to scratch first.
 */
#include "op/cuda/linear.h"

#include "op/cuda/activation.h"
#include "op/cuda/kernel.h"
#include "op/cuda/matmul.h"

/* x (n) in the precision of a product, where it is not there already; NULL when there is no memory for it. */
static const void *
rounded(enum cuda_scratch which, const float *x, const bf16 *twin, size_t n, enum precision precision)
{
	bf16 *out;

	if (precision != PRECISION_BF16)
		return x;
	if (twin)
		return twin;
	out = (bf16 *)cuda_scratch(which, n * sizeof *out);
	if (out)
		cuda_narrow(out, x, n);
	return out;
}

void
cuda_linear(const struct linear *l)
{
	const size_t N = (size_t)l->N, O = (size_t)l->O, I = (size_t)l->I;
	const enum precision precision = l->packed ? l->packed->precision : l->precision;
	float *product = l->pre ? l->pre : l->out;
	const void *in, *weight;

	if (!N)
		return;
	if (!product)
		product = (float *)cuda_scratch(SCRATCH_OUTPUT, N * O * sizeof *product);
	in = rounded(SCRATCH_INPUT, l->in, l->in16, N * I, precision);
	weight = l->packed ? l->packed->weight : rounded(SCRATCH_WEIGHT, l->weight, l->weight16, O * I, precision);
	if (!product || !in || !weight)
		return;
	struct product p = { .c = product,
		             .a = { in, 0 },
		             .b = { weight, 1 },
		             .bias = l->packed ? l->packed->bias : l->bias,
		             .M = l->N,
		             .N = l->O,
		             .K = l->I,
		             .precision = precision };
	cuda_matmul(&p);
	if (l->act != ACT_NONE || product != l->out || l->out16)
		cuda_activate(l->out, l->out16, product, N * O, l->act);
}

/* --- Sums over rows: a part of the rows by each block, then the parts in order. */

constexpr int ROWS = WARPS, CHUNK = 128; /* rows at once, and of a part */

/* Columns of one warp's lanes; each warp takes every ROWSth row of its block's part. */
__global__ static void
part_sums(float *part, const float *x, const float *y, int rows, int n)
{
	__shared__ float sums[ROWS][WARP];
	const int warp = (int)threadIdx.x / WARP, i = (int)blockIdx.x * WARP + own_lane();
	const int begin = (int)blockIdx.y * CHUNK, end = begin + CHUNK < rows ? begin + CHUNK : rows;
	float sum = 0;

	for (int r = begin + warp; r < end && i < n; r += ROWS) {
		const size_t at = (size_t)r * n + i;

		sum += y ? x[at] * y[at] : x[at];
	}
	sums[warp][own_lane()] = sum;
	__syncthreads();
	if (warp || i >= n)
		return;
	sum = 0;
	for (int k = 0; k < ROWS; k++)
		sum += sums[k][own_lane()];
	part[(size_t)blockIdx.y * n + i] = sum;
}

__global__ static void
sum_parts(float *out, const float *part, int parts, int n, int add)
{
	for (int i = (int)first_element(); i < n; i += (int)element_step()) {
		float sum = add ? out[i] : 0;

		for (int k = 0; k < parts; k++)
			sum += part[(size_t)k * n + i];
		out[i] = sum;
	}
}

void
cuda_column_sums(float *out, const float *x, const float *y, int rows, int n, int add)
{
	const int parts = (rows + CHUNK - 1) / CHUNK;
	float *part = (float *)cuda_scratch(SCRATCH_SUMS, ((size_t)parts * n + 1) * sizeof *part);

	if (!part)
		return;
	LAUNCH(part_sums, dim3((unsigned)((n + WARP - 1) / WARP), (unsigned)parts), THREADS, 0, part, x, y, rows, n);
	LAUNCH(sum_parts, elements((size_t)n), THREADS, 0, out, part, parts, n, add);
}

void
cuda_linear_backward(const struct linear_backward *l)
{
	const size_t N = (size_t)l->N, O = (size_t)l->O, I = (size_t)l->I;
	const void *dout, *in, *weight;

	cuda_column_sums(l->dbias, l->dout, NULL, l->N, l->O, l->add_weight);
	if (!N) {
		if (!l->add_weight)
			cuda_zero(l->dweight, O * I * sizeof *l->dweight);
		return;
	}
	dout = rounded(SCRATCH_GRADIENT, l->dout, NULL, N * O, l->precision);
	in = rounded(SCRATCH_INPUT, l->in, l->in16, N * I, l->precision);
	if (!dout || !in)
		return;
	struct product by_weight = { .c = l->dweight,
		                     .a = { dout, 1 },
		                     .b = { in, 0 },
		                     .M = l->O,
		                     .N = l->I,
		                     .K = l->N,
		                     .add = l->add_weight,
		                     .precision = l->precision };
	cuda_matmul(&by_weight);
	if (!l->din)
		return;
	weight = rounded(SCRATCH_WEIGHT, l->weight, l->weight16, O * I, l->precision);
	if (!weight)
		return;
	struct product by_in = { .c = l->din,
		                 .a = { dout, 0 },
		                 .b = { weight, 0 },
		                 .M = l->N,
		                 .N = l->I,
		                 .K = l->O,
		                 .add = l->add_in,
		                 .precision = l->precision };
	cuda_matmul(&by_in);
}
