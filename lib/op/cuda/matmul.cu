/*
 * cuBLASLt, which is column-major: c = a b there is c^T = b^T a^T here, with M and N, a and b changed about. Sums are float32 in every
 * precision.
 */
#include <cublasLt.h>
#include <stdlib.h>

#include "op/cuda/kernel.h"
#include "op/cuda/matmul.h"

constexpr int WORKSPACE = 32 << 20, WAYS = 1 << 12;

/* What decides how a product is done. */
struct shape {
	int M, N, K;
	int a_transposed, b_transposed, add;
	enum precision precision;
	uint32_t alignment; /* bytes, of the least aligned matrix */
	uint32_t bias;      /* the same of the bias; 0 without one */
};

struct way {
	struct shape shape;
	cublasLtMatmulDesc_t product;
	cublasLtMatrixLayout_t left, right, out;
	cublasLtMatmulAlgo_t algorithm;
	int known;
};

static struct {
	cublasLtHandle_t handle;
	struct way ways[WAYS]; /* a way that falls on another's place takes it */
} here;

static int
cublas_check(cublasStatus_t status, const char *what)
{
	if (status == CUBLAS_STATUS_SUCCESS)
		return 0;
	cuda_fault(what, cublasLtGetStatusString(status));
	return -1;
}

static int
open_library(void)
{
	return here.handle ? 0 : cublas_check(cublasLtCreate(&here.handle), "cublasLtCreate");
}

static void
forget(struct way *w)
{
	if (w->product)
		cublasLtMatmulDescDestroy(w->product);
	for (cublasLtMatrixLayout_t layout : { w->left, w->right, w->out })
		if (layout)
			cublasLtMatrixLayoutDestroy(layout);
	*w = (struct way){};
}

/* A matrix that lies there as (rows, columns) row-major, or the other way round: columns first. */
static int
lay_out(cublasLtMatrixLayout_t *out, cudaDataType_t type, int rows, int columns, int transposed)
{
	const uint64_t length = (uint64_t)(transposed ? rows : columns),
		       count = (uint64_t)(transposed ? columns : rows);

	return cublas_check(cublasLtMatrixLayoutCreate(out, type, length, count, (int64_t)length),
	                    "cublasLtMatrixLayoutCreate");
}

static int
set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t name, const void *value, size_t size)
{
	return cublas_check(cublasLtMatmulDescSetAttribute(product, name, value, size),
	                    "cublasLtMatmulDescSetAttribute");
}

static int
describe(struct way *w, const struct shape *s)
{
	const cudaDataType_t type = s->precision == PRECISION_BF16 ? CUDA_R_16BF : CUDA_R_32F;
	const cublasComputeType_t compute =
		s->precision == PRECISION_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
	const cublasOperation_t left = s->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
	const cublasOperation_t right = s->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
	const cublasLtEpilogue_t epilogue = s->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;

	return cublas_check(cublasLtMatmulDescCreate(&w->product, compute, CUDA_R_32F), "cublasLtMatmulDescCreate") ||
	                       set(w->product, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left) ||
	                       set(w->product, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right) ||
	                       set(w->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) ||
	                       lay_out(&w->left, type, s->K, s->N, s->b_transposed) ||
	                       lay_out(&w->right, type, s->M, s->K, s->a_transposed) ||
	                       lay_out(&w->out, CUDA_R_32F, s->M, s->N, 0)
	               ? -1
	               : 0;
}

static int
prefer(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name, const void *value, size_t size)
{
	return cublas_check(cublasLtMatmulPreferenceSetAttribute(preference, name, value, size),
	                    "cublasLtMatmulPreferenceSetAttribute");
}

static int
choose(struct way *w)
{
	static const cublasLtMatmulPreferenceAttributes_t alignments[] = { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
		                                                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
		                                                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
		                                                           CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES };
	const size_t workspace = WORKSPACE;
	cublasLtMatmulPreference_t preference = NULL;
	cublasLtMatmulHeuristicResult_t found;
	int n = 0;
	int bad = cublas_check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate") ||
	          prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);

	for (int i = 0; i < 4 && !bad; i++)
		bad = prefer(preference, alignments[i], &w->shape.alignment, sizeof w->shape.alignment);
	bad = bad || cublas_check(cublasLtMatmulAlgoGetHeuristic(here.handle, w->product, w->left, w->right, w->out,
	                                                         w->out, preference, 1, &found, &n),
	                          "cublasLtMatmulAlgoGetHeuristic");
	if (preference)
		cublasLtMatmulPreferenceDestroy(preference);
	if (!bad && !n)
		cuda_fault("cublasLtMatmulAlgoGetHeuristic", "no way to do a product");
	if (bad || !n || cublas_check(found.state, "cublasLtMatmulAlgoGetHeuristic"))
		return -1;
	w->algorithm = found.algo;
	return 0;
}

static unsigned
slot_of(const struct shape *s)
{
	const unsigned char *at = (const unsigned char *)s;
	unsigned h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < sizeof *s; i++)
		h = (h ^ at[i]) * 16777619u;
	return h % WAYS;
}

/* Ready for that bias, which comes before the choice: it depends on where the bias lies. */
static struct way *
way_of(const struct shape *s, const float *bias)
{
	struct way *w = &here.ways[slot_of(s)];
	int bad = 0;

	if (!w->known || memcmp(&w->shape, s, sizeof *s)) {
		forget(w);
		w->shape = *s;
		bad = describe(w, s);
	}
	bad = bad || (bias && set(w->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias)) ||
	      (!w->known && choose(w));
	if (bad) {
		forget(w);
		return NULL;
	}
	w->known = 1;
	return w;
}

/* Bytes, up to what a heuristic asks for by default. at: addresses, or several or-ed. */
static uint32_t
alignment_of(uintptr_t at)
{
	at |= 256;
	return (uint32_t)(at & -at);
}

/* Tensor cores' epilogues read a bias in vectors of 16 bytes (seen on an H200; not documented): one that begins elsewhere is copied. */
static const float *
bias_of(const struct product *p)
{
	constexpr uintptr_t VECTOR = 16;
	float *copy;

	if (!p->bias || (uintptr_t)p->bias % VECTOR == 0)
		return p->bias;
	copy = (float *)cuda_scratch(SCRATCH_BIAS, (size_t)p->N * sizeof *copy);
	if (copy)
		cuda_copy(copy, p->bias, (size_t)p->N * sizeof *copy);
	return copy;
}

void
cuda_matmul(const struct product *p)
{
	const float *bias = bias_of(p);
	void *workspace = cuda_scratch(SCRATCH_WORKSPACE, WORKSPACE);
	const struct shape shape = { .M = p->M,
		                     .N = p->N,
		                     .K = p->K,
		                     .a_transposed = p->a.transposed != 0,
		                     .b_transposed = p->b.transposed != 0,
		                     .add = p->add != 0,
		                     .precision = p->precision,
		                     .alignment =
		                             alignment_of((uintptr_t)p->a.at | (uintptr_t)p->b.at | (uintptr_t)p->c),
		                     .bias = bias ? alignment_of((uintptr_t)bias) : 0 };
	const float one = 1, beta = p->add ? 1 : 0;
	struct way *w;

	if (!workspace || (p->bias && !bias) || open_library())
		return;
	w = way_of(&shape, bias);
	if (!w)
		return;
	cublas_check(cublasLtMatmul(here.handle, w->product, &one, p->b.at, w->left, p->a.at, w->right, &beta, p->c,
	                            w->out, p->c, w->out, &w->algorithm, workspace, WORKSPACE, cuda_stream),
	             "cublasLtMatmul");
}

/* --- Weights of answers, in their precision. */

int
cuda_has(enum precision precision)
{
	/* Tensor cores multiply bf16 and TF32 from sm_80 on. */
	return precision == PRECISION_F32 || cuda_device.major >= 8;
}

void
cuda_pack_free(struct packed *p)
{
	if (!p)
		return;
	cuda_free(p->weight);
	cuda_free(p->bias);
	free(p);
}

/* out (n) written = the host's in that precision; -1 where there is no memory to round it. */
static int
put_weight(void *out, const float *host, size_t n, enum precision precision)
{
	float *wide = (float *)out;

	if (precision == PRECISION_BF16)
		wide = (float *)cuda_scratch(SCRATCH_WEIGHT, n * sizeof *wide);
	if (!wide)
		return -1;
	cuda_put(wide, host, n * sizeof *wide);
	if (precision == PRECISION_BF16)
		cuda_narrow((bf16 *)out, wide, n);
	return 0;
}

struct packed *
cuda_pack(const struct pack *from)
{
	const size_t n = (size_t)from->O * (size_t)from->I, O = (size_t)from->O;
	const size_t size = from->precision == PRECISION_BF16 ? sizeof(bf16) : sizeof(float);
	struct packed *p = (struct packed *)calloc(1, sizeof *p);
	int bad;

	if (!p)
		return NULL;
	p->precision = from->precision;
	p->weight = cuda_alloc((size_t)from->parts * n * size);
	p->bias = (float *)cuda_alloc((size_t)from->parts * O * sizeof *p->bias);
	bad = !p->weight || !p->bias;
	for (int i = 0; i < from->parts && !bad; i++) {
		bad = put_weight((char *)p->weight + (size_t)i * n * size, from->weight[i], n, p->precision);
		cuda_put(p->bias + (size_t)i * O, from->bias[i], O * sizeof *p->bias);
	}
	if (!bad)
		return p;
	cuda_pack_free(p);
	return NULL;
}
