/*
 * The threads of one block as fibers of one OS thread. A fiber runs thread after thread until one of them waits; only
 * then another is needed, so a kernel without barriers is a plain loop. What waits is resumed in the block's order.
 *
 * A barrier opens when all threads of the block wait at one place in the source, an exchange when all lanes of its
 * mask wait at one place with that mask. If nothing can run, the block is stuck: who waits for what is told and the
 * process ends.
 *
 * Contexts are switched by __builtin_setjmp/longjmp, without system calls; the functions that do are not instrumented,
 * as AddressSanitizer would clear a stack's shadow before each longjmp.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "emu.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

constexpr size_t STACK = EMU_ASAN ? 512 << 10 : 128 << 10;

struct fiber {
	void *jump[5];
	ucontext_t first;
	int entered;
	char *stack;
	size_t size;
	void *fake; /* AddressSanitizer's own stack */
	struct fiber *next;
};

enum state { FRESH, RUNNING, READY, AT_BARRIER, AT_EXCHANGE, ENDED };

struct thread {
	enum state state;
	struct fiber *fiber;
	int kind;
	emu_place at;
	unsigned mask;
	int lane, width;
	uint64_t value, result;
};

static struct fiber outside, *idle, *entered;

static struct {
	const struct emu_call *call; /* NULL: no block runs */
	struct thread thread[EMU_THREADS];
	uint3 index[EMU_THREADS];
	const unsigned short *order;
	unsigned n, started, ended, current;
	unsigned ready[EMU_THREADS], ready_head, ready_n;
	unsigned barrier_n, exchange_n[EMU_THREADS / warpSize]; /* how many wait */
	int barrier_result;
	unsigned short lanes[warpSize]; /* the order in a warp */
} b;

__attribute__((noinline, no_sanitize("address"))) static void
enter(struct fiber *to)
{
	if (!to->entered) {
		to->entered = 1;
		entered = to;
		setcontext(&to->first);
	}
	__builtin_longjmp(to->jump, 1);
}

__attribute__((noinline, no_sanitize("address"))) static void
switch_to(struct fiber *from, struct fiber *to)
{
#if EMU_ASAN
	__sanitizer_start_switch_fiber(&from->fake, to->stack, to->size);
#endif
	if (!__builtin_setjmp(from->jump))
		enter(to);
	__asm__ volatile("" ::: "memory");
#if EMU_ASAN
	__sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#endif
}

static void fiber_main(void);

static void
fiber_make(struct fiber *f)
{
	static size_t made;
	size_t page = (size_t)getpagesize();

	f->stack = (char *)mmap(NULL, page + STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f->stack == MAP_FAILED || mprotect(f->stack + page, STACK, PROT_READ | PROT_WRITE))
		emu_die("no memory for the stacks of a block's threads");
	f->stack += page;
	/* Stacks that begin at different lines of the cache. */
	f->size = STACK - made++ % 32 * 192;
	getcontext(&f->first);
	f->first.uc_stack.ss_sp = f->stack;
	f->first.uc_stack.ss_size = f->size;
	f->first.uc_link = NULL;
	makecontext(&f->first, fiber_main, 0);
}

static struct fiber *
idle_fiber(void)
{
	struct fiber *f = idle;

	if (f) {
		idle = f->next;
	} else {
		f = new fiber();
		fiber_make(f);
	}
	return f;
}

static void
set_current(unsigned t)
{
	b.current = t;
	b.thread[t].state = RUNNING;
	threadIdx = b.index[t];
}

/* Runs what can: a thread that has waited, else a new one, else nothing more is to be done here. */
static void
schedule(struct fiber *from)
{
	struct fiber *to;

	if (b.ready_n) {
		unsigned t = b.ready[b.ready_head];

		b.ready_head = (b.ready_head + 1) % EMU_THREADS;
		b.ready_n--;
		to = b.thread[t].fiber;
		set_current(t);
	} else {
		to = b.started < b.n ? idle_fiber() : &outside;
	}
	if (to != from)
		switch_to(from, to);
}

static void
make_ready(unsigned t)
{
	b.thread[t].state = READY;
	b.ready[(b.ready_head + b.ready_n++) % EMU_THREADS] = t;
}

/* Under AddressSanitizer the first fiber learns where the stack outside lies. */
static void
fiber_main(void)
{
	struct fiber *self = entered;
#if EMU_ASAN
	const void *stack;
	size_t size;

	__sanitizer_finish_switch_fiber(NULL, &stack, &size);
	if (!outside.stack) {
		outside.stack = (char *)stack;
		outside.size = size;
	}
#endif
	for (;;) {
		while (b.started < b.n && !b.ready_n) {
			unsigned t = b.order[b.started++];

			set_current(t);
			b.thread[t].fiber = self;
			b.call->call(b.call);
			b.thread[t].state = ENDED;
			b.ended++;
		}
		self->next = idle;
		idle = self;
		schedule(self);
	}
}

static int
same_place(const emu_place &x, const emu_place &y)
{
	return x.line() == y.line() && x.column() == y.column() &&
	       (x.file_name() == y.file_name() || !strcmp(x.file_name(), y.file_name()));
}

static const char *const barriers[] = { "__syncthreads", "__syncthreads_or", "__syncthreads_and",
	                                "__syncthreads_count" };
static const char *const exchanges[] = { "__syncwarp",      "__shfl_sync",   "__shfl_up_sync", "__shfl_down_sync",
	                                 "__shfl_xor_sync", "__ballot_sync", "__any_sync",     "__all_sync" };

static const char *
operation(const struct thread *t)
{
	return t->state == AT_BARRIER ? barriers[t->kind] : exchanges[t->kind];
}

/* "thread (3,0,0) has ended", … */
static void
tell(char *words, size_t size, unsigned t)
{
	const struct thread *thread = &b.thread[t];
	uint3 i = b.index[t];

	if (thread->state == ENDED)
		snprintf(words, size, "thread (%u,%u,%u) has ended", i.x, i.y, i.z);
	else if (thread->state == AT_EXCHANGE)
		snprintf(words, size, "thread (%u,%u,%u) waits in %s with mask 0x%08x at %s:%u", i.x, i.y, i.z,
		         operation(thread), thread->mask, thread->at.file_name(), (unsigned)thread->at.line());
	else
		snprintf(words, size, "thread (%u,%u,%u) waits in %s at %s:%u", i.x, i.y, i.z, operation(thread),
		         thread->at.file_name(), (unsigned)thread->at.line());
}

[[noreturn]] static void
die_waiting(unsigned t, const char *why)
{
	const struct thread *thread = &b.thread[t];

	b.current = t;
	if (thread->state == AT_EXCHANGE)
		emu_die("%s with mask 0x%08x at %s:%u: %s", operation(thread), thread->mask, thread->at.file_name(),
		        (unsigned)thread->at.line(), why);
	emu_die("%s at %s:%u: %s", operation(thread), thread->at.file_name(), (unsigned)thread->at.line(), why);
}

/* Both wait for each other and neither for another place. */
static int
meet(const struct thread *x, const struct thread *y)
{
	return x->state == y->state && x->kind == y->kind && same_place(x->at, y->at) &&
	       (x->state == AT_BARRIER || x->mask == y->mask);
}

/* Nothing can run. Exchanges are looked at first: a barrier that does not open is often only what follows from them. */
[[noreturn]] static void
die_stuck(void)
{
	char words[512], who[480];

	for (unsigned t = 0; t < b.n; t++)
		for (unsigned lane = 0; b.thread[t].state == AT_EXCHANGE && lane < warpSize; lane++) {
			unsigned u = t / warpSize * warpSize + lane;

			if (!(b.thread[t].mask >> lane & 1))
				continue;
			if (u >= b.n)
				snprintf(words, sizeof words,
				         "the mask names lane %u, and the block has no such thread", lane);
			else if (!meet(&b.thread[t], &b.thread[u])) {
				tell(who, sizeof who, u);
				snprintf(words, sizeof words, "the mask names lane %u, but %s", lane, who);
			} else {
				continue;
			}
			die_waiting(t, words);
		}
	for (unsigned t = 0; t < b.n; t++)
		for (unsigned u = 0; b.thread[t].state == AT_BARRIER && u < b.n; u++)
			if (!meet(&b.thread[t], &b.thread[u])) {
				tell(words, sizeof words, u);
				die_waiting(t, words);
			}
	emu_die("all threads wait for ever");
}

int
emu_block_place(char *words, size_t size)
{
	uint3 i = b.index[b.current];

	if (!b.call)
		return 0;
	snprintf(words, size,
	         "%s block (%u,%u,%u) thread (%u,%u,%u): ", emu_function_name((const void *)b.call->kernel), blockIdx.x,
	         blockIdx.y, blockIdx.z, i.x, i.y, i.z);
	return 1;
}

static struct thread *
running(const char *what)
{
	if (!b.call)
		emu_die("%s is called outside a kernel", what);
	return &b.thread[b.current];
}

static void
open_barrier(enum emu_barrier kind)
{
	int met = 0;

	for (unsigned t = 0; t < b.n; t++)
		met += b.thread[t].value != 0;
	b.barrier_result = kind == EMU_BARRIER_OR ? met > 0 : kind == EMU_BARRIER_AND ? met == (int)b.n : met;
	b.barrier_n = 0;
	for (unsigned i = 0; i < b.n; i++)
		make_ready(b.order[i]);
}

int
emu_wait_block(enum emu_barrier kind, int predicate, const emu_place &at)
{
	struct thread *t = running(barriers[kind]);
	unsigned u = 0;

	t->state = AT_BARRIER;
	t->kind = kind;
	t->at = at;
	t->value = predicate != 0;
	if (++b.barrier_n == b.n) {
		while (u < b.n && meet(t, &b.thread[u]))
			u++;
		if (u == b.n)
			open_barrier(kind);
	}
	schedule(t->fiber);
	return b.barrier_result;
}

/* The lane that a lane's value comes from; itself where CUDA says that the value stays. */
static int
source(const struct thread *t, int lane)
{
	int first = lane & ~(t->width - 1), from;

	switch (t->kind) {
	case EMU_SHFL:
		return first + (t->lane & (t->width - 1));
	case EMU_SHFL_UP:
		from = lane - t->lane;
		return from < first ? lane : from;
	case EMU_SHFL_DOWN:
		from = lane + t->lane;
		return from >= first + t->width ? lane : from;
	default:
		from = lane ^ t->lane;
		return from >= first + t->width ? lane : from;
	}
}

/* A lane outside the mask gives an undefined value: NaN. */
static void
exchange(struct thread *warp, unsigned mask, int kind)
{
	unsigned ballot = 0;

	for (int lane = 0; lane < warpSize; lane++)
		if (mask >> lane & 1 && warp[lane].value)
			ballot |= 1u << lane;
	for (int lane = 0; lane < warpSize; lane++) {
		struct thread *t = &warp[lane];

		if (!(mask >> lane & 1))
			continue;
		if (kind == EMU_BALLOT)
			t->result = ballot;
		else if (kind == EMU_ANY)
			t->result = ballot != 0;
		else if (kind == EMU_ALL)
			t->result = ballot == mask;
		else if (kind == EMU_WARP)
			t->result = 0;
		else
			t->result = mask >> (source(t, lane) & 31) & 1 ? warp[source(t, lane)].value : ~UINT64_C(0);
	}
}

uint64_t
emu_wait_warp(enum emu_exchange kind, unsigned mask, uint64_t value, int lane, int width, const emu_place &at)
{
	struct thread *t = running(exchanges[kind]);
	unsigned warp = b.current / warpSize, first = warp * warpSize, own = b.current % warpSize;
	unsigned met = 0;

	t->state = AT_EXCHANGE;
	t->kind = kind;
	t->at = at;
	t->mask = mask;
	t->value = value;
	t->lane = lane;
	t->width = width;
	if (!(mask >> own & 1))
		die_waiting(b.current, "the thread's own lane is not in the mask");
	if (width < 1 || width > warpSize || width & (width - 1))
		die_waiting(b.current, "the width is not a power of two up to 32");
	if ((kind == EMU_SHFL_UP || kind == EMU_SHFL_DOWN || kind == EMU_SHFL_XOR) && (lane < 0 || lane >= warpSize))
		die_waiting(b.current, "the distance is not in 0..31");
	if (++b.exchange_n[warp] >= (unsigned)__builtin_popcount(mask))
		for (unsigned l = 0; l < warpSize && first + l < b.n; l++)
			met |= mask >> l & 1 && meet(t, &b.thread[first + l]) ? 1u << l : 0;
	if (met == mask) {
		exchange(&b.thread[first], mask, kind);
		b.exchange_n[warp] -= (unsigned)__builtin_popcount(mask);
		for (unsigned short l : b.lanes)
			if (mask >> l & 1)
				make_ready(first + l);
	}
	schedule(t->fiber);
	return t->result;
}

void
emu_block_run(const struct emu_call *call, const uint3 *place, const unsigned short *order, unsigned n)
{
	unsigned lanes = 0;
	dim3 d = call->block;

	if (n != b.n || d.x != blockDim.x || d.y != blockDim.y)
		for (unsigned t = 0; t < n; t++)
			b.index[t] = { t % d.x, t / d.x % d.y, t / d.x / d.y };
	blockIdx = *place;
	blockDim = call->block;
	gridDim = call->grid;
	b.call = call;
	b.order = order;
	b.n = n;
	b.started = b.ended = b.ready_n = b.barrier_n = 0;
	memset(b.exchange_n, 0, sizeof b.exchange_n);
	for (unsigned i = 0; i < n; i++)
		if (order[i] < warpSize)
			b.lanes[lanes++] = order[i];
	while (lanes < warpSize) {
		b.lanes[lanes] = (unsigned short)lanes;
		lanes++;
	}
	outside.entered = 1;
	switch_to(&outside, idle_fiber());
	if (b.ended != n)
		die_stuck();
	b.call = NULL;
}
