/*
 * Launches: their limits, as CUDA has them; a block's shared memory, which holds NaN bytes when the block begins; the
 * orders.
 *
 * VQA_EMU_ORDERS=2 or 3 runs each launch again from the same memory, its threads and blocks in descending, then in a
 * shuffled order; memory that is not the same bit for bit afterwards is a race (or a sum by atomics in no fixed
 * order), and the process ends.
 */
#include <stdlib.h>

#include <vector>

#include "emu.h"

enum { ASCENDING, DESCENDING, SHUFFLED, ORDERS };

static const char *const order_names[] = { "ascending", "descending", "shuffled" };

/* Of all kernels' static variables; the linker makes the names. */
extern char __start_emu_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emu_shared[] __attribute__((weak, visibility("hidden")));

alignas(1024) static char dynamic[EMU_SHARED_OPTIN + 1024];
static const struct emu_call *running;

struct snapshot {
	std::vector<std::vector<char>> bytes;
};

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

static void
save(struct snapshot *s)
{
	s->bytes.clear();
	for (auto &[base, m] : emu_memories())
		if (m.kind != EMU_REGISTERED)
			s->bytes.emplace_back(m.base, m.base + m.size);
}

static void
restore(const struct snapshot *s)
{
	size_t n = 0;

	for (auto &[base, m] : emu_memories())
		if (m.kind != EMU_REGISTERED) {
			memcpy(m.base, s->bytes[n].data(), m.size);
			n++;
		}
}

static void
compare(const struct snapshot *s, int order)
{
	size_t n = 0, i;

	for (auto &[base, m] : emu_memories()) {
		if (m.kind == EMU_REGISTERED)
			continue;
		const std::vector<char> &was = s->bytes[n++];

		if (!memcmp(was.data(), m.base, m.size))
			continue;
		for (i = 0; was[i] == m.base[i]; i++)
			;
		emu_die("race: allocation %p of %zu bytes, offset %zu: 0x%02x with threads in ascending order, 0x%02x "
		        "in %s "
		        "order",
		        (void *)m.base, m.size, i, (unsigned char)was[i], (unsigned char)m.base[i], order_names[order]);
	}
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
thread_order(unsigned short *order, unsigned n, int kind)
{
	uint64_t random = 88172645463325252u;

	for (unsigned i = 0; i < n; i++)
		order[i] = (unsigned short)(kind == DESCENDING ? n - 1 - i : i);
	for (unsigned i = n; kind == SHUFFLED && i > 1; i--) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		std::swap(order[i - 1], order[random % i]);
	}
}

static void
run(const struct emu_call *call, int kind)
{
	unsigned threads = call->block.x * call->block.y * call->block.z;
	size_t x = call->grid.x, y = call->grid.y, n = x * y * call->grid.z;
	size_t step = kind == SHUFFLED ? stride(n) : 1;
	unsigned short order[EMU_THREADS];

	thread_order(order, threads, kind);
	for (size_t i = 0; i < n; i++) {
		size_t at = kind == DESCENDING ? n - 1 - i : i * step % n;
		uint3 place = { (unsigned)(at % x), (unsigned)(at / x % y), (unsigned)(at / x / y) };

		if (__start_emu_shared)
			memset(__start_emu_shared, 0xff, (size_t)(__stop_emu_shared - __start_emu_shared));
		emu_function_fill((const void *)call->kernel);
		memset(dynamic + 16, 0xff, call->shared);
		emu_block_run(call, &place, order, threads);
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
run_in_orders(const struct emu_call *call)
{
	int tries = orders();
	struct snapshot before, after;
	struct emu_device_open open;

	emu_fault_watch(1);
	running = call;
	ASAN_UNPOISON_MEMORY_REGION(dynamic, sizeof dynamic);
	ASAN_POISON_MEMORY_REGION(dynamic, 16);
	ASAN_POISON_MEMORY_REGION(dynamic + 16 + call->shared, sizeof dynamic - 16 - call->shared);
	if (tries > 1)
		save(&before);
	run(call, ASCENDING);
	if (tries > 1)
		save(&after);
	for (int kind = DESCENDING; kind < tries; kind++) {
		restore(&before);
		run(call, kind);
		compare(&after, kind);
	}
	running = NULL;
	emu_fault_watch(0);
}

cudaError_t
emu_launch(const struct emu_call *call, cudaStream_t stream)
{
	dim3 g = call->grid, t = call->block;

	if (emu_device())
		return cudaErrorNoDevice;
	emu_check_stream("cudaLaunchKernel", stream);
	if (running)
		emu_die("a kernel is launched by a kernel");
	if (!call->kernel)
		return emu_error(cudaErrorInvalidDeviceFunction);
	if (!g.x || !g.y || !g.z || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535 || !t.x || !t.y || !t.z ||
	    t.x > EMU_THREADS || t.y > EMU_THREADS || t.z > 64 || (size_t)t.x * t.y * t.z > EMU_THREADS)
		return emu_error(cudaErrorInvalidConfiguration);
	if (call->shared > dynamic_limit((const void *)call->kernel))
		return emu_error(cudaErrorInvalidValue);
	emu_late_do(stream, [call = *call] { run_in_orders(&call); });
	return cudaSuccess;
}
