/*
 * Matrix products by cuBLASLt. It keeps the ways that it has found: asking for a shape again costs no search.
 */
#ifndef VQA_OP_CUDA_MATMUL_H
#define VQA_OP_CUDA_MATMUL_H

#include "op/op.h"

/* A dense row-major matrix of floats or bf16s. */
struct matrix {
	const void *at;
	int transposed; /* it lies there as (columns, rows) */
};

/* Weights (O of all parts, I) in their precision, and biases. */
struct packed {
	void *weight;
	float *bias;
	enum precision precision;
};

/* c (M, N) written = a (M, K) b (K, N) + bias (N), or added to c if add. bias may be NULL. None of M, N, K is 0. */
struct product {
	float *c;
	struct matrix a, b;
	const float *bias;
	int M, N, K;
	int add;
	enum precision precision; /* of a and b */
};

void cuda_matmul(const struct product *);

#endif
