/*
 * Lookahead (Zhang et al. 2019): the slow weights move, and the fast ones begin again from there.
 */
#include "op/cpu/cpu.h"

enum { BLOCK = 1 << 12 };

VECTOR static void
block(const struct lookahead *l, size_t from, size_t to)
{
	const float alpha = (float)l->alpha;

	for (size_t i = from; i < to; i++) {
		l->slow[i] += alpha * (l->param[i] - l->slow[i]);
		l->param[i] = l->slow[i];
	}
	if (l->twin)
		cpu_narrow_row(l->twin + from, l->param + from, to - from);
}

static void
lookahead_one(const struct lookahead *l)
{
#pragma omp parallel for schedule(static) if (l->n > PARALLEL_LEAST)
	for (size_t from = 0; from < l->n; from += BLOCK)
		block(l, from, l->n - from < BLOCK ? l->n : from + BLOCK);
}

void
cpu_lookahead(const struct lookahead *list, int count)
{
	for (int i = 0; i < count; i++)
		lookahead_one(&list[i]);
}
