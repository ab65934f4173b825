/*
 * Attention backward: the probabilities are computed again from the scores and a row's stats.
 */
#include "op/cpu/attention_block.h"

/* What a (place, head) adds to the gradients of its head's own parameters. */
struct share {
	double alpha, span;
};

struct backward {
	struct block block;
	struct entmax entmax;
	float *queries, *douts;               /* (W, Q): transposed */
	float *key_room, *q_room, *dout_room; /* for what part_right copies */
	float *x, *d;                         /* (Tk, Q): probabilities, gradients */
	float *y;                             /* (Tk, Q): after the span, then after the dropout; x without a span */
	float *dq, *dk, *dv;                  /* (BLOCK, V), (Tk, V), (Tk, V) */
	float *mask, *moves, *dmask;          /* (Tk) */
};

static void
take_backward(struct room *room, struct backward *w, const struct part *p)
{
	size_t W = (size_t)p->a->W, V = (size_t)p->V, Tk = (size_t)p->Tk;

	block_take(room, &w->block, &w->entmax, p);
	w->queries = room_take(room, W * BLOCK);
	w->douts = room_take(room, W * BLOCK);
	w->key_room = room_take(room, Tk * V);
	w->q_room = room_take(room, BLOCK * V);
	w->dout_room = room_take(room, BLOCK * V);
	w->x = room_take(room, Tk * BLOCK);
	w->y = p->a->span.length ? room_take(room, Tk * BLOCK) : w->x;
	w->d = room_take(room, Tk * BLOCK);
	w->dq = room_take(room, BLOCK * V);
	w->dk = room_take(room, Tk * V);
	w->dv = room_take(room, Tk * V);
	w->mask = room_take(room, Tk);
	w->moves = room_take(room, Tk);
	w->dmask = room_take(room, Tk);
}

/* d, the gradient by softmax's x, becomes the one by its scores. */
VECTOR static void
softmax_backward(float *d, const float *x, int stride, int keys)
{
	float dot[LANES] = { 0 };

	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			dot[l] += d[j * stride + l] * x[j * stride + l];
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			d[j * stride + l] = x[j * stride + l] * (d[j * stride + l] - dot[l]);
}

/* Of a block's LANES queries from i on: x from scores to probabilities, y after the span, d from the gradient by y to that by the scores. */
static double
lanes_backward(const struct backward *w, int i)
{
	const struct block *b = &w->block;
	const struct part *p = b->p;
	float *x = w->x + i, *d = w->d + i;
	double sum[LANES], alpha = 0;

	block_probabilities(b, x, i, 1);
	if (p->a->span.length) {
		cpu_span_apply(w->y + i, x, w->mask, b->Q, p->Tk, sum);
		cpu_span_backward(d, w->dmask, x, w->mask, b->Q, p->Tk, sum);
	}
	if (p->a->kind == ATT_ENTMAX)
		alpha = cpu_entmax_backward(d, b->Q, b->entmax, p->Tk, (double)p->a->alpha[p->head]);
	else
		softmax_backward(d, x, b->Q, p->Tk);
	return alpha;
}

/* Returns the block's share of alpha's gradient. */
static double
block_backward(const struct backward *w, const struct attention_backward *g, struct right keys)
{
	const struct block *b = &w->block;
	const struct part *p = b->p;
	const struct attention *a = p->a;
	size_t q = part_at(p, a->q_stride, p->q0 + b->first), out = part_at(p, a->out_stride, p->q0 + b->first);
	double alpha = 0;

	cpu_transpose(w->queries, b->Q, a->q + q, a->q_stride, b->rows, a->W);
	cpu_transpose(w->douts, b->Q, g->dout + out, a->out_stride, b->rows, a->W);
	block_by_keys(w->x, b, a->k + part_at(p, a->k_stride, p->k0), a->k_stride, w->queries, p->scale);
	block_by_keys(w->d, b, a->v + part_at(p, a->v_stride, p->k0), a->v_stride, w->douts, 1);
	if (a->drop.p > 0) {
		block_draw_factors(b);
		block_times_factors(b, w->d);
	}
	for (int i = 0; i < b->rows; i += LANES)
		alpha += lanes_backward(w, i);
	if (a->drop.p > 0)
		block_times_factors(b, w->y);
	block_over_keys(w->dq, b, w->d, keys, p->scale);
	part_put(g->dq + q, a->q_stride, w->dq, b->rows, p);
	block_over_queries(w->dk, b, w->d, part_right(a->q + q, a->q_stride, b->rows, p, w->q_room), p->scale);
	block_over_queries(w->dv, b, w->y, part_right(g->dout + out, a->out_stride, b->rows, p, w->dout_room), 1);
	return alpha;
}

/* The rows' gradients, and this (place, head)'s share of its head's parameters'. */
static struct share
backward(const struct attention_backward *g, const struct part *p)
{
	const struct attention *a = p->a;
	size_t k = part_at(p, a->k_stride, p->k0), v = part_at(p, a->v_stride, p->k0);
	struct room room = { 0 };
	struct right keys;
	struct share share = { 0 };
	struct backward w;

	take_backward(&room, &w, p);
	room = (struct room){ .base = cpu_scratch(room.used) };
	if (!room.base)
		return share;
	take_backward(&room, &w, p);
	keys = part_right(a->k + k, a->k_stride, p->Tk, p, w.key_room);
	if (a->span.length)
		cpu_span_mask(w.mask, w.moves, &a->span, a->H, p->place, p->head, p->Tk);
	memset(w.dmask, 0, (size_t)p->Tk * sizeof *w.dmask);
	/* A place without queries gives its keys nothing. */
	memset(w.dk, 0, (size_t)p->Tk * (size_t)p->V * sizeof *w.dk);
	memset(w.dv, 0, (size_t)p->Tk * (size_t)p->V * sizeof *w.dv);
	for (int first = 0; first < p->Tq; first += BLOCK) {
		block_begin(&w.block, first);
		share.alpha += block_backward(&w, g, keys);
	}
	part_put(g->dk + k, a->k_stride, w.dk, p->Tk, p);
	part_put(g->dv + v, a->v_stride, w.dv, p->Tk, p);
	for (int j = 0; j < p->Tk && a->span.value; j++)
		share.span += (double)(w.dmask[j] * w.moves[j]) * a->span.length / a->span.ramp;
	return share;
}

/* Over places in order, so that threads do not matter. */
static void
add_alpha(const struct attention_backward *g, const struct share *shares)
{
	const struct attention *a = g->forward;

	for (int h = 0; h < a->H; h++) {
		double sum = 0;

		for (int b = 0; b < a->queries.n; b++)
			sum += shares[b * a->H + h].alpha;
		g->dalpha[h] += (float)sum;
	}
}

/* A place's own row, or every row's part of the mean. */
static void
add_span(const struct attention_backward *g, const struct share *shares)
{
	const struct attention *a = g->forward;
	int rows = a->span.rows;

	for (int h = 0; h < a->H; h++) {
		double sum = 0;

		for (int b = 0; b < a->queries.n; b++) {
			sum += shares[b * a->H + h].span;
			if (a->span.by_place)
				g->dspan[b * a->H + h] += (float)shares[b * a->H + h].span;
		}
		for (int row = 0; row < rows && !a->span.by_place; row++)
			g->dspan[row * a->H + h] += (float)(sum / rows);
	}
}

void
cpu_attention_backward(const struct attention_backward *g)
{
	const struct attention *a = g->forward;
	int parts = a->queries.n * a->H;
	struct share *shares = cpu_alloc((size_t)parts * sizeof *shares);

	if (!shares) {
		cpu_fault("out of memory for the gradients by alphas and spans");
		return;
	}
#pragma omp parallel for schedule(dynamic, 8)
	for (int index = 0; index < parts; index++) {
		struct part p = part_of(a, index);

		shares[index] = backward(g, &p);
	}
	if (g->dalpha)
		add_alpha(g, shares);
	if (g->dspan)
		add_span(g, shares);
	cpu_free(shares);
}
