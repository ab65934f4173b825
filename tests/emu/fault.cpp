/*
 * Accesses outside of memory, told with the kernel's block and thread. AddressSanitizer finds each and says what it
 * is, and a line is added to what it says; without it only closed pages are noticed, so up to 255 bytes past an end
 * are not.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "emu.h"

#if EMU_ASAN

static void
add_line(void)
{
	char place[512];

	if (emu_block_place(place, sizeof place))
		fprintf(stderr, "emu: %smemory error, told above\n", place);
}

void
emu_fault_watch(int on)
{
	if (on)
		__sanitizer_set_death_callback(add_line);
}

#else

static struct sigaction old;

/* How far past the end of the memory before it, the kernel's most likely mistake. */
static void
fault(int number, siginfo_t *info, void *context)
{
	const char *p = (const char *)info->si_addr;
	auto after = emu_memories().upper_bound(p);
	const struct emu_memory *m = after == emu_memories().begin() ? NULL : &(--after)->second;

	(void)number;
	(void)context;
	if (m && m->kind != EMU_REGISTERED && p < m->map + m->map_size + 4096)
		emu_die("memory fault at %p, %zu bytes past the end of allocation %p of %zu bytes", (const void *)p,
		        (size_t)(p - m->base) - m->size, (void *)m->base, m->size);
	emu_die("memory fault at %p, where no memory is, or none any more", (const void *)p);
}

/* On a stack of its own: a thread's may be what has overflowed. */
void
emu_fault_watch(int on)
{
	static stack_t stack;
	struct sigaction action = {};

	if (!on) {
		sigaction(SIGSEGV, &old, NULL);
		return;
	}
	if (!stack.ss_sp) {
		stack.ss_size = 64 << 10;
		stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL))
			emu_die("faults cannot be watched for");
	}
	action.sa_sigaction = fault;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	sigaction(SIGSEGV, &action, &old);
}

#endif
