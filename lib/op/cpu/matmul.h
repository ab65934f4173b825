/*
 * Matrix products and what follows them, and packed weights: by oneDNN, or, in bf16 where the processor has instructions for it, by our own
 * (amx.c, dot.c). oneDNN keeps the kernels that it has made: asking for a shape again costs microseconds, a new one a third of a millisecond.
 */
#ifndef VQA_OP_CPU_MATMUL_H
#define VQA_OP_CPU_MATMUL_H

#include "op/op.h"

/* How a matrix lies: row-major, as (columns, rows) row-major, or in an order of the products' own (b only). */
enum order { PLAIN, TRANSPOSED, PACKED };

/* A dense matrix of floats or bf16s. */
struct matrix {
	const void *at;
	enum order order;
};

/*
 * c (M, N) written = act(a (M, K) b (K, N) + bias (N)), or the same with what is in c added before act if add. bias may be
 * NULL. pre, if not NULL, (M, N) written: before act. c16, if not NULL, written: c's twin, and then c may be NULL. M, N and K
 * are at least 1.
 */
struct product {
	float *c, *pre;
	bf16 *c16;
	struct matrix a, b;
	const struct packed *packed; /* in place of b, bias and precision, if not NULL */
	const float *bias;
	int M, N, K;
	int add;
	int far; /* c is not read soon: a hint (of pre it is always so) */
	enum activation act;
	enum precision precision; /* of a and b */
};

/* Our own products in bf16, and the order of b that they read. */
struct bf16_products {
	size_t (*packed_size)(int K, int N); /* bytes */
	void (*pack)(bf16 *out, const struct matrix *b, int K, int N);
	void (*multiply)(const struct product *); /* a and b are bf16s, packed is not looked at */
};
/* By AMX's tiles; by AVX-512's dot products of pairs. NULL where there are none. */
const struct bf16_products *amx_products(void);
const struct bf16_products *dot_products(void);

void cpu_matmul(const struct product *);
enum precision cpu_packed_precision(const struct packed *);

#endif
