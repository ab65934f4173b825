/*
 * float32 rounded to bf16: a row, or much at once.
 */
#include "op/cpu/cpu.h"
#include "sys/half.h"

VECTOR void
cpu_narrow_row(bf16 *out, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = float_to_bfloat(x[i]);
}

enum { BLOCK = 1 << 13 };

void
cpu_narrow(bf16 *out, const float *x, size_t n)
{
#pragma omp parallel for schedule(static) if (n > PARALLEL_LEAST)
	for (size_t from = 0; from < n; from += BLOCK)
		cpu_narrow_row(out + from, x + from, n - from < BLOCK ? n - from : BLOCK);
}
