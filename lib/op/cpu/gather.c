/*
 * Rows by their index, and back.
 */
#include "op/cpu/cpu.h"

void
cpu_gather(const struct gather *g)
{
	size_t D = (size_t)g->D;

	for (int i = 0; i < g->n; i++)
		memcpy(g->out + (size_t)i * D, g->in + (size_t)g->index[i] * D, D * sizeof *g->out);
}

void
cpu_gather_backward(const struct gather_backward *g)
{
	size_t D = (size_t)g->D;

	for (int i = 0; i < g->n; i++)
		cpu_add(g->din + (size_t)g->index[i] * D, g->dout + (size_t)i * D, D);
}
