/*
 * Attention backward: the probabilities are computed again from the scores and a row's stats. A block of threads has all queries of its
 * head and place, so that nobody else writes its rows of dk and dv.
 */
#include "op/cuda/attention_block.h"

/* What a (place, head) adds to the gradients of its head's own parameters. */
struct share {
	double alpha, span;
};

struct backward_work {
	struct attention_work w;
	float *dq, *dk, *dv;
	const float *dout;
	struct share *shares; /* (places, H) */
};

/* d, the gradient by softmax's x, becomes the one by its scores. */
static __device__ inline void
softmax_backward(float *d, const float *x, int keys)
{
	float dot = 0;

	for (int j = own_part(); j < keys; j += GROUP)
		dot += d[j] * x[j];
	dot = sum_lanes(dot, GROUP);
	for (int j = own_part(); j < keys; j += GROUP)
		d[j] = x[j] * (d[j] - dot);
}

/* The own row: x from scores to probabilities, y after span and dropout, d from the gradient by y to that by the scores. */
static __device__ inline struct share
row_backward(const struct attention_work *w, const struct attention_part *p, const struct attention_room *room,
             int query)
{
	const int at = own_query() * p->Tk;
	const struct entmax_row row = { room->p ? room->p + at : NULL, room->g ? room->g + at : NULL };
	float *x = room->x + at, *y = room->y + at, *d = room->d + at;
	struct share share = { 0, 0 };
	struct entmax entmax;

	attention_drop(w, p, d, query);
	entmax = attention_probabilities(w, p, x, query, 1, row);
	if (w->a.span.length) {
		const double sum = span_apply(y, x, room->mask, p->Tk);

		share.span = span_backward(d, x, room->mask, room->moves, p->Tk, sum);
	}
	if (w->a.kind == ATT_ENTMAX)
		share.alpha = entmax_backward(d, &entmax, row, p->Tk);
	else
		softmax_backward(d, x, p->Tk);
	attention_drop(w, p, y, query);
	return query < p->Tq && own_part() == 0 ? share : (struct share){ 0, 0 };
}

/* Thread 0 gets the sum over the block's rows, in order; rows (QUERIES) is shared. */
static __device__ inline struct share
sum_rows(struct share own, struct share *rows)
{
	struct share sum = { 0, 0 };

	if (own_part() == 0)
		rows[own_query()] = own;
	__syncthreads();
	for (int i = 0; i < QUERIES; i++) {
		sum.alpha += rows[i].alpha;
		sum.span += rows[i].span;
	}
	return sum;
}

static __device__ inline void
zero_rows(float *out, int stride, int n, int W)
{
	for (int i = (int)threadIdx.x; i < n * W; i += THREADS)
		out[(size_t)(i / W) * stride + i % W] = 0;
}

__global__ static void
__launch_bounds__(THREADS, 4) attention_gradients(struct backward_work g)
{
	DYNAMIC_SHARED(double, shared);
	__shared__ struct share rows_share[QUERIES];
	const struct attention_work *w = &g.w;
	const struct attention *a = &w->a;
	const struct attention_part p = attention_part_of(w);
	const struct strided keys = attention_rows(w, &p, a->k, p.k0, a->k_stride);
	const struct strided values = attention_rows(w, &p, a->v, p.k0, a->v_stride);
	float *dk = g.dk + attention_at(w, &p, p.k0, a->k_stride), *dv = g.dv + attention_at(w, &p, p.k0, a->v_stride);
	struct attention_room room;
	struct share sum = { 0, 0 };

	attention_enter(&room, w, shared);
	if (a->span.length)
		span_mask(room.mask, room.moves, &a->span, a->H, p.place, p.head, p.Tk);
	/* A place without queries gives its keys nothing. */
	if (!p.Tq) {
		zero_rows(dk, a->k_stride, p.Tk, a->W);
		zero_rows(dv, a->v_stride, p.Tk, a->W);
	}
	for (int first = 0; first < p.Tq; first += QUERIES) {
		const int rows = p.Tq - first < QUERIES ? p.Tq - first : QUERIES;
		const struct strided own = attention_rows(w, &p, a->q, p.q0 + first, a->q_stride);
		const struct strided dout = attention_rows(w, &p, g.dout, p.q0 + first, a->out_stride);
		struct share share;

		tile_by_keys(room.x, own, rows, keys, p.Tk, a->W, w->scale, room.tiles);
		tile_by_keys(room.d, dout, rows, values, p.Tk, a->W, 1, room.tiles);
		share = row_backward(w, &p, &room, first + own_query());
		sum.alpha += share.alpha;
		sum.span += share.span;
		__syncthreads();
		tile_over_keys(g.dq + attention_at(w, &p, p.q0 + first, a->q_stride), NULL, a->q_stride, room.d, rows,
		               keys, p.Tk, a->W, w->scale);
		tile_over_queries(dk, a->k_stride, room.d, own, rows, p.Tk, a->W, w->scale, first > 0);
		tile_over_queries(dv, a->v_stride, room.y, dout, rows, p.Tk, a->W, 1, first > 0);
	}
	sum = sum_rows(sum, rows_share);
	if (threadIdx.x == 0)
		g.shares[p.place * a->H + p.head] = sum;
}

/* A head's parameters, over places in order. dalpha and dspan may be NULL. */
__global__ static void
add_shares(float *dalpha, float *dspan, const struct share *shares, struct attention_work w)
{
	const struct span *span = &w.a.span;
	const int H = w.a.H, h = (int)first_element();
	struct share sum = { 0, 0 };

	if (h >= H)
		return;
	for (int b = 0; b < w.a.queries.n; b++) {
		sum.alpha += shares[b * H + h].alpha;
		sum.span += shares[b * H + h].span * span->length / span->ramp;
		if (dspan && span->by_place)
			dspan[b * H + h] += (float)(shares[b * H + h].span * span->length / span->ramp);
	}
	if (dalpha)
		dalpha[h] += (float)sum.alpha;
	for (int row = 0; dspan && !span->by_place && row < span->rows; row++)
		dspan[row * H + h] += (float)(sum.span / span->rows);
}

void
cuda_attention_backward(const struct attention_backward *g)
{
	const struct attention *a = g->forward;
	const int parts = a->queries.n * a->H;
	struct backward_work work = { .dq = g->dq, .dk = g->dk, .dv = g->dv, .dout = g->dout };

	work.shares = (struct share *)cuda_scratch(SCRATCH_SUMS, (size_t)(parts + 1) * sizeof *work.shares);
	if (!work.shares || attention_begin(&work.w, a, 1))
		return;
	LAUNCH(attention_gradients, attention_grid(&work.w), THREADS, attention_shared(attention_gradients, &work.w),
	       work);
	if (g->dalpha || g->dspan)
		LAUNCH(add_shares, elements((size_t)a->H), THREADS, 0, g->dalpha, g->dspan, work.shares, work.w);
}
