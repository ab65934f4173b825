/*
 * LAMB (You et al. 2020) as the reference's optimizers/lamb.py has it: two passes, for the trust ratio needs both norms. The second walks
 * backwards, from what the first has left in the cache.
 */
#include "op/cpu/cpu.h"

enum { BLOCK = 1 << 12, DEEP = 8 };

/* What the loops need of struct lamb. */
struct factors {
	float b1, b2, c1, c2, eps, decay, scale;
};

static struct factors
factors_of(const struct lamb *l)
{
	return (struct factors){ .b1 = (float)l->beta1,
		                 .b2 = (float)l->beta2,
		                 .c1 = (float)(1 - l->beta1),
		                 .c2 = (float)(1 - l->beta2),
		                 .eps = (float)l->eps,
		                 .decay = (float)l->weight_decay,
		                 .scale = (float)l->scale };
}

/* u = m/(sqrt(v) + eps) + wd p */
static inline float
update(float m, float v, float p, float eps, float decay)
{
	return m / (sqrtf(v) + eps) + decay * p;
}

/* One element's new moments; its u comes back. */
static inline float
moment(float *m, float *v, float p, float grad, struct factors f)
{
	const float g = grad * f.scale;

	*m = f.b1 * *m + f.c1 * g;
	*v = f.b2 * *v + f.c2 * g * g;
	return update(*m, *v, p, f.eps, f.decay);
}

/*
 * New moments of n elements, and the square norms of p and u there: DEEP squares are added in float32, these sums in double.
 * grad NULL: all zero.
 */
VECTOR static void
moments(float *restrict m, float *restrict v, const float *restrict p, const float *restrict grad, size_t n,
        struct factors f, double norms[2])
{
	double pp[LANES] = { 0 }, uu[LANES] = { 0 };
	size_t i = 0;

	while (i < n) {
		float p_sum[LANES] = { 0 }, u_sum[LANES] = { 0 };

		for (int deep = 0; deep < DEEP && i + LANES <= n; deep++, i += LANES)
			for (size_t k = 0; k < LANES; k++) {
				const float u = moment(&m[i + k], &v[i + k], p[i + k], grad ? grad[i + k] : 0, f);

				p_sum[k] += p[i + k] * p[i + k];
				u_sum[k] += u * u;
			}
		for (size_t k = 0; n - i < LANES && i + k < n; k++) {
			const float u = moment(&m[i + k], &v[i + k], p[i + k], grad ? grad[i + k] : 0, f);

			p_sum[k] += p[i + k] * p[i + k];
			u_sum[k] += u * u;
		}
		if (n - i < LANES)
			i = n;
		for (int k = 0; k < LANES; k++) {
			pp[k] += (double)p_sum[k];
			uu[k] += (double)u_sum[k];
		}
	}
	norms[0] = norms[1] = 0;
	for (int k = 0; k < LANES; k++) {
		norms[0] += pp[k];
		norms[1] += uu[k];
	}
}

VECTOR static void
move(float *restrict p, const float *restrict m, const float *restrict v, size_t n, struct factors f, float rate)
{
	for (size_t i = 0; i < n; i++)
		p[i] -= rate * update(m[i], v[i], p[i], f.eps, f.decay);
}

static void
lamb_one(const struct lamb *l)
{
	size_t blocks = (l->n + BLOCK - 1) / BLOCK;
	double(*part)[2] = cpu_alloc(blocks * sizeof *part);
	double p = 0, u = 0, trust;
	struct factors f = factors_of(l);

	if (!part) {
		cpu_fault("out of memory for LAMB's norms");
		return;
	}
#pragma omp parallel for schedule(static) if (l->n > PARALLEL_LEAST)
	for (size_t b = 0; b < blocks; b++) {
		size_t at = b * BLOCK, n = l->n - at < BLOCK ? l->n - at : BLOCK;

		moments(l->m + at, l->v + at, l->param + at, l->grad ? l->grad + at : NULL, n, f, part[b]);
	}
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
	for (size_t b = blocks; b > 0; b--) {
		size_t at = (b - 1) * BLOCK, n = l->n - at < BLOCK ? l->n - at : BLOCK;

		move(l->param + at, l->m + at, l->v + at, n, f, (float)(l->lr * trust));
		if (l->twin)
			cpu_narrow_row(l->twin + at, l->param + at, n);
	}
}

void
cpu_lamb(const struct lamb *list, int count)
{
	for (int i = 0; i < count; i++)
		lamb_one(&list[i]);
}
