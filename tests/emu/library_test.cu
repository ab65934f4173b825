/* cuBLASLt's products and cuDNN's softmax on the emulator against plain loops in double, and what must be refused. */
#include <math.h>

#include <vector>

#include <cublasLt.h>
#include <cudnn.h>

#include "emu_test.h"

static uint64_t state = 1;

/* -1 … 1, exact in bf16 */
static float
number(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (float)((int)(state >> 57) - 64) / 64;
}

static uint16_t
narrow(float x)
{
	return (uint16_t)(__float_as_uint(x) >> 16);
}

/* op(A) (m, k) op(B) (k, n); the leading dimensions are larger than the rows by pad; batches, a bias, C. */
struct problem {
	int m = 13, n = 6, k = 9, transa = 0, transb = 0, pad = 0, batch = 1, bias = 0;
	float alpha = 1, beta = 0;
	cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
	cudaDataType in = CUDA_R_32F, out = CUDA_R_32F;
	int algo = 0; /* ask for one, that may have so much workspace, of which so much is given (0: all) */
	uint64_t workspace = 0;
	size_t given = 0;
	int epilogue = 0, shift = 0; /* shift: bytes that A is moved by */
};

struct matrix {
	int rows, cols, ld, batch, size;
	cudaDataType type;
	std::vector<float> value;
	void *p;
	cublasLtMatrixLayout_t layout;
};

static void
matrix_make(struct matrix *x, const struct problem *t, int rows, int cols, cudaDataType type)
{
	int32_t batch = t->batch;
	int64_t offset;

	x->rows = rows;
	x->cols = cols;
	x->ld = rows + t->pad;
	x->size = x->ld * cols;
	x->type = type;
	offset = x->size;
	for (int i = 0; i < x->size * batch; i++)
		x->value.push_back(i % x->ld < rows ? number() : NAN);
	if (type == CUDA_R_32F) {
		x->p = device(x->value.size(), x->value.data());
	} else {
		std::vector<uint16_t> narrowed;

		for (float v : x->value)
			narrowed.push_back(narrow(v));
		x->p = device(narrowed.size(), narrowed.data());
	}
	OK(cublasLtMatrixLayoutCreate(&x->layout, type, (uint64_t)rows, (uint64_t)cols, x->ld));
	if (batch > 1) {
		OK(cublasLtMatrixLayoutSetAttribute(x->layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
		                                    sizeof batch));
		OK(cublasLtMatrixLayoutSetAttribute(x->layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset,
		                                    sizeof offset));
	}
}

static void
matrix_read(struct matrix *x)
{
	if (x->type == CUDA_R_32F) {
		fetch(x->value.data(), (float *)x->p, x->value.size());
	} else {
		std::vector<uint16_t> narrowed(x->value.size());

		fetch(narrowed.data(), (uint16_t *)x->p, narrowed.size());
		for (size_t i = 0; i < narrowed.size(); i++)
			x->value[i] = __uint_as_float((unsigned)narrowed[i] << 16);
	}
}

static void
matrix_free(struct matrix *x)
{
	OK(cublasLtMatrixLayoutDestroy(x->layout));
	OK(cudaFree(x->p));
}

struct product {
	struct matrix a, b, c, d, bias;
};

/* What cublasLtMatmul() or the search for an algorithm returned. */
static cublasStatus_t
product_run(struct product *x, const struct problem *t)
{
	cublasOperation_t ta = t->transa ? CUBLAS_OP_T : CUBLAS_OP_N, tb = t->transb ? CUBLAS_OP_T : CUBLAS_OP_N;
	uint32_t epilogue = t->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
	cublasLtMatmulHeuristicResult_t found;
	cublasLtMatmulPreference_t pref;
	cublasLtMatmulDesc_t desc;
	cublasLtHandle_t handle;
	cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
	void *workspace = device<char>(1 << 20);
	struct problem one = *t;
	int n = 0;

	matrix_make(&x->a, t, t->transa ? t->k : t->m, t->transa ? t->m : t->k, t->in);
	matrix_make(&x->b, t, t->transb ? t->n : t->k, t->transb ? t->k : t->n, t->in);
	matrix_make(&x->c, t, t->m, t->n, t->out);
	matrix_make(&x->d, t, t->m, t->n, t->out);
	one.batch = 1;
	matrix_make(&x->bias, &one, t->m, 1, t->out);
	OK(cublasLtCreate(&handle));
	OK(cublasLtMatmulDescCreate(&desc, t->compute, CUDA_R_32F));
	OK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta));
	OK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb));
	if (t->epilogue)
		epilogue = (uint32_t)t->epilogue;
	OK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
	if (t->bias)
		OK(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &x->bias.p,
		                                  sizeof x->bias.p));
	if (t->algo) {
		OK(cublasLtMatmulPreferenceCreate(&pref));
		OK(cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &t->workspace,
		                                        sizeof t->workspace));
		status = cublasLtMatmulAlgoGetHeuristic(handle, desc, x->a.layout, x->b.layout, x->c.layout,
		                                        x->d.layout, pref, 1, &found, &n);
		assert_int_equal(n, status == CUBLAS_STATUS_SUCCESS);
		OK(cublasLtMatmulPreferenceDestroy(pref));
	}
	if (!status)
		status = cublasLtMatmul(handle, desc, &t->alpha, (char *)x->a.p + t->shift, x->a.layout, x->b.p,
		                        x->b.layout, &t->beta, x->c.p, x->c.layout, x->d.p, x->d.layout,
		                        t->algo ? &found.algo : NULL, workspace, t->given ? t->given : t->workspace,
		                        NULL);
	matrix_read(&x->d);
	OK(cublasLtMatmulDescDestroy(desc));
	OK(cublasLtDestroy(handle));
	OK(cudaFree(workspace));
	return status;
}

static void
product_free(struct product *x)
{
	for (struct matrix *m : { &x->a, &x->b, &x->c, &x->d, &x->bias })
		matrix_free(m);
}

static double
element(const struct matrix *x, int batch, int row, int col)
{
	return x->value[(size_t)(batch * x->size + col * x->ld + row)];
}

/* Values are multiples of 1/64 below 1 and sums are short: f32 is exact to a few roundings of alpha and beta. */
static void
check_product(const struct problem *t)
{
	struct product x = {};
	double tolerance = t->out == CUDA_R_32F ? 1e-5 : 1.0 / 256;

	OK(product_run(&x, t));
	for (int batch = 0; batch < t->batch; batch++)
		for (int j = 0; j < t->n; j++)
			for (int i = 0; i < t->m; i++) {
				double sum = 0, got = element(&x.d, batch, i, j);

				for (int l = 0; l < t->k; l++)
					sum += (t->transa ? element(&x.a, batch, l, i) : element(&x.a, batch, i, l)) *
					       (t->transb ? element(&x.b, batch, j, l) : element(&x.b, batch, l, j));
				sum *= t->alpha;
				if (t->beta != 0)
					sum += t->beta * element(&x.c, batch, i, j);
				if (t->bias)
					sum += element(&x.bias, 0, i, 0);
				if (!(fabs(got - sum) <= tolerance * (1 + fabs(sum))))
					fail_msg("row %d, column %d of batch %d: %g, expected %g", i, j, batch, got,
					         sum);
			}
	/* What lies between the columns stays. */
	for (int i = 0; t->pad && i < x.d.size * t->batch; i++)
		assert_true((i % x.d.ld >= t->m) == !!isnan(x.d.value[(size_t)i]));
	product_free(&x);
}

static void
test_product(void **)
{
	struct problem t = {};
	int sizes[][3] = { { 1, 1, 1 }, { 13, 6, 9 }, { 8, 4, 33 }, { 40, 1, 3 }, { 1, 31, 17 } };

	for (auto [m, n, k] : sizes)
		for (int bits = 0; bits < 64; bits++) {
			t = {};
			t.m = m;
			t.n = n;
			t.k = k;
			t.transa = bits & 1;
			t.transb = bits >> 1 & 1;
			t.pad = bits & 4 ? 3 : 0;
			t.batch = bits & 8 ? 3 : 1;
			t.bias = bits >> 4 & 1;
			t.alpha = bits & 32 ? 0.5f : 1;
			t.beta = bits & 32 ? -2.0f : 0;
			t.algo = bits & 1;
			t.workspace = bits & 2 ? 1 << 20 : 0;
			for (int types = 0; types < 5; types++) {
				t.in = types < 3 ? CUDA_R_32F : CUDA_R_16BF;
				t.out = types < 4 ? CUDA_R_32F : CUDA_R_16BF;
				t.compute = types == 1   ? CUBLAS_COMPUTE_32F_PEDANTIC
				            : types == 2 ? CUBLAS_COMPUTE_32F_FAST_TF32
				                         : CUBLAS_COMPUTE_32F;
				check_product(&t);
			}
		}
}

/* 1 + 2^-11 is halfway and goes to even; 1 + 2^-10 is a TF32. C is NaN and not read. */
static void
test_tf32(void **)
{
	float a[] = { 1 + 0x1p-11f, 1 + 0x1.8p-10f, 1 + 0x1p-10f, INFINITY }, nan[4] = { NAN, NAN, NAN, NAN }, got[4];
	float one = 1, zero = 0, *A = device(4, a), *B = device(1, &one), *D = device(4, nan);
	cublasLtMatrixLayout_t la, lb;
	cublasLtMatmulDesc_t desc;
	cublasLtHandle_t handle;

	OK(cublasLtCreate(&handle));
	OK(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F));
	OK(cublasLtMatrixLayoutCreate(&la, CUDA_R_32F, 4, 1, 4));
	OK(cublasLtMatrixLayoutCreate(&lb, CUDA_R_32F, 1, 1, 1));
	OK(cublasLtMatmul(handle, desc, &one, A, la, B, lb, &zero, D, la, D, la, NULL, NULL, 0, NULL));
	fetch(got, D, 4);
	assert_float_equal(got[0], 1, 0);
	assert_float_equal(got[1], 1 + 0x1p-9f, 0);
	assert_float_equal(got[2], 1 + 0x1p-10f, 0);
	assert_true(isinf(got[3]));
	OK(cublasLtMatmulDescDestroy(desc));
	OK(cublasLtMatrixLayoutDestroy(la));
	OK(cublasLtMatrixLayoutDestroy(lb));
	OK(cublasLtDestroy(handle));
	for (float *p : { A, B, D })
		OK(cudaFree(p));
}

static void
refused(struct problem t, cublasStatus_t expected)
{
	struct product x = {};

	assert_int_equal(product_run(&x, &t), expected);
	product_free(&x);
}

static void
test_refused(void **)
{
	struct problem t = {};

	t.pad = -1;
	refused(t, CUBLAS_STATUS_INVALID_VALUE);
	t = {};
	t.out = CUDA_R_16BF;
	refused(t, CUBLAS_STATUS_NOT_SUPPORTED);
	t.in = CUDA_R_16BF;
	t.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
	t.algo = 1;
	refused(t, CUBLAS_STATUS_NOT_SUPPORTED);
	t = {};
	t.algo = 1;
	t.workspace = 1 << 20;
	t.given = 100;
	refused(t, CUBLAS_STATUS_INVALID_VALUE);
}

static void
relu(void)
{
	struct problem t = {};

	t.epilogue = CUBLASLT_EPILOGUE_RELU;
	refused(t, CUBLAS_STATUS_SUCCESS);
}

static void
misaligned(void)
{
	struct problem t = {};

	t.algo = 1;
	t.shift = 16;
	t.k = 1;
	refused(t, CUBLAS_STATUS_SUCCESS);
}

static void
past_end(void)
{
	struct problem t = {};

	t.shift = 4;
	refused(t, CUBLAS_STATUS_SUCCESS);
}

static void
row_order(void)
{
	cublasLtMatrixLayout_t layout;
	int32_t order = CUBLASLT_ORDER_ROW;

	cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 1, 1, 1);
	cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order);
}

static void
half(void)
{
	cublasLtMatrixLayout_t layout;

	cublasLtMatrixLayoutCreate(&layout, CUDA_R_16F, 1, 1, 1);
}

static void
destroyed(void)
{
	cublasLtHandle_t handle;

	cublasLtCreate(&handle);
	cublasLtDestroy(handle);
	cublasLtDestroy(handle);
}

static void
test_wrong_products(void **)
{
	dies(relu, "emu: cublasLtMatmulDescSetAttribute: epilogue 2 is not emulated");
	dies(misaligned, "emu: cublasLtMatmul: A 0x");
	dies(misaligned, " is not aligned to 256 bytes");
	dies(past_end, " bytes pass the end of allocation 0x");
	dies(row_order, "emu: cublasLtMatrixLayoutSetAttribute: order 1 is not emulated");
	dies(half, "emu: cublasLtMatrixLayoutCreate: type 2 is not emulated");
	dies(destroyed, "emu: cublasLtDestroy: 0x");
}

/* (3, 5, 2, 2); in place, and onto other values with alpha and beta. */
static void
check_softmax(cudnnSoftmaxMode_t mode, float alpha, float beta, bool in_place)
{
	float x[60], y[60], got[60], *px, *py;
	cudnnTensorDescriptor_t tensor;
	cudnnHandle_t handle;

	for (int i = 0; i < 60; i++) {
		x[i] = 50 * number();
		y[i] = beta == 0 ? NAN : number();
	}
	px = device(60, x);
	py = in_place ? px : device(60, y);
	OK(cudnnCreate(&handle));
	OK(cudnnSetStream(handle, NULL));
	OK(cudnnCreateTensorDescriptor(&tensor));
	OK(cudnnSetTensor4dDescriptor(tensor, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 3, 5, 2, 2));
	OK(cudnnSoftmaxForward(handle, CUDNN_SOFTMAX_ACCURATE, mode, &alpha, tensor, px, &beta, tensor, py));
	fetch(got, py, 60);
	for (int i = 0; i < 60; i++) {
		double sum = 0;

		for (int j = 0; j < 60; j++)
			if (j / 20 == i / 20 && (mode == CUDNN_SOFTMAX_MODE_INSTANCE || j % 4 == i % 4))
				sum += exp((double)x[j] - x[i]);
		sum = alpha / sum + (beta == 0 ? 0 : beta * (in_place ? x[i] : y[i]));
		assert_true(fabs(got[i] - sum) <= 1e-6 * (1 + fabs(sum)));
	}
	OK(cudnnDestroyTensorDescriptor(tensor));
	OK(cudnnDestroy(handle));
	OK(cudaFree(px));
	if (!in_place)
		OK(cudaFree(py));
}

static void
test_softmax(void **)
{
	for (cudnnSoftmaxMode_t mode : { CUDNN_SOFTMAX_MODE_INSTANCE, CUDNN_SOFTMAX_MODE_CHANNEL }) {
		check_softmax(mode, 1, 0, false);
		check_softmax(mode, 1, 0, true);
		check_softmax(mode, 0.5f, 2, false);
	}
}

static void
fast_softmax(void)
{
	cudnnTensorDescriptor_t tensor;
	cudnnHandle_t handle;
	float one = 1, *p = device<float>(1);

	cudnnCreate(&handle);
	cudnnCreateTensorDescriptor(&tensor);
	cudnnSetTensor4dDescriptor(tensor, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, 1, 1, 1);
	cudnnSoftmaxForward(handle, CUDNN_SOFTMAX_FAST, CUDNN_SOFTMAX_MODE_CHANNEL, &one, tensor, p, &one, tensor, p);
}

static void
other_layout(void)
{
	cudnnTensorDescriptor_t tensor;

	cudnnCreateTensorDescriptor(&tensor);
	cudnnSetTensor4dDescriptor(tensor, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 1, 1, 1, 1);
}

static void
test_wrong_softmax(void **)
{
	dies(fast_softmax, "emu: cudnnSoftmaxForward: algorithm 0 is not emulated");
	dies(other_layout, "emu: cudnnSetTensor4dDescriptor: format 1 and type 0 are not emulated");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_product), cmocka_unit_test(test_tf32),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_wrong_products),
		cmocka_unit_test(test_softmax), cmocka_unit_test(test_wrong_softmax),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
