/*
 * A block of one head's attention; see attention_block.h.
 */
#include "op/cpu/attention_block.h"

static int
padded(int n)
{
	return (n + LANES - 1) / LANES * LANES;
}

struct part
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

size_t
part_at(const struct part *p, int stride, int row)
{
	return (size_t)row * (size_t)stride + (size_t)p->head * (size_t)p->a->W;
}

struct right
part_right(const float *x, int stride, int n, const struct part *p, float *room)
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

void
part_put(float *out, int stride, const float *rows, int n, const struct part *p)
{
	for (int j = 0; j < n; j++)
		memcpy(out + (size_t)j * (size_t)stride, rows + j * p->V, (size_t)p->a->W * sizeof *out);
}

float *
room_take(struct room *room, size_t n)
{
	float *out = room->base ? room->base + room->used : NULL;

	room->used += (n + LANES - 1) / LANES * LANES;
	return out;
}

static double *
take_doubles(struct room *room, size_t n)
{
	return (double *)(void *)room_take(room, 2 * n);
}

void
block_take(struct room *room, struct block *b, struct entmax *entmax, const struct part *p)
{
	size_t Tk = (size_t)p->Tk;

	if (p->a->kind == ATT_ENTMAX) {
		entmax->x32 = room_take(room, Tk * LANES);
		entmax->g32 = room_take(room, Tk * LANES);
		entmax->x = take_doubles(room, Tk * LANES);
		entmax->p = take_doubles(room, Tk * LANES);
		entmax->g = take_doubles(room, Tk * LANES);
		entmax->p_log_p = take_doubles(room, Tk * LANES);
	}
	if (p->a->drop.p > 0) {
		b->factor_rows = room_take(room, BLOCK * (size_t)padded(p->Tk));
		b->factor = room_take(room, Tk * BLOCK);
	}
	b->p = p;
	b->entmax = entmax;
}

void
block_begin(struct block *b, int first)
{
	b->first = first;
	b->rows = b->p->Tq - first < BLOCK ? b->p->Tq - first : BLOCK;
	b->Q = padded(b->rows);
}

void
block_by_keys(float *x, const struct block *b, const float *keys, int stride, const float *own, float scale)
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

void
block_over_keys(float *out, const struct block *b, const float *x, struct right keys, float scale)
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

void
block_over_queries(float *out, const struct block *b, const float *x, struct right own, float scale)
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
block_stats(const struct block *b, int i)
{
	const struct attention *a = b->p->a;

	return a->stats ? a->stats + ((size_t)(b->p->q0 + b->first + i) * (size_t)a->H + (size_t)b->p->head) * 2 : NULL;
}

/* LANES columns of x in place; max and inverse of each lane are made, or known. */
VECTOR static void
softmax(float *restrict x, int stride, int keys, float *restrict max, float *restrict inverse, int known)
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

void
block_probabilities(const struct block *b, float *x, int i, int known)
{
	const struct part *p = b->p;
	float first[LANES] = { 0 }, second[LANES] = { 0 };
	int lanes = b->rows - i < LANES ? b->rows - i : LANES;

	for (int l = 0; l < lanes && known; l++) {
		first[l] = block_stats(b, i + l)[0];
		second[l] = block_stats(b, i + l)[1];
	}
	if (p->a->kind == ATT_SOFTMAX) {
		softmax(x, b->Q, p->Tk, first, second, known);
	} else {
		const double alpha = (double)p->a->alpha[p->head];

		for (int l = 0; l < LANES; l++)
			b->entmax->tau[l] = known && l < lanes ? (double)first[l] : -1;
		if (known || !cpu_entmax_easy(b->entmax, x, b->Q, p->Tk, alpha)) {
			cpu_entmax(b->entmax, x, b->Q, p->Tk, lanes, alpha, known);
			take_p(x, b->Q, p->Tk, b->entmax->p);
		}
		for (int l = 0; l < LANES; l++) {
			first[l] = (float)b->entmax->tau[l];
			second[l] = (float)b->entmax->inverse[l];
		}
	}
	for (int l = 0; l < lanes && !known && p->a->stats; l++) {
		block_stats(b, i + l)[0] = first[l];
		block_stats(b, i + l)[1] = second[l];
	}
}

void
block_draw_factors(const struct block *b)
{
	const struct part *p = b->p;
	int K = padded(p->Tk);
	const struct dropout *drop = &p->a->drop;
	uint32_t row = dropout_query(drop, p->place, p->a->H, p->head, b->first);

	for (int i = 0; i < b->rows * K; i++)
		b->factor_rows[i] = 1;
	cpu_drop_rows(b->factor_rows, K, b->rows, p->Tk, drop, row);
	cpu_transpose(b->factor, b->Q, b->factor_rows, K, b->rows, p->Tk);
}

VECTOR static void
times(float *x, const float *factor, int n)
{
	for (int i = 0; i < n; i++)
		x[i] *= factor[i];
}

void
block_times_factors(const struct block *b, float *x)
{
	times(x, b->factor, b->p->Tk * b->Q);
}
