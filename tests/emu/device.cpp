/*
 * The device and what is told of it; errors are kept a process, as there is one thread that calls.
 *
 * Whether a caller looked at a launch's status cannot be known. Who did asks what it means, by its name or its string, or asks for the
 * last error: a refused launch that nobody has asked about when the host waits for the device, or when the process ends, ends it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "emu.h"

static cudaError_t last;
static int current;

/* The first refused launch that nobody has asked about. */
static struct {
	const void *kernel;
	cudaError_t error; /* cudaSuccess: there is none */
	bool is_last;      /* the last error is a launch's */
} refused;

void
emu_die(const char *format, ...)
{
	char words[1024], place[512] = "";
	va_list ap;

	va_start(ap, format);
	vsnprintf(words, sizeof words, format, ap);
	va_end(ap);
	if (!emu_block_place(place, sizeof place) && emu_running())
		snprintf(place, sizeof place, "%s: ", emu_function_name((const void *)emu_running()->kernel));
	fflush(stdout);
	fprintf(stderr, "emu: %s%s\n", place, words);
	abort();
}

cudaError_t
emu_error(cudaError_t error)
{
	if (error) {
		last = error;
		refused.is_last = false;
	}
	return error;
}

void
emu_check_refused(void)
{
	if (refused.error)
		emu_die("the launch of %s was refused, %s, and nobody has asked why", emu_function_name(refused.kernel),
		        cudaGetErrorString(refused.error));
}

cudaError_t
emu_refuse(const void *kernel, cudaError_t error)
{
	static bool watched;

	if (!watched)
		atexit(emu_check_refused);
	watched = true;
	emu_error(error);
	if (!refused.error)
		refused = { kernel, error, false };
	refused.is_last = true;
	return error;
}

static int
devices(void)
{
	const char *said = getenv("VQA_EMU_DEVICES");

	return said ? atoi(said) : 1;
}

cudaError_t
emu_device(void)
{
	return devices() ? cudaSuccess : emu_error(cudaErrorNoDevice);
}

static cudaError_t
check_device(int device)
{
	if (emu_device())
		return cudaErrorNoDevice;
	return device < 0 || device >= devices() ? emu_error(cudaErrorInvalidDevice) : cudaSuccess;
}

size_t
emu_device_memory(void)
{
	const char *said = getenv("VQA_EMU_MEMORY");

	return said ? strtoull(said, NULL, 10) : (size_t)8 << 30;
}

cudaError_t
cudaGetDeviceCount(int *count)
{
	*count = devices();
	return emu_device();
}

cudaError_t
cudaSetDevice(int device)
{
	if (check_device(device))
		return last;
	current = device;
	return cudaSuccess;
}

cudaError_t
cudaGetDevice(int *device)
{
	*device = current;
	return emu_device();
}

cudaError_t
cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
	if (check_device(device))
		return last;
	*prop = {};
	snprintf(prop->name, sizeof prop->name, "emulated CUDA device");
	memcpy(prop->uuid.bytes, "emulated device", 16);
	prop->totalGlobalMem = emu_device_memory();
	prop->sharedMemPerBlock = EMU_SHARED;
	prop->sharedMemPerBlockOptin = EMU_SHARED_OPTIN;
	prop->sharedMemPerMultiprocessor = EMU_SHARED_OPTIN + 1024;
	prop->regsPerBlock = 65536;
	prop->warpSize = warpSize;
	prop->maxThreadsPerBlock = EMU_THREADS;
	prop->maxThreadsDim[0] = prop->maxThreadsDim[1] = EMU_THREADS;
	prop->maxThreadsDim[2] = 64;
	prop->maxGridSize[0] = 0x7fffffff;
	prop->maxGridSize[1] = prop->maxGridSize[2] = 65535;
	prop->totalConstMem = 65536;
	prop->major = 8;
	prop->minor = 6;
	prop->multiProcessorCount = 2;
	prop->canMapHostMemory = 1;
	prop->concurrentKernels = 1;
	prop->unifiedAddressing = 1;
	prop->l2CacheSize = 4 << 20;
	prop->maxThreadsPerMultiProcessor = 1536;
	prop->hostRegisterSupported = 1;
	return cudaSuccess;
}

cudaError_t
cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device)
{
	struct cudaDeviceProp prop;

	if (cudaGetDeviceProperties(&prop, device))
		return last;
	switch (attr) {
	case cudaDevAttrMaxThreadsPerBlock:
		*value = prop.maxThreadsPerBlock;
		break;
	case cudaDevAttrMaxBlockDimX:
	case cudaDevAttrMaxBlockDimY:
	case cudaDevAttrMaxBlockDimZ:
		*value = prop.maxThreadsDim[attr - cudaDevAttrMaxBlockDimX];
		break;
	case cudaDevAttrMaxGridDimX:
	case cudaDevAttrMaxGridDimY:
	case cudaDevAttrMaxGridDimZ:
		*value = prop.maxGridSize[attr - cudaDevAttrMaxGridDimX];
		break;
	case cudaDevAttrMaxSharedMemoryPerBlock:
		*value = (int)prop.sharedMemPerBlock;
		break;
	case cudaDevAttrMaxSharedMemoryPerBlockOptin:
		*value = (int)prop.sharedMemPerBlockOptin;
		break;
	case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
		*value = (int)prop.sharedMemPerMultiprocessor;
		break;
	case cudaDevAttrWarpSize:
		*value = prop.warpSize;
		break;
	case cudaDevAttrMultiProcessorCount:
		*value = prop.multiProcessorCount;
		break;
	case cudaDevAttrL2CacheSize:
		*value = prop.l2CacheSize;
		break;
	case cudaDevAttrMaxThreadsPerMultiProcessor:
		*value = prop.maxThreadsPerMultiProcessor;
		break;
	case cudaDevAttrComputeCapabilityMajor:
		*value = prop.major;
		break;
	case cudaDevAttrComputeCapabilityMinor:
		*value = prop.minor;
		break;
	case cudaDevAttrIntegrated:
	case cudaDevAttrPciBusId:
	case cudaDevAttrPciDeviceId:
	case cudaDevAttrPciDomainId:
		*value = 0;
		break;
	case cudaDevAttrCanMapHostMemory:
	case cudaDevAttrConcurrentKernels:
	case cudaDevAttrUnifiedAddressing:
	case cudaDevAttrHostRegisterSupported:
	case cudaDevAttrIpcEventSupport:
		*value = 1;
		break;
	default:
		return emu_error(cudaErrorInvalidValue);
	}
	return cudaSuccess;
}

cudaError_t
cudaDriverGetVersion(int *version)
{
	*version = CUDART_VERSION;
	return cudaSuccess;
}

cudaError_t
cudaRuntimeGetVersion(int *version)
{
	*version = CUDART_VERSION;
	return cudaSuccess;
}

cudaError_t
cudaDeviceSynchronize(void)
{
	emu_check_refused();
	emu_late_finish_all();
	return emu_device();
}

cudaError_t
cudaPeekAtLastError(void)
{
	if (refused.is_last)
		refused.error = cudaSuccess;
	return last;
}

cudaError_t
cudaGetLastError(void)
{
	cudaError_t error = cudaPeekAtLastError();

	last = cudaSuccess;
	return error;
}

static const struct error {
	cudaError_t error;
	const char *name, *words;
} errors[] = {
#define ERROR(NAME, WORDS)                                                                                             \
	{                                                                                                              \
		NAME, #NAME, WORDS                                                                                     \
	}
	ERROR(cudaSuccess, "no error"),
	ERROR(cudaErrorInvalidValue, "invalid argument"),
	ERROR(cudaErrorMemoryAllocation, "out of memory"),
	ERROR(cudaErrorInitializationError, "initialization error"),
	ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
	ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
	ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
	ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
	ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
	ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
	ERROR(cudaErrorDeviceUninitialized, "invalid device context"),
	ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
	ERROR(cudaErrorNotReady, "device not ready"),
	ERROR(cudaErrorHostMemoryAlreadyRegistered, "part or all of the requested memory range is already mapped"),
	ERROR(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region"),
	ERROR(cudaErrorNotSupported, "operation not supported"),
#undef ERROR
};

/* Somebody asks what it means. */
static const struct error *
explain(cudaError_t error)
{
	static const struct error unknown = { cudaSuccess, "unrecognized error code", "unrecognized error code" };

	if (error == refused.error)
		refused.error = cudaSuccess;
	for (const struct error &e : errors)
		if (e.error == error)
			return &e;
	return &unknown;
}

const char *
cudaGetErrorName(cudaError_t error)
{
	return explain(error)->name;
}

const char *
cudaGetErrorString(cudaError_t error)
{
	return explain(error)->words;
}
