/*
 * cuBLASLt's products, D = alpha op(A) op(B) + beta C, and the bias a row of D: column-major, float32 sums in a fixed
 * order.
 *
 * Taken are the types that its documentation has a row for: A, B, C, D f32 (32F, 32F_PEDANTIC, 32F_FAST_TF32), or A, B
 * bf16 and C, D f32 or bf16 (32F, 32F_PEDANTIC); scale f32; bias of D's type. What cuBLASLt refuses is refused by its
 * status; what it leaves undefined ends the process.
 */
#include <vector>

#include "emu.h"
#include "matmul.h"

/* What lies in an algorithm: which problem it is for, and what it was promised. */
struct algorithm {
	uint32_t magic, compute, transposed, epilogue, types, alignment[4];
	uint64_t workspace;
};

static_assert(sizeof(struct algorithm) <= sizeof(cublasLtMatmulAlgo_t));

constexpr uint32_t MAGIC = 0x6d75656c;
constexpr uint64_t WORKSPACE = 1 << 16; /* asked for where it is allowed: a caller that gives too little is found */

struct sizes {
	size_t m, n, k;
};

/* What cuBLASLt itself would say to these types, sizes and strides. */
static cublasStatus_t
examine(struct sizes *s, const struct emu_matmul_desc *desc, const struct emu_matrix_layout *A,
        const struct emu_matrix_layout *B, const struct emu_matrix_layout *C, const struct emu_matrix_layout *D)
{
	for (const struct emu_matrix_layout *l : { A, B, C, D })
		if (!l->rows || !l->cols || l->ld < (int64_t)l->rows || l->batch < 1 || l->batch != D->batch)
			return CUBLAS_STATUS_INVALID_VALUE;
	s->m = desc->transa ? A->cols : A->rows;
	s->k = desc->transa ? A->rows : A->cols;
	s->n = desc->transb ? B->rows : B->cols;
	if (s->k != (desc->transb ? B->cols : B->rows) || D->rows != s->m || D->cols != s->n || C->rows != s->m ||
	    C->cols != s->n)
		return CUBLAS_STATUS_INVALID_VALUE;
	if (A->type != B->type || C->type != D->type || (A->type == CUDA_R_32F && D->type != CUDA_R_32F) ||
	    (A->type == CUDA_R_16BF && desc->compute == CUBLAS_COMPUTE_32F_FAST_TF32))
		return CUBLAS_STATUS_NOT_SUPPORTED;
	if (desc->epilogue == CUBLASLT_EPILOGUE_BIAS && desc->bias_type != -1 && desc->bias_type != D->type)
		return CUBLAS_STATUS_NOT_SUPPORTED;
	return CUBLAS_STATUS_SUCCESS;
}

static struct algorithm
describe(const struct emu_matmul_desc *desc, const struct emu_matrix_layout *A, const struct emu_matrix_layout *D)
{
	struct algorithm a = {};

	a.magic = MAGIC;
	a.compute = desc->compute;
	a.transposed = (uint32_t)(desc->transa != CUBLAS_OP_N) | (uint32_t)(desc->transb != CUBLAS_OP_N) << 1;
	a.epilogue = desc->epilogue;
	a.types = (uint32_t)A->type | (uint32_t)D->type << 8;
	return a;
}

static void
check_handles(const char *call, cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
              std::initializer_list<cublasLtMatrixLayout_t> layouts)
{
	emu_check_handle(call, handle);
	emu_check_handle(call, desc);
	for (cublasLtMatrixLayout_t l : layouts)
		emu_check_handle(call, l);
}

cublasStatus_t
cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t Adesc,
                               cublasLtMatrixLayout_t Bdesc, cublasLtMatrixLayout_t Cdesc, cublasLtMatrixLayout_t Ddesc,
                               cublasLtMatmulPreference_t pref, int requested,
                               cublasLtMatmulHeuristicResult_t results[], int *returned)
{
	const char *call = "cublasLtMatmulAlgoGetHeuristic";
	struct algorithm a;
	struct sizes s;
	cublasStatus_t status;

	check_handles(call, handle, desc, { Adesc, Bdesc, Cdesc, Ddesc });
	emu_check_handle(call, pref);
	if (requested < 1 || !results || !returned)
		return CUBLAS_STATUS_INVALID_VALUE;
	*returned = 0;
	status = examine(&s, desc, Adesc, Bdesc, Cdesc, Ddesc);
	if (status)
		return status;
	a = describe(desc, Adesc, Ddesc);
	a.workspace = pref->workspace < WORKSPACE ? 0 : WORKSPACE;
	memcpy(a.alignment, pref->alignment, sizeof a.alignment);
	results[0] = {};
	memcpy(&results[0].algo, &a, sizeof a);
	results[0].workspaceSize = a.workspace;
	results[0].state = CUBLAS_STATUS_SUCCESS;
	results[0].wavesCount = 1;
	*returned = 1;
	return CUBLAS_STATUS_SUCCESS;
}

static size_t
type_size(int type)
{
	return type == CUDA_R_32F ? 4 : 2;
}

/* Bytes from the first element's to the last one's end. */
static size_t
extent(const struct emu_matrix_layout *l)
{
	return ((l->cols - 1) * (size_t)l->ld + l->rows + (size_t)(l->batch - 1) * (size_t)l->offset) *
	       type_size(l->type);
}

static void
check_matrix(const char *name, const void *p, const struct emu_matrix_layout *l, uint32_t alignment)
{
	if (l->offset < 0)
		emu_die("cublasLtMatmul: a negative stride between the batches of %s is not emulated", name);
	if ((uintptr_t)p % alignment)
		emu_die("cublasLtMatmul: %s %p is not aligned to %u bytes, as the algorithm was promised", name, p,
		        alignment);
	emu_check_device("cublasLtMatmul", name, p, extent(l));
}

/* Rows of a column that all batches together take, if they lie side by side in a column. */
static size_t
row_span(const struct emu_matrix_layout *l)
{
	return l->rows + (l->offset < l->ld ? (size_t)(l->batch - 1) * (size_t)l->offset : 0);
}

/* D may lie between the columns of another matrix of the same leading dimension, else it must not touch it. */
static void
check_apart(const char *name, const void *p, const struct emu_matrix_layout *l, const void *d,
            const struct emu_matrix_layout *dl)
{
	size_t ld = (size_t)l->ld, shift;

	if ((const char *)p + extent(l) <= (const char *)d || (const char *)d + extent(dl) <= (const char *)p)
		return;
	if (l->ld == dl->ld && l->type == dl->type) {
		size_t apart = (size_t)((const char *)d - (const char *)p) / type_size(l->type);

		shift = (const char *)d >= (const char *)p
		                ? apart % ld
		                : (ld - (size_t)((const char *)p - (const char *)d) / type_size(l->type) % ld) % ld;
		if (shift >= row_span(l) && shift + row_span(dl) <= ld)
			return;
	}
	emu_die("cublasLtMatmul: D overlaps %s", name);
}

static float
bf16_to_float(uint16_t x)
{
	return __uint_as_float((unsigned)x << 16);
}

static uint16_t
float_to_bf16(float x)
{
	unsigned bits = __float_as_uint(x);

	return (uint16_t)(isnan(x) ? bits >> 16 | 64 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* To nearest even at 10 bits; an infinity and a NaN stay. */
static float
round_tf32(float x)
{
	unsigned bits = __float_as_uint(x);

	return isfinite(x) ? __uint_as_float((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu) : x;
}

static float
load(const void *p, int type, size_t i)
{
	return type == CUDA_R_32F ? ((const float *)p)[i] : bf16_to_float(((const uint16_t *)p)[i]);
}

/* (depth, count), column after column; column j is the matrix's, or its row j if by_rows. */
static void
pack(std::vector<float> &out, const void *p, const struct emu_matrix_layout *l, size_t batch, size_t depth,
     size_t count, bool by_rows, bool tf32)
{
	size_t first = batch * (size_t)l->offset, ld = (size_t)l->ld;

	out.resize(depth * count);
	for (size_t j = 0; j < count; j++)
		for (size_t i = 0; i < depth; i++) {
			float x = load(p, l->type, first + (by_rows ? j + i * ld : i + j * ld));

			out[j * depth + i] = tf32 ? round_tf32(x) : x;
		}
}

/* What is left to do when all has been checked. */
struct product {
	struct emu_matmul_desc desc;
	struct emu_matrix_layout A, B, C, D;
	const void *a, *b, *c;
	void *d, *workspace;
	size_t workspace_used;
	struct sizes s;
	float scale, add;
};

static void
multiply(const struct product *p)
{
	static std::vector<float> a, b, out;
	const struct sizes s = p->s;
	const bool tf32 = p->desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
	const bool bias = p->desc.epilogue == CUBLASLT_EPILOGUE_BIAS;
	struct emu_device_open open;

	if (p->workspace_used)
		memset(p->workspace, 0xff, p->workspace_used);
	for (size_t batch = 0; batch < (size_t)p->D.batch; batch++) {
		pack(a, p->a, &p->A, batch, s.k, s.m, p->desc.transa == CUBLAS_OP_N, tf32);
		pack(b, p->b, &p->B, batch, s.k, s.n, p->desc.transb != CUBLAS_OP_N, tf32);
		out.resize(s.m * s.n);
		emu_gemm(out.data(), a.data(), b.data(), s.m, s.n, s.k);
		for (size_t j = 0; j < s.n; j++)
			for (size_t i = 0; i < s.m; i++) {
				size_t to = batch * (size_t)p->D.offset + j * (size_t)p->D.ld + i;
				float x = p->scale * out[j * s.m + i];

				if (p->add != 0)
					x += p->add * load(p->c, p->C.type,
					                   batch * (size_t)p->C.offset + j * (size_t)p->C.ld + i);
				if (bias)
					x += load(p->desc.bias, p->D.type, i);
				if (p->D.type == CUDA_R_32F)
					((float *)p->d)[to] = x;
				else
					((uint16_t *)p->d)[to] = float_to_bf16(x);
			}
	}
}

cublasStatus_t
cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *A,
               cublasLtMatrixLayout_t Adesc, const void *B, cublasLtMatrixLayout_t Bdesc, const void *beta,
               const void *C, cublasLtMatrixLayout_t Cdesc, void *D, cublasLtMatrixLayout_t Ddesc,
               const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_size, cudaStream_t stream)
{
	const char *call = "cublasLtMatmul";
	bool bias;
	struct algorithm found, own;
	struct sizes s;
	float scale, add;
	cublasStatus_t status;

	check_handles(call, handle, desc, { Adesc, Bdesc, Cdesc, Ddesc });
	emu_check_stream(call, stream);
	status = examine(&s, desc, Adesc, Bdesc, Cdesc, Ddesc);
	bias = desc->epilogue == CUBLASLT_EPILOGUE_BIAS;
	if (status || !alpha || !beta || !A || !B || !D || (bias && !desc->bias))
		return status ? status : CUBLAS_STATUS_INVALID_VALUE;
	memcpy(&scale, alpha, sizeof scale);
	memcpy(&add, beta, sizeof add);
	own = found = describe(desc, Adesc, Ddesc);
	for (size_t i = 0; i < 4; i++)
		found.alignment[i] = i < 2 ? (uint32_t)type_size(Adesc->type) : (uint32_t)type_size(Ddesc->type);
	if (algo) {
		memcpy(&found, algo, sizeof found);
		if (found.magic != MAGIC)
			emu_die("%s: the algorithm is not one that cublasLtMatmulAlgoGetHeuristic() gave", call);
		if (memcmp(&own, &found, offsetof(struct algorithm, alignment)))
			return CUBLAS_STATUS_NOT_SUPPORTED;
		if (found.workspace > workspace_size || (found.workspace && !workspace))
			return CUBLAS_STATUS_INVALID_VALUE;
	}
	if (workspace && workspace_size) {
		emu_check_device(call, "the workspace", workspace, workspace_size);
		if ((uintptr_t)workspace % 256)
			emu_die("%s: the workspace %p is not aligned to 256 bytes", call, workspace);
	}
	check_matrix("A", A, Adesc, found.alignment[0]);
	check_matrix("B", B, Bdesc, found.alignment[1]);
	check_matrix("D", D, Ddesc, found.alignment[3]);
	check_apart("A", A, Adesc, D, Ddesc);
	check_apart("B", B, Bdesc, D, Ddesc);
	if (add != 0) {
		check_matrix("C", C, Cdesc, found.alignment[2]);
		if (C != D || Cdesc->ld != Ddesc->ld || Cdesc->offset != Ddesc->offset)
			check_apart("C", C, Cdesc, D, Ddesc);
	}
	if (bias) {
		emu_check_device(call, "the bias", desc->bias, s.m * type_size(Ddesc->type));
		/* Not documented; the kernels that an H200 chose for bf16 fault on any other. */
		if ((uintptr_t)desc->bias % 16)
			emu_die("%s: the bias %p is not aligned to 16 bytes", call, desc->bias);
	}
	if (Ddesc->batch > 1 && (size_t)Ddesc->offset < (s.n - 1) * (size_t)Ddesc->ld + s.m &&
	    ((size_t)Ddesc->offset < s.m || row_span(Ddesc) > (size_t)Ddesc->ld))
		emu_die("%s: the batches of D overlap", call);

	const struct product product = { *desc,
		                         *Adesc,
		                         *Bdesc,
		                         *Cdesc,
		                         *Ddesc,
		                         A,
		                         B,
		                         C,
		                         D,
		                         workspace,
		                         workspace && workspace_size ? (size_t)found.workspace : 0,
		                         s,
		                         scale,
		                         add };

	emu_late_do(stream, [=] { multiply(&product); });
	return CUBLAS_STATUS_SUCCESS;
}
