/*
 * y += x
 */
#include "op/cpu/cpu.h"

VECTOR void
cpu_add(float *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}
