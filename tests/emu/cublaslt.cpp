/* cuBLASLt's handles and descriptors. An attribute or a value of one that is not emulated ends the process. */
#include <set>

#include "emu.h"
#include "matmul.h"

static std::set<const void *> &
live(void)
{
	/* Never destroyed: exit() may come before the last call. */
	static auto *handles = new std::set<const void *>;

	return *handles;
}

void
emu_lt_check(const char *call, const char *what, const void *handle)
{
	if (!live().count(handle))
		emu_die("%s: %p is not a %s, or was destroyed", call, handle, what);
}

template <typename T>
static cublasStatus_t
destroy(const char *call, const char *what, T *handle)
{
	emu_lt_check(call, what, handle);
	live().erase(handle);
	delete handle;
	return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
static cublasStatus_t
set(T *field, const void *buf, size_t size)
{
	if (!buf || size != sizeof *field)
		return CUBLAS_STATUS_INVALID_VALUE;
	memcpy(field, buf, size);
	return CUBLAS_STATUS_SUCCESS;
}

size_t
cublasLtGetVersion(void)
{
	return 130000;
}

const char *
cublasLtGetStatusName(cublasStatus_t status)
{
	switch (status) {
#define NAME(STATUS)                                                                                                   \
	case STATUS:                                                                                                   \
		return #STATUS
		NAME(CUBLAS_STATUS_SUCCESS);
		NAME(CUBLAS_STATUS_NOT_INITIALIZED);
		NAME(CUBLAS_STATUS_ALLOC_FAILED);
		NAME(CUBLAS_STATUS_INVALID_VALUE);
		NAME(CUBLAS_STATUS_ARCH_MISMATCH);
		NAME(CUBLAS_STATUS_MAPPING_ERROR);
		NAME(CUBLAS_STATUS_EXECUTION_FAILED);
		NAME(CUBLAS_STATUS_INTERNAL_ERROR);
		NAME(CUBLAS_STATUS_NOT_SUPPORTED);
		NAME(CUBLAS_STATUS_LICENSE_ERROR);
#undef NAME
	}
	return "unknown status";
}

const char *
cublasLtGetStatusString(cublasStatus_t status)
{
	return cublasLtGetStatusName(status);
}

cublasStatus_t
cublasLtCreate(cublasLtHandle_t *handle)
{
	if (emu_device())
		return CUBLAS_STATUS_NOT_INITIALIZED;
	*handle = new cublasLtContext{ 1 };
	live().insert(*handle);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtDestroy(cublasLtHandle_t handle)
{
	return destroy("cublasLtDestroy", "handle", handle);
}

cublasStatus_t
cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType scale)
{
	if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC &&
	    compute != CUBLAS_COMPUTE_32F_FAST_TF32)
		emu_die("cublasLtMatmulDescCreate: compute type %d is not emulated", compute);
	if (scale != CUDA_R_32F)
		emu_die("cublasLtMatmulDescCreate: scale type %d is not emulated, only CUDA_R_32F", scale);
	*desc = new emu_matmul_desc{ compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL, -1 };
	live().insert(*desc);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
	return destroy("cublasLtMatmulDescDestroy", "descriptor", desc);
}

cublasStatus_t
cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attr, const void *buf,
                               size_t size)
{
	const char *call = "cublasLtMatmulDescSetAttribute";
	int32_t mode = 0;

	emu_lt_check(call, "descriptor", desc);
	switch (attr) {
	case CUBLASLT_MATMUL_DESC_TRANSA:
		return set(&desc->transa, buf, size);
	case CUBLASLT_MATMUL_DESC_TRANSB:
		return set(&desc->transb, buf, size);
	case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
		return set(&desc->bias, buf, size);
	case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
		return set(&desc->bias_type, buf, size);
	case CUBLASLT_MATMUL_DESC_POINTER_MODE:
		if (!set(&mode, buf, size) && mode != CUBLASLT_POINTER_MODE_HOST)
			emu_die("%s: pointer mode %d is not emulated, only host", call, mode);
		return size == sizeof mode ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
	case CUBLASLT_MATMUL_DESC_EPILOGUE:
		if (set(&desc->epilogue, buf, size))
			return CUBLAS_STATUS_INVALID_VALUE;
		if (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT && desc->epilogue != CUBLASLT_EPILOGUE_BIAS)
			emu_die("%s: epilogue %u is not emulated, only DEFAULT and BIAS", call, desc->epilogue);
		return CUBLAS_STATUS_SUCCESS;
	default:
		emu_die("%s: attribute %d is not emulated", call, attr);
	}
}

cublasStatus_t
cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld)
{
	if (type != CUDA_R_32F && type != CUDA_R_16BF)
		emu_die("cublasLtMatrixLayoutCreate: type %d is not emulated, only CUDA_R_32F and CUDA_R_16BF", type);
	*layout = new emu_matrix_layout{ type, rows, cols, ld, 0, 1 };
	live().insert(*layout);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
	return destroy("cublasLtMatrixLayoutDestroy", "layout", layout);
}

cublasStatus_t
cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attr, const void *buf,
                                 size_t size)
{
	const char *call = "cublasLtMatrixLayoutSetAttribute";
	int32_t order = 0;

	emu_lt_check(call, "layout", layout);
	switch (attr) {
	case CUBLASLT_MATRIX_LAYOUT_ORDER:
		if (!set(&order, buf, size) && order != CUBLASLT_ORDER_COL)
			emu_die("%s: order %d is not emulated, only columns", call, order);
		return size == sizeof order ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
	case CUBLASLT_MATRIX_LAYOUT_ROWS:
		return set(&layout->rows, buf, size);
	case CUBLASLT_MATRIX_LAYOUT_COLS:
		return set(&layout->cols, buf, size);
	case CUBLASLT_MATRIX_LAYOUT_LD:
		return set(&layout->ld, buf, size);
	case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
		return set(&layout->batch, buf, size);
	case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
		return set(&layout->offset, buf, size);
	default:
		emu_die("%s: attribute %d is not emulated", call, attr);
	}
}

cublasStatus_t
cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *pref)
{
	*pref = new emu_matmul_preference{ 0, { 256, 256, 256, 256 } };
	live().insert(*pref);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref)
{
	return destroy("cublasLtMatmulPreferenceDestroy", "preference", pref);
}

cublasStatus_t
cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t attr,
                                     const void *buf, size_t size)
{
	const char *call = "cublasLtMatmulPreferenceSetAttribute";

	emu_lt_check(call, "preference", pref);
	switch (attr) {
	case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
		return set(&pref->workspace, buf, size);
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
	case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
		return set(&pref->alignment[attr - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], buf, size);
	default:
		emu_die("%s: attribute %d is not emulated", call, attr);
	}
}
