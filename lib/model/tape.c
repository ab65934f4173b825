/*
 * Plan, then place: one function walks over all activations in the graph's order; without a base it only measures. Between the
 * parts is what nobody may touch (sys/poison.h), scratch apart, whose parts change from block to block.
 */
#include "model/tape.h"

#include <stdlib.h>

#include "sys/poison.h"

/*
 * In answers mode a layer reads INPUT, writes MIDDLE (and, a cross layer, then SECOND) and leaves its result in INPUT: so a layer can be
 * left out.
 */
enum slot { INPUT, MIDDLE, SECOND, SLOTS };

/* scratch: what nobody needs after its block. */
struct plan {
	const struct model *model;
	uint8_t *base;
	size_t used;
	size_t scratch, scratch_most; /* used in this block; the most that any block used */
	uint8_t *scratch_base;
	struct state slots[2][SLOTS]; /* of a side's hidden states in answers mode */
	uint32_t site;
};

enum { ALIGN = 64 };

static size_t
aligned(size_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static void *
keep_bytes(struct plan *plan, size_t bytes)
{
	size_t room = aligned(bytes + POISON_GAP);
	uint8_t *at = plan->base ? plan->base + plan->used : NULL;

	if (at)
		poison(at + bytes, room - bytes);
	plan->used += room;
	return at;
}

static float *
keep(struct plan *plan, size_t elements)
{
	return keep_bytes(plan, elements * sizeof(float));
}

static float *
keep_for_backward(struct plan *plan, size_t elements)
{
	return plan->model->train ? keep(plan, elements) : NULL;
}

/* Bytes that nobody needs after the block, unless backward does. */
static void *
scratch_bytes(struct plan *plan, size_t bytes)
{
	uint8_t *at;

	if (plan->model->train)
		return keep_bytes(plan, bytes);
	at = plan->scratch_base ? plan->scratch_base + plan->scratch : NULL;
	plan->scratch += aligned(bytes);
	if (plan->scratch > plan->scratch_most)
		plan->scratch_most = plan->scratch;
	return at;
}

static float *
scratch(struct plan *plan, size_t elements)
{
	return scratch_bytes(plan, elements * sizeof(float));
}

static int
in_bf16(const struct plan *plan)
{
	return plan->model->precision == PRECISION_BF16;
}

/* What only products read. */
static struct state
product_input(struct plan *plan, size_t elements)
{
	if (in_bf16(plan))
		return (struct state){ .b16 = scratch_bytes(plan, elements * sizeof(bf16)) };
	return (struct state){ .f32 = scratch(plan, elements) };
}

static void
end_block(struct plan *plan)
{
	plan->scratch = 0;
}

static size_t
side_rows(const struct model *model, enum side side)
{
	return (size_t)model->max * (size_t)(side == LANGUAGE ? model->cfg->max_tokens : model->cfg->objects);
}

static struct state
keep_state(struct plan *plan, enum side side)
{
	size_t n = side_rows(plan->model, side) * (size_t)plan->model->cfg->hidden;
	struct state out = { .f32 = keep(plan, n) };

	if (in_bf16(plan))
		out.b16 = keep_bytes(plan, n * sizeof(bf16));
	return out;
}

/* Hidden states of a side. */
static struct state
state(struct plan *plan, enum side side, enum slot slot)
{
	return plan->model->train ? keep_state(plan, side) : plan->slots[side][slot];
}

static void
place_norm(struct plan *plan, struct norm_tape *t, struct state out, size_t rows, size_t width)
{
	t->out = out;
	t->xhat = keep_for_backward(plan, rows * width);
	t->rstd = keep_for_backward(plan, rows);
	t->site = plan->site++;
}

static void
place_attention(struct plan *plan, struct attention_tape *t, enum side query, enum side key, enum slot slot)
{
	size_t D = (size_t)plan->model->cfg->hidden;
	size_t Nq = side_rows(plan->model, query), Nk = side_rows(plan->model, key);

	t->q = scratch(plan, Nq * D);
	if (plan->model->train) {
		t->k = keep(plan, Nk * D);
		t->v = keep(plan, Nk * D);
	} else {
		t->k = scratch(plan, Nk * 2 * D);
		t->v = t->k ? t->k + D : NULL;
	}
	t->kv_stride = (int)(plan->model->train ? D : 2 * D);
	t->context = product_input(plan, Nq * D);
	t->stats = keep_for_backward(plan, Nq * (size_t)plan->model->cfg->heads * 2);
	t->site = plan->site++;
	place_norm(plan, &t->norm, state(plan, query, slot), Nq, D);
	end_block(plan);
}

static void
place_ffn(struct plan *plan, struct ffn_tape *t, enum side side)
{
	size_t N = side_rows(plan->model, side);

	t->pre = keep_for_backward(plan, N * (size_t)plan->model->cfg->ffn);
	t->inter = product_input(plan, N * (size_t)plan->model->cfg->ffn);
	place_norm(plan, &t->norm, state(plan, side, INPUT), N, (size_t)plan->model->cfg->hidden);
	end_block(plan);
}

static void
place_backward(struct plan *plan, struct backward_tape *t)
{
	const struct config *cfg = plan->model->cfg;
	size_t B = (size_t)plan->model->max, D = (size_t)cfg->hidden;
	size_t N = 0;

	for (int side = 0; side < 2; side++) {
		size_t rows = side_rows(plan->model, (enum side)side);

		if (rows > N)
			N = rows;
		for (int turn = 0; turn < 2; turn++)
			t->state[side][turn] = keep(plan, rows * D);
	}
	t->dense = keep(plan, N * D);
	t->context = keep(plan, N * D);
	t->q = keep(plan, N * D);
	t->k = keep(plan, N * D);
	t->v = keep(plan, N * D);
	t->inter = keep(plan, N * (size_t)cfg->ffn);
	for (int turn = 0; turn < 2; turn++)
		t->cls[turn] = keep(plan, B * D);
	t->head = keep(plan, B * 2 * D);
	t->logits = keep(plan, B * (size_t)cfg->answers_n);
}

static void
place_images(struct plan *plan, struct image_tape *t)
{
	size_t D = (size_t)plan->model->cfg->hidden;
	size_t N = side_rows(plan->model, VISION) + (size_t)plan->model->cfg->objects;

	t->x = keep(plan, N * D);
	t->q = keep(plan, N * D);
	t->kv = keep(plan, N * 2 * D);
}

static void
place_all(struct plan *plan, struct tape *t)
{
	const struct config *cfg = plan->model->cfg;
	size_t B = (size_t)plan->model->max, D = (size_t)cfg->hidden;
	size_t Nl = side_rows(plan->model, LANGUAGE), Nv = side_rows(plan->model, VISION);

	if (!plan->model->train)
		for (int slot = 0; slot < SLOTS; slot++) {
			plan->slots[LANGUAGE][slot] = keep_state(plan, LANGUAGE);
			plan->slots[VISION][slot] = keep_state(plan, VISION);
		}
	if (plan->model->train)
		t->batch.shared = keep_bytes(plan, t->batch.ints * sizeof(int));
	for (int turn = 0; turn < plan->model->turns; turn++) {
		t->inputs[turn].features = keep(plan, Nv * (size_t)cfg->features);
		t->inputs[turn].boxes = keep(plan, Nv * 4);
	}

	place_norm(plan, &t->embedding, plain(scratch(plan, Nl * D)), Nl, D);
	t->embedded = state(plan, LANGUAGE, INPUT);
	end_block(plan);
	place_norm(plan, &t->feature, plain(scratch(plan, Nv * D)), Nv, D);
	place_norm(plan, &t->box, plain(scratch(plan, Nv * D)), Nv, D);
	t->seen = state(plan, VISION, INPUT);
	t->seen_site = plan->site++;
	end_block(plan);

	for (int i = 0; i < cfg->language; i++) {
		place_attention(plan, &t->language[i].self, LANGUAGE, LANGUAGE, MIDDLE);
		place_ffn(plan, &t->language[i].ffn, LANGUAGE);
	}
	for (int i = 0; i < cfg->vision; i++) {
		place_attention(plan, &t->vision[i].self, VISION, VISION, MIDDLE);
		place_ffn(plan, &t->vision[i].ffn, VISION);
	}
	for (int i = 0; i < cfg->cross; i++) {
		struct cross_tape *x = &t->cross[i];

		place_attention(plan, &x->language_cross, LANGUAGE, VISION, MIDDLE);
		place_attention(plan, &x->vision_cross, VISION, LANGUAGE, MIDDLE);
		place_attention(plan, &x->language_self, LANGUAGE, LANGUAGE, SECOND);
		place_attention(plan, &x->vision_self, VISION, VISION, SECOND);
		place_ffn(plan, &x->language_ffn, LANGUAGE);
		place_ffn(plan, &x->vision_ffn, VISION);
	}
	t->cls = keep(plan, B * D);
	t->pooled = keep(plan, B * D);
	t->head_pre = keep_for_backward(plan, B * 2 * D);
	place_norm(plan, &t->head, plain(keep(plan, B * 2 * D)), B, 2 * D);
	t->logits = keep(plan, B * (size_t)cfg->answers_n);
	if (plan->model->train)
		place_backward(plan, &t->backward);
	else
		place_images(plan, &t->image);
}

/* The parts of the batch's description. */
static void
describe(struct batch_tape *b, const struct config *cfg, size_t max)
{
	b->n = b->host;
	b->turn = b->n + 1;
	b->language = b->turn + 1;
	b->vision = b->language + max + 1;
	b->cls = b->vision + max + 1;
	b->dropped_all = b->dropped[LANGUAGE] = b->cls + max + 1;
	b->dropped[VISION] = b->dropped[LANGUAGE] + cfg->language;
	b->dropped_cross = b->dropped[VISION] + cfg->vision;
	b->tokens = b->dropped_cross + cfg->cross;
}

struct tape *
tape_new(const struct model *model)
{
	const struct config *cfg = model->cfg;
	struct tape *t = calloc(1, sizeof *t);
	size_t max = (size_t)model->max;

	if (!t)
		return NULL;
	t->batch.ints = 2 + 3 * (max + 1) + (size_t)layers_total(cfg) + max * (size_t)cfg->max_tokens;
	t->batch.host = calloc(t->batch.ints, sizeof *t->batch.host);
	if (t->batch.host)
		describe(&t->batch, cfg, max);
	t->image.off = calloc(max + 1, sizeof *t->image.off);
	t->image.row = calloc(max * (size_t)cfg->objects, sizeof *t->image.row);
	t->language = calloc((size_t)cfg->language + 1, sizeof *t->language);
	t->vision = calloc((size_t)cfg->vision + 1, sizeof *t->vision);
	t->cross = calloc((size_t)cfg->cross + 1, sizeof *t->cross);
	if (!t->batch.host || !t->image.off || !t->image.row || !t->language || !t->vision || !t->cross) {
		tape_free(t);
		return NULL;
	}
	tape_place(t, model, NULL);
	return t;
}

void
tape_free(struct tape *t)
{
	if (!t)
		return;
	if (t->base)
		unpoison(t->base, t->bytes);
	free(t->batch.host);
	free(t->image.off);
	free(t->image.row);
	free(t->language);
	free(t->vision);
	free(t->cross);
	free(t);
}

void
tape_place(struct tape *t, const struct model *model, void *base)
{
	struct plan measure = { .model = model };
	struct plan plan = { .model = model, .base = base };

	place_all(&measure, t);
	t->bytes = measure.used + measure.scratch_most;
	t->base = base;
	if (!base)
		return;
	plan.scratch_base = plan.base + measure.used;
	place_all(&plan, t);
}

int
tape_last_cross(const struct tape *t, const struct config *cfg)
{
	int last = cfg->cross - 1;

	while (last >= 0 && t->batch.dropped_cross[last])
		last--;
	return last;
}

/*
 * Rows are places where the batch has as many questions; --compat then goes by the batch at hand, as the reference does, and else has
 * no mask. Without it, the size of all batches decides, and a short one has the mean.
 */
int
tape_spans_by_place(const struct model *model, const struct pass *pass, int n)
{
	return model->cfg->adaptive && model->cfg->span_rows == n &&
	       (pass->compat || model->cfg->span_rows == model->max);
}

static struct span
span_of(const struct model *model, const struct pass *pass, const struct attention_use *use)
{
	const struct config *cfg = model->cfg;
	int n = *model->tape->batch.n;

	if (!cfg->adaptive)
		return (struct span){ 0 };
	return (struct span){ .value = pass->compat && cfg->span_rows != n ? NULL : model->weights[use->p->span],
		              .rows = cfg->span_rows,
		              .by_place = tape_spans_by_place(model, pass, n),
		              .length = use->of == LANGUAGE ? cfg->max_tokens : cfg->objects,
		              .ramp = cfg->span_ramp };
}

struct attention
tape_attention(const struct model *model, const struct pass *pass, const struct attention_use *use)
{
	const struct config *cfg = model->cfg;
	const struct attention_tape *t = use->t;
	int D = cfg->hidden;

	return (struct attention){ .out = t->context.f32,
		                   .out16 = t->context.b16,
		                   .stats = t->stats,
		                   .q = t->q,
		                   .k = t->k,
		                   .v = t->v,
		                   .q_stride = D,
		                   .k_stride = t->kv_stride,
		                   .v_stride = t->kv_stride,
		                   .out_stride = D,
		                   .queries = use->queries,
		                   .keys = use->keys,
		                   .H = cfg->heads,
		                   .W = D / cfg->heads,
		                   .kind = cfg->sparse ? ATT_ENTMAX : ATT_SOFTMAX,
		                   .alpha = cfg->sparse ? model->weights[use->p->alpha] : NULL,
		                   .span = span_of(model, pass, use),
		                   .drop = tape_dropout(model, pass, t->site, use->side) };
}
