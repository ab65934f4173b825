/*
 * Attention forward, a (place, head) at a time, a block of queries after the other: scores, probabilities and their dropout never
 * leave a thread's scratch.
 */
#include "op/cpu/attention_block.h"

struct forward {
	struct block block;
	struct entmax entmax;
	float *queries;     /* (W, Q): transposed */
	float *value_room;  /* for what part_right copies */
	float *x, *context; /* (Tk, Q), (BLOCK, V) */
	float *mask, *moves;
};

static void
take_forward(struct room *room, struct forward *f, const struct part *p)
{
	block_take(room, &f->block, &f->entmax, p);
	f->queries = room_take(room, (size_t)p->a->W * BLOCK);
	f->value_room = room_take(room, (size_t)p->Tk * (size_t)p->V);
	f->x = room_take(room, (size_t)p->Tk * BLOCK);
	f->context = room_take(room, BLOCK * (size_t)p->V);
	f->mask = room_take(room, (size_t)p->Tk);
	f->moves = room_take(room, (size_t)p->Tk);
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
	size_t to = part_at(b->p, a->out_stride, b->p->q0 + b->first);

	if (a->out)
		part_put(a->out + to, a->out_stride, f->context, b->rows, b->p);
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
	values = part_right(a->v + part_at(p, a->v_stride, p->k0), a->v_stride, p->Tk, p, f.value_room);
	if (a->span.length)
		cpu_span_mask(f.mask, f.moves, &a->span, a->H, p->place, p->head, p->Tk);
	for (int first = 0; first < p->Tq; first += BLOCK) {
		struct block *b = &f.block;

		block_begin(b, first);
		cpu_transpose(f.queries, b->Q, a->q + part_at(p, a->q_stride, p->q0 + first), a->q_stride, b->rows,
		              a->W);
		block_by_keys(f.x, b, a->k + part_at(p, a->k_stride, p->k0), a->k_stride, f.queries, p->scale);
		for (int i = 0; i < b->rows; i += LANES) {
			double sum[LANES];

			block_probabilities(b, f.x + i, i, 0);
			if (a->span.length)
				cpu_span_apply(f.x + i, f.x + i, f.mask, b->Q, p->Tk, sum);
		}
		if (probs)
			put_probs(probs + (size_t)first * (size_t)p->Tk, b, f.x);
		if (a->drop.p > 0) {
			block_draw_factors(b);
			block_times_factors(b, f.x);
		}
		block_over_keys(f.context, b, f.x, values, 1);
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
