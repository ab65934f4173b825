/*
 * Attention, a (place, head) at a time, a block of queries after the other: scores, probabilities and their dropout never leave a
 * thread's scratch. Backward computes the probabilities again from the scores and a row's stats.
 *
 * A block's matrices are (Tk, Q): keys one below the other, a query in each lane, Q the block's queries rounded up to LANES. So
 * maximum, sum and Newton's steps of a query stay in its lane. A head's width is padded to V, so that every product is of whole vectors.
 */
#include "op/cpu/cpu.h"

/* Queries of a block: with 36 keys its matrices stay in the first two levels of cache. */
enum { BLOCK = 64 };

/* One (place, head). */
struct part {
	const struct attention *a;
	int place, head;
	int q0, k0, Tq, Tk; /* first row and rows of queries and keys */
	int V;              /* W rounded up to LANES */
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

/* out (W, Q) = x (n, W) transposed, zeros at the end */
VECTOR static void
transpose(float *restrict out, int Q, const float *restrict x, int stride, int n, int W)
{
	int j, w;

	for (j = 0; j + 4 <= n; j += 4) {
		const float *const rows[4] = { x + (size_t)j * (size_t)stride, x + (size_t)(j + 1) * (size_t)stride,
			                       x + (size_t)(j + 2) * (size_t)stride,
			                       x + (size_t)(j + 3) * (size_t)stride };

		for (w = 0; w + 4 <= W; w += 4)
			transpose_four(out + j, Q, rows, w);
		for (; w < W; w++)
			for (int r = 0; r < 4; r++)
				out[w * Q + j + r] = rows[r][w];
	}
	for (; j < n; j++)
		for (w = 0; w < W; w++)
			out[w * Q + j] = x[(size_t)j * (size_t)stride + (size_t)w];
	for (w = 0; w < W; w++)
		for (j = n; j < Q; j++)
			out[w * Q + j] = 0;
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

/* --- A block: queries [first, first + rows). */

struct block {
	const struct part *p;
	int first, rows, Q;
	struct entmax *entmax;       /* entmax only */
	const float *mask;           /* (Tk): a span's */
	float *factor_rows, *factor; /* (rows, padded Tk), (Tk, Q): what dropout multiplies with */
};

/* x (Tk, Q) = rows of keys (or values) times the block's own, transposed (W, Q), times scale */
static void
by_keys(float *x, const struct block *b, const float *keys, int stride, const float *own, float scale)
{
	cpu_tiled(&(struct tiled){ .c = x,
	                           .a = keys,
	                           .b = own,
	                           .c_row = b->Q,
	                           .a_row = stride,
	                           .a_column = 1,
	                           .b_row = b->Q,
	                           .M = b->p->Tk,
	                           .N = b->Q,
	                           .K = b->p->a->W,
	                           .scale = scale });
}

/* out (rows, V) = x (Tk, Q) transposed times rows of keys (or values) */
static void
over_keys(float *out, const struct block *b, const float *x, struct right keys, float scale)
{
	cpu_tiled(&(struct tiled){ .c = out,
	                           .a = x,
	                           .b = keys.at,
	                           .c_row = b->p->V,
	                           .a_row = 1,
	                           .a_column = b->Q,
	                           .b_row = keys.stride,
	                           .M = b->rows,
	                           .N = b->p->V,
	                           .K = b->p->Tk,
	                           .scale = scale });
}

/* out (Tk, V) = x (Tk, Q) times the block's own rows; added to what is there */
static void
over_queries(float *out, const struct block *b, const float *x, struct right own, float scale)
{
	cpu_tiled(&(struct tiled){ .c = out,
	                           .a = x,
	                           .b = own.at,
	                           .c_row = b->p->V,
	                           .a_row = b->Q,
	                           .a_column = 1,
	                           .b_row = own.stride,
	                           .M = b->p->Tk,
	                           .N = b->p->V,
	                           .K = b->rows,
	                           .add = 1,
	                           .scale = scale });
}

/* Where a query's stats are; NULL if there are none. */
static float *
stats_of(const struct block *b, int i)
{
	const struct attention *a = b->p->a;

	return a->stats ? a->stats + ((size_t)(b->p->q0 + b->first + i) * (size_t)a->H + (size_t)b->p->head) * 2 : NULL;
}

/* LANES columns of x in place; max and inverse of each lane are made, or known. */
VECTOR static void
softmax(float *x, int stride, int keys, float max[LANES], float inverse[LANES], int known)
{
	float sum[LANES] = { 0 };

	for (int l = 0; l < LANES && !known; l++)
		max[l] = x[l];
	for (int j = 1; j < keys && !known; j++)
		for (int l = 0; l < LANES; l++)
			max[l] = x[j * stride + l] > max[l] ? x[j * stride + l] : max[l];
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++) {
			x[j * stride + l] = exp_f32(x[j * stride + l] - max[l]);
			sum[l] += x[j * stride + l];
		}
	for (int l = 0; l < LANES && !known; l++)
		inverse[l] = 1 / sum[l];
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			x[j * stride + l] *= inverse[l];
}

VECTOR static void
take_p(float *x, int stride, int keys, const double *p)
{
	for (int j = 0; j < keys; j++)
		for (int l = 0; l < LANES; l++)
			x[j * stride + l] = (float)p[j * LANES + l];
}

/* Scores of queries [i, i + LANES) of the block become probabilities; their stats are written, or known. */
static void
probabilities(const struct block *b, float *x, int i, int known)
{
	const struct part *p = b->p;
	float first[LANES] = { 0 }, second[LANES] = { 0 };
	int lanes = b->rows - i < LANES ? b->rows - i : LANES;

	for (int l = 0; l < lanes && known; l++) {
		first[l] = stats_of(b, i + l)[0];
		second[l] = stats_of(b, i + l)[1];
	}
	if (p->a->kind == ATT_SOFTMAX) {
		softmax(x, b->Q, p->Tk, first, second, known);
	} else {
		for (int l = 0; l < LANES; l++)
			b->entmax->tau[l] = known && l < lanes ? (double)first[l] : -1;
		cpu_entmax(b->entmax, x, b->Q, p->Tk, (double)p->a->alpha[p->head], known);
		take_p(x, b->Q, p->Tk, b->entmax->p);
		for (int l = 0; l < LANES; l++) {
			first[l] = (float)b->entmax->tau[l];
			second[l] = (float)b->entmax->inverse[l];
		}
	}
	for (int l = 0; l < lanes && !known && p->a->stats; l++) {
		stats_of(b, i + l)[0] = first[l];
		stats_of(b, i + l)[1] = second[l];
	}
}

/* factor (Tk, Q): 0 or 1/(1 - p). */
static void
draw_factors(const struct block *b)
{
	const struct part *p = b->p;
	int K = padded(p->Tk);
	uint32_t row = (uint32_t)(p->place * p->a->H + p->head) * p->a->drop.stride + (uint32_t)b->first;

	for (int i = 0; i < b->rows * K; i++)
		b->factor_rows[i] = 1;
	cpu_drop_rows(b->factor_rows, K, b->rows, p->Tk, &p->a->drop, row);
	transpose(b->factor, b->Q, b->factor_rows, K, b->rows, p->Tk);
}

VECTOR static void
times(float *x, const float *factor, int n)
{
	for (int i = 0; i < n; i++)
		x[i] *= factor[i];
}

/* Scratch, handed out a piece after the other; a first round without memory only counts. */
struct room {
	float *base;
	size_t used;
};

static float *
take(struct room *room, size_t n)
{
	float *out = room->base ? room->base + room->used : NULL;

	room->used += (n + LANES - 1) / LANES * LANES;
	return out;
}

static double *
take_doubles(struct room *room, size_t n)
{
	return (double *)(void *)take(room, 2 * n);
}

/* What forward and backward both need. */
static void
take_block(struct room *room, struct block *b, struct entmax *entmax, const struct part *p)
{
	size_t Tk = (size_t)p->Tk;

	if (p->a->kind == ATT_ENTMAX) {
		entmax->x32 = take(room, Tk * LANES);
		entmax->x = take_doubles(room, Tk * LANES);
		entmax->p = take_doubles(room, Tk * LANES);
		entmax->g = take_doubles(room, Tk * LANES);
		entmax->p_log_p = take_doubles(room, Tk * LANES);
	}
	if (p->a->drop.p > 0) {
		b->factor_rows = take(room, BLOCK * (size_t)padded(p->Tk));
		b->factor = take(room, Tk * BLOCK);
	}
	b->p = p;
	b->entmax = entmax;
}

static void
begin_block(struct block *b, int first)
{
	b->first = first;
	b->rows = b->p->Tq - first < BLOCK ? b->p->Tq - first : BLOCK;
	b->Q = padded(b->rows);
}

/* --- Forward. */

struct forward {
	struct block block;
	struct entmax entmax;
	float *queries;     /* (W, Q): transposed */
	float *value_room;  /* for what right_of copies */
	float *x, *context; /* (Tk, Q), (BLOCK, V) */
	float *mask, *moves;
};

static void
take_forward(struct room *room, struct forward *f, const struct part *p)
{
	take_block(room, &f->block, &f->entmax, p);
	f->queries = take(room, (size_t)p->a->W * BLOCK);
	f->value_room = take(room, (size_t)p->Tk * (size_t)p->V);
	f->x = take(room, (size_t)p->Tk * BLOCK);
	f->context = take(room, BLOCK * (size_t)p->V);
	f->mask = take(room, (size_t)p->Tk);
	f->moves = take(room, (size_t)p->Tk);
}

/* The block's probabilities as (rows, Tk). */
static void
put_probs(float *out, const struct block *b, const float *x)
{
	for (int i = 0; i < b->rows; i++)
		for (int j = 0; j < b->p->Tk; j++)
			out[(size_t)i * (size_t)b->p->Tk + (size_t)j] = x[j * b->Q + i];
}

static void
put_context(const struct forward *f)
{
	const struct block *b = &f->block;
	const struct attention *a = b->p->a;
	size_t to = at(b->p, a->out_stride, b->p->q0 + b->first);

	if (a->out)
		put_rows(a->out + to, a->out_stride, f->context, b->rows, b->p);
	for (int i = 0; a->out16 && i < b->rows; i++)
		cpu_narrow_row(a->out16 + to + (size_t)i * (size_t)a->out_stride, f->context + i * b->p->V,
		               (size_t)a->W);
}

static void
forward(const struct part *p, float *probs)
{
	const struct attention *a = p->a;
	struct forward f;
	struct room room = { 0 };
	struct right values;

	take_forward(&room, &f, p);
	room = (struct room){ .base = cpu_scratch(room.used) };
	if (!room.base)
		return;
	take_forward(&room, &f, p);
	values = right_of(a->v + at(p, a->v_stride, p->k0), a->v_stride, p->Tk, p, f.value_room);
	if (a->span.length)
		cpu_span_mask(f.mask, f.moves, &a->span, a->H, p->place, p->head, p->Tk);
	for (int first = 0; first < p->Tq; first += BLOCK) {
		struct block *b = &f.block;

		begin_block(b, first);
		transpose(f.queries, b->Q, a->q + at(p, a->q_stride, p->q0 + first), a->q_stride, b->rows, a->W);
		by_keys(f.x, b, a->k + at(p, a->k_stride, p->k0), a->k_stride, f.queries, p->scale);
		for (int i = 0; i < b->rows; i += LANES) {
			double sum[LANES];

			probabilities(b, f.x + i, i, 0);
			if (a->span.length)
				cpu_span_apply(f.x + i, f.x + i, f.mask, b->Q, p->Tk, sum);
		}
		if (probs)
			put_probs(probs + (size_t)first * (size_t)p->Tk, b, f.x);
		if (a->drop.p > 0) {
			draw_factors(b);
			times(f.x, b->factor, p->Tk * b->Q);
		}
		over_keys(f.context, b, f.x, values, 1);
		put_context(&f);
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

struct backward {
	struct block block;
	struct entmax entmax;
	float *queries, *douts;               /* (W, Q): transposed */
	float *key_room, *q_room, *dout_room; /* for what right_of copies */
	float *x, *y, *d;                     /* (Tk, Q): probabilities; what came out of the dropout; gradients */
	float *dq, *dk, *dv;                  /* (BLOCK, V), (Tk, V), (Tk, V) */
	float *mask, *moves, *dmask;          /* (Tk) */
};

static void
take_backward(struct room *room, struct backward *w, const struct part *p)
{
	size_t W = (size_t)p->a->W, V = (size_t)p->V, Tk = (size_t)p->Tk;

	take_block(room, &w->block, &w->entmax, p);
	w->queries = take(room, W * BLOCK);
	w->douts = take(room, W * BLOCK);
	w->key_room = take(room, Tk * V);
	w->q_room = take(room, BLOCK * V);
	w->dout_room = take(room, BLOCK * V);
	w->x = take(room, Tk * BLOCK);
	w->y = take(room, Tk * BLOCK);
	w->d = take(room, Tk * BLOCK);
	w->dq = take(room, BLOCK * V);
	w->dk = take(room, Tk * V);
	w->dv = take(room, Tk * V);
	w->mask = take(room, Tk);
	w->moves = take(room, Tk);
	w->dmask = take(room, Tk);
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
	float *x = w->x + i, *y = w->y + i, *d = w->d + i;
	double sum[LANES], alpha = 0;

	probabilities(b, x, i, 1);
	if (p->a->span.length) {
		cpu_span_apply(y, x, w->mask, b->Q, p->Tk, sum);
		cpu_span_backward(d, w->dmask, x, w->mask, b->Q, p->Tk, sum);
	} else {
		for (int j = 0; j < p->Tk; j++)
			memcpy(y + j * b->Q, x + j * b->Q, LANES * sizeof *y);
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
	size_t q = at(p, a->q_stride, p->q0 + b->first), out = at(p, a->out_stride, p->q0 + b->first);
	double alpha = 0;

	transpose(w->queries, b->Q, a->q + q, a->q_stride, b->rows, a->W);
	transpose(w->douts, b->Q, g->dout + out, a->out_stride, b->rows, a->W);
	by_keys(w->x, b, a->k + at(p, a->k_stride, p->k0), a->k_stride, w->queries, p->scale);
	by_keys(w->d, b, a->v + at(p, a->v_stride, p->k0), a->v_stride, w->douts, 1);
	if (a->drop.p > 0) {
		draw_factors(b);
		times(w->d, b->factor, p->Tk * b->Q);
	}
	for (int i = 0; i < b->rows; i += LANES)
		alpha += lanes_backward(w, i);
	if (a->drop.p > 0)
		times(w->y, b->factor, p->Tk * b->Q);
	over_keys(w->dq, b, w->d, keys, p->scale);
	put_rows(g->dq + q, a->q_stride, w->dq, b->rows, p);
	over_queries(w->dk, b, w->d, right_of(a->q + q, a->q_stride, b->rows, p, w->q_room), p->scale);
	over_queries(w->dv, b, w->y, right_of(g->dout + out, a->out_stride, b->rows, p, w->dout_room), 1);
	return alpha;
}

/* The rows' gradients, and this (place, head)'s share of its head's parameters'. */
static struct share
backward(const struct attention_backward *g, const struct part *p)
{
	const struct attention *a = p->a;
	size_t k = at(p, a->k_stride, p->k0), v = at(p, a->v_stride, p->k0);
	struct room room = { 0 };
	struct right keys;
	struct share share = { 0 };
	struct backward w;

	take_backward(&room, &w, p);
	room = (struct room){ .base = cpu_scratch(room.used) };
	if (!room.base)
		return share;
	take_backward(&room, &w, p);
	keys = right_of(a->k + k, a->k_stride, p->Tk, p, w.key_room);
	if (a->span.length)
		cpu_span_mask(w.mask, w.moves, &a->span, a->H, p->place, p->head, p->Tk);
	memset(w.dmask, 0, (size_t)p->Tk * sizeof *w.dmask);
	/* A place without queries gives its keys nothing. */
	memset(w.dk, 0, (size_t)p->Tk * (size_t)p->V * sizeof *w.dk);
	memset(w.dv, 0, (size_t)p->Tk * (size_t)p->V * sizeof *w.dv);
	for (int first = 0; first < p->Tq; first += BLOCK) {
		begin_block(&w.block, first);
		share.alpha += block_backward(&w, g, keys);
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
