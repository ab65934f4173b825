/*
 * The runtime on the emulator: launches' limits, refused ones that nobody looks at, errors, memory, copies, streams, events, what is late,
 * memory shared by processes.
 */
#include "emu_test.h"

static __global__ void
touch(float *p, int at)
{
	p[at] = 1;
}

static __global__ void
touch_dynamic(int at)
{
	float *all = (float *)emu_dynamic_shared();

	all[at] = 1;
}

static __global__ void
much_static(int *out)
{
	__shared__ int all[10240];

	all[threadIdx.x] = 1;
	*out = all[0];
}

static __global__ void
nothing(int)
{
}

/* The launch was refused; the error is looked at, as must be. */
static void
refused(cudaError_t status, cudaError_t expected)
{
	assert_int_equal(status, expected);
	assert_int_equal(cudaGetLastError(), expected);
}

static void
test_limits(void **)
{
	int *out = device<int>(1);

	OK(launch(nothing, dim3(3, 65535, 1), 1, 0, 0));
	OK(launch(nothing, 1, dim3(1024, 1, 1), 0, 0));
	OK(launch(nothing, 1, dim3(4, 4, 64), 0, 0));
	OK(launch(nothing, 1, 1, 48 << 10, 0));
	OK(cudaPeekAtLastError());
	assert_int_equal(launch(nothing, 0, 1, 0, 0), cudaErrorInvalidConfiguration);
	assert_int_equal(cudaPeekAtLastError(), cudaErrorInvalidConfiguration);
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
	OK(cudaGetLastError());
	refused(launch(nothing, dim3(1, 0), 1, 0, 0), cudaErrorInvalidConfiguration);
	refused(launch(nothing, 1, dim3(1, 0), 0, 0), cudaErrorInvalidConfiguration);
	refused(launch(nothing, 1, 1025, 0, 0), cudaErrorInvalidConfiguration);
	refused(launch(nothing, 1, dim3(33, 32), 0, 0), cudaErrorInvalidConfiguration);
	refused(launch(nothing, 1, dim3(1, 1, 65), 0, 0), cudaErrorInvalidConfiguration);
	refused(launch(nothing, dim3(1, 65536), 1, 0, 0), cudaErrorInvalidConfiguration);
	refused(launch(nothing, dim3(1, 1, 65536), 1, 0, 0), cudaErrorInvalidConfiguration);
	refused(launch(nothing, 0x80000000, 1, 0, 0), cudaErrorInvalidConfiguration);

	/* 40 KiB of the 48 are static. */
	OK(launch(much_static, 1, 32, 8 << 10, out));
	refused(launch(much_static, 1, 32, (8 << 10) + 1, out), cudaErrorInvalidValue);
	refused(launch(touch_dynamic, 1, 1, 64 << 10, 0), cudaErrorInvalidValue);
	OK(cudaFuncSetAttribute(touch_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10));
	OK(launch(touch_dynamic, 1, 1, 64 << 10, (64 << 8) - 1));
	refused(launch(touch_dynamic, 1, 1, (64 << 10) + 1, 0), cudaErrorInvalidValue);
	assert_int_equal(cudaFuncSetAttribute(touch_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10),
	                 cudaErrorInvalidValue);
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
	assert_string_equal(cudaGetErrorName(cudaErrorInvalidValue), "cudaErrorInvalidValue");
	assert_string_equal(cudaGetErrorString(cudaSuccess), "no error");
	OK(cudaFree(out));
}

/* Ends as it should be where nothing has ended it before. */
static void
survive(void)
{
	fprintf(stderr, "as it should be\n");
	_exit(1);
}

static cudaError_t
launch_too_large(void)
{
	return launch(touch, 1, 1025, 0, device<float>(1), 0);
}

static void
refused_and_exit(void)
{
	launch_too_large();
	exit(0);
}

static void
refused_and_stream(void)
{
	launch_too_large();
	cudaStreamSynchronize(NULL);
}

static void
refused_and_device(void)
{
	launch_too_large();
	cudaDeviceSynchronize();
}

static void
refused_and_event(void)
{
	cudaEvent_t event;

	launch_too_large();
	cudaEventCreate(&event);
	cudaEventSynchronize(event);
}

/* What is asked about is another error. */
static void
refused_before_another(void)
{
	void *p;

	launch_too_large();
	cudaMalloc(&p, (size_t)1 << 60);
	cudaGetErrorString(cudaGetLastError());
	cudaDeviceSynchronize();
}

static void
refused_and_last_error(void)
{
	launch_too_large();
	launch_too_large();
	cudaGetLastError();
	cudaDeviceSynchronize();
	survive();
}

static void
refused_and_told(void)
{
	cudaGetErrorString(launch_too_large());
	cudaStreamSynchronize(NULL);
	cudaGetErrorName(launch_too_large());
	cudaStreamSynchronize(NULL);
	survive();
}

static void
test_refused(void **)
{
	const char *words = "emu: the launch of touch was refused, invalid configuration argument, and nobody has "
			    "asked why";

	dies(refused_and_exit, words);
	dies(refused_and_stream, words);
	dies(refused_and_device, words);
	dies(refused_and_event, words);
	dies(refused_before_another, words);
	dies(refused_and_last_error, "as it should be");
	dies(refused_and_told, "as it should be");
}

static void
no_device(void)
{
	struct cudaDeviceProp prop;
	cudaStream_t stream;
	int n = 1;
	void *p;

	setenv("VQA_EMU_DEVICES", "0", 1);
	if (cudaGetDeviceCount(&n) == cudaErrorNoDevice && n == 0 && cudaMalloc(&p, 1) == cudaErrorNoDevice &&
	    cudaGetDeviceProperties(&prop, 0) == cudaErrorNoDevice && cudaStreamCreate(&stream) == cudaErrorNoDevice &&
	    cudaGetLastError() == cudaErrorNoDevice && !cudaGetLastError())
		survive();
}

static void
small_device(void)
{
	size_t free, total;
	void *p, *q;

	setenv("VQA_EMU_MEMORY", "1000000", 1);
	if (!cudaMalloc(&p, 600000) && cudaMalloc(&q, 600000) == cudaErrorMemoryAllocation && !q &&
	    !cudaMemGetInfo(&free, &total) && free == 400000 && total == 1000000 && !cudaFree(p) &&
	    !cudaMalloc(&q, 600000))
		survive();
}

static void
test_device(void **)
{
	struct cudaDeviceProp prop;
	int n = 0;

	OK(cudaGetDeviceCount(&n));
	assert_int_equal(n, 1);
	OK(cudaSetDevice(0));
	assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
	OK(cudaGetDeviceProperties(&prop, 0));
	OK(cudaDeviceGetAttribute(&n, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
	assert_int_equal(n, prop.sharedMemPerBlockOptin);
	OK(cudaDeviceGetAttribute(&n, cudaDevAttrMaxBlockDimZ, 0));
	assert_int_equal(n, 64);
	assert_int_equal(cudaGetLastError(), cudaErrorInvalidDevice);
	dies(no_device, "as it should be");
	dies(small_device, "as it should be");
}

static void
test_memory(void **)
{
	float host[100], *p = device<float>(100), *q;
	unsigned char *bytes = (unsigned char *)host;

	assert_int_equal((uintptr_t)p % 256, 0);
	fetch(host, p, 100);
	for (size_t i = 0; i < sizeof host; i++)
		assert_int_equal(bytes[i], 0xff);
	OK(cudaMemset(p, 0, sizeof host));
	OK(cudaMemset(p, 1, 4));
	fetch(host, p, 100);
	assert_int_equal(bytes[3], 1);
	assert_int_equal(bytes[4], 0);
	assert_int_equal(cudaFree(p + 1), cudaErrorInvalidValue);
	OK(cudaFree(p));
	assert_int_equal(cudaFree(p), cudaErrorInvalidValue);
	OK(cudaFree(NULL));
	OK(cudaMalloc(&p, 0));
	assert_null(p);

	OK(cudaMallocHost(&p, sizeof host));
	OK(launch(touch, 1, 1, 0, p, 99));
	assert_float_equal(p[99], 1, 0);
	OK(cudaFreeHost(p));
	assert_int_equal(cudaFreeHost(p), cudaErrorInvalidValue);
	OK(cudaHostRegister(host, sizeof host, cudaHostRegisterDefault));
	assert_int_equal(cudaHostRegister(host + 1, 4, 0), cudaErrorHostMemoryAlreadyRegistered);
	OK(launch(touch, 1, 1, 0, host, 98));
	assert_float_equal(host[98], 1, 0);
	OK(cudaHostUnregister(host));
	assert_int_equal(cudaHostUnregister(host), cudaErrorHostMemoryNotRegistered);
	cudaGetLastError();

	/* Columns 1 and 2 of 4 rows. */
	float rows[4][3] = { { 0, 1, 2 }, { 3, 4, 5 }, { 6, 7, 8 }, { 9, 10, 11 } };

	q = device<float>(8);
	OK(cudaMemcpy2DAsync(q, 8, &rows[0][1], 12, 8, 4, cudaMemcpyHostToDevice));
	OK(cudaMemcpyAsync(host, q, 32, cudaMemcpyDefault));
	for (int i = 0; i < 8; i++)
		assert_float_equal(host[i], rows[i / 2][1 + i % 2], 0);
	assert_int_equal(cudaMemcpy2DAsync(q, 4, rows, 12, 8, 4, cudaMemcpyHostToDevice), cudaErrorInvalidPitchValue);
	assert_int_equal(cudaMemcpy(q, rows, 4, (enum cudaMemcpyKind)5), cudaErrorInvalidMemcpyDirection);
	cudaGetLastError();
	OK(cudaFree(q));
}

static float host[100];

static void
to_host_as_device(void)
{
	cudaMemcpy(host, host + 50, 4, cudaMemcpyHostToDevice);
}

static void
from_device_as_host(void)
{
	cudaMemcpy(device<float>(1), device<float>(1), 4, cudaMemcpyHostToDevice);
}

static void
copy_past_end(void)
{
	cudaMemcpy(device<float>(99), host, 400, cudaMemcpyHostToDevice);
}

static void
copy_past_end_2d(void)
{
	cudaMemcpy2DAsync(host, 20, device<float>(23), 20, 16, 5, cudaMemcpyDeviceToHost);
}

static void
copy_overlap(void)
{
	float *p = device<float>(4);

	cudaMemcpy(p, p + 1, 8, cudaMemcpyDeviceToDevice);
}

static void
set_past_end(void)
{
	cudaMemset(device<float>(99), 0, 400);
}

static void
set_host(void)
{
	cudaMemset(host, 0, 400);
}

static void
host_argument(void)
{
	launch(touch, 1, 1, 0, host, 0);
}

static void
freed_argument(void)
{
	float *p = device<float>(4);

	cudaFree(p);
	launch(touch, 1, 1, 0, p, 0);
}

static void
far_past_end(void)
{
	launch(touch, dim3(1, 2), 3, 0, device<float>(5), 64);
}

static void
one_past_end(void)
{
	launch(touch, 1, 1, 0, device<float>(5), 5);
}

static void
one_before(void)
{
	launch(touch, 1, 1, 0, device<float>(5), -1);
}

static void
dynamic_past_end(void)
{
	launch(touch_dynamic, 1, 1, 20, 5);
}

static __global__ void
touch_indirect(float **p)
{
	**p = 1;
}

static void
freed_memory(void)
{
	float *p = device<float>(4), **q = device(1, &p);

	cudaFree(p);
	launch(touch_indirect, 1, 1, 0, q);
}

/* Kernels and copies reach it all the same. */
static void
touched_by_host(void)
{
	float *p;

	setenv("VQA_EMU_CLOSED", "1", 1);
	p = device(50, host);
	if (launch(touch, 1, 1, 0, p, 0) || cudaMemcpy(host, p, 4, cudaMemcpyDeviceToHost) || host[0] != 1)
		_exit(0);
	fprintf(stderr, "so far\n");
	p[0] = 2;
}

static void
test_wrong_memory(void **)
{
	dies(touched_by_host, "so far");
	dies(to_host_as_device, "emu: cudaMemcpy: the destination 0x");
	dies(to_host_as_device, " is not device memory, but the direction is host to device");
	dies(from_device_as_host, " is device memory, but the direction is host to device");
	dies(copy_past_end, " and 400 bytes pass the end of allocation 0x");
	dies(copy_past_end_2d, " and 96 bytes pass the end of allocation 0x");
	dies(copy_overlap, "overlap");
	dies(set_past_end, "emu: cudaMemset: the pointer 0x");
	dies(set_host, " is not device memory");
	dies(host_argument, "emu: touch: argument 0, counted from 0, is 0x");
	dies(freed_argument, "emu: touch: argument 0, counted from 0, is 0x");
	dies(far_past_end, "emu: touch block (0,0,0) thread (0,0,0): memory ");
	dies(freed_memory, "emu: touch_indirect block (0,0,0) thread (0,0,0): memory ");
#ifdef __SANITIZE_ADDRESS__
	dies(one_past_end, "emu: touch block (0,0,0) thread (0,0,0): memory error");
	dies(one_past_end, "use-after-poison");
	dies(one_before, "use-after-poison");
	dies(dynamic_past_end, "emu: touch_dynamic block (0,0,0) thread (0,0,0): memory error");
#else
	(void)one_past_end;
	(void)one_before;
	(void)dynamic_past_end;
#endif
}

static void
test_streams(void **)
{
	cudaStream_t stream, other;
	cudaEvent_t start, end, quick;
	cudaIpcEventHandle_t handle;
	float ms = -1;

	OK(cudaStreamCreate(&stream));
	OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
	assert_int_equal(cudaStreamCreateWithFlags(&other, 2), cudaErrorInvalidValue);
	OK(cudaEventCreate(&start));
	OK(cudaEventCreate(&end));
	OK(cudaEventCreateWithFlags(&quick, cudaEventDisableTiming | cudaEventInterprocess));
	assert_int_equal(cudaEventElapsedTime(&ms, start, end), cudaErrorInvalidResourceHandle);
	OK(cudaEventRecord(start, stream));
	OK(cudaStreamWaitEvent(other, start, 0));
	OK(cudaEventRecord(end, other));
	OK(cudaEventRecord(quick, NULL));
	OK(cudaEventSynchronize(end));
	OK(cudaEventQuery(end));
	OK(cudaEventElapsedTime(&ms, start, end));
	assert_true(ms >= 0 && ms < 60000);
	assert_int_equal(cudaEventElapsedTime(&ms, start, quick), cudaErrorInvalidResourceHandle);
	assert_int_equal(cudaIpcGetEventHandle(&handle, start), cudaErrorInvalidValue);
	OK(cudaIpcGetEventHandle(&handle, quick));
	OK(cudaEventDestroy(quick));
	OK(cudaIpcOpenEventHandle(&quick, handle));
	OK(cudaStreamSynchronize(stream));
	OK(cudaStreamQuery(other));
	OK(cudaDeviceSynchronize());
	OK(cudaEventDestroy(start));
	OK(cudaEventDestroy(end));
	OK(cudaEventDestroy(quick));
	OK(cudaStreamDestroy(stream));
	OK(cudaStreamDestroy(other));
	assert_int_equal(cudaEventCreateWithFlags(&quick, cudaEventInterprocess), cudaErrorInvalidValue);
	cudaGetLastError();
}

static void
destroyed_stream(void)
{
	cudaStream_t stream;

	cudaStreamCreate(&stream);
	cudaStreamDestroy(stream);
	cudaMemcpyAsync(host, host + 50, 4, cudaMemcpyHostToHost, stream);
}

static void
unmade_event(void)
{
	cudaEventRecord((cudaEvent_t)host, NULL);
}

static void
destroyed_twice(void)
{
	cudaEvent_t event;

	cudaEventCreate(&event);
	cudaEventDestroy(event);
	cudaEventDestroy(event);
}

static void
test_wrong_handles(void **)
{
	dies(destroyed_stream, "emu: cudaMemcpyAsync: 0x");
	dies(destroyed_stream, " is not a stream, or was destroyed");
	dies(unmade_event, "emu: cudaEventRecord: 0x");
	dies(destroyed_twice, "emu: cudaEventDestroy: 0x");
}

/* What each way of waiting shows, and that another stream's does not. */
static void
late_copies(void)
{
	cudaStream_t stream, other;
	cudaEvent_t event;
	float *p = device<float>(8), *pinned;

	setenv("VQA_EMU_LATE", "1", 1);
	cudaMemset(p, 0, 32);
	cudaMallocHost(&pinned, 32);
	cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
	cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
	cudaEventCreate(&event);
	for (int i = 0; i < 7; i++)
		cudaMemcpyAsync(pinned + i, p + i, 4, cudaMemcpyDeviceToHost, i < 6 ? stream : NULL);
	for (int i = 0; i < 7; i++)
		if (!isnan(pinned[i]))
			return;
	cudaStreamSynchronize(other);
	cudaStreamSynchronize(NULL);
	if (!isnan(pinned[0]) || isnan(pinned[6]))
		return;
	cudaEventRecord(event, stream);
	cudaMemcpyAsync(pinned + 7, p + 7, 4, cudaMemcpyDeviceToHost, stream);
	cudaStreamWaitEvent(other, event, 0);
	cudaStreamSynchronize(other);
	if (isnan(pinned[5]) || !isnan(pinned[7]))
		return;
	cudaDeviceSynchronize();
	if (isnan(pinned[7]))
		return;
	cudaMemcpyAsync(p, pinned, 32, cudaMemcpyHostToDevice, stream);
	cudaStreamSynchronize(stream);
	pinned[3] = 2;
	cudaMemcpyAsync(p, pinned, 32, cudaMemcpyHostToDevice, stream);
	pinned[3] = 1;
	fprintf(stderr, "so far\n");
	cudaStreamSynchronize(stream);
}

/* Whether it is busy when it is first asked, and then no more. */
static int
busy_once(cudaStream_t stream)
{
	return cudaStreamQuery(stream) == cudaErrorNotReady && cudaGetLastError() == cudaErrorNotReady &&
	       !cudaStreamQuery(stream) && !cudaStreamQuery(stream);
}

static void
late_work(void)
{
	cudaStream_t stream, other;
	cudaEvent_t event;
	float *p = device<float>(2), *pinned;

	setenv("VQA_EMU_LATE", "1", 1);
	cudaMallocHost(&pinned, 4);
	cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
	cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
	cudaEventCreate(&event);
	cudaMemsetAsync(p, 0, 8, stream);
	if (cudaStreamQuery(other) || cudaStreamQuery(NULL) || !busy_once(stream))
		return;
	launch(touch, 1, 1, 0, p, 0);
	if (cudaStreamQuery(stream) || !busy_once(NULL))
		return;
	cudaMemcpyAsync(p, p + 1, 4, cudaMemcpyDeviceToDevice, stream);
	if (!busy_once(stream))
		return;
	/* What was done before an event, and after. */
	cudaMemcpyAsync(pinned, p, 4, cudaMemcpyDeviceToHost, stream);
	cudaEventRecord(event, stream);
	cudaMemsetAsync(p, 0, 8, stream);
	if (cudaEventQuery(event) != cudaErrorNotReady || !isnan(pinned[0]) || cudaEventQuery(event) ||
	    isnan(pinned[0]) || !busy_once(stream))
		return;
	cudaMemsetAsync(p, 0, 8, stream);
	cudaStreamSynchronize(stream);
	if (!cudaStreamQuery(stream))
		survive();
}

static __global__ void
take(float *out, const float *in)
{
	*out = *in;
}

static void
take_on(cudaStream_t stream, float *out, const float *in)
{
	void *args[] = { &out, &in };

	OK(cudaLaunchKernel(take, 1, 1, args, 0, stream));
}

/* What another stream, and then who waits for it, finds there. */
static float
seen(cudaStream_t stream, const float *p)
{
	float *out = device<float>(1), x;

	take_on(stream, out, p);
	OK(cudaStreamSynchronize(stream));
	fetch(&x, out, 1);
	return x;
}

/* A kernel is late; it finds what a copy on another stream brings where its stream was told to wait, else what was lost. */
static void
late_kernels(void)
{
	cudaStream_t stream, other;
	cudaEvent_t event;
	float *p = device<float>(2), *pinned, x;

	setenv("VQA_EMU_LATE", "1", 1);
	cudaMemset(p, 0, 8);
	cudaMallocHost(&pinned, 8);
	pinned[0] = 3;
	pinned[1] = 4;
	cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
	cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
	cudaEventCreate(&event);
	cudaDeviceSynchronize();
	take_on(stream, p, p + 1);
	cudaMemcpyAsync(p + 1, pinned + 1, 4, cudaMemcpyHostToDevice, stream);
	fetch(&x, p + 1, 1);
	/* Kernels before it: the copy has not begun. */
	if (x != 0)
		return;
	cudaStreamSynchronize(stream);
	fetch(&x, p + 1, 1);
	if (x != 4)
		return;
	take_on(stream, p, p + 1);
	cudaMemcpyAsync(p + 1, pinned, 4, cudaMemcpyHostToDevice, other);
	cudaStreamSynchronize(stream);
	fetch(&x, p, 1);
	/* Not before its turn: the kernel may have read what the copy overwrites. */
	if (!isnan(x) || !isnan(seen(stream, p + 1)))
		return;
	cudaEventRecord(event, other);
	cudaStreamWaitEvent(stream, event, 0);
	if (seen(stream, p + 1) != 3)
		return;
	survive();
}

/* The default stream waits for those that did not ask to be left alone, and they for it. */
static void
late_default_stream(void)
{
	cudaStream_t stream;
	float *p = device<float>(3), x;

	setenv("VQA_EMU_LATE", "1", 1);
	cudaStreamCreate(&stream);
	cudaMemsetAsync(p, 0, 12, stream);
	take_on(NULL, p + 1, p);
	take_on(stream, p + 2, p + 1);
	cudaStreamSynchronize(stream);
	x = 1;
	cudaMemcpy(&x, p + 2, 4, cudaMemcpyDeviceToHost);
	if (x == 0)
		survive();
}

static void
test_late(void **)
{
	dies(late_copies, "so far\nemu: cudaMemcpyAsync: the source 0x");
	dies(late_work, "as it should be");
	dies(late_kernels, "as it should be");
	dies(late_default_stream, "as it should be");
}

/* The child makes memory, the parent maps it and writes, the child sees that and ends; the memory stays. */
static void
test_ipc(void **)
{
	float values[300], *p, *q;
	cudaIpcMemHandle_t handle;
	int there[2], back[2], status;
	char word;
	pid_t child;

	assert_int_equal(pipe(there) | pipe(back), 0);
	child = fork();
	if (!child) {
		for (int i = 0; i < 300; i++)
			values[i] = (float)i;
		p = device<float>(50);
		p = device(300, values);
		OK(cudaIpcGetMemHandle(&handle, p + 7));
		if (cudaIpcOpenMemHandle((void **)&q, handle, cudaIpcMemLazyEnablePeerAccess) !=
		            cudaErrorDeviceUninitialized ||
		    write(there[1], &handle, sizeof handle) != sizeof handle || read(back[0], &word, 1) != 1)
			_exit(1);
		fetch(values, p, 300);
		_exit(values[299] != 1 || values[298] != 298);
	}
	assert_int_equal(read(there[0], &handle, sizeof handle), sizeof handle);
	OK(cudaIpcOpenMemHandle((void **)&p, handle, cudaIpcMemLazyEnablePeerAccess));
	OK(cudaIpcOpenMemHandle((void **)&q, handle, cudaIpcMemLazyEnablePeerAccess));
	assert_ptr_equal(p, q);
	OK(launch(touch, 1, 1, 0, p, 299));
	assert_int_equal(write(back[1], "", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	OK(cudaIpcCloseMemHandle(q));
	fetch(values, p, 300);
	assert_float_equal(values[298], 298, 0);
	assert_float_equal(values[299], 1, 0);
	assert_int_equal(cudaFree(p), cudaErrorInvalidValue);
	OK(cudaIpcCloseMemHandle(p));
	assert_int_equal(cudaIpcCloseMemHandle(p), cudaErrorInvalidValue);
	assert_int_equal(cudaIpcOpenMemHandle((void **)&p, handle, cudaIpcMemLazyEnablePeerAccess),
	                 cudaErrorInvalidResourceHandle);
	assert_int_equal(cudaIpcOpenMemHandle((void **)&p, handle, 0), cudaErrorInvalidValue);
	cudaGetLastError();
	for (int fd : { there[0], there[1], back[0], back[1] })
		close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),        cmocka_unit_test(test_refused),
		cmocka_unit_test(test_device),        cmocka_unit_test(test_memory),
		cmocka_unit_test(test_wrong_memory),  cmocka_unit_test(test_streams),
		cmocka_unit_test(test_wrong_handles), cmocka_unit_test(test_ipc),
		cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
