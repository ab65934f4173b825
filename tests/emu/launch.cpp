/*
 * Launches: their limits, as CUDA has them; a block's shared memory, which holds NaN bytes when the block begins; the
 * orders.
 *
 * VQA_EMU_ORDERS=2, 3 or 4 runs each launch in step, and again from the same memory, its blocks and threads in
 * descending, then in ascending, then in a shuffled order, each as far as it can go (fiber.cpp); memory that is not
 * the same bit for bit afterwards is a race (or a sum by atomics in no fixed order), and the process ends.
 */
#include <stdlib.h>

#include <vector>

#include "emu.h"

enum { IN_STEP, DESCENDING, ASCENDING, SHUFFLED, ORDERS };

static const char *const order_names[] = { "in step", "descending", "ascending", "shuffled" };

/* Of all kernels' static variables; the linker makes the names. */
extern char __start_emu_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emu_shared[] __attribute__((weak, visibility("hidden")));

alignas(1024) static char dynamic[EMU_SHARED_OPTIN + 1024];
static const struct emu_call *running;

const struct emu_call *
emu_running(void)
{
	return running;
}

void *
emu_dynamic_shared(void)
{
	return dynamic + 16;
}

/* The dynamic shared memory that each kernel may have at most. */
static size_t &
dynamic_limit(const void *kernel)
{
	static auto *limits = new std::map<const void *, size_t>;
	size_t fixed = emu_function_shared(kernel);

	if (fixed > EMU_SHARED)
		emu_die("%s has %zu bytes of static shared memory, more than %zu", emu_function_name(kernel), fixed,
		        EMU_SHARED);
	return limits->emplace(kernel, EMU_SHARED - fixed).first->second;
}

cudaError_t
emu_attribute(void (*kernel)(void), enum cudaFuncAttribute attribute, int value)
{
	if (emu_device())
		return cudaErrorNoDevice;
	if (!kernel)
		return emu_error(cudaErrorInvalidDeviceFunction);
	if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
		return value < -1 || value > 100 ? emu_error(cudaErrorInvalidValue) : cudaSuccess;
	if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
	    (size_t)value + emu_function_shared((const void *)kernel) > EMU_SHARED_OPTIN)
		return emu_error(cudaErrorInvalidValue);
	dynamic_limit((const void *)kernel) = (size_t)value;
	return cudaSuccess;
}

void
emu_check_argument(const struct emu_call *call, int i, const void *p)
{
	running = call;
	if (p && !emu_memory_find(p))
		emu_die("argument %d, counted from 0, is %p, and no memory of the device lies there", i, p);
	running = NULL;
}

/* Neighbours far apart: a step that has no divisor in common with n. */
static size_t
stride(size_t n)
{
	size_t step = (size_t)((double)n * 0.618) | 1, x, y;

	for (;; step += 2) {
		for (x = n, y = step; y;) {
			size_t rest = x % y;

			x = y;
			y = rest;
		}
		if (x == 1)
			return step;
	}
}

/* The shuffle is one for all launches of a size: a failure comes again. */
static void
set_order(struct emu_order *order, unsigned n, int kind)
{
	uint64_t random = 88172645463325252u;

	order->name = order_names[kind];
	order->ahead = kind != IN_STEP;
	for (unsigned i = 0; i < n; i++)
		order->thread[i] = (unsigned short)(kind == DESCENDING ? n - 1 - i : i);
	for (unsigned i = n; kind == SHUFFLED && i > 1; i--) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		std::swap(order->thread[i - 1], order->thread[random % i]);
	}
}

static void
fill_shared(const struct emu_call *call)
{
	if (__start_emu_shared)
		memset(__start_emu_shared, 0xff, (size_t)(__stop_emu_shared - __start_emu_shared));
	emu_function_fill((const void *)call->kernel);
	memset(dynamic + 16, 0xff, call->shared);
}

/* kept: of each block, or NULL. */
static void
run(const struct emu_call *call, int kind, emu_exchanges *kept)
{
	size_t x = call->grid.x, y = call->grid.y, n = x * y * call->grid.z;
	size_t step = kind == SHUFFLED ? stride(n) : 1;
	struct emu_order order;

	set_order(&order, call->block.x * call->block.y * call->block.z, kind);
	for (size_t i = 0; i < n; i++) {
		size_t at = kind == DESCENDING ? n - 1 - i : i * step % n;
		uint3 place = { (unsigned)(at % x), (unsigned)(at / x % y), (unsigned)(at / x / y) };

		fill_shared(call);
		emu_block_run(call, &place, &order, kept ? &kept[at] : NULL);
	}
}

static int
orders(void)
{
	const char *said = getenv("VQA_EMU_ORDERS");
	int n = said ? atoi(said) : 1;

	if (n < 1 || n > ORDERS)
		emu_die("VQA_EMU_ORDERS is '%s', expected 1 to %d", said, ORDERS);
	return n;
}

static void
run_and_compare(const struct emu_call *call, int tries)
{
	static std::vector<char> before, after;
	const std::vector<struct emu_memory *> memories = emu_reached(call);
	std::vector<emu_exchanges> kept((size_t)call->grid.x * call->grid.y * call->grid.z);

	emu_save(&before, memories);
	run(call, IN_STEP, kept.data());
	emu_save(&after, memories);
	for (int kind = IN_STEP + 1; kind < tries; kind++) {
		emu_restore(before, memories);
		run(call, kind, kept.data());
		emu_compare(after, memories, order_names[kind]);
	}
}

/* What CUDA says to the launch. */
static cudaError_t
check(const struct emu_call *call)
{
	dim3 g = call->grid, t = call->block;

	if (emu_device())
		return cudaErrorNoDevice;
	if (!call->kernel)
		return cudaErrorInvalidDeviceFunction;
	if (!g.x || !g.y || !g.z || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535 || !t.x || !t.y || !t.z ||
	    t.x > EMU_THREADS || t.y > EMU_THREADS || t.z > 64 || (size_t)t.x * t.y * t.z > EMU_THREADS)
		return cudaErrorInvalidConfiguration;
	return call->shared > dynamic_limit((const void *)call->kernel) ? cudaErrorInvalidValue : cudaSuccess;
}

static void
run_launch(const struct emu_call *call)
{
	int tries = orders();
	struct emu_device_open open;

	emu_fault_watch(1);
	running = call;
	ASAN_UNPOISON_MEMORY_REGION(dynamic, sizeof dynamic);
	ASAN_POISON_MEMORY_REGION(dynamic, 16);
	ASAN_POISON_MEMORY_REGION(dynamic + 16 + call->shared, sizeof dynamic - 16 - call->shared);
	if (tries > 1)
		run_and_compare(call, tries);
	else
		run(call, ASCENDING, NULL);
	running = NULL;
	emu_fault_watch(0);
}

cudaError_t
emu_launch(const struct emu_call *call, cudaStream_t stream)
{
	cudaError_t status;

	emu_check_stream("cudaLaunchKernel", stream);
	if (running)
		emu_die("a kernel is launched by a kernel");
	status = check(call);
	if (status)
		return emu_refuse((const void *)call->kernel, status);
	emu_late_do(stream, [call = *call] { run_launch(&call); });
	return cudaSuccess;
}
