/*
 * Matrix products and packed weights by oneDNN. It keeps the kernels that it has made: asking for a shape again costs
 * microseconds, a new one a third of a millisecond.
 */
#ifndef VQA_OP_CPU_MATMUL_H
#define VQA_OP_CPU_MATMUL_H

#include "op/op.h"

/* A dense row-major matrix of floats or bf16s. */
struct matrix {
	const void *at;
	int transposed; /* it lies there as (columns, rows) */
};

/* c (M, N) written = a (M, K) b (K, N) + bias (N), or added to c if add. bias may be NULL. */
struct product {
	float *c;
	struct matrix a, b;
	const struct packed *packed; /* in place of b, bias and precision, if not NULL */
	const float *bias;
	int M, N, K;
	int add;
	enum precision precision; /* of a and b */
};

void cpu_matmul(const struct product *);
enum precision cpu_packed_precision(const struct packed *);

#endif
