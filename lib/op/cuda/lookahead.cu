/*
 * Lookahead (Zhang et al. 2019): the slow weights move, and the fast ones begin again from there.
 */
#include "op/cuda/tensors.h"

__global__ static void
look_ahead(struct tensors<struct lookahead> all)
{
	const struct chunk c = own_chunk(all);
	const struct lookahead l = all.at[c.tensor];
	const float alpha = (float)l.alpha;

	for (size_t i = c.begin; i < c.end; i += STRIDE) {
		const int left = columns_left(i, c.end);
		float p[COLUMNS], slow[COLUMNS];

		load_columns(p, l.param + i, left);
		load_columns(slow, l.slow + i, left);
		for (int k = 0; k < COLUMNS; k++)
			slow[k] += alpha * (p[k] - slow[k]);
		store_columns(l.slow + i, slow, left);
		store_columns(l.param + i, slow, left);
		if (l.twin)
			store_narrow(l.twin + i, slow, left);
	}
}

void
cuda_lookahead(const struct lookahead *list, int count)
{
	const struct tensors<struct lookahead> all = tensors_copy(list, count);

	if (all.at)
		LAUNCH(look_ahead, dim3((unsigned)all.blocks), THREADS, 0, all);
}
