/*
 * Attention, a (place, head) at a time: scores, probabilities and their dropout never leave a thread's scratch. Backward
 * computes the probabilities again from the scores and a row's stats.
 *
 * Scratch is laid out so that the inner loops run over consecutive elements: keys (and values) transposed to (W, K), K the
 * keys rounded up to whole vectors.
 */
#include <float.h>

#include "op/cpu/cpu.h"

/* One (place, head). */
struct part {
	const struct attention *a;
	int place, head;
	int q0, k0, Tq, Tk; /* first row and rows of queries and keys */
	int K;              /* Tk rounded up to LANES */
	float scale;        /* 1/sqrt(W) */
};

/* What a (place, head) adds to the gradients of its head's own parameters. */
struct share {
	double alpha, span;
};

static struct part
part_of(const struct attention *a, int index)
{
	int b = index / a->H;
	struct part p = { .a = a, .place = b, .head = index % a->H, .q0 = a->queries.off[b], .k0 = a->keys.off[b] };

	p.Tq = a->queries.off[b + 1] - p.q0;
	p.Tk = a->keys.off[b + 1] - p.k0;
	p.K = (p.Tk + LANES - 1) / LANES * LANES;
	p.scale = 1 / sqrtf((float)a->W);
	return p;
}

static const float *
row_of(const float *base, int stride, int row, const struct part *p)
{
	return base + (size_t)row * (size_t)stride + (size_t)p->head * (size_t)p->a->W;
}

/* out (W, K) = the part's rows of x (Tk, W) transposed, zeros at the end */
static void
transpose(float *out, const float *x, int stride, const struct part *p)
{
	int W = p->a->W;

	for (int j = 0; j < p->Tk; j++) {
		const float *row = row_of(x, stride, p->k0 + j, p);

		for (int w = 0; w < W; w++)
			out[w * p->K + j] = row[w];
	}
	for (int w = 0; w < W; w++)
		for (int j = p->Tk; j < p->K; j++)
			out[w * p->K + j] = 0;
}

/* out (K) = x (W) times columns (W, K), times scale */
VECTOR static void
times_columns(float *restrict out, const float *x, const float *columns, int W, int K, float scale)
{
	for (int j = 0; j < K; j += LANES) {
		float sum[LANES] = { 0 };

		for (int w = 0; w < W; w++)
			for (int l = 0; l < LANES; l++)
				sum[l] += x[w] * columns[w * K + j + l];
		for (int l = 0; l < LANES; l++)
			out[j + l] = sum[l] * scale;
	}
}

/* y (W) += factor x (W) */
VECTOR static void
add_scaled(float *restrict y, const float *x, float factor, int W)
{
	for (int w = 0; w < W; w++)
		y[w] += factor * x[w];
}

VECTOR static void
softmax(float *x, int n, float max, float *inverse)
{
	float lane[LANES] = { 0 }, sum = 0;
	int i;

	for (i = 0; i + LANES <= n; i += LANES)
		for (int l = 0; l < LANES; l++) {
			x[i + l] = exp_f32(x[i + l] - max);
			lane[l] += x[i + l];
		}
	for (; i < n; i++) {
		x[i] = exp_f32(x[i] - max);
		lane[i % LANES] += x[i];
	}
	for (int l = 0; l < LANES; l++)
		sum += lane[l];
	*inverse = 1 / sum;
	for (i = 0; i < n; i++)
		x[i] *= *inverse;
}

/* Scores x (Tk) become probabilities; row gets entmax's in double. stats (2), if not NULL: written, or read when warm. */
static void
probabilities(float *x, struct entmax_row *row, const struct part *p, float *stats, int warm)
{
	const struct attention *a = p->a;
	float max = -FLT_MAX, inverse;
	double tau = warm ? (double)stats[0] : 0;

	if (a->kind == ATT_SOFTMAX) {
		for (int j = 0; j < p->Tk; j++)
			max = x[j] > max ? x[j] : max;
		softmax(x, p->Tk, max, &inverse);
		if (stats && !warm) {
			stats[0] = max;
			stats[1] = inverse;
		}
		return;
	}
	inverse = (float)cpu_entmax(row, x, p->Tk, (double)a->alpha[p->head], &tau, warm);
	for (int j = 0; j < p->Tk; j++)
		x[j] = (float)row->p[j];
	if (stats && !warm) {
		stats[0] = (float)tau;
		stats[1] = inverse;
	}
}

static float *
stats_of(const struct part *p, int i)
{
	return p->a->stats ? p->a->stats + ((size_t)(p->q0 + i) * (size_t)p->a->H + (size_t)p->head) * 2 : NULL;
}

/* The part's value of its span. */
static float
span_value(const struct part *p)
{
	const struct span *span = &p->a->span;
	double sum = 0;

	if (span->by_place)
		return span->value[p->place * p->a->H + p->head];
	for (int row = 0; row < span->rows; row++)
		sum += (double)span->value[row * p->a->H + p->head];
	return (float)(sum / span->rows);
}

/* mask (Tk) written; moves (Tk), if not NULL, written: 1 where the mask moves with the value, else 0. */
static void
make_mask(float *mask, float *moves, const struct part *p)
{
	const struct span *span = &p->a->span;
	float v;

	if (!span->value) {
		for (int j = 0; j < p->Tk; j++)
			mask[j] = 1;
		return;
	}
	v = span_value(p);
	for (int j = 0; j < p->Tk; j++) {
		float m = ((float)(j - (span->length - 1)) + v * (float)span->length) / (float)span->ramp + 1;

		mask[j] = m < 0 ? 0 : m > 1 ? 1 : m;
		if (moves)
			moves[j] = m > 0 && m < 1;
	}
}

static const double SPAN_EPS = 1e-8; /* reference: models/adaptive_span.py */

/* out (n) = mask x / (sum + eps); returns what was divided by. out may be x. */
static double
apply_mask(float *out, const float *x, const float *mask, int n)
{
	double sum = SPAN_EPS;

	for (int j = 0; j < n; j++) {
		out[j] = x[j] * mask[j];
		sum += (double)out[j];
	}
	for (int j = 0; j < n; j++)
		out[j] = (float)((double)out[j] / sum);
	return sum;
}

/*
 * Back through apply_mask: d (n), the gradient by mask x / sum, becomes the one by x; dmask (n), the one by the mask, is added to.
 * In double, since a small sum raises what is left of a difference.
 */
static void
mask_backward(float *d, float *dmask, const float *x, const float *mask, double sum, int n)
{
	double dot = 0;

	for (int j = 0; j < n; j++)
		dot += (double)d[j] * (double)x[j] * (double)mask[j];
	dot /= sum;
	for (int j = 0; j < n; j++) {
		double by_product = ((double)d[j] - dot) / sum;

		dmask[j] += (float)(by_product * (double)x[j]);
		d[j] = (float)(by_product * (double)mask[j]);
	}
}

static uint32_t
drop_row(const struct part *p, int i)
{
	return (uint32_t)(p->place * p->a->H + p->head) * p->a->drop.stride + (uint32_t)i;
}

static void
forward(const struct part *p, float *probs)
{
	const struct attention *a = p->a;
	size_t W = (size_t)a->W, K = (size_t)p->K;
	float *keys = cpu_scratch(W * K + 2 * K + W), *x = keys + W * K, *mask = x + K, *own = mask + K;
	struct entmax_row row;

	if (!keys)
		return;
	transpose(keys, a->k, a->k_stride, p);
	if (a->span.length)
		make_mask(mask, NULL, p);
	for (int i = 0; i < p->Tq; i++) {
		size_t at = (size_t)(p->q0 + i) * (size_t)a->out_stride + (size_t)p->head * W;
		float *out = a->out ? a->out + at : own;

		times_columns(x, row_of(a->q, a->q_stride, p->q0 + i, p), keys, a->W, p->K, p->scale);
		probabilities(x, &row, p, stats_of(p, i), 0);
		if (a->span.length)
			apply_mask(x, x, mask, p->Tk);
		if (probs)
			memcpy(probs + (size_t)i * (size_t)p->Tk, x, (size_t)p->Tk * sizeof *x);
		if (a->drop.p > 0)
			cpu_drop(x, p->Tk, &a->drop, drop_row(p, i));
		memset(out, 0, W * sizeof *out);
		for (int j = 0; j < p->Tk; j++)
			if (x[j] != 0)
				add_scaled(out, row_of(a->v, a->v_stride, p->k0 + j, p), x[j], a->W);
		if (a->out16)
			cpu_narrow(a->out16 + at, out, W);
	}
}

/* Where a (place, head)'s matrix lies among all: places in turn (H, Tq, Tk). */
static size_t
probs_offset(const struct attention *a, const struct part *p)
{
	size_t at = 0;

	for (int b = 0; b < p->place; b++)
		at += (size_t)a->H * (size_t)(a->queries.off[b + 1] - a->queries.off[b]) *
		      (size_t)(a->keys.off[b + 1] - a->keys.off[b]);
	return at + (size_t)p->head * (size_t)p->Tq * (size_t)p->Tk;
}

void
cpu_attention(const struct attention *a)
{
#pragma omp parallel for schedule(static)
	for (int index = 0; index < a->queries.n * a->H; index++) {
		struct part p = part_of(a, index);

		forward(&p, a->probs ? a->probs + probs_offset(a, &p) : NULL);
	}
}

/* d (Tk), the gradient by the probabilities, becomes the one by the scores; the row's share of dalpha comes back. */
static double
scores_backward(const struct part *p, float *d, const float *x, const struct entmax_row *row)
{
	float dot = 0;

	if (p->a->kind == ATT_ENTMAX)
		return cpu_entmax_backward(d, d, row, p->Tk, (double)p->a->alpha[p->head]);
	for (int j = 0; j < p->Tk; j++)
		dot += d[j] * x[j];
	for (int j = 0; j < p->Tk; j++)
		d[j] = x[j] * (d[j] - dot);
	return 0;
}

/* The rows' gradients, and this (place, head)'s share of its head's parameters'. */
static struct share
backward(const struct attention_backward *g, const struct part *p)
{
	const struct attention *a = p->a;
	size_t W = (size_t)a->W, K = (size_t)p->K;
	float *keys = cpu_scratch(2 * W * K + 7 * K), *values = keys + W * K;
	float *x = values + W * K, *d = x + K, *factor = d + K;
	float *mask = factor + K, *moves = mask + K, *dmask = moves + K, *masked = dmask + K;
	float *y = a->span.length ? masked : x; /* what goes into the dropout */
	double sum = 1;
	struct entmax_row row;
	struct share share = { 0 };

	if (!keys)
		return share;
	transpose(keys, a->k, a->k_stride, p);
	transpose(values, a->v, a->v_stride, p);
	if (a->span.length)
		make_mask(mask, moves, p);
	memset(dmask, 0, K * sizeof *dmask);
	for (int j = 0; j < p->Tk; j++) {
		memset(g->dk + (size_t)(p->k0 + j) * (size_t)a->k_stride + (size_t)p->head * W, 0, W * sizeof *g->dk);
		memset(g->dv + (size_t)(p->k0 + j) * (size_t)a->v_stride + (size_t)p->head * W, 0, W * sizeof *g->dv);
	}
	for (int i = 0; i < p->Tq; i++) {
		const float *q = row_of(a->q, a->q_stride, p->q0 + i, p);
		const float *dout = row_of(g->dout, a->out_stride, p->q0 + i, p);
		float *dq = g->dq + (size_t)(p->q0 + i) * (size_t)a->q_stride + (size_t)p->head * W;

		times_columns(x, q, keys, a->W, p->K, p->scale);
		probabilities(x, &row, p, stats_of(p, i), 1);
		if (a->span.length)
			sum = apply_mask(y, x, mask, p->Tk);
		times_columns(d, dout, values, a->W, p->K, 1);
		for (int j = 0; j < p->Tk; j++)
			factor[j] = 1;
		if (a->drop.p > 0)
			cpu_drop(factor, p->Tk, &a->drop, drop_row(p, i));
		for (int j = 0; j < p->Tk; j++) {
			if (y[j] * factor[j] != 0)
				add_scaled(g->dv + (size_t)(p->k0 + j) * (size_t)a->v_stride + (size_t)p->head * W,
				           dout, y[j] * factor[j], a->W);
			d[j] *= factor[j];
		}
		if (a->span.length)
			mask_backward(d, dmask, x, mask, sum, p->Tk);
		share.alpha += scores_backward(p, d, x, &row);
		memset(dq, 0, W * sizeof *dq);
		for (int j = 0; j < p->Tk; j++) {
			if (d[j] == 0)
				continue;
			add_scaled(dq, row_of(a->k, a->k_stride, p->k0 + j, p), d[j] * p->scale, a->W);
			add_scaled(g->dk + (size_t)(p->k0 + j) * (size_t)a->k_stride + (size_t)p->head * W, q,
			           d[j] * p->scale, a->W);
		}
	}
	for (int j = 0; j < p->Tk && a->span.value; j++)
		share.span += (double)(dmask[j] * moves[j]) * a->span.length / a->span.ramp;
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
#pragma omp parallel for schedule(static)
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
