/*
 * AdamW (Loshchilov, Hutter 2019): decay apart from the gradient, bias-corrected moments.
 */
#include "op/cuda/kernel.h"

struct adamw_factors {
	float b1, b2, c1, c2, rate, root, eps, keep, scale;
};

__global__ static void
adamw_move(float *param, float *m, float *v, const float *grad, size_t n, struct adamw_factors f)
{
	for (size_t i = first_element(); i < n; i += element_step()) {
		const float g = grad ? grad[i] * f.scale : 0;

		m[i] = f.b1 * m[i] + f.c1 * g;
		v[i] = f.b2 * v[i] + f.c2 * g * g;
		param[i] = f.keep * param[i] - f.rate * m[i] / (sqrtf(v[i]) * f.root + f.eps);
	}
}

void
cuda_adamw(const struct adamw *a)
{
	const struct adamw_factors f = { .b1 = (float)a->beta1,
		                         .b2 = (float)a->beta2,
		                         .c1 = (float)(1 - a->beta1),
		                         .c2 = (float)(1 - a->beta2),
		                         .rate = (float)(a->lr / (1 - pow(a->beta1, (double)a->t))),
		                         .root = (float)(1 / sqrt(1 - pow(a->beta2, (double)a->t))),
		                         .eps = (float)a->eps,
		                         .keep = (float)(1 - a->lr * a->weight_decay),
		                         .scale = (float)a->scale };

	LAUNCH(adamw_move, elements(a->n), THREADS, 0, a->param, a->m, a->v, a->grad, a->n, f);
}
