/*
 * Linear layers. In bf16, what comes as float32 is rounded to scratch first.
 */
#include "op/cpu/cpu.h"
#include "op/cpu/matmul.h"
#include "sys/half.h"

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

/* dbias += the sums of columns [from, to) of dout (N, O), a row after the other: the same order for any number of threads. */
VECTOR static void
sum_columns(const struct linear_backward *l, size_t from, size_t to)
{
	for (int r = 0; r < l->N; r++)
		for (size_t i = from; i < to; i++)
			l->dbias[i] += l->dout[(size_t)r * (size_t)l->O + i];
}

enum { COLUMNS = 64 };

/* The same of COLUMNS columns, which are rounded in passing. */
VECTOR static void
sum_and_round_columns(const struct linear_backward *l, bf16 *twin, size_t from)
{
	float sum[COLUMNS];

	memcpy(sum, l->dbias + from, sizeof sum);
	for (int r = 0; r < l->N; r++) {
		const size_t at = (size_t)r * (size_t)l->O + from;

		for (int i = 0; i < COLUMNS; i++) {
			sum[i] += l->dout[at + (size_t)i];
			twin[at + (size_t)i] = float_to_bfloat(l->dout[at + (size_t)i]);
		}
	}
	memcpy(l->dbias + from, sum, sizeof sum);
}

/* dbias, and dout in the precision of the products; NULL when there is no memory for it. */
static const void *
take_gradient(const struct linear_backward *l)
{
	const size_t O = (size_t)l->O, n = (size_t)l->N * O;
	bf16 *out = l->precision == PRECISION_BF16 && n ? scratch(GRADIENT, n * sizeof *out) : NULL;

	if (!l->add_weight)
		memset(l->dbias, 0, O * sizeof *l->dbias);
#pragma omp parallel for schedule(static) if (n > PARALLEL_LEAST)
	for (size_t from = 0; from < O; from += COLUMNS) {
		if (out && from + COLUMNS <= O)
			sum_and_round_columns(l, out, from);
		else
			sum_columns(l, from, from + COLUMNS < O ? from + COLUMNS : O);
	}
	if (out && O % COLUMNS)
		for (int r = 0; r < l->N; r++)
			cpu_narrow_row(out + (size_t)r * O + O / COLUMNS * COLUMNS,
			               l->dout + (size_t)r * O + O / COLUMNS * COLUMNS, O % COLUMNS);
	return l->precision == PRECISION_BF16 ? (const void *)out : l->dout;
}

void
cpu_linear_backward(const struct linear_backward *l)
{
	size_t N = (size_t)l->N, O = (size_t)l->O, I = (size_t)l->I;
	const void *dout, *in, *weight;

	dout = take_gradient(l);
	if (!N) {
		if (!l->add_weight)
			memset(l->dweight, 0, O * I * sizeof *l->dweight);
		return;
	}
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
	                              .far = 1,
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
