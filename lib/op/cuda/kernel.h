/*
 * What kernels share: how they are launched, how threads divide rows and elements, sums over a warp, scratch on the device.
 *
 * Sums run in an order that depends on shapes alone; there are no atomics. Rows are a warp's each, unless said.
 */
#ifndef VQA_OP_CUDA_KERNEL_H
#define VQA_OP_CUDA_KERNEL_H

#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>
#include <type_traits>

#include "op/cuda/cuda.h"
#include "sys/half.h"

/* One for all launches, library calls and copies, but those of cuda_send(). */
extern cudaStream_t cuda_stream;

/* What the device said of itself when it was opened. */
struct device_facts {
	int shared_most; /* bytes of shared memory that a block may ask for */
	int major;       /* the first number of its compute capability */
};
extern struct device_facts cuda_device;

/* Keep the first fault for sync(): `what` failed. 0, or -1 where status is one. */
int cuda_check(cudaError_t status, const char *what);
void cuda_fault(const char *what, const char *reason);

/* Scratch on the device that is kept for next time, and grows. Each use has its own. NULL (and a fault) when there is no memory. */
enum cuda_scratch {
	SCRATCH_WEIGHT,
	SCRATCH_INPUT,
	SCRATCH_GRADIENT,
	SCRATCH_OUTPUT,
	SCRATCH_BIAS,
	SCRATCH_WORKSPACE,
	SCRATCH_SUMS,
	SCRATCH_ROOMS,
	SCRATCH_TENSORS,
	SCRATCHES
};
void *cuda_scratch(enum cuda_scratch which, size_t bytes);
/* The same of the host's, one for all uses. */
void *cuda_host_scratch(size_t bytes);

/*
 * The device's copy of n ints of the host, good until 64 others have been asked for. Sent only where they are not what was sent from
 * the same place before, or its beginning. NULL (and a fault) where it cannot be had.
 */
const int *cuda_mirror(const int *host, size_t n);

constexpr int WARP = 32, WARPS = 4, THREADS = WARP * WARPS;
static const unsigned ALL_LANES = 0xffffffffu;

#ifdef __CUDACC__
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#else
#define DYNAMIC_SHARED(type, name) type *const name = static_cast<type *>(emu_dynamic_shared())
#endif

/* LAUNCH(kernel, grid, block, bytes of dynamic shared memory, arguments…): the only way in which a kernel starts. */
#define LAUNCH(kernel, grid, block, bytes, ...) cuda_launch(#kernel, kernel, grid, block, bytes, __VA_ARGS__)

template <typename... P>
static inline void
cuda_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t bytes,
            std::type_identity_t<P>... values)
{
	void *arguments[] = { &values... };

	if (grid.x && grid.y && grid.z)
		cuda_check(cudaLaunchKernel(kernel, grid, block, arguments, bytes, cuda_stream), name);
}

/* Blocks of THREADS for n elements, of which a thread takes every (blocks THREADS)th. */
static inline dim3
elements(size_t n)
{
	const size_t blocks = (n + THREADS - 1) / THREADS, most = 1 << 12;

	return dim3((unsigned)(blocks < most ? blocks : most));
}

/* Blocks of WARPS rows. */
static inline dim3
by_rows(int rows)
{
	return dim3((unsigned)((rows + WARPS - 1) / WARPS));
}

static __device__ inline size_t
first_element(void)
{
	return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ inline size_t
element_step(void)
{
	return (size_t)gridDim.x * blockDim.x;
}

static __device__ inline int
own_row(void)
{
	return (int)(blockIdx.x * WARPS + threadIdx.x / WARP);
}

static __device__ inline int
own_lane(void)
{
	return (int)(threadIdx.x % WARP);
}

/* The sum over the `width` lanes (a power of two) that a lane is among; each gets it. */
template <typename T>
static __device__ inline T
sum_lanes(T x, int width)
{
	for (int other = width / 2; other; other /= 2)
		x += __shfl_xor_sync(ALL_LANES, x, other, width);
	return x;
}

static __device__ inline float
max_lanes(float x, int width)
{
	for (int other = width / 2; other; other /= 2)
		x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, other, width));
	return x;
}

/* The sum over a block of THREADS, in one order; each thread gets it. */
static __device__ inline double
sum_block(double x)
{
	__shared__ double part[WARPS];

	x = sum_lanes(x, WARP);
	if (own_lane() == 0)
		part[threadIdx.x / WARP] = x;
	__syncthreads();
	x = 0;
	for (int i = 0; i < WARPS; i++)
		x += part[i];
	__syncthreads();
	return x;
}

/* The place that row r is in. off (n + 1): offsets; a place may be empty. */
static __device__ inline int
place_of(const int *off, int n, int r)
{
	int low = 0, high = n - 1;

	while (low < high) {
		const int middle = (low + high + 1) / 2;

		if (off[middle] <= r)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

#endif
