/*
 * Attention forward: fused, or, where softmax's matrices are wanted, with cuDNN's softmax on them.
 */
#include <cudnn.h>

#include "op/cuda/attention_block.h"

/* Where blocks have their rooms: in shared memory, where that is large enough. */
static int
choose_rooms(struct attention_work *w)
{
	const dim3 grid = attention_grid(w);
	struct attention_room room;

	w->bytes = attention_place(&room, NULL, w);
	if (w->bytes <= attention_shared_most())
		return 0;
	w->bytes = (w->bytes + sizeof(double) - 1) / sizeof(double) * sizeof(double);
	w->rooms = (char *)cuda_scratch(SCRATCH_ROOMS, (size_t)grid.x * grid.y * grid.z * w->bytes);
	return w->rooms ? 0 : -1;
}

/* Of a place. */
static int
most_rows(const struct rows *rows)
{
	int most = 0;

	for (int b = 0; b < rows->n; b++)
		most = rows->off[b + 1] - rows->off[b] > most ? rows->off[b + 1] - rows->off[b] : most;
	return most;
}

int
attention_begin(struct attention_work *w, const struct attention *a, int backward)
{
	const size_t n = (size_t)a->queries.n + 1;

	*w = (struct attention_work){
		.a = *a, .drop = drop_of(&a->drop), .scale = 1 / sqrtf((float)a->W), .backward = backward
	};
	w->keys_most = most_rows(&a->keys);
	w->turns = backward ? 1 : (most_rows(&a->queries) + QUERIES - 1) / QUERIES;
	w->a.queries.off = cuda_mirror(a->queries.off, n);
	w->a.keys.off = cuda_mirror(a->keys.off, n);
	return w->a.queries.off && w->a.keys.off ? choose_rooms(w) : -1;
}

/* What of it a kernel does: all, or the parts before and after a softmax of all matrices. */
enum stage { FUSED, SCORES, FROM_PROBABILITIES };

/* The part's matrix among all: places in turn (H, Tq, Tk). */
static __device__ inline float *
matrix_of(const struct attention_work *w, const struct attention_part *p)
{
	size_t at = 0;

	for (int b = 0; b < p->place; b++)
		at += (size_t)w->a.H * (size_t)(w->a.queries.off[b + 1] - w->a.queries.off[b]) *
		      (size_t)(w->a.keys.off[b + 1] - w->a.keys.off[b]);
	return w->a.probs + at + (size_t)p->head * (size_t)p->Tq * (size_t)p->Tk;
}

static __device__ inline void
copy_row(float *to, const float *from, int keys)
{
	for (int j = own_part(); j < keys; j += GROUP)
		to[j] = from[j];
}

/* The queries from `first` on, whose scores are in room.x unless they come as probabilities. A warp that has none does nothing. */
static __device__ inline void
rows_forward(const struct attention_work *w, const struct attention_part *p, const struct attention_room *room,
             int first, enum stage stage, float *matrix)
{
	const int query = first + own_query();
	float *x = room->x + own_query() * p->Tk,
	      *own = matrix && query < p->Tq ? matrix + (size_t)query * p->Tk : NULL;

	if (first + own_query() / (WARP / GROUP) * (WARP / GROUP) >= p->Tq)
		return;
	if (stage == FROM_PROBABILITIES) {
		for (int j = own_part(); j < p->Tk; j += GROUP)
			x[j] = own ? own[j] : 0;
	} else if (stage == FUSED) {
		attention_probabilities(w, p, x, query, 0, (struct entmax_row){ NULL, NULL });
	}
	if (w->a.span.length && stage != SCORES)
		span_apply(x, x, room->mask, p->Tk);
	if (own)
		copy_row(own, x, p->Tk);
	if (stage != SCORES)
		attention_drop(w, p, x, query);
}

__global__ static void
__launch_bounds__(THREADS, 4) attention_forward(struct attention_work w, enum stage stage)
{
	DYNAMIC_SHARED(double, shared);
	const struct attention_part p = attention_part_of(&w);
	const struct attention *a = &w.a;
	struct attention_room room;
	float *matrix = a->probs ? matrix_of(&w, &p) : NULL;
	const int first = (int)blockIdx.z * QUERIES, rows = p.Tq - first < QUERIES ? p.Tq - first : QUERIES;
	const size_t to = attention_at(&w, &p, p.q0 + first, a->out_stride);

	if (rows <= 0)
		return;
	attention_enter(&room, &w, shared);
	if (a->span.length)
		span_mask(room.mask, room.moves, &a->span, a->H, p.place, p.head, p.Tk);
	__syncthreads();
	if (stage != FROM_PROBABILITIES)
		tile_by_keys(room.x, attention_rows(&w, &p, a->q, p.q0 + first, a->q_stride), rows,
		             attention_rows(&w, &p, a->k, p.k0, a->k_stride), p.Tk, a->W, w.scale, room.tiles);
	rows_forward(&w, &p, &room, first, stage, matrix);
	__syncthreads();
	if (stage != SCORES)
		tile_over_keys(a->out ? a->out + to : NULL, a->out16 ? a->out16 + to : NULL, a->out_stride, room.x,
		               rows, attention_rows(&w, &p, a->v, p.k0, a->v_stride), p.Tk, a->W, 1);
}

static void
run(const struct attention_work *w, enum stage stage)
{
	LAUNCH(attention_forward, attention_grid(w), THREADS, attention_shared(attention_forward, w), *w, stage);
}

/* --- cuDNN: all rows of a place's matrices at once. */

static int
cudnn_check(cudnnStatus_t status, const char *what)
{
	if (status == CUDNN_STATUS_SUCCESS)
		return 0;
	cuda_fault(what, cudnnGetErrorString(status));
	return -1;
}

static struct {
	cudnnHandle_t handle;
	cudnnTensorDescriptor_t matrices;
} cudnn;

static int
open_cudnn(void)
{
	if (cudnn.matrices)
		return 0;
	if (!cudnn_check(cudnnCreate(&cudnn.handle), "cudnnCreate") &&
	    !cudnn_check(cudnnSetStream(cudnn.handle, cuda_stream), "cudnnSetStream") &&
	    !cudnn_check(cudnnCreateTensorDescriptor(&cudnn.matrices), "cudnnCreateTensorDescriptor"))
		return 0;
	if (cudnn.handle)
		cudnnDestroy(cudnn.handle);
	cudnn.handle = NULL;
	return -1;
}

static void
softmax_of_matrices(const struct attention *a)
{
	const float one = 1, none = 0;
	float *at = a->probs;

	for (int b = 0; b < a->queries.n; b++) {
		const int rows = a->H * (a->queries.off[b + 1] - a->queries.off[b]),
			  keys = a->keys.off[b + 1] - a->keys.off[b];

		if (!rows)
			continue;
		if (cudnn_check(cudnnSetTensor4dDescriptor(cudnn.matrices, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, rows,
		                                           keys, 1, 1),
		                "cudnnSetTensor4dDescriptor") ||
		    cudnn_check(cudnnSoftmaxForward(cudnn.handle, CUDNN_SOFTMAX_ACCURATE, CUDNN_SOFTMAX_MODE_INSTANCE,
		                                    &one, cudnn.matrices, at, &none, cudnn.matrices, at),
		                "cudnnSoftmaxForward"))
			return;
		at += (size_t)rows * (size_t)keys;
	}
}

void
cuda_attention(const struct attention *a)
{
	struct attention_work w;

	if (attention_begin(&w, a, 0))
		return;
	if (!a->probs || a->stats || a->kind != ATT_SOFTMAX || open_cudnn()) {
		run(&w, FUSED);
		return;
	}
	run(&w, SCORES);
	softmax_of_matrices(a);
	run(&w, FROM_PROBABILITIES);
}
