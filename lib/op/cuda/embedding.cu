/*
 * Embedding: word, position and token type 0 summed; and the sums of gradients by row of a table, each by one block in the order of the
 * rows, so that no two meet.
 */
#include <stdlib.h>

#include "op/cuda/kernel.h"

struct sum_of_rows {
	float *out;
	const int *off, *ids;
	const float *word, *position, *type;
	int places, N, D;
};

__global__ static void
embedding_rows(struct sum_of_rows w)
{
	const int r = own_row();
	const float *word, *position;

	if (r >= w.N)
		return;
	word = w.word + (size_t)w.ids[r] * w.D;
	position = w.position + (size_t)(r - w.off[place_of(w.off, w.places, r)]) * w.D;
	for (int i = own_lane(); i < w.D; i += WARP)
		w.out[(size_t)r * w.D + i] = word[i] + position[i] + w.type[i];
}

void
cuda_embedding(const struct embedding *e)
{
	const int N = rows_total(&e->rows);
	const struct sum_of_rows w = { .out = e->out,
		                       .off = cuda_mirror(e->rows.off, (size_t)e->rows.n + 1),
		                       .ids = cuda_mirror(e->ids, (size_t)N),
		                       .word = e->word,
		                       .position = e->position,
		                       .type = e->type,
		                       .places = e->rows.n,
		                       .N = N,
		                       .D = e->D };

	if (w.off && w.ids)
		LAUNCH(embedding_rows, by_rows(N), THREADS, 0, w);
}

/* Group g: rows row[begin[g]] … row[begin[g + 1] - 1] of dout go to row target[g] of the table. */
__global__ static void
add_groups(float *table, const float *dout, const int *target, const int *begin, const int *row, int D)
{
	const int g = (int)blockIdx.x;

	for (int i = (int)threadIdx.x; i < D; i += THREADS) {
		const size_t at = (size_t)target[g] * D + i;
		float sum = table[at];

		for (int k = begin[g]; k < begin[g + 1]; k++)
			sum += dout[(size_t)row[k] * D + i];
		table[at] = sum;
	}
}

struct entry {
	int target, row;
};

static int
by_target(const void *a, const void *b)
{
	const struct entry *x = (const struct entry *)a, *y = (const struct entry *)b;

	return x->target != y->target ? (x->target > y->target) - (x->target < y->target)
	                              : (x->row > y->row) - (x->row < y->row);
}

/* The rows with a target but 0, by target. */
static void
add_to_table(float *table, const float *dout, struct entry *list, int n, int D)
{
	int *target = (int *)calloc((size_t)(3 * n + 1), sizeof *target);
	int *begin = target + n, *row = begin + n + 1, groups = 0, rows = 0;
	const int *device;

	if (!target) {
		cuda_fault("embedding_backward", "out of memory for the order of its rows");
		return;
	}
	qsort(list, (size_t)n, sizeof *list, by_target);
	for (int i = 0; i < n; i++) {
		if (!list[i].target)
			continue;
		if (!groups || target[groups - 1] != list[i].target) {
			target[groups] = list[i].target;
			begin[groups++] = rows;
		}
		row[rows++] = list[i].row;
	}
	begin[groups] = rows;
	device = cuda_mirror(target, (size_t)(3 * n + 1));
	if (device)
		LAUNCH(add_groups, dim3((unsigned)groups), THREADS, 0, table, dout, device, device + n,
		       device + 2 * n + 1, D);
	free(target);
}

void
cuda_embedding_backward(const struct embedding_backward *e)
{
	const int N = rows_total(&e->rows);
	struct entry *list = (struct entry *)calloc((size_t)N + 1, sizeof *list);

	if (!list) {
		cuda_fault("embedding_backward", "out of memory for the order of its rows");
		return;
	}
	for (int r = 0; r < N; r++)
		list[r] = (struct entry){ e->ids[r], r };
	add_to_table(e->dword, e->dout, list, N, e->D);
	for (int b = 0; b < e->rows.n; b++)
		for (int r = e->rows.off[b]; r < e->rows.off[b + 1]; r++)
			list[r] = (struct entry){ r - e->rows.off[b], r };
	add_to_table(e->dposition, e->dout, list, N, e->D);
	free(list);
}
