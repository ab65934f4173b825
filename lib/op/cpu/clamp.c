/*
 * Keep values within [low, high]; NaN stays NaN.
 */
#include "op/cpu/cpu.h"

static void
clamp_one(float *x, size_t n, float low, float high)
{
	for (size_t i = 0; i < n; i++)
		x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}

void
cpu_clamp(const struct clamp *list, int count)
{
	for (int i = 0; i < count; i++)
		clamp_one(list[i].x, list[i].n, list[i].low, list[i].high);
}
