/*
 * The threads of one block as fibers of one OS thread. A fiber runs thread after thread until one of them waits; only
 * then another is needed, so a kernel without barriers is a plain loop.
 *
 * In step, all threads come to a barrier or an exchange before any goes on. Ahead, the first in the order that can run
 * on does, as far as it can, and the last lags behind. What threads exchange in step is kept: when they go ahead later,
 * a shuffle or a vote, which orders no memory, is not waited for, but gives a thread what it gave then, and must be
 * given what it was given. So of two accesses that no barrier and no __syncwarp() orders each comes first once, in an
 * order or in its reverse.
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
	struct emu_wait wait;
	size_t exchanged; /* how often */
};

static struct fiber outside, *idle, *entered;

static struct {
	const struct emu_call *call; /* NULL: no block runs */
	struct thread thread[EMU_THREADS];
	uint3 index[EMU_THREADS];
	const struct emu_order *order;
	emu_exchanges *exchanges;
	unsigned turn[EMU_THREADS]; /* a thread's place in the order */
	unsigned n, started, ended, current;
	uint64_t ready[EMU_THREADS / 64]; /* a bit a turn */
	unsigned ready_n;
	unsigned barrier_n, exchange_n[EMU_THREADS / warpSize]; /* how many wait */
	int barrier_result;
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

static void
make_ready(unsigned t)
{
	b.thread[t].state = READY;
	b.ready[b.turn[t] / 64] |= UINT64_C(1) << b.turn[t] % 64;
	b.ready_n++;
}

/* The first turn from one on whose thread can run on; EMU_THREADS if there is none. */
static unsigned
ready_from(unsigned turn)
{
	uint64_t mask = ~UINT64_C(0) << turn % 64;

	for (unsigned i = turn / 64; i < EMU_THREADS / 64; i++, mask = ~UINT64_C(0))
		if (b.ready[i] & mask)
			return i * 64 + (unsigned)__builtin_ctzll(b.ready[i] & mask);
	return EMU_THREADS;
}

/* Of those that can run on: when in step, who comes after the one that ran last. */
static unsigned
take_ready(void)
{
	unsigned turn = ready_from(b.order->ahead ? 0 : b.turn[b.current] + 1);

	if (turn == EMU_THREADS)
		turn = ready_from(0);
	b.ready[turn / 64] &= ~(UINT64_C(1) << turn % 64);
	b.ready_n--;
	return b.order->thread[turn];
}

/* Whether a new thread is next. */
static int
starts_next(void)
{
	return b.started < b.n && !(b.order->ahead && b.ready_n);
}

/* Runs what can; if nothing is, no more is to be done here. */
static void
schedule(struct fiber *from)
{
	struct fiber *to = &outside;

	if (starts_next()) {
		to = idle_fiber();
	} else if (b.ready_n) {
		unsigned t = take_ready();

		to = b.thread[t].fiber;
		set_current(t);
	}
	if (to != from)
		switch_to(from, to);
}

static const char *const barrier_names[] = { "__syncthreads", "__syncthreads_or", "__syncthreads_and",
	                                     "__syncthreads_count" };
static const char *const exchange_names[] = { "__syncwarp",      "__shfl_sync",   "__shfl_up_sync", "__shfl_down_sync",
	                                      "__shfl_xor_sync", "__ballot_sync", "__any_sync",     "__all_sync" };

static const char *
operation(const struct thread *t)
{
	return t->state == AT_BARRIER ? barrier_names[t->wait.kind] : exchange_names[t->wait.kind];
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
		         operation(thread), thread->wait.mask, thread->wait.at.file_name(),
		         (unsigned)thread->wait.at.line());
	else
		snprintf(words, size, "thread (%u,%u,%u) waits in %s at %s:%u", i.x, i.y, i.z, operation(thread),
		         thread->wait.at.file_name(), (unsigned)thread->wait.at.line());
}

[[noreturn]] static void
die_waiting(unsigned t, const char *why)
{
	const struct thread *thread = &b.thread[t];

	b.current = t;
	if (thread->state == AT_EXCHANGE)
		emu_die("%s with mask 0x%08x at %s:%u: %s", operation(thread), thread->wait.mask,
		        thread->wait.at.file_name(), (unsigned)thread->wait.at.line(), why);
	emu_die("%s at %s:%u: %s", operation(thread), thread->wait.at.file_name(), (unsigned)thread->wait.at.line(),
	        why);
}

/* Both wait for each other and neither for another place. */
static int
meet(const struct thread *x, const struct thread *y)
{
	return x->state == y->state && x->wait.kind == y->wait.kind && emu_same_place(x->wait.at, y->wait.at) &&
	       (x->state == AT_BARRIER || x->wait.mask == y->wait.mask);
}

/* Nothing can run. Exchanges are looked at first: a barrier that does not open is often only what follows from them. */
[[noreturn]] static void
die_stuck(void)
{
	char words[512], who[480];

	for (unsigned t = 0; t < b.n; t++)
		for (unsigned lane = 0; b.thread[t].state == AT_EXCHANGE && lane < warpSize; lane++) {
			unsigned u = t / warpSize * warpSize + lane;

			if (!(b.thread[t].wait.mask >> lane & 1))
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

static int
replays(void)
{
	return b.order->ahead && b.exchanges;
}

/* The thread's next exchange as it was in step; NULL if there was no more. */
static const struct emu_wait *
next_kept(const struct thread *t)
{
	size_t i = (size_t)(t - b.thread);

	return b.exchanges->empty() || t->exchanged == (*b.exchanges)[i].size() ? NULL
	                                                                        : &(*b.exchanges)[i][t->exchanged];
}

static void
keep(const struct thread *t)
{
	if (b.exchanges->empty())
		b.exchanges->resize(b.n);
	(*b.exchanges)[(size_t)(t - b.thread)].push_back(t->wait);
}

/* What the thread got for the same in step. */
static uint64_t
replay(struct thread *t)
{
	const struct emu_wait *kept = next_kept(t);
	char words[128];

	if (!kept || !emu_same_exchange(kept, &t->wait)) {
		snprintf(words, sizeof words, "race: the thread %s in %s order",
		         kept && emu_same_place(kept->at, t->wait.at) ? "gives something else" : "comes here only",
		         b.order->name);
		die_waiting((unsigned)(t - b.thread), words);
	}
	t->exchanged++;
	t->state = RUNNING;
	return kept->result;
}

static void
check_end(const struct thread *t)
{
	const struct emu_wait *kept = replays() ? next_kept(t) : NULL;

	if (kept)
		emu_die("race: the thread does not come to %s at %s:%u in %s order", exchange_names[kept->kind],
		        kept->at.file_name(), (unsigned)kept->at.line(), b.order->name);
}

static void
open_barrier(enum emu_barrier kind)
{
	int met = 0;

	for (unsigned t = 0; t < b.n; t++)
		met += b.thread[t].wait.value != 0;
	b.barrier_result = kind == EMU_BARRIER_OR ? met > 0 : kind == EMU_BARRIER_AND ? met == (int)b.n : met;
	b.barrier_n = 0;
	for (unsigned t = 0; t < b.n; t++)
		make_ready(t);
}

int
emu_wait_block(enum emu_barrier kind, int predicate, const emu_place &at)
{
	struct thread *t = running(barrier_names[kind]);
	unsigned u = 0;

	t->state = AT_BARRIER;
	t->wait.kind = kind;
	t->wait.at = at;
	t->wait.value = predicate != 0;
	if (++b.barrier_n == b.n) {
		while (u < b.n && meet(t, &b.thread[u]))
			u++;
		if (u == b.n)
			open_barrier(kind);
	}
	schedule(t->fiber);
	return b.barrier_result;
}

static void
check_exchange(const struct thread *t)
{
	const struct emu_wait *w = &t->wait;

	if (!(w->mask >> b.current % warpSize & 1))
		die_waiting(b.current, "the thread's own lane is not in the mask");
	if (w->width < 1 || w->width > warpSize || w->width & (w->width - 1))
		die_waiting(b.current, "the width is not a power of two up to 32");
	if ((w->kind == EMU_SHFL_UP || w->kind == EMU_SHFL_DOWN || w->kind == EMU_SHFL_XOR) &&
	    (w->lane < 0 || w->lane >= warpSize))
		die_waiting(b.current, "the distance is not in 0..31");
}

/* One more waits: perhaps the last. */
static void
join_exchange(const struct thread *t)
{
	unsigned warp = b.current / warpSize, first = warp * warpSize, mask = t->wait.mask, met = 0;
	struct emu_wait *lanes[warpSize];

	if (++b.exchange_n[warp] >= (unsigned)__builtin_popcount(mask))
		for (unsigned l = 0; l < warpSize && first + l < b.n; l++)
			met |= mask >> l & 1 && meet(t, &b.thread[first + l]) ? 1u << l : 0;
	if (met != mask)
		return;
	for (unsigned l = 0; l < warpSize; l++)
		lanes[l] = mask >> l & 1 ? &b.thread[first + l].wait : NULL;
	emu_exchange(lanes, mask, t->wait.kind);
	b.exchange_n[warp] -= (unsigned)__builtin_popcount(mask);
	for (unsigned l = 0; l < warpSize; l++)
		if (mask >> l & 1)
			make_ready(first + l);
}

uint64_t
emu_wait_warp(enum emu_exchange kind, unsigned mask, uint64_t value, int lane, int width, const emu_place &at)
{
	struct thread *t = running(exchange_names[kind]);

	t->state = AT_EXCHANGE;
	t->wait = { kind, at, mask, lane, width, value, 0 };
	check_exchange(t);
	if (replays() && kind != EMU_WARP)
		return replay(t);
	join_exchange(t);
	schedule(t->fiber);
	if (b.exchanges && kind != EMU_WARP)
		keep(t);
	return t->wait.result;
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
		while (starts_next()) {
			unsigned t = b.order->thread[b.started++];

			set_current(t);
			b.thread[t].fiber = self;
			b.thread[t].exchanged = 0;
			b.call->call(b.call);
			check_end(&b.thread[t]);
			b.thread[t].state = ENDED;
			b.ended++;
		}
		self->next = idle;
		idle = self;
		schedule(self);
	}
}

void
emu_block_run(const struct emu_call *call, const uint3 *place, const struct emu_order *order, emu_exchanges *exchanges)
{
	dim3 d = call->block;
	unsigned n = d.x * d.y * d.z;

	if (n != b.n || d.x != blockDim.x || d.y != blockDim.y)
		for (unsigned t = 0; t < n; t++)
			b.index[t] = { t % d.x, t / d.x % d.y, t / d.x / d.y };
	blockIdx = *place;
	blockDim = call->block;
	gridDim = call->grid;
	b.call = call;
	b.order = order;
	b.exchanges = exchanges;
	b.n = n;
	b.started = b.ended = b.ready_n = b.barrier_n = 0;
	memset(b.exchange_n, 0, sizeof b.exchange_n);
	for (unsigned i = 0; i < n; i++)
		b.turn[order->thread[i]] = i;
	outside.entered = 1;
	switch_to(&outside, idle_fiber());
	if (b.ended != n)
		die_stuck();
	b.call = NULL;
}
