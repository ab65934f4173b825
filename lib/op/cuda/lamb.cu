/*
 * LAMB (You et al. 2020) as the reference's optimizers/lamb.py has it: moments and both norms, the trust ratio, the move, each of all
 * tensors at once. The ratios stay on the device, which does not wait for the host.
 */
#include "op/cuda/tensors.h"

/* What the kernels need of struct lamb. */
struct lamb_tensor {
	float *param, *m, *v;
	bf16 *twin;
	const float *grad;
	size_t n;
	float b1, b2, c1, c2, eps, decay, scale;
	double lr, min_trust;
};

static struct lamb_tensor
tensor_of(const struct lamb *l)
{
	return { .param = l->param,
		 .m = l->m,
		 .v = l->v,
		 .twin = l->twin,
		 .grad = l->grad,
		 .n = l->n,
		 .b1 = (float)l->beta1,
		 .b2 = (float)l->beta2,
		 .c1 = (float)(1 - l->beta1),
		 .c2 = (float)(1 - l->beta2),
		 .eps = (float)l->eps,
		 .decay = (float)l->weight_decay,
		 .scale = (float)l->scale,
		 .lr = l->lr,
		 .min_trust = l->min_trust };
}

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
lamb_moments(struct norms *part, struct tensors<struct lamb_tensor> all)
{
	const struct chunk c = own_chunk(all);
	const struct lamb_tensor l = all.at[c.tensor];
	struct norms sum = { 0, 0 };

	for (size_t i = c.begin; i < c.end; i += STRIDE) {
		const int left = columns_left(i, c.end);
		float p[COLUMNS], m[COLUMNS], v[COLUMNS], grad[COLUMNS];

		load_columns(p, l.param + i, left);
		load_columns(m, l.m + i, left);
		load_columns(v, l.v + i, left);
		load_columns(grad, l.grad ? l.grad + i : NULL, l.grad ? left : 0);
		for (int k = 0; k < COLUMNS; k++) {
			const float g = grad[k] * l.scale;
			float u;

			m[k] = l.b1 * m[k] + l.c1 * g;
			v[k] = l.b2 * v[k] + l.c2 * g * g;
			u = k < left ? update(m[k], v[k], p[k], l.eps, l.decay) : 0;
			sum.p += (double)p[k] * (double)p[k];
			sum.u += (double)u * (double)u;
		}
		store_columns(l.m + i, m, left);
		store_columns(l.v + i, v, left);
	}
	sum.p = sum_block(sum.p);
	sum.u = sum_block(sum.u);
	if (threadIdx.x == 0)
		part[blockIdx.x] = sum;
}

/* A block's tensor: rate = lr trust, of its blocks' norms. */
__global__ static void
lamb_trust(float *rates, const struct norms *part, struct tensors<struct lamb_tensor> all)
{
	const int tensor = (int)blockIdx.x;
	struct norms sum = { 0, 0 };
	double p, u, ratio;

	for (int i = all.first[tensor] + (int)threadIdx.x; i < all.first[tensor + 1]; i += THREADS) {
		sum.p += part[i].p;
		sum.u += part[i].u;
	}
	p = fmin(sqrt(sum_block(sum.p)), 10.0);
	u = sqrt(sum_block(sum.u));
	ratio = fmax(p == 0 || u == 0 ? 1 : p / u, all.at[tensor].min_trust);
	if (threadIdx.x == 0)
		rates[tensor] = (float)(all.at[tensor].lr * ratio);
}

__global__ static void
lamb_move(struct tensors<struct lamb_tensor> all, const float *rates)
{
	const struct chunk c = own_chunk(all);
	const struct lamb_tensor l = all.at[c.tensor];
	const float rate = rates[c.tensor];

	for (size_t i = c.begin; i < c.end; i += STRIDE) {
		const int left = columns_left(i, c.end);
		float p[COLUMNS], m[COLUMNS], v[COLUMNS];

		load_columns(p, l.param + i, left);
		load_columns(m, l.m + i, left);
		load_columns(v, l.v + i, left);
		for (int k = 0; k < COLUMNS; k++)
			p[k] -= rate * update(m[k], v[k], p[k], l.eps, l.decay);
		store_columns(l.param + i, p, left);
		if (l.twin)
			store_narrow(l.twin + i, p, left);
	}
}

static void
launch(struct tensors<struct lamb_tensor> all)
{
	const size_t blocks = (size_t)all.blocks, count = (size_t)all.count;
	struct norms *part = (struct norms *)cuda_scratch(SCRATCH_SUMS, blocks * sizeof *part + count * sizeof(float));
	float *rates;

	if (!all.at || !part)
		return;
	rates = (float *)(part + blocks);
	LAUNCH(lamb_moments, dim3((unsigned)blocks), THREADS, 0, part, all);
	LAUNCH(lamb_trust, dim3((unsigned)count), THREADS, 0, rates, part, all);
	LAUNCH(lamb_move, dim3((unsigned)blocks), THREADS, 0, all, rates);
}

void
cuda_lamb(const struct lamb *list, int count)
{
	struct lamb_tensor *host = tensors_room<struct lamb_tensor>(count);

	for (int i = 0; i < count && host; i++)
		host[i] = tensor_of(&list[i]);
	if (host)
		launch(tensors_send(host, count));
}
