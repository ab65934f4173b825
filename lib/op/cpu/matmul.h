/*
 * Matrix products and what follows them, and packed weights: by oneDNN, or, in bf16 where there is AMX, by amx.c. oneDNN
 * keeps the kernels that it has made: asking for a shape again costs microseconds, a new one a third of a millisecond.
 */
#ifndef VQA_OP_CPU_MATMUL_H
#define VQA_OP_CPU_MATMUL_H

#include "op/op.h"

/* How a matrix lies: row-major, as (columns, rows) row-major, or as amx_pack() leaves it (b only). */
enum order { PLAIN, TRANSPOSED, PACKED };

/* A dense matrix of floats or bf16s. */
struct matrix {
	const void *at;
	enum order order;
};

/*
 * c (M, N) written = act(a (M, K) b (K, N) + bias (N)), or the same with what is in c added before act if add. bias may be
 * NULL. pre, if not NULL, (M, N) written: before act. c16, if not NULL, written: c's twin, and then c may be NULL.
 */
struct product {
	float *c, *pre;
	bf16 *c16;
	struct matrix a, b;
	const struct packed *packed; /* in place of b, bias and precision, if not NULL */
	const float *bias;
	int M, N, K;
	int add;
	enum activation act;
	enum precision precision; /* of a and b */
};

void cpu_matmul(const struct product *);
enum precision cpu_packed_precision(const struct packed *);

#endif
