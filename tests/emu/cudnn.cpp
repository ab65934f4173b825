/*
 * cuDNN's softmax of f32 in NCHW, y = alpha softmax(x) + beta y, y not read if beta is 0; what else is asked for ends
 * the process.
 */
#include "cudnn.h"
#include "emu.h"

struct cudnnContext {
	static constexpr const char *NAME = "a handle of cuDNN's";
	cudaStream_t stream;
};

struct cudnnTensorStruct {
	static constexpr const char *NAME = "a descriptor of a tensor";
	int set, n, c, h, w;
};

size_t
cudnnGetVersion(void)
{
	return CUDNN_VERSION;
}

const char *
cudnnGetErrorString(cudnnStatus_t status)
{
	switch (status) {
	case CUDNN_STATUS_SUCCESS:
		return "CUDNN_STATUS_SUCCESS";
	case CUDNN_STATUS_NOT_INITIALIZED:
		return "CUDNN_STATUS_NOT_INITIALIZED";
	case CUDNN_STATUS_BAD_PARAM:
		return "CUDNN_STATUS_BAD_PARAM";
	case CUDNN_STATUS_NOT_SUPPORTED:
		return "CUDNN_STATUS_NOT_SUPPORTED";
	}
	return "CUDNN_UNKNOWN_STATUS";
}

cudnnStatus_t
cudnnCreate(cudnnHandle_t *handle)
{
	if (emu_device())
		return CUDNN_STATUS_NOT_INITIALIZED;
	*handle = emu_new_handle(cudnnContext{ NULL });
	return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnDestroy(cudnnHandle_t handle)
{
	emu_delete_handle("cudnnDestroy", handle);
	return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
	emu_check_handle("cudnnSetStream", handle);
	emu_check_stream("cudnnSetStream", stream);
	handle->stream = stream;
	return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *tensor)
{
	*tensor = emu_new_handle(cudnnTensorStruct());
	return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor)
{
	emu_delete_handle("cudnnDestroyTensorDescriptor", tensor);
	return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format, cudnnDataType_t type, int n,
                           int c, int h, int w)
{
	emu_check_handle("cudnnSetTensor4dDescriptor", tensor);
	if (format != CUDNN_TENSOR_NCHW || type != CUDNN_DATA_FLOAT)
		emu_die("cudnnSetTensor4dDescriptor: format %d and type %d are not emulated, only NCHW of float",
		        format, type);
	if (n < 1 || c < 1 || h < 1 || w < 1)
		return CUDNN_STATUS_BAD_PARAM;
	*tensor = { 1, n, c, h, w };
	return CUDNN_STATUS_SUCCESS;
}

/* n numbers, each the stride's distance from the last. */
static void
softmax(float *y, const float *x, size_t n, size_t stride, float alpha, float beta)
{
	float most = x[0], sum = 0;

	for (size_t i = 1; i < n; i++)
		most = fmaxf(most, x[i * stride]);
	for (size_t i = 0; i < n; i++)
		sum += expf(x[i * stride] - most);
	for (size_t i = 0; i < n; i++) {
		float value = alpha * (expf(x[i * stride] - most) / sum);

		y[i * stride] = beta == 0 ? value : value + beta * y[i * stride];
	}
}

cudnnStatus_t
cudnnSoftmaxForward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t algorithm, cudnnSoftmaxMode_t mode, const void *alpha,
                    const cudnnTensorDescriptor_t xdesc, const void *x, const void *beta,
                    const cudnnTensorDescriptor_t ydesc, void *y)
{
	emu_check_handle("cudnnSoftmaxForward", handle);
	emu_check_handle("cudnnSoftmaxForward", xdesc);
	emu_check_handle("cudnnSoftmaxForward", ydesc);
	emu_check_stream("cudnnSoftmaxForward", handle->stream);
	if (algorithm != CUDNN_SOFTMAX_ACCURATE)
		emu_die("cudnnSoftmaxForward: algorithm %d is not emulated, only CUDNN_SOFTMAX_ACCURATE", algorithm);
	if (!alpha || !beta || !xdesc->set || !ydesc->set || (unsigned)mode > CUDNN_SOFTMAX_MODE_CHANNEL ||
	    xdesc->n != ydesc->n || xdesc->c != ydesc->c || xdesc->h != ydesc->h || xdesc->w != ydesc->w)
		return CUDNN_STATUS_BAD_PARAM;

	size_t n = (size_t)xdesc->n, c = (size_t)xdesc->c, hw = (size_t)xdesc->h * (size_t)xdesc->w, all = n * c * hw;
	float a, b;

	memcpy(&a, alpha, sizeof a);
	memcpy(&b, beta, sizeof b);
	emu_check_device("cudnnSoftmaxForward", "x", x, all * sizeof(float));
	emu_check_device("cudnnSoftmaxForward", "y", y, all * sizeof(float));
	if (x != y && (const float *)x < (float *)y + all && (float *)y < (const float *)x + all)
		emu_die("cudnnSoftmaxForward: x and y overlap and are not the same");
	emu_late_do(handle->stream, [=] {
		struct emu_device_open open;

		for (size_t i = 0; i < n; i++) {
			const float *from = (const float *)x + i * c * hw;
			float *to = (float *)y + i * c * hw;

			if (mode == CUDNN_SOFTMAX_MODE_INSTANCE)
				softmax(to, from, c * hw, 1, a, b);
			for (size_t j = 0; mode == CUDNN_SOFTMAX_MODE_CHANNEL && j < hw; j++)
				softmax(to + j, from + j, c, hw, a, b);
		}
	});
	return CUDNN_STATUS_SUCCESS;
}
