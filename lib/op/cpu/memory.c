/*
 * Memory, and what went wrong: the CPU's operations fail only for want of memory or in oneDNN.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "op/cpu/cpu.h"

static char fault[256];

void
cpu_fault(const char *what)
{
#pragma omp critical(vqa_cpu_fault)
	if (!fault[0])
		snprintf(fault, sizeof fault, "%s", what);
}

int
cpu_sync(struct err *err)
{
	if (!fault[0])
		return 0;
	err_set(err, "cpu backend: %s", fault);
	fault[0] = '\0';
	return -1;
}

/* The huge pages that fit into a block: fewer faults, and fewer misses in the TLB where the kernel gives them to who asks. */
enum { HUGE_PAGE = 2 << 20 };

void *
cpu_alloc(size_t bytes)
{
	void *out = NULL;

	if (posix_memalign(&out, bytes >= HUGE_PAGE ? HUGE_PAGE : 64, bytes ? bytes : 1))
		return NULL;
	if (bytes >= HUGE_PAGE)
		madvise(out, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
	return out;
}

void
cpu_free(void *p)
{
	free(p);
}

void
cpu_copy(void *dst, const void *src, size_t bytes)
{
	if (bytes)
		memcpy(dst, src, bytes);
}

void
cpu_zero(void *dst, size_t bytes)
{
	if (bytes)
		memset(dst, 0, bytes);
}

void *
cpu_kept(struct kept *kept, size_t bytes)
{
	if (kept->bytes < bytes) {
		cpu_free(kept->at);
		kept->at = cpu_alloc(bytes);
		kept->bytes = kept->at ? bytes : 0;
		if (!kept->at)
			cpu_fault("out of memory for an operation's scratch");
	}
	return kept->at;
}

/* --- Copies are done when their call returns. */

static struct kept results[TURNS];

void
cpu_arrive(void)
{
}

void
cpu_fetch(int turn, const void *src, size_t bytes)
{
	void *at = cpu_kept(&results[turn], bytes);

	if (at)
		cpu_copy(at, src, bytes);
}

const void *
cpu_fetched(int turn, struct err *err)
{
	return cpu_sync(err) ? NULL : results[turn].at;
}

float *
cpu_scratch(size_t n)
{
	static _Thread_local struct kept own;

	return cpu_kept(&own, n * sizeof(float));
}
