/* cuBLASLt's handles and descriptors. An attribute or a value of one that is not emulated ends the process. */
#include "emu.h"
#include "matmul.h"

template <typename T>
static cublasStatus_t
set(T *field, const void *buf, size_t size)
{
	if (!buf || size != sizeof *field)
		return CUBLAS_STATUS_INVALID_VALUE;
	memcpy(field, buf, size);
	return CUBLAS_STATUS_SUCCESS;
}

/* An attribute of which one value is emulated, `only`. */
static cublasStatus_t
set_to(int32_t only, const char *call, const char *words, const void *buf, size_t size)
{
	int32_t value;

	if (set(&value, buf, size))
		return CUBLAS_STATUS_INVALID_VALUE;
	if (value != only)
		emu_die("%s: %s %d is not emulated, only %d", call, words, value, only);
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
	*handle = emu_new_handle(cublasLtContext{});
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtDestroy(cublasLtHandle_t handle)
{
	emu_delete_handle("cublasLtDestroy", handle);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType scale)
{
	if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC &&
	    compute != CUBLAS_COMPUTE_32F_FAST_TF32)
		emu_die("cublasLtMatmulDescCreate: compute type %d is not emulated", compute);
	if (scale != CUDA_R_32F)
		emu_die("cublasLtMatmulDescCreate: scale type %d is not emulated, only CUDA_R_32F", scale);
	*desc = emu_new_handle(
		emu_matmul_desc{ compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL, -1 });
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
	emu_delete_handle("cublasLtMatmulDescDestroy", desc);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attr, const void *buf,
                               size_t size)
{
	const char *call = "cublasLtMatmulDescSetAttribute";

	emu_check_handle(call, desc);
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
		return set_to(CUBLASLT_POINTER_MODE_HOST, call, "pointer mode", buf, size);
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
	*layout = emu_new_handle(emu_matrix_layout{ type, rows, cols, ld, 0, 1 });
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
	emu_delete_handle("cublasLtMatrixLayoutDestroy", layout);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attr, const void *buf,
                                 size_t size)
{
	const char *call = "cublasLtMatrixLayoutSetAttribute";

	emu_check_handle(call, layout);
	switch (attr) {
	case CUBLASLT_MATRIX_LAYOUT_ORDER:
		return set_to(CUBLASLT_ORDER_COL, call, "order", buf, size);
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
	*pref = emu_new_handle(emu_matmul_preference{ 0, { 256, 256, 256, 256 } });
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref)
{
	emu_delete_handle("cublasLtMatmulPreferenceDestroy", pref);
	return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t attr,
                                     const void *buf, size_t size)
{
	const char *call = "cublasLtMatmulPreferenceSetAttribute";

	emu_check_handle(call, pref);
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
