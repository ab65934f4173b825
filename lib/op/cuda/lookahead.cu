/*
 * Lookahead (Zhang et al. 2019): the slow weights move, and the fast ones begin again from there.
 */
#include "op/cuda/kernel.h"

__global__ static void
look_ahead(float *param, float *slow, size_t n, float alpha)
{
	for (size_t i = first_element(); i < n; i += element_step()) {
		slow[i] += alpha * (param[i] - slow[i]);
		param[i] = slow[i];
	}
}

void
cuda_lookahead(const struct lookahead *l)
{
	LAUNCH(look_ahead, elements(l->n), THREADS, 0, l->param, l->slow, l->n, (float)l->alpha);
}
