/*
 * Keep values within [low, high]; NaN stays NaN.
 */
#include "op/cpu/cpu.h"

void
cpu_clamp(float *x, size_t n, float low, float high)
{
	for (size_t i = 0; i < n; i++)
		x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}
