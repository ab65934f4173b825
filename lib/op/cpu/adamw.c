/*
 * AdamW (Loshchilov, Hutter 2019): decay apart from the gradient, bias-corrected moments.
 */
#include "op/cpu/cpu.h"

enum { BLOCK = 1 << 12 };

VECTOR static void
block(const struct adamw *a, size_t from, size_t to)
{
	const float b1 = (float)a->beta1, b2 = (float)a->beta2, c1 = (float)(1 - a->beta1), c2 = (float)(1 - a->beta2);
	const float rate = (float)(a->lr / (1 - pow(a->beta1, (double)a->t)));
	const float root = (float)(1 / sqrt(1 - pow(a->beta2, (double)a->t)));
	const float eps = (float)a->eps, keep = (float)(1 - a->lr * a->weight_decay), scale = (float)a->scale;

	for (size_t i = from; i < to; i++) {
		const float g = a->grad ? a->grad[i] * scale : 0;

		a->m[i] = b1 * a->m[i] + c1 * g;
		a->v[i] = b2 * a->v[i] + c2 * g * g;
		a->param[i] = keep * a->param[i] - rate * a->m[i] / (sqrtf(a->v[i]) * root + eps);
	}
	if (a->twin)
		cpu_narrow_row(a->twin + from, a->param + from, to - from);
}

static void
adamw_one(const struct adamw *a)
{
#pragma omp parallel for schedule(static) if (a->n > PARALLEL_LEAST)
	for (size_t from = 0; from < a->n; from += BLOCK)
		block(a, from, a->n - from < BLOCK ? a->n : from + BLOCK);
}

void
cpu_adamw(const struct adamw *list, int count)
{
	for (int i = 0; i < count; i++)
		adamw_one(&list[i]);
}
