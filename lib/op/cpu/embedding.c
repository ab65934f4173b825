/*
 * Embedding: word, position and token type 0 summed; and the sums of gradients by row.
 */
#include "op/cpu/cpu.h"

VECTOR static void
row_sum(float *out, const float *a, const float *b, const float *c, int D)
{
	for (int i = 0; i < D; i++)
		out[i] = a[i] + b[i] + c[i];
}

void
cpu_embedding(const struct embedding *e)
{
	size_t D = (size_t)e->D;

	for (int b = 0; b < e->rows.n; b++)
		for (int r = e->rows.off[b]; r < e->rows.off[b + 1]; r++)
			row_sum(e->out + (size_t)r * D, e->word + (size_t)e->ids[r] * D,
			        e->position + (size_t)(r - e->rows.off[b]) * D, e->type, e->D);
}

void
cpu_embedding_backward(const struct embedding_backward *e)
{
	size_t D = (size_t)e->D;

	for (int b = 0; b < e->rows.n; b++)
		for (int r = e->rows.off[b]; r < e->rows.off[b + 1]; r++) {
			size_t index = (size_t)(r - e->rows.off[b]);
			const float *d = e->dout + (size_t)r * D;

			if (e->ids[r])
				cpu_add(e->dword + (size_t)e->ids[r] * D, d, D);
			if (index)
				cpu_add(e->dposition + index * D, d, D);
		}
}
