/*
 * Attention, a (place, head) at a time, a block of queries after the other: scores, probabilities and their dropout never leave a
 * thread's scratch. Backward computes the probabilities again from the scores and a row's stats.
 *
 * In scratch keys are padded to K, a multiple of LANES, and a head's width to V, so that every product is of whole vectors.
 */
#include <float.h>

#include "op/cpu/cpu.h"

/* Queries of a block: with 36 keys its matrices stay in the first two levels of cache. */
enum { BLOCK = 64 };

/* One (place, head). */
struct part {
	const struct attention *a;
	int place, head;
	int q0, k0, Tq, Tk; /* first row and rows of queries and keys */
	int K, V;           /* Tk and W rounded up to LANES */
	float scale;        /* 1/sqrt(W) */
};

/* What a (place, head) adds to the gradients of its head's own parameters. */
struct share {
	double alpha, span;
};

static int
padded(int n)
{
	return (n + LANES - 1) / LANES * LANES;
}

static struct part
part_of(const struct attention *a, int index)
{
	int b = index / a->H;
	struct part p = { .a = a, .place = b, .head = index % a->H, .q0 = a->queries.off[b], .k0 = a->keys.off[b] };

	p.Tq = a->queries.off[b + 1] - p.q0;
	p.Tk = a->keys.off[b + 1] - p.k0;
	p.K = padded(p.Tk);
	p.V = padded(a->W);
	p.scale = 1 / sqrtf((float)a->W);
	return p;
}

/* Where the head's part of a row begins. */
static size_t
at(const struct part *p, int stride, int row)
{
	return (size_t)row * (size_t)stride + (size_t)p->head * (size_t)p->a->W;
}

typedef float four __attribute__((vector_size(4 * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t which __attribute__((vector_size(4 * sizeof(int32_t))));

/* Four rows of four become columns: out's rows are `stride` apart. */
static inline __attribute__((always_inline)) void
transpose_four(float *out, int stride, const float *const in[4], int w)
{
	const four a = *(const four *)(in[0] + w), b = *(const four *)(in[1] + w);
	const four c = *(const four *)(in[2] + w), d = *(const four *)(in[3] + w);
	const four ab_low = __builtin_shuffle(a, b, (which){ 0, 4, 1, 5 });
	const four ab_high = __builtin_shuffle(a, b, (which){ 2, 6, 3, 7 });
	const four cd_low = __builtin_shuffle(c, d, (which){ 0, 4, 1, 5 });
	const four cd_high = __builtin_shuffle(c, d, (which){ 2, 6, 3, 7 });

	*(four *)(out + w * stride) = __builtin_shuffle(ab_low, cd_low, (which){ 0, 1, 4, 5 });
	*(four *)(out + (w + 1) * stride) = __builtin_shuffle(ab_low, cd_low, (which){ 2, 3, 6, 7 });
	*(four *)(out + (w + 2) * stride) = __builtin_shuffle(ab_high, cd_high, (which){ 0, 1, 4, 5 });
	*(four *)(out + (w + 3) * stride) = __builtin_shuffle(ab_high, cd_high, (which){ 2, 3, 6, 7 });
}

/* out (W, K) = x (n, W) transposed, zeros at the end */
VECTOR static void
transpose(float *restrict out, int K, const float *restrict x, int stride, int n, int W)
{
	int j, w;

	for (j = 0; j + 4 <= n; j += 4) {
		const float *const rows[4] = { x + (size_t)j * (size_t)stride, x + (size_t)(j + 1) * (size_t)stride,
			                       x + (size_t)(j + 2) * (size_t)stride,
			                       x + (size_t)(j + 3) * (size_t)stride };

		for (w = 0; w + 4 <= W; w += 4)
			transpose_four(out + j, K, rows, w);
		for (; w < W; w++)
			for (int r = 0; r < 4; r++)
				out[w * K + j + r] = rows[r][w];
	}
	for (; j < n; j++)
		for (w = 0; w < W; w++)
			out[w * K + j] = x[(size_t)j * (size_t)stride + (size_t)w];
	for (w = 0; w < W; w++)
		for (j = n; j < K; j++)
			out[w * K + j] = 0;
}

/* A head's rows as the right side of a product: in place where its width is whole vectors, else copied to `room` (n, V). */
struct right {
	const float *at;
	int stride;
};

static struct right
right_of(const float *x, int stride, int n, const struct part *p, float *room)
{
	int W = p->a->W;

	if (W == p->V)
		return (struct right){ x, stride };
	for (int j = 0; j < n; j++) {
		memcpy(room + j * p->V, x + (size_t)j * (size_t)stride, (size_t)W * sizeof *room);
		memset(room + j * p->V + W, 0, (size_t)(p->V - W) * sizeof *room);
	}
	return (struct right){ room, p->V };
}

/* From a product's rows (n, V) to the head's place, W wide. */
static void
put_rows(float *out, int stride, const float *rows, int n, const struct part *p)
{
	for (int j = 0; j < n; j++)
		memcpy(out + (size_t)j * (size_t)stride, rows + j * p->V, (size_t)p->a->W * sizeof *out);
}

/* --- Probabilities of a block: rows of K. */

/* Where a row's stats are; NULL if there are none. */
static float *
stats_of(const struct part *p, int i)
{
	return p->a->stats ? p->a->stats + ((size_t)(p->q0 + i) * (size_t)p->a->H + (size_t)p->head) * 2 : NULL;
}

/* In place. stats (2), where not NULL, of row r at r step: max and 1/sum, written, or read if known. What is beyond Tk becomes 0. */
VECTOR static void
softmax(float *x, int rows, int K, int Tk, float *stats, int step, int known)
{
	for (int r = 0; r < rows; r++, x += K) {
		float most[LANES], lane[LANES] = { 0 }, max = -FLT_MAX, inverse = 0;

		for (int j = Tk; j < K; j++)
			x[j] = -FLT_MAX;
		if (known) {
			max = stats[r * step];
			inverse = stats[r * step + 1];
		} else {
			for (int l = 0; l < LANES; l++)
				most[l] = x[l];
			for (int j = LANES; j < K; j += LANES)
				for (int l = 0; l < LANES; l++)
					most[l] = x[j + l] > most[l] ? x[j + l] : most[l];
			for (int l = 0; l < LANES; l++)
				max = most[l] > max ? most[l] : max;
		}
		for (int j = 0; j < K; j += LANES)
			for (int l = 0; l < LANES; l++) {
				x[j + l] = exp_f32(x[j + l] - max);
				lane[l] += x[j + l];
			}
		if (!known) {
			float sum = 0;

			for (int l = 0; l < LANES; l++)
				sum += lane[l];
			inverse = 1 / sum;
			if (stats) {
				stats[r * step] = max;
				stats[r * step + 1] = inverse;
			}
		}
		for (int j = 0; j < K; j++)
			x[j] *= inverse;
	}
}

/* One row of entmax; row gets it in double. */
static void
entmax(float *x, struct entmax_row *row, const struct part *p, float *stats, int known)
{
	double tau = known ? (double)stats[0] : 0;
	float inverse = (float)cpu_entmax(row, x, p->Tk, (double)p->a->alpha[p->head], &tau, known);

	for (int j = 0; j < p->Tk; j++)
		x[j] = (float)row->p[j];
	if (stats && !known) {
		stats[0] = (float)tau;
		stats[1] = inverse;
	}
}

/* x (rows, K) = the block's scores, of queries from `first` on */
static void
scores(float *x, const struct part *p, int first, int rows, const float *keys)
{
	const struct attention *a = p->a;

	cpu_tiled(&(struct tiled){ .c = x,
	                           .a = a->q + at(p, a->q_stride, p->q0 + first),
	                           .b = keys,
	                           .c_row = p->K,
	                           .a_row = a->q_stride,
	                           .a_column = 1,
	                           .b_row = p->K,
	                           .M = rows,
	                           .N = p->K,
	                           .K = a->W,
	                           .scale = p->scale });
}

static uint32_t
drop_row(const struct part *p, int i)
{
	return (uint32_t)(p->place * p->a->H + p->head) * p->a->drop.stride + (uint32_t)i;
}

/* --- Forward. */

/* x (rows, K) V, to the block's rows of the result. */
static void
context(const struct part *p, int first, int rows, const float *x, struct right values, float *room)
{
	const struct attention *a = p->a;
	size_t to = at(p, a->out_stride, p->q0 + first);

	cpu_tiled(&(struct tiled){ .c = room,
	                           .a = x,
	                           .b = values.at,
	                           .c_row = p->V,
	                           .a_row = p->K,
	                           .a_column = 1,
	                           .b_row = values.stride,
	                           .M = rows,
	                           .N = p->V,
	                           .K = p->Tk,
	                           .scale = 1 });
	if (a->out)
		put_rows(a->out + to, a->out_stride, room, rows, p);
	for (int i = 0; a->out16 && i < rows; i++)
		cpu_narrow(a->out16 + to + (size_t)i * (size_t)a->out_stride, room + i * p->V, (size_t)a->W);
}

static void
forward(const struct part *p, float *probs)
{
	const struct attention *a = p->a;
	size_t W = (size_t)a->W, K = (size_t)p->K, V = (size_t)p->V;
	float *keys = cpu_scratch(W * K + (size_t)p->Tk * V + BLOCK * (K + V) + 2 * K);
	float *room = keys + W * K, *x = room + (size_t)p->Tk * V, *out = x + BLOCK * K, *mask = out + BLOCK * V;
	struct right values;

	if (!keys)
		return;
	transpose(keys, p->K, a->k + at(p, a->k_stride, p->k0), a->k_stride, p->Tk, a->W);
	values = right_of(a->v + at(p, a->v_stride, p->k0), a->v_stride, p->Tk, p, room);
	if (a->span.length)
		cpu_span_mask(mask, mask + K, &a->span, a->H, p->place, p->head, p->Tk);
	for (int first = 0; first < p->Tq; first += BLOCK) {
		int rows = p->Tq - first < BLOCK ? p->Tq - first : BLOCK;
		struct entmax_row row;

		scores(x, p, first, rows, keys);
		if (a->kind == ATT_SOFTMAX)
			softmax(x, rows, p->K, p->Tk, stats_of(p, first), 2 * a->H, 0);
		for (int i = 0; i < rows && a->kind == ATT_ENTMAX; i++)
			entmax(x + i * p->K, &row, p, stats_of(p, first + i), 0);
		for (int i = 0; i < rows && a->span.length; i++)
			cpu_span_apply(x + i * p->K, x + i * p->K, mask, p->Tk);
		for (int i = 0; i < rows && probs; i++)
			memcpy(probs + (size_t)(first + i) * (size_t)p->Tk, x + i * p->K, (size_t)p->Tk * sizeof *x);
		if (a->drop.p > 0)
			cpu_drop_rows(x, p->K, rows, p->Tk, &a->drop, drop_row(p, first));
		context(p, first, rows, x, values, out);
	}
}

/* Where a (place, head)'s matrix lies among all: places in turn (H, Tq, Tk). */
static size_t
probs_offset(const struct attention *a, const struct part *p)
{
	size_t offset = 0;

	for (int b = 0; b < p->place; b++)
		offset += (size_t)a->H * (size_t)(a->queries.off[b + 1] - a->queries.off[b]) *
		          (size_t)(a->keys.off[b + 1] - a->keys.off[b]);
	return offset + (size_t)p->head * (size_t)p->Tq * (size_t)p->Tk;
}

void
cpu_attention(const struct attention *a)
{
#pragma omp parallel for schedule(dynamic, 8)
	for (int index = 0; index < a->queries.n * a->H; index++) {
		struct part p = part_of(a, index);

		forward(&p, a->probs ? a->probs + probs_offset(a, &p) : NULL);
	}
}

/* --- Backward. */

/* Scratch of one (place, head). */
struct work {
	float *keys, *values;                 /* (W, K): transposed */
	float *key_room, *q_room, *dout_room; /* for what right_of copies */
	float *x, *y, *factor,
		*d;          /* (BLOCK, K): probabilities, after the span, what dropout makes of them, gradients */
	float *dq, *dk, *dv; /* (BLOCK, V), (Tk, V), (Tk, V) */
	float *mask, *moves, *dmask; /* (K) */
};

static int
work_room(struct work *w, const struct part *p)
{
	size_t W = (size_t)p->a->W, K = (size_t)p->K, V = (size_t)p->V, Tk = (size_t)p->Tk;
	const struct {
		float **to;
		size_t n;
	} list[] = { { &w->keys, W * K },
		     { &w->values, W * K },
		     { &w->key_room, Tk * V },
		     { &w->q_room, BLOCK * V },
		     { &w->dout_room, BLOCK * V },
		     { &w->x, BLOCK * K },
		     { &w->y, BLOCK * K },
		     { &w->factor, BLOCK * K },
		     { &w->d, BLOCK * K },
		     { &w->dq, BLOCK * V },
		     { &w->dk, Tk * V },
		     { &w->dv, Tk * V },
		     { &w->mask, K },
		     { &w->moves, K },
		     { &w->dmask, K } };
	size_t total = 0;
	float *base;

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		total += list[i].n;
	base = cpu_scratch(total);
	for (size_t i = 0; i < sizeof list / sizeof *list && base; base += list[i++].n)
		*list[i].to = base;
	return base ? 0 : -1;
}

/* d (K), the gradient by softmax's x, becomes the one by its scores. */
VECTOR static void
softmax_backward(float *d, const float *x, int K)
{
	float lane[LANES] = { 0 }, dot = 0;

	for (int j = 0; j < K; j += LANES)
		for (int l = 0; l < LANES; l++)
			lane[l] += d[j + l] * x[j + l];
	for (int l = 0; l < LANES; l++)
		dot += lane[l];
	for (int j = 0; j < K; j++)
		d[j] = x[j] * (d[j] - dot);
}

VECTOR static void
times_both(float *y, float *d, const float *factor, int n)
{
	for (int i = 0; i < n; i++) {
		y[i] *= factor[i];
		d[i] *= factor[i];
	}
}

/*
 * Of a block, from its scores, x, and the gradient by what came out of the dropout, d: y = what came out, d = the gradient by
 * the scores. Returns the block's share of alpha's.
 */
static double
block_backward(const struct work *w, const struct part *p, int first, int rows)
{
	const struct attention *a = p->a;
	double alpha = 0;

	if (a->kind == ATT_SOFTMAX)
		softmax(w->x, rows, p->K, p->Tk, stats_of(p, first), 2 * a->H, 1);
	for (int i = 0; i < rows * p->K && a->drop.p > 0; i++)
		w->factor[i] = 1;
	if (a->drop.p > 0)
		cpu_drop_rows(w->factor, p->K, rows, p->Tk, &a->drop, drop_row(p, first));
	for (int i = 0; i < rows; i++) {
		float *x = w->x + i * p->K, *y = w->y + i * p->K, *d = w->d + i * p->K;
		struct entmax_row row;
		double sum = 1;

		if (a->kind == ATT_ENTMAX)
			entmax(x, &row, p, stats_of(p, first + i), 1);
		if (a->span.length)
			sum = cpu_span_apply(y, x, w->mask, p->Tk);
		else
			memcpy(y, x, (size_t)p->K * sizeof *y);
		if (a->drop.p > 0)
			times_both(y, d, w->factor + i * p->K, p->K);
		if (a->span.length)
			cpu_span_backward(d, w->dmask, x, w->mask, sum, p->Tk);
		if (a->kind == ATT_ENTMAX)
			alpha += cpu_entmax_backward(d, d, &row, p->Tk, (double)a->alpha[p->head]);
		else
			softmax_backward(d, x, p->K);
	}
	return alpha;
}

/* The products that end a block: its dq, and what it adds to dk and dv. */
static void
block_products(const struct work *w, const struct attention_backward *g, const struct part *p, int first, int rows,
               struct right keys)
{
	const struct attention *a = p->a;
	size_t q = at(p, a->q_stride, p->q0 + first), out = at(p, a->out_stride, p->q0 + first);
	struct right queries = right_of(a->q + q, a->q_stride, rows, p, w->q_room);
	struct right dout = right_of(g->dout + out, a->out_stride, rows, p, w->dout_room);
	struct tiled t = { .c = w->dq,
		           .a = w->d,
		           .b = keys.at,
		           .c_row = p->V,
		           .a_row = p->K,
		           .a_column = 1,
		           .b_row = keys.stride,
		           .M = rows,
		           .N = p->V,
		           .K = p->Tk,
		           .scale = p->scale };

	cpu_tiled(&t);
	put_rows(g->dq + q, a->q_stride, w->dq, rows, p);
	t.c = w->dk;
	t.b = queries.at;
	t.b_row = queries.stride;
	t.a_row = 1;
	t.a_column = p->K;
	t.M = p->Tk;
	t.K = rows;
	t.add = first > 0;
	cpu_tiled(&t);
	t.c = w->dv;
	t.a = w->y;
	t.b = dout.at;
	t.b_row = dout.stride;
	t.scale = 1;
	cpu_tiled(&t);
}

/* The rows' gradients, and this (place, head)'s share of its head's parameters'. */
static struct share
backward(const struct attention_backward *g, const struct part *p)
{
	const struct attention *a = p->a;
	size_t k = at(p, a->k_stride, p->k0), v = at(p, a->v_stride, p->k0);
	struct right keys;
	struct share share = { 0 };
	struct work w;

	if (work_room(&w, p))
		return share;
	transpose(w.keys, p->K, a->k + k, a->k_stride, p->Tk, a->W);
	transpose(w.values, p->K, a->v + v, a->v_stride, p->Tk, a->W);
	keys = right_of(a->k + k, a->k_stride, p->Tk, p, w.key_room);
	if (a->span.length)
		cpu_span_mask(w.mask, w.moves, &a->span, a->H, p->place, p->head, p->Tk);
	memset(w.dmask, 0, (size_t)p->Tk * sizeof *w.dmask);
	for (int first = 0; first < p->Tq; first += BLOCK) {
		int rows = p->Tq - first < BLOCK ? p->Tq - first : BLOCK;

		scores(w.x, p, first, rows, w.keys);
		cpu_tiled(&(struct tiled){ .c = w.d,
		                           .a = g->dout + at(p, a->out_stride, p->q0 + first),
		                           .b = w.values,
		                           .c_row = p->K,
		                           .a_row = a->out_stride,
		                           .a_column = 1,
		                           .b_row = p->K,
		                           .M = rows,
		                           .N = p->K,
		                           .K = a->W,
		                           .scale = 1 });
		share.alpha += block_backward(&w, p, first, rows);
		block_products(&w, g, p, first, rows, keys);
	}
	/* A place without queries gives its keys nothing. */
	if (!p->Tq) {
		memset(w.dk, 0, (size_t)p->Tk * (size_t)p->V * sizeof *w.dk);
		memset(w.dv, 0, (size_t)p->Tk * (size_t)p->V * sizeof *w.dv);
	}
	put_rows(g->dk + k, a->k_stride, w.dk, p->Tk, p);
	put_rows(g->dv + v, a->v_stride, w.dv, p->Tk, p);
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
