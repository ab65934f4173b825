/*
 * What a kernel sees: qualifiers, vector types, its place in the grid, barriers, shuffles, atomics, mathematics.
 * A thread of a block is a fiber; it runs until a barrier, a shuffle or its end, so atomics are plain arithmetic.
 *
 * Barriers and shuffles know the place in the source that calls them: threads that meet must have come to the same one.
 */
#ifndef EMU_KERNEL_H
#define EMU_KERNEL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <source_location>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
/*
 * Blocks run one after the other, so a static variable will do. A function that has one must be static itself, else GCC
 * finds a "section type conflict".
 */
#define __shared__ static __attribute__((section("emu_shared")))

struct uint3 {
	unsigned x, y, z;
};
struct alignas(8) float2 {
	float x, y;
};
struct alignas(16) float4 {
	float x, y, z, w;
};
struct alignas(8) int2 {
	int x, y;
};
struct alignas(16) int4 {
	int x, y, z, w;
};
struct alignas(8) uint2 {
	unsigned x, y;
};
struct alignas(16) uint4 {
	unsigned x, y, z, w;
};

static inline float2
make_float2(float x, float y)
{
	return { x, y };
}

static inline float4
make_float4(float x, float y, float z, float w)
{
	return { x, y, z, w };
}

static inline int2
make_int2(int x, int y)
{
	return { x, y };
}

static inline int4
make_int4(int x, int y, int z, int w)
{
	return { x, y, z, w };
}

static inline uint2
make_uint2(unsigned x, unsigned y)
{
	return { x, y };
}

static inline uint4
make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
	return { x, y, z, w };
}

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

/* The launch's dynamic shared memory, aligned to 16 bytes and no more. */
void *emu_dynamic_shared(void);

using emu_place = std::source_location;

enum emu_barrier { EMU_BARRIER, EMU_BARRIER_OR, EMU_BARRIER_AND, EMU_BARRIER_COUNT };
enum emu_exchange { EMU_WARP, EMU_SHFL, EMU_SHFL_UP, EMU_SHFL_DOWN, EMU_SHFL_XOR, EMU_BALLOT, EMU_ANY, EMU_ALL };

/* fiber.cpp: wait for the block; for the lanes of mask, which exchange 8 bytes each. */
int emu_wait_block(enum emu_barrier kind, int predicate, const emu_place &at);
uint64_t emu_wait_warp(enum emu_exchange kind, unsigned mask, uint64_t value, int lane, int width, const emu_place &at);

static inline void
__syncthreads(const emu_place at = emu_place::current())
{
	emu_wait_block(EMU_BARRIER, 0, at);
}

static inline int
__syncthreads_or(int predicate, const emu_place at = emu_place::current())
{
	return emu_wait_block(EMU_BARRIER_OR, predicate, at);
}

static inline int
__syncthreads_and(int predicate, const emu_place at = emu_place::current())
{
	return emu_wait_block(EMU_BARRIER_AND, predicate, at);
}

static inline int
__syncthreads_count(int predicate, const emu_place at = emu_place::current())
{
	return emu_wait_block(EMU_BARRIER_COUNT, predicate, at);
}

static inline void
__syncwarp(unsigned mask = 0xffffffff, const emu_place at = emu_place::current())
{
	emu_wait_warp(EMU_WARP, mask, 0, 0, warpSize, at);
}

template <typename T>
static inline T
emu_shuffle(enum emu_exchange kind, unsigned mask, T value, int lane, int width, const emu_place &at)
{
	static_assert(__is_same(T, int) || __is_same(T, unsigned) || __is_same(T, long) ||
	              __is_same(T, unsigned long) || __is_same(T, long long) || __is_same(T, unsigned long long) ||
	              __is_same(T, float) || __is_same(T, double));
	uint64_t bits = 0;

	memcpy(&bits, &value, sizeof value);
	bits = emu_wait_warp(kind, mask, bits, lane, width, at);
	memcpy(&value, &bits, sizeof value);
	return value;
}

template <typename T>
static inline T
__shfl_sync(unsigned mask, T value, int lane, int width = warpSize, const emu_place at = emu_place::current())
{
	return emu_shuffle(EMU_SHFL, mask, value, lane, width, at);
}

template <typename T>
static inline T
__shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, const emu_place at = emu_place::current())
{
	return emu_shuffle(EMU_SHFL_UP, mask, value, (int)delta, width, at);
}

template <typename T>
static inline T
__shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 const emu_place at = emu_place::current())
{
	return emu_shuffle(EMU_SHFL_DOWN, mask, value, (int)delta, width, at);
}

template <typename T>
static inline T
__shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, const emu_place at = emu_place::current())
{
	return emu_shuffle(EMU_SHFL_XOR, mask, value, lanes, width, at);
}

static inline unsigned
__ballot_sync(unsigned mask, int predicate, const emu_place at = emu_place::current())
{
	return (unsigned)emu_wait_warp(EMU_BALLOT, mask, predicate != 0, 0, warpSize, at);
}

static inline int
__any_sync(unsigned mask, int predicate, const emu_place at = emu_place::current())
{
	return (int)emu_wait_warp(EMU_ANY, mask, predicate != 0, 0, warpSize, at);
}

static inline int
__all_sync(unsigned mask, int predicate, const emu_place at = emu_place::current())
{
	return (int)emu_wait_warp(EMU_ALL, mask, predicate != 0, 0, warpSize, at);
}

/* Each returns what was there before. */
#define EMU_ATOMIC(NAME, T, NEW)                                                                                       \
	static inline T NAME(T *p, T value)                                                                            \
	{                                                                                                              \
		T old = *p;                                                                                            \
		*p = (NEW);                                                                                            \
		return old;                                                                                            \
	}

/* Integers wrap; the sum of ints is formed unsigned. */
EMU_ATOMIC(atomicAdd, int, (int)((unsigned)old + (unsigned)value))
EMU_ATOMIC(atomicAdd, unsigned, old + value)
EMU_ATOMIC(atomicAdd, unsigned long long, old + value)
EMU_ATOMIC(atomicAdd, float, old + value)
EMU_ATOMIC(atomicAdd, double, old + value)
EMU_ATOMIC(atomicMax, int, old > value ? old : value)
EMU_ATOMIC(atomicMax, unsigned, old > value ? old : value)
EMU_ATOMIC(atomicMin, int, old < value ? old : value)
EMU_ATOMIC(atomicMin, unsigned, old < value ? old : value)
EMU_ATOMIC(atomicExch, int, value)
EMU_ATOMIC(atomicExch, unsigned, value)
#undef EMU_ATOMIC

static inline int
atomicCAS(int *p, int compare, int value)
{
	int old = *p;

	if (old == compare)
		*p = value;
	return old;
}

static inline unsigned
atomicCAS(unsigned *p, unsigned compare, unsigned value)
{
	unsigned old = *p;

	if (old == compare)
		*p = value;
	return old;
}

template <typename T>
static inline T
__ldg(const T *p)
{
	return *p;
}

#define EMU_MINMAX(T)                                                                                                  \
	static inline T max(T a, T b)                                                                                  \
	{                                                                                                              \
		return a > b ? a : b;                                                                                  \
	}                                                                                                              \
	static inline T min(T a, T b)                                                                                  \
	{                                                                                                              \
		return a < b ? a : b;                                                                                  \
	}

EMU_MINMAX(int)
EMU_MINMAX(unsigned)
EMU_MINMAX(long)
EMU_MINMAX(unsigned long)
EMU_MINMAX(long long)
EMU_MINMAX(unsigned long long)
#undef EMU_MINMAX

static inline float
rsqrtf(float x)
{
	return 1.0f / sqrtf(x);
}

template <typename To, typename From>
static inline To
emu_bits(From from)
{
	To to;

	static_assert(sizeof to == sizeof from);
	memcpy(&to, &from, sizeof to);
	return to;
}

static inline int
__float_as_int(float x)
{
	return emu_bits<int>(x);
}

static inline unsigned
__float_as_uint(float x)
{
	return emu_bits<unsigned>(x);
}

static inline float
__int_as_float(int x)
{
	return emu_bits<float>(x);
}

static inline float
__uint_as_float(unsigned x)
{
	return emu_bits<float>(x);
}

static inline unsigned
__umulhi(unsigned a, unsigned b)
{
	return (unsigned)((uint64_t)a * b >> 32);
}

#endif
