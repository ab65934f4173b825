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

enum { COLUMNS = 64 };

/*
 * dbias += the sums of n columns of dout (N, O), at most COLUMNS, a row after the other: the same order for any number of threads.
 * twin, if not NULL, (N, O): those columns written, rounded.
 */
static inline __attribute__((always_inline)) void
take_columns(const struct linear_backward *l, bf16 *twin, size_t from, size_t n)
{
	float sum[COLUMNS];

	memcpy(sum, l->dbias + from, n * sizeof *sum);
	for (int r = 0; r < l->N; r++) {
		const size_t at = (size_t)r * (size_t)l->O + from;

		for (size_t i = 0; i < n; i++)
			sum[i] += l->dout[at + i];
		for (size_t i = 0; twin && i < n; i++)
			twin[at + i] = float_to_bfloat(l->dout[at + i]);
	}
	memcpy(l->dbias + from, sum, n * sizeof *sum);
}

/* Nearly all are so many, which the compiler should know. */
VECTOR static void
sum_and_round_columns(const struct linear_backward *l, bf16 *twin, size_t from)
{
	if (from + COLUMNS <= (size_t)l->O)
		take_columns(l, twin, from, COLUMNS);
	else
		take_columns(l, twin, from, (size_t)l->O - from);
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
	for (size_t from = 0; from < O; from += COLUMNS)
		sum_and_round_columns(l, out, from);
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
