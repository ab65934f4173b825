/*
 * Linear layers. In bf16, what comes as float32 is rounded to scratch first.
 */
#include "op/cpu/cpu.h"
#include "op/cpu/matmul.h"

/* What a linear layer needs beside its arguments, kept for next time. */
enum scratch { WEIGHT, INPUT, GRADIENT, SCRATCHES };

static void *
scratch(enum scratch which, size_t bytes)
{
	static struct kept all[SCRATCHES];

	return cpu_kept(&all[which], bytes);
}

/* x (n) in the precision of a product, where it is not there already; NULL when there is no memory for it. */
static const void *
rounded(enum scratch which, const float *x, const bf16 *twin, size_t n, enum precision precision)
{
	bf16 *out;

	if (precision != PRECISION_BF16)
		return x;
	if (twin)
		return twin;
	out = scratch(which, n * sizeof *out);
	if (out)
		cpu_narrow(out, x, n);
	return out;
}

void
cpu_linear(const struct linear *l)
{
	size_t N = (size_t)l->N;
	enum precision precision = l->packed ? cpu_packed_precision(l->packed) : l->precision;
	const void *in, *weight = NULL;

	if (!N)
		return;
	in = rounded(INPUT, l->in, l->in16, N * (size_t)l->I, precision);
	if (!l->packed)
		weight = rounded(WEIGHT, l->weight, l->weight16, (size_t)l->O * (size_t)l->I, precision);
	if (!in || (!l->packed && !weight))
		return;
	cpu_matmul(&(struct product){ .c = l->out,
	                              .pre = l->pre,
	                              .c16 = l->out16,
	                              .a = { in, PLAIN },
	                              .b = { weight, TRANSPOSED },
	                              .packed = l->packed,
	                              .bias = l->bias,
	                              .M = l->N,
	                              .N = l->O,
	                              .K = l->I,
	                              .act = l->act,
	                              .precision = precision });
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
	size_t N = (size_t)l->N, O = (size_t)l->O, I = (size_t)l->I;
	const void *dout, *in, *weight;

	column_sums(l->dbias, l->dout, l->N, l->O, l->add_weight);
	if (!N) {
		if (!l->add_weight)
			memset(l->dweight, 0, O * I * sizeof *l->dweight);
		return;
	}
	dout = rounded(GRADIENT, l->dout, NULL, N * O, l->precision);
	in = rounded(INPUT, l->in, l->in16, N * I, l->precision);
	if (!dout || !in)
		return;
	cpu_matmul(&(struct product){ .c = l->dweight,
	                              .a = { dout, TRANSPOSED },
	                              .b = { in, PLAIN },
	                              .M = l->O,
	                              .N = l->I,
	                              .K = l->N,
	                              .add = l->add_weight,
	                              .precision = l->precision });
	if (!l->din)
		return;
	weight = rounded(WEIGHT, l->weight, l->weight16, O * I, l->precision);
	if (weight)
		cpu_matmul(&(struct product){ .c = l->din,
		                              .a = { dout, PLAIN },
		                              .b = { weight, PLAIN },
		                              .M = l->N,
		                              .N = l->I,
		                              .K = l->O,
		                              .add = l->add_in,
		                              .precision = l->precision });
}
