/*
 * One head's attention in one place, a block of threads', QUERIES queries at a time: what forward and backward share. Scores and
 * probabilities never leave the block's room, which is shared memory, or, for more keys than that has room for, scratch of the device's.
 */
#ifndef VQA_OP_CUDA_ATTENTION_BLOCK_H
#define VQA_OP_CUDA_ATTENTION_BLOCK_H

#include "op/cuda/dropout.h"
#include "op/cuda/entmax.h"
#include "op/cuda/span.h"

/* The operation as kernels see it. */
struct attention_work {
	struct attention a; /* offsets on the device */
	struct drop drop;
	float scale;
	int keys_most; /* of a place */
	int turns;     /* blocks that share a place's queries: forward's have QUERIES each, backward has one for all */
	int backward;
	size_t bytes; /* of a block's room */
	char *rooms;  /* of all blocks; NULL: in shared memory */
};

/* What is not needed has no room. */
struct attention_room {
	double *p, *g; /* (QUERIES, Tk): entmax_row, backward */
	float *x, *y,
		*d; /* (QUERIES, Tk): probabilities; after the span, then after the dropout; gradients. y is x without a span */
	float *tiles;        /* (QUERIES + KEYS, PADDED) */
	float *mask, *moves; /* (Tk) */
};

/* Plan, then place: bytes; base NULL only measures. */
static __host__ __device__ inline size_t
attention_place(struct attention_room *room, char *base, const struct attention_work *w)
{
	const size_t n = (size_t)QUERIES * (size_t)w->keys_most;
	const int has_span = w->a.span.length != 0;
	size_t doubles = 0, floats = 0;
	float *from;

	if (w->backward && w->a.kind == ATT_ENTMAX) {
		room->p = (double *)base;
		room->g = (double *)base + n;
		doubles = 2 * n;
	}
	from = (float *)(base + doubles * sizeof(double));
	room->tiles = from;
	floats += (QUERIES + KEYS) * PADDED;
	room->x = room->y = from + floats;
	floats += n;
	if (w->backward) {
		room->d = from + floats;
		floats += n;
	}
	if (has_span && w->backward) {
		room->y = from + floats;
		floats += n;
	}
	if (has_span) {
		room->mask = from + floats;
		room->moves = room->mask + w->keys_most;
		floats += 2 * (size_t)w->keys_most;
	}
	return doubles * sizeof(double) + floats * sizeof(float);
}

static __device__ inline void
attention_enter(struct attention_room *room, const struct attention_work *w, double *shared)
{
	const size_t block = ((size_t)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;

	*room = (struct attention_room){};
	attention_place(room, w->rooms ? w->rooms + block * w->bytes : (char *)shared, w);
}

/* A place's head. */
struct attention_part {
	int place, head, q0, k0, Tq, Tk;
};

static __device__ inline struct attention_part
attention_part_of(const struct attention_work *w)
{
	const int head = (int)blockIdx.x, place = (int)blockIdx.y;
	const int q0 = w->a.queries.off[place], k0 = w->a.keys.off[place];

	return (struct attention_part){ .place = place,
		                        .head = head,
		                        .q0 = q0,
		                        .k0 = k0,
		                        .Tq = w->a.queries.off[place + 1] - q0,
		                        .Tk = w->a.keys.off[place + 1] - k0 };
}

/* Where the head's columns of a row lie. */
static __device__ inline size_t
attention_at(const struct attention_work *w, const struct attention_part *p, int row, int stride)
{
	return (size_t)row * (size_t)stride + (size_t)p->head * (size_t)w->a.W;
}

static __device__ inline struct strided
attention_rows(const struct attention_work *w, const struct attention_part *p, const float *x, int row, int stride)
{
	return (struct strided){ x + attention_at(w, p, row, stride), stride };
}

/* x becomes softmax's probabilities; max and inverse are made, or known. */
static __device__ inline void
softmax_forward(float *x, int keys, float *max, float *inverse, int known)
{
	float most = -INFINITY, sum = 0;

	for (int j = own_part(); j < keys; j += GROUP)
		most = fmaxf(most, x[j]);
	most = max_lanes(most, GROUP);
	if (!known)
		*max = most;
	for (int j = own_part(); j < keys; j += GROUP) {
		x[j] = expf(x[j] - *max);
		sum += x[j];
	}
	sum = sum_lanes(sum, GROUP);
	if (!known)
		*inverse = 1 / sum;
	for (int j = own_part(); j < keys; j += GROUP)
		x[j] *= *inverse;
}

/*
 * The own row x from scores to probabilities; stats (2) are made or, if known, read. A query beyond the place's end goes along for its
 * warp's sake, on zeros.
 */
static __device__ inline struct entmax
attention_probabilities(const struct attention_work *w, const struct attention_part *p, float *x, int query, int known,
                        struct entmax_row row)
{
	float *stats =
		w->a.stats && query < p->Tq ? w->a.stats + ((size_t)(p->q0 + query) * w->a.H + p->head) * 2 : NULL;
	float first = -1, second = 1;
	struct entmax entmax = {};

	if (known && stats) {
		first = stats[0];
		second = stats[1];
	}
	if (w->a.kind == ATT_ENTMAX) {
		entmax.tau = (double)first;
		entmax_forward(&entmax, x, p->Tk, (double)w->a.alpha[p->head], known, row);
		first = (float)entmax.tau;
		second = (float)entmax.inverse;
	} else {
		softmax_forward(x, p->Tk, &first, &second, known);
	}
	if (!known && stats && own_part() == 0) {
		stats[0] = first;
		stats[1] = second;
	}
	return entmax;
}

/* The own row x through the dropout. */
static __device__ inline void
attention_drop(const struct attention_work *w, const struct attention_part *p, float *x, int query)
{
	const uint32_t row = dropout_query(&w->drop.of, p->place, w->a.H, p->head, query);

	if (!w->drop.any)
		return;
	__syncwarp();
	for (int c = COLUMNS * own_part(); c < p->Tk; c += COLUMNS * GROUP) {
		float factor[COLUMNS];

		drop_factors(factor, &w->drop, row, c);
		for (int k = 0; k < COLUMNS && c + k < p->Tk; k++)
			x[c + k] *= factor[k];
	}
	__syncwarp();
}

/* The work for the kernels, on the host; -1 (and a fault) where it cannot be done. */
int attention_begin(struct attention_work *w, const struct attention *a, int backward);

/* Bytes of shared memory that a room may have: some are left for what is declared in kernels. */
static inline size_t
attention_shared_most(void)
{
	return (size_t)cuda_device.shared_most - 1024;
}

/* A block a head, place and turn: bytes of dynamic shared memory for it. The kernel is allowed the most once. */
template <typename... P>
static inline size_t
attention_shared(void (*kernel)(P...), const struct attention_work *w)
{
	static void (*allowed)(P...);
	const int most = (int)attention_shared_most();

	if (w->rooms)
		return 0;
	if (allowed != kernel &&
	    !cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most),
	                "cudaFuncSetAttribute"))
		allowed = kernel;
	return w->bytes;
}

static inline dim3
attention_grid(const struct attention_work *w)
{
	return dim3((unsigned)w->a.H, (unsigned)w->a.queries.n, (unsigned)w->turns);
}

#endif
