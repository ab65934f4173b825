/*
 * Kernels on the emulator: where a thread is, barriers, shuffles, atomics, shared memory, and each mistake that must
 * be found.
 */
#include "emu_test.h"

static __global__ void
places(unsigned *out)
{
	unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
	unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;

	out[block * blockDim.x * blockDim.y * blockDim.z + thread] += block * 1000 + thread;
}

static void
test_places(void **)
{
	unsigned host[2 * 3 * 4 * 5 * 6 * 7] = {}, *out = device(5040, host);

	OK(launch(places, dim3(2, 3, 4), dim3(5, 6, 7), 0, out));
	fetch(host, out, 5040);
	for (unsigned i = 0; i < 5040; i++)
		assert_int_equal(host[i], i / 210 * 1000 + i % 210);
	OK(cudaFree(out));
}

/* Two static arrays; in a template too, which puts them into the same section. */
template <int N>
static __global__ void
reverse(float *out, const float *in, int *nan)
{
	__shared__ float all[N];
	__shared__ int ready;

	if (isnan(all[threadIdx.x]) && ready == -1)
		atomicAdd(nan, 1);
	__syncthreads();
	ready = 1;
	all[threadIdx.x] = in[blockIdx.x * N + threadIdx.x];
	__syncthreads();
	out[blockIdx.x * N + threadIdx.x] = all[N - 1 - threadIdx.x];
}

static __global__ void
dynamic_reverse(float *out, const float *in, int *nan)
{
	float *all = (float *)emu_dynamic_shared();

	if (isnan(all[threadIdx.x]))
		atomicAdd(nan, 1);
	__syncthreads();
	all[threadIdx.x] = in[blockIdx.x * blockDim.x + threadIdx.x];
	__syncthreads();
	out[blockIdx.x * blockDim.x + threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}

static void
check_reverse(void (*kernel)(float *, const float *, int *), unsigned n, size_t shared)
{
	float in[768], back[768], *from, *to;
	int nans, zero = 0, *nan = device(1, &zero);

	for (int i = 0; i < 768; i++)
		in[i] = (float)i;
	from = device(768, in);
	to = device<float>(768);
	OK(launch(kernel, 768 / n, n, shared, to, from, nan));
	fetch(back, to, 768);
	fetch(&nans, nan, 1);
	for (unsigned i = 0; i < 768; i++)
		assert_float_equal(back[i], in[i / n * n + n - 1 - i % n], 0);
	assert_int_equal(nans, 768);
	OK(cudaFree(from));
	OK(cudaFree(to));
	OK(cudaFree(nan));
}

static void
test_shared(void **)
{
	check_reverse(reverse<256>, 256, 0);
	check_reverse(reverse<96>, 96, 0);
	check_reverse(dynamic_reverse, 192, 192 * sizeof(float));
}

static __global__ void
sums(float *out, const float *in)
{
	__shared__ float part[32];
	float sum = in[blockIdx.x * blockDim.x + threadIdx.x];

	for (int lanes = 16; lanes; lanes /= 2)
		sum += __shfl_xor_sync(0xffffffff, sum, lanes);
	if (threadIdx.x % 32 == 0)
		part[threadIdx.x / 32] = sum;
	__syncthreads();
	if (threadIdx.x < 32) {
		sum = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0;
		for (int lanes = 16; lanes; lanes /= 2)
			sum += __shfl_down_sync(0xffffffff, sum, (unsigned)lanes);
		if (!threadIdx.x)
			out[blockIdx.x] = sum;
	}
}

static void
test_reduction(void **)
{
	float in[4096], back[4], *from, *to = device<float>(4);
	int n = 0;

	for (float &x : in)
		x = (float)(n++ % 100);
	from = device(4096, in);
	OK(launch(sums, 4, 1024, 0, to, from));
	fetch(back, to, 4);
	for (int i = 0; i < 4; i++) {
		float sum = 0;

		for (int j = 0; j < 1024; j++)
			sum += in[i * 1024 + j];
		assert_float_equal(back[i], sum, 0);
	}
	OK(cudaFree(from));
	OK(cudaFree(to));
}

enum { SHUFFLES = 7 };

static __global__ void
shuffles(int *out, int width, int by)
{
	int lane = (int)threadIdx.x % 32, *to = out + threadIdx.x * SHUFFLES;

	to[0] = __shfl_sync(0xffffffff, lane, by, width);
	to[1] = __shfl_up_sync(0xffffffff, lane, (unsigned)by, width);
	to[2] = __shfl_down_sync(0xffffffff, (unsigned)lane, (unsigned)by, width);
	to[3] = __shfl_xor_sync(0xffffffff, lane, by, width);
	to[4] = (int)__shfl_sync(0xffffffff, (double)lane + 0.25, (lane + 1) % 32);
	to[5] = (int)__ballot_sync(0xffffffff, lane % 3 == 0);
	/* Halves of a warp go different ways. */
	if (lane < 16)
		to[6] = __any_sync(0xffff, lane == by) * 2 + __all_sync(0xffff, lane < 16);
	else
		to[6] = __any_sync(0xffff0000, lane == by) * 2 + __all_sync(0xffff0000, lane < 31);
	__syncwarp();
}

static void
test_shuffles(void **)
{
	int host[64 * SHUFFLES], *out = device<int>(64 * SHUFFLES), ballot = 0;

	for (int lane = 0; lane < 32; lane += 3)
		ballot |= (int)(1u << lane);
	for (int width = 1; width <= 32; width *= 2)
		for (int by = 0; by < 32; by++) {
			OK(launch(shuffles, 1, 64, 0, out, width, by));
			fetch(host, out, 64 * SHUFFLES);
			for (int i = 0; i < 64; i++) {
				const int *to = host + i * SHUFFLES;
				int lane = i % 32, first = lane / width * width, end = first + width;

				assert_int_equal(to[0], first + by % width);
				assert_int_equal(to[1], lane - by < first ? lane : lane - by);
				assert_int_equal(to[2], lane + by >= end ? lane : lane + by);
				assert_int_equal(to[3], (lane ^ by) >= end ? lane : lane ^ by);
				assert_int_equal(to[4], (lane + 1) % 32);
				assert_int_equal(to[5], ballot);
				assert_int_equal(to[6], (by / 16 == lane / 16 ? 2 : 0) + (lane < 16));
			}
		}
	OK(cudaFree(out));
}

static __global__ void
votes(int *out)
{
	int i = (int)threadIdx.x, all;

	all = __syncthreads_count(i % 5 == 0);
	all = all * 2 + __syncthreads_or(i == 69);
	all = all * 2 + __syncthreads_and(i >= 0);
	all = all * 2 + __syncthreads_or(i > 69);
	all = all * 2 + __syncthreads_and(i);
	out[i] = all;
}

static void
test_votes(void **)
{
	int host[70], *out = device<int>(70);

	OK(launch(votes, 1, 70, 0, out));
	fetch(host, out, 70);
	for (int x : host)
		assert_int_equal(x, 14 * 16 + 12);
	OK(cudaFree(out));
}

struct counts {
	int sum, most, least, last, taken;
	unsigned usum, umost;
	unsigned long long wide;
	float real;
	double precise;
};

static __global__ void
atomics(struct counts *c)
{
	int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

	atomicAdd(&c->sum, i);
	atomicMax(&c->most, i);
	atomicMin(&c->least, -i);
	atomicExch(&c->last, 7);
	if (atomicCAS(&c->taken, 0, 1) == 0)
		atomicAdd(&c->usum, 1u);
	atomicMax(&c->umost, (unsigned)i);
	atomicAdd(&c->wide, 1ull << 32);
	atomicAdd(&c->real, 0.5f);
	atomicAdd(&c->precise, 0.5);
}

static void
test_atomics(void **)
{
	struct counts c = {}, *p = device(1, &c);

	OK(launch(atomics, 10, 100, 0, p));
	fetch(&c, p, 1);
	assert_int_equal(c.sum, 499500);
	assert_int_equal(c.most, 999);
	assert_int_equal(c.least, -999);
	assert_int_equal(c.last, 7);
	assert_int_equal(c.taken, 1);
	assert_int_equal(c.usum, 1);
	assert_int_equal(c.umost, 999);
	assert_true(c.wide == 1000ull << 32);
	assert_float_equal(c.real, 500, 0);
	assert_float_equal(c.precise, 500, 0);
	OK(cudaFree(p));
}

static __global__ void
mathematics(float *out, float x, const float4 *v)
{
	float4 q = __ldg(v);
	int i = 0;

	out[i++] = erff(x);
	out[i++] = rsqrtf(x);
	out[i++] = fmaxf(x, 1.0f) + fminf(x, 1.0f);
	out[i++] = __int_as_float(__float_as_int(x));
	out[i++] = __uint_as_float(__float_as_uint(x) ^ 0x80000000);
	out[i++] = (float)__umulhi(0x80000000u, 6u);
	out[i++] = (float)(max(3, -4) + min(2u, 9u));
	out[i++] = isnan(x) || isinf(x) || !isfinite(x);
	out[i++] = q.x + q.y + q.z + q.w + make_float2(1, 2).y;
	out[i++] = fmaf(x, x, 1.0f) - powf(x, 2.0f);
}

static void
test_mathematics(void **)
{
	float4 v = make_float4(1, 2, 3, 4);
	float host[10], *out = device<float>(10);

	OK(launch(mathematics, 1, 1, 0, out, 0.25f, device(1, &v)));
	fetch(host, out, 10);
	assert_float_equal(host[0], 0.27632639, 1e-6);
	assert_float_equal(host[1], 2, 0);
	assert_float_equal(host[2], 1.25, 0);
	assert_float_equal(host[3], 0.25, 0);
	assert_float_equal(host[4], -0.25, 0);
	assert_float_equal(host[5], 3, 0);
	assert_float_equal(host[6], 5, 0);
	assert_float_equal(host[7], 0, 0);
	assert_float_equal(host[8], 12, 0);
	assert_float_equal(host[9], 1, 0);
}

/* --- Mistakes */

static __global__ void
ends_early(int)
{
	if (threadIdx.x == 3)
		return;
	__syncthreads();
}

static __global__ void
two_places(int)
{
	if (threadIdx.x < 32)
		__syncthreads();
	else
		__syncthreads();
}

static __global__ void
lane_gone(int *out)
{
	if (threadIdx.x == 5)
		return;
	out[threadIdx.x] = __shfl_sync(0xffffffff, 1, 0);
}

static __global__ void
lane_elsewhere(int *out)
{
	if (threadIdx.x == 5)
		__syncthreads();
	out[threadIdx.x] = __shfl_sync(0xffffffff, 1, 0);
}

static __global__ void
lane_missing(int *out)
{
	out[threadIdx.x] = __shfl_sync(0xffffffff, 1, 0);
}

static __global__ void
masks_differ(int *out)
{
	out[threadIdx.x] = __shfl_sync(threadIdx.x < 16 ? 0xffffffff : 0xffff0000, 1, 0);
}

static __global__ void
not_in_mask(int *out)
{
	out[threadIdx.x] = __shfl_sync(0xfffffffe, 1, 0);
}

static __global__ void
bad_width(int *out)
{
	out[threadIdx.x] = __shfl_sync(0xffffffff, 1, 0, 12);
}

#define BODY(NAME, KERNEL, GRID, BLOCK)                                                                                \
	static void NAME(void)                                                                                         \
	{                                                                                                              \
		launch(KERNEL, GRID, BLOCK, 0, device<int>(64));                                                       \
	}

BODY(run_lane_gone, lane_gone, 1, 64)
BODY(run_lane_elsewhere, lane_elsewhere, 1, 64)
BODY(run_lane_missing, lane_missing, 1, 40)
BODY(run_masks_differ, masks_differ, 1, 32)
BODY(run_not_in_mask, not_in_mask, 1, 32)
BODY(run_bad_width, bad_width, 1, 32)

static void
run_ends_early(void)
{
	launch(ends_early, dim3(1, 2), dim3(4, 8), 0, 0);
}

static void
run_two_places(void)
{
	launch(two_places, 1, 64, 0, 0);
}

static void
barrier_outside(void)
{
	__syncthreads();
}

static void
test_divergence(void **)
{
	dies(run_ends_early, "emu: ends_early block (0,0,0) thread (0,0,0): __syncthreads at ");
	dies(run_ends_early, "thread (3,0,0) has ended");
	dies(run_two_places, "emu: two_places block (0,0,0) thread (0,0,0): __syncthreads at ");
	dies(run_two_places, "thread (32,0,0) waits in __syncthreads at ");
	dies(run_lane_gone, "emu: lane_gone block (0,0,0) thread (0,0,0): __shfl_sync with mask 0xffffffff at ");
	dies(run_lane_gone, "the mask names lane 5, but thread (5,0,0) has ended");
	dies(run_lane_elsewhere, "the mask names lane 5, but thread (5,0,0) waits in __syncthreads at ");
	dies(run_lane_missing, "the mask names lane 8, and the block has no such thread");
	dies(run_masks_differ, "the mask names lane 16, but thread (16,0,0) ");
	dies(run_not_in_mask, "emu: not_in_mask block (0,0,0) thread (0,0,0): __shfl_sync with mask 0xfffffffe at ");
	dies(run_not_in_mask, "the thread's own lane is not in the mask");
	dies(run_bad_width, "the width is not a power of two");
	dies(barrier_outside, "emu: __syncthreads is called outside a kernel");
}

/* The barrier between writing and reading is missing. */
static __global__ void
forgotten(int *out)
{
	__shared__ int all[64];

	all[threadIdx.x] = (int)threadIdx.x;
	out[threadIdx.x] = all[(threadIdx.x + 1) % 64];
}

static __global__ void
float_sum(float *out)
{
	atomicAdd(out, 1.0f / (float)(threadIdx.x + 1));
}

static __global__ void
blocks_in_order(int *out)
{
	if (!threadIdx.x)
		*out = (int)blockIdx.x;
}

/* The last one writes what the first one would. */
static __global__ void
same_from_both_ends(int *out)
{
	*out = (int)min(threadIdx.x, blockDim.x - 1 - threadIdx.x);
}

static __global__ void
blocks_in_order_indirect(int **out)
{
	**out = (int)blockIdx.x;
}

/* A warp reads, then the other one writes, one of them after it has taken its time; nothing orders them but the barrier. */
static __global__ void
two_warps(int *out, unsigned reader, unsigned slow, int barrier)
{
	__shared__ int value;
	unsigned warp = threadIdx.x / 32;

	if (!threadIdx.x)
		value = 1;
	__syncthreads();
	for (int i = 0; warp == slow && i < 3; i++)
		__shfl_xor_sync(0xffffffff, i, 1);
	if (warp == reader)
		out[threadIdx.x % 32] = value;
	if (barrier)
		__syncthreads();
	if (warp != reader && threadIdx.x % 32 == 0)
		value = 2;
}

/* Two sums through the same memory: without the barrier a fast warp writes the second where a slow one reads the first. */
static __global__ void
two_sums(int *out, int barrier)
{
	__shared__ int part[4];

	for (int i = 1; i < 3; i++) {
		int sum = i;

		for (int lanes = 16; lanes; lanes /= 2)
			sum += __shfl_xor_sync(0xffffffff, sum, lanes);
		if (threadIdx.x % 32 == 0)
			part[threadIdx.x / 32] = sum;
		__syncthreads();
		out[threadIdx.x * 2 + (unsigned)i - 1] = part[0] + part[1] + part[2] + part[3];
		if (barrier)
			__syncthreads();
	}
}

/* A lane reads what another has written; a shuffle is between, which orders no memory. */
static __global__ void
two_lanes(int *out, unsigned writer, unsigned reader, int sync)
{
	__shared__ int value;

	if (threadIdx.x == writer)
		value = 1;
	__shfl_sync(0xffffffff, 0, 0);
	if (sync)
		__syncwarp();
	if (threadIdx.x == reader)
		*out = value;
}

/* The same, but what was read goes no further than the next shuffle. */
static __global__ void
two_lanes_shuffled(int *out)
{
	__shared__ int value;

	if (!threadIdx.x)
		value = 1;
	__any_sync(0xffffffff, 1);
	*out = __shfl_sync(0xffffffff, value, 0);
}

/* Whether the second warp comes to its shuffle depends on how far the first one is. */
static __global__ void
perhaps(int *out, int wanted)
{
	__shared__ int value;

	if (!threadIdx.x)
		value = 1;
	if (threadIdx.x >= 32 && (value == 1) == wanted)
		__shfl_sync(0xffffffff, 0, 0);
	*out = 1;
}

static void
all_orders(void)
{
	setenv("VQA_EMU_ORDERS", "4", 1);
}

static void
run_forgotten(void)
{
	all_orders();
	launch(forgotten, 1, 64, 0, device<int>(64));
}

static void
run_float_sum(void)
{
	float zero = 0;

	all_orders();
	launch(float_sum, 1, 256, 0, device(1, &zero));
}

static void
run_blocks_in_order(void)
{
	all_orders();
	launch(blocks_in_order, 7, 32, 0, device<int>(1));
}

static void
run_same_from_both_ends(void)
{
	all_orders();
	launch(same_from_both_ends, 1, 64, 0, device<int>(1));
}

static void
run_blocks_in_order_indirect(void)
{
	int *out = device<int>(1);

	all_orders();
	launch(blocks_in_order_indirect, 7, 1, 0, device(1, &out));
}

template <unsigned READER, unsigned SLOW>
static void
run_two_warps(void)
{
	all_orders();
	launch(two_warps, 1, 64, 0, device<int>(32), READER, SLOW, 0);
}

static void
run_two_sums(void)
{
	all_orders();
	launch(two_sums, 1, 128, 0, device<int>(256), 0);
}

template <unsigned WRITER, unsigned READER>
static void
run_two_lanes(void)
{
	all_orders();
	launch(two_lanes, 1, 32, 0, device<int>(1), WRITER, READER, 0);
}

static void
run_two_lanes_shuffled(void)
{
	all_orders();
	launch(two_lanes_shuffled, 1, 32, 0, device<int>(1));
}

template <int WANTED>
static void
run_perhaps(void)
{
	all_orders();
	launch(perhaps, 1, 64, 0, device<int>(1), WANTED);
}

static void
bad_orders(void)
{
	setenv("VQA_EMU_ORDERS", "many", 1);
	launch(blocks_in_order, 7, 32, 0, device<int>(1));
}

static void
test_races(void **)
{
	dies(run_forgotten, "emu: forgotten: race: allocation 0x");
	dies(run_forgotten, " of 256 bytes, offset 0: 0xff with threads in step, 0x01 in descending order");
	dies(run_float_sum, "emu: float_sum: race: allocation 0x");
	dies(run_blocks_in_order, "emu: blocks_in_order: race: ");
	dies(run_same_from_both_ends, " in shuffled order");
	dies(run_blocks_in_order_indirect, "emu: blocks_in_order_indirect: race: ");
	dies(bad_orders, "emu: VQA_EMU_ORDERS is 'many', expected 1 to 4");
}

static void
test_overtaking(void **)
{
	int host[256], *out = device<int>(256);

	dies(run_two_warps<0, 0>, "emu: two_warps: race: ");
	dies(run_two_warps<0, 1>, "emu: two_warps: race: ");
	dies(run_two_warps<1, 0>, "emu: two_warps: race: ");
	dies(run_two_warps<1, 1>, "emu: two_warps: race: ");
	dies(run_two_sums, "emu: two_sums: race: ");
	all_orders();
	for (unsigned i = 0; i < 4; i++) {
		OK(launch(two_warps, 1, 64, 0, out, i / 2, i % 2, 1));
		fetch(host, out, 32);
		for (int k = 0; k < 32; k++)
			assert_int_equal(host[k], 1);
	}
	OK(launch(two_sums, 1, 128, 0, out, 1));
	fetch(host, out, 256);
	for (int k = 0; k < 256; k++)
		assert_int_equal(host[k], k % 2 ? 256 : 128);
	unsetenv("VQA_EMU_ORDERS");
	OK(cudaFree(out));
}

static void
test_shuffles_order_nothing(void **)
{
	int host, *out = device<int>(1);

	dies(run_two_lanes<0, 31>, "emu: two_lanes: race: ");
	dies(run_two_lanes<31, 0>, "emu: two_lanes: race: ");
	dies(run_two_lanes_shuffled, "emu: two_lanes_shuffled block (0,0,0) thread (31,0,0): __shfl_sync with mask "
	                             "0xffffffff at ");
	dies(run_two_lanes_shuffled, ": race: the thread gives something else in descending order");
	dies(run_perhaps<1>, "race: the thread does not come to __shfl_sync at ");
	dies(run_perhaps<0>, "race: the thread comes here only in descending order");
	all_orders();
	OK(launch(two_lanes, 1, 32, 0, out, 0, 31, 1));
	OK(launch(two_lanes, 1, 32, 0, out, 31, 0, 1));
	unsetenv("VQA_EMU_ORDERS");
	fetch(&host, out, 1);
	assert_int_equal(host, 1);
	OK(cudaFree(out));
}

/* What is right stays right, and is left in memory once. */
static void
test_orders(void **state)
{
	all_orders();
	test_places(state);
	test_shared(state);
	test_reduction(state);
	test_shuffles(state);
	test_votes(state);
	test_atomics(state);
	unsetenv("VQA_EMU_ORDERS");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_reduction),
		cmocka_unit_test(test_shuffles),
		cmocka_unit_test(test_votes),
		cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_mathematics),
		cmocka_unit_test(test_divergence),
		cmocka_unit_test(test_races),
		cmocka_unit_test(test_overtaking),
		cmocka_unit_test(test_shuffles_order_nothing),
		cmocka_unit_test(test_orders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
