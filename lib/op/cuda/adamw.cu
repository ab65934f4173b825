/*
 * AdamW (Loshchilov, Hutter 2019): decay apart from the gradient, bias-corrected moments.
 */
#include "op/cuda/tensors.h"

/* What the kernel needs of struct adamw. */
struct adamw_tensor {
	float *param, *m, *v;
	bf16 *twin;
	const float *grad;
	size_t n;
	float b1, b2, c1, c2, rate, root, eps, keep, scale;
};

static struct adamw_tensor
tensor_of(const struct adamw *a)
{
	return { .param = a->param,
		 .m = a->m,
		 .v = a->v,
		 .twin = a->twin,
		 .grad = a->grad,
		 .n = a->n,
		 .b1 = (float)a->beta1,
		 .b2 = (float)a->beta2,
		 .c1 = (float)(1 - a->beta1),
		 .c2 = (float)(1 - a->beta2),
		 .rate = (float)(a->lr / (1 - pow(a->beta1, (double)a->t))),
		 .root = (float)(1 / sqrt(1 - pow(a->beta2, (double)a->t))),
		 .eps = (float)a->eps,
		 .keep = (float)(1 - a->lr * a->weight_decay),
		 .scale = (float)a->scale };
}

__global__ static void
adamw_move(struct tensors<struct adamw_tensor> all)
{
	const struct chunk c = own_chunk(all);
	const struct adamw_tensor a = all.at[c.tensor];

	for (size_t i = c.begin; i < c.end; i += STRIDE) {
		const int left = columns_left(i, c.end);
		float p[COLUMNS], m[COLUMNS], v[COLUMNS], grad[COLUMNS];

		load_columns(p, a.param + i, left);
		load_columns(m, a.m + i, left);
		load_columns(v, a.v + i, left);
		load_columns(grad, a.grad ? a.grad + i : NULL, a.grad ? left : 0);
		for (int k = 0; k < COLUMNS; k++) {
			const float g = grad[k] * a.scale;

			m[k] = a.b1 * m[k] + a.c1 * g;
			v[k] = a.b2 * v[k] + a.c2 * g * g;
			p[k] = a.keep * p[k] - a.rate * m[k] / (sqrtf(v[k]) * a.root + a.eps);
		}
		store_columns(a.m + i, m, left);
		store_columns(a.v + i, v, left);
		store_columns(a.param + i, p, left);
		if (a.twin)
			store_narrow(a.twin + i, p, left);
	}
}

void
cuda_adamw(const struct adamw *list, int count)
{
	struct adamw_tensor *host = tensors_room<struct adamw_tensor>(count);
	struct tensors<struct adamw_tensor> sent;

	if (!host)
		return;
	for (int i = 0; i < count; i++)
		host[i] = tensor_of(&list[i]);
	sent = tensors_send(host, count);
	if (sent.at)
		LAUNCH(adamw_move, dim3((unsigned)sent.blocks), THREADS, 0, sent);
}
