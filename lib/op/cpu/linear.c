/*
 * Linear layers: oneDNN's GEMM (row-major, f32), bias and activation in one pass after it while the rows are in cache.
 */
#include <oneapi/dnnl/dnnl.h>

#include "op/cpu/cpu.h"

/* c (M, N) = a b + beta c; a is (M, K), or (K, M) if ta; b is (K, N), or (N, K) if tb. All dense. */
static void
gemm(int ta, int tb, int M, int N, int K, const float *a, const float *b, float beta, float *c)
{
	if (dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', M, N, K, 1, a, ta ? M : K, b, tb ? K : N, beta, c, N) !=
	    dnnl_success)
		cpu_fault("oneDNN refused a matrix product");
}

VECTOR void
cpu_narrow(bf16 *out, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = bf16_of(x[i]);
}

VECTOR static void
add_bias(float *row, const float *bias, int n)
{
	for (int i = 0; i < n; i++)
		row[i] += bias[i];
}

void
cpu_linear(const struct linear *l)
{
	size_t O = (size_t)l->O;

	if (!l->N)
		return;
	gemm(0, 1, l->N, l->O, l->I, l->in, l->weight, 0, l->out);
#pragma omp parallel for schedule(static) if ((size_t)l->N * O > PARALLEL_LEAST)
	for (int r = 0; r < l->N; r++) {
		float *row = l->out + (size_t)r * O;

		add_bias(row, l->bias, l->O);
		if (l->pre)
			memcpy(l->pre + (size_t)r * O, row, O * sizeof *row);
		cpu_activate(row, O, l->act);
	}
}

/* Columns [from, to) of all rows, a row after the other: the same order for any number of threads. */
VECTOR static void
sum_columns(float *out, const float *x, int rows, size_t n, size_t from, size_t to)
{
	for (int r = 0; r < rows; r++)
		for (size_t i = from; i < to; i++)
			out[i] += x[(size_t)r * n + i];
}

enum { COLUMNS = 64 };

/* out (n) written (or added) = the sums of x (rows, n)'s columns */
static void
column_sums(float *out, const float *x, int rows, int n, int add)
{
	if (!add)
		memset(out, 0, (size_t)n * sizeof *out);
#pragma omp parallel for schedule(static) if ((size_t)rows * (size_t)n > PARALLEL_LEAST)
	for (int from = 0; from < n; from += COLUMNS)
		sum_columns(out, x, rows, (size_t)n, (size_t)from, (size_t)(from + COLUMNS < n ? from + COLUMNS : n));
}

void
cpu_linear_backward(const struct linear_backward *l)
{
	if (l->din && l->N)
		gemm(0, 0, l->N, l->I, l->O, l->dout, l->weight, l->add_in, l->din);
	if (l->N)
		gemm(1, 0, l->O, l->I, l->N, l->dout, l->in, l->add_weight, l->dweight);
	else if (!l->add_weight)
		memset(l->dweight, 0, (size_t)l->O * (size_t)l->I * sizeof *l->dweight);
	column_sums(l->dbias, l->dout, l->N, l->O, l->add_weight);
}
