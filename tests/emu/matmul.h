/*
 * What cublaslt.cpp, the descriptors, matmul.cpp, the products, and gemm.cpp, the sums, know of each other.
 */
#ifndef EMU_MATMUL_H
#define EMU_MATMUL_H

#include "cublasLt.h"

struct cublasLtContext {
	static constexpr const char *NAME = "a handle of cuBLASLt's";
};

struct emu_matmul_desc {
	static constexpr const char *NAME = "a descriptor of a product";
	cublasComputeType_t compute;
	cublasOperation_t transa, transb;
	uint32_t epilogue;
	const void *bias;
	int bias_type; /* -1: D's */
};

struct emu_matrix_layout {
	static constexpr const char *NAME = "a layout";
	int type;
	uint64_t rows, cols;
	int64_t ld, offset;
	int32_t batch;
};

struct emu_matmul_preference {
	static constexpr const char *NAME = "a preference";
	uint64_t workspace;
	uint32_t alignment[4];
};

/* out (m, n) = a^T b, a (k, m), b (k, n), all of them column after column. Sums run over k in order. */
void emu_gemm(float *out, const float *a, const float *b, size_t m, size_t n, size_t k);

#endif
