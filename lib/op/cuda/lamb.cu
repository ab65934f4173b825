/*
 * LAMB (You et al. 2020) as the reference's optimizers/lamb.py has it: moments and both norms, the trust ratio, the move. The ratio
 * stays on the device, so that no tensor waits for the host.
 */
#include "op/cuda/kernel.h"

struct lamb_factors {
	float b1, b2, c1, c2, eps, decay, scale;
	double lr, min_trust;
};

struct norms {
	double p, u;
};

/* u = m/(sqrt(v) + eps) + wd p */
static __device__ inline float
update(float m, float v, float p, float eps, float decay)
{
	return m / (sqrtf(v) + eps) + decay * p;
}

__global__ static void
lamb_moments(struct norms *part, float *m, float *v, const float *param, const float *grad, size_t n,
             struct lamb_factors f)
{
	struct norms sum = { 0, 0 };

	for (size_t i = first_element(); i < n; i += element_step()) {
		const float g = grad ? grad[i] * f.scale : 0, p = param[i];
		float u;

		m[i] = f.b1 * m[i] + f.c1 * g;
		v[i] = f.b2 * v[i] + f.c2 * g * g;
		u = update(m[i], v[i], p, f.eps, f.decay);
		sum.p += (double)p * (double)p;
		sum.u += (double)u * (double)u;
	}
	sum.p = sum_block(sum.p);
	sum.u = sum_block(sum.u);
	if (threadIdx.x == 0)
		part[blockIdx.x] = sum;
}

/* rate = lr trust, of the blocks' norms. */
__global__ static void
lamb_trust(float *rate, const struct norms *part, int blocks, struct lamb_factors f)
{
	struct norms sum = { 0, 0 };
	double p, u, ratio;

	for (int i = (int)threadIdx.x; i < blocks; i += THREADS) {
		sum.p += part[i].p;
		sum.u += part[i].u;
	}
	p = fmin(sqrt(sum_block(sum.p)), 10.0);
	u = sqrt(sum_block(sum.u));
	ratio = fmax(p == 0 || u == 0 ? 1 : p / u, f.min_trust);
	if (threadIdx.x == 0)
		*rate = (float)(f.lr * ratio);
}

__global__ static void
lamb_move(float *param, const float *m, const float *v, size_t n, struct lamb_factors f, const float *rate)
{
	for (size_t i = first_element(); i < n; i += element_step())
		param[i] -= *rate * update(m[i], v[i], param[i], f.eps, f.decay);
}

void
cuda_lamb(const struct lamb *l)
{
	struct norms *part = (struct norms *)cuda_scratch(SCRATCH_SUMS, (PARTS + 1) * sizeof *part);
	float *rate = (float *)(part + PARTS);
	const dim3 blocks = elements(l->n, PARTS);
	const struct lamb_factors f = { .b1 = (float)l->beta1,
		                        .b2 = (float)l->beta2,
		                        .c1 = (float)(1 - l->beta1),
		                        .c2 = (float)(1 - l->beta2),
		                        .eps = (float)l->eps,
		                        .decay = (float)l->weight_decay,
		                        .scale = (float)l->scale,
		                        .lr = l->lr,
		                        .min_trust = l->min_trust };

	if (!part || !l->n)
		return;
	LAUNCH(lamb_moments, blocks, THREADS, 0, part, l->m, l->v, l->param, l->grad, l->n, f);
	LAUNCH(lamb_trust, dim3(1), THREADS, 0, rate, part, (int)blocks.x, f);
	LAUNCH(lamb_move, elements(l->n), THREADS, 0, l->param, l->m, l->v, l->n, f, rate);
}
