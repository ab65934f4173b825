/*
 * LAMB (You et al. 2020) as the reference's optimizers/lamb.py has it: two passes, for the trust ratio needs both norms.
 */
#include "op/cpu/cpu.h"

enum { BLOCK = 1 << 12 };

/* u = m/(sqrt(v) + eps) + wd p */
static inline float
update(const struct lamb *l, size_t i, float eps, float decay)
{
	return l->m[i] / (sqrtf(l->v[i]) + eps) + decay * l->param[i];
}

/* New moments of [from, to), and the square norms of p and u there. */
VECTOR static void
moments(const struct lamb *l, size_t from, size_t to, double norms[2])
{
	const float b1 = (float)l->beta1, b2 = (float)l->beta2, c1 = (float)(1 - l->beta1), c2 = (float)(1 - l->beta2);
	const float eps = (float)l->eps, decay = (float)l->weight_decay, scale = (float)l->scale;
	double p[LANES] = { 0 }, u[LANES] = { 0 };

	for (size_t i = from; i < to; i++) {
		const float g = l->grad ? l->grad[i] * scale : 0;

		l->m[i] = b1 * l->m[i] + c1 * g;
		l->v[i] = b2 * l->v[i] + c2 * g * g;
	}
	for (size_t i = from; i < to; i += LANES)
		for (size_t k = 0; k < LANES && i + k < to; k++) {
			const double step = (double)update(l, i + k, eps, decay);

			p[k] += (double)l->param[i + k] * (double)l->param[i + k];
			u[k] += step * step;
		}
	norms[0] = norms[1] = 0;
	for (int k = 0; k < LANES; k++) {
		norms[0] += p[k];
		norms[1] += u[k];
	}
}

VECTOR static void
move(const struct lamb *l, size_t from, size_t to, float rate)
{
	const float eps = (float)l->eps, decay = (float)l->weight_decay;

	for (size_t i = from; i < to; i++)
		l->param[i] -= rate * update(l, i, eps, decay);
}

static size_t
block_end(const struct lamb *l, size_t from)
{
	return l->n - from < BLOCK ? l->n : from + BLOCK;
}

void
cpu_lamb(const struct lamb *l)
{
	size_t blocks = (l->n + BLOCK - 1) / BLOCK;
	double(*part)[2] = cpu_alloc(blocks * sizeof *part);
	double p = 0, u = 0, trust;

	if (!part) {
		cpu_fault("out of memory for LAMB's norms");
		return;
	}
#pragma omp parallel for schedule(static) if (l->n > PARALLEL_LEAST)
	for (size_t b = 0; b < blocks; b++)
		moments(l, b * BLOCK, block_end(l, b * BLOCK), part[b]);
	for (size_t b = 0; b < blocks; b++) {
		p += part[b][0];
		u += part[b][1];
	}
	cpu_free(part);
	p = fmin(sqrt(p), 10);
	u = sqrt(u);
	trust = p == 0 || u == 0 ? 1 : p / u;
	trust = fmax(trust, l->min_trust);
#pragma omp parallel for schedule(static) if (l->n > PARALLEL_LEAST)
	for (size_t b = 0; b < blocks; b++)
		move(l, b * BLOCK, block_end(l, b * BLOCK), (float)(l->lr * trust));
}
