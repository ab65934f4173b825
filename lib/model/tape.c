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
	float *slots[2][SLOTS]; /* of a side's hidden states in answers mode */
	uint32_t site;
};

enum { ALIGN = 64 };

static size_t
aligned(size_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static void *
keep(struct plan *plan, size_t elements)
{
	size_t bytes = elements * sizeof(float), room = aligned(bytes + POISON_GAP);
	uint8_t *at = plan->base ? plan->base + plan->used : NULL;

	if (at)
		poison(at + bytes, room - bytes);
	plan->used += room;
	return at;
}

static float *
keep_for_backward(struct plan *plan, size_t elements)
{
	return plan->model->train ? keep(plan, elements) : NULL;
}

static float *
scratch(struct plan *plan, size_t elements)
{
	float *at;

	if (plan->model->train)
		return keep(plan, elements);
	at = plan->scratch_base ? (float *)(plan->scratch_base + plan->scratch) : NULL;
	plan->scratch += aligned(elements * sizeof(float));
	if (plan->scratch > plan->scratch_most)
		plan->scratch_most = plan->scratch;
	return at;
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

/* Hidden states of a side. */
static float *
state(struct plan *plan, enum side side, enum slot slot)
{
	if (plan->model->train)
		return keep(plan, side_rows(plan->model, side) * (size_t)plan->model->cfg->hidden);
	return plan->slots[side][slot];
}

static void
place_norm(struct plan *plan, struct norm_tape *t, float *out, size_t rows, size_t width)
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
	t->k = scratch(plan, Nk * D);
	t->v = scratch(plan, Nk * D);
	t->context = scratch(plan, Nq * D);
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
	t->inter = scratch(plan, N * (size_t)plan->model->cfg->ffn);
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
place_all(struct plan *plan, struct tape *t)
{
	const struct config *cfg = plan->model->cfg;
	size_t B = (size_t)plan->model->max, D = (size_t)cfg->hidden;
	size_t Nl = side_rows(plan->model, LANGUAGE), Nv = side_rows(plan->model, VISION);

	if (!plan->model->train)
		for (int slot = 0; slot < SLOTS; slot++) {
			plan->slots[LANGUAGE][slot] = keep(plan, Nl * D);
			plan->slots[VISION][slot] = keep(plan, Nv * D);
		}
	t->batch.shared = keep(plan, t->batch.n);
	t->features = keep(plan, Nv * (size_t)cfg->features);
	t->boxes = keep(plan, Nv * 4);

	place_norm(plan, &t->embedding, scratch(plan, Nl * D), Nl, D);
	t->embedded = state(plan, LANGUAGE, INPUT);
	end_block(plan);
	place_norm(plan, &t->feature, scratch(plan, Nv * D), Nv, D);
	place_norm(plan, &t->box, scratch(plan, Nv * D), Nv, D);
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
	place_norm(plan, &t->head, keep(plan, B * 2 * D), B, 2 * D);
	t->logits = keep(plan, B * (size_t)cfg->answers_n);
	if (plan->model->train)
		place_backward(plan, &t->backward);
}

/* The parts of the batch's description. */
static void
describe(struct batch_tape *b, const struct config *cfg, size_t max)
{
	b->language = b->host + 1;
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
	t->batch.n = 1 + 3 * (max + 1) + (size_t)layers_total(cfg) + max * (size_t)cfg->max_tokens;
	t->batch.host = calloc(t->batch.n, sizeof *t->batch.host);
	if (t->batch.host)
		describe(&t->batch, cfg, max);
	t->language = calloc((size_t)cfg->language + 1, sizeof *t->language);
	t->vision = calloc((size_t)cfg->vision + 1, sizeof *t->vision);
	t->cross = calloc((size_t)cfg->cross + 1, sizeof *t->cross);
	if (!t->batch.host || !t->language || !t->vision || !t->cross) {
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
static struct span
span_of(const struct model *model, const struct pass *pass, const struct attention_use *use)
{
	const struct config *cfg = model->cfg;
	int as_many = cfg->span_rows == use->queries.n;

	if (!cfg->adaptive)
		return (struct span){ 0 };
	return (struct span){ .value = pass->compat && !as_many ? NULL : model->weights[use->p->span],
		              .rows = cfg->span_rows,
		              .by_place = as_many && (pass->compat || cfg->span_rows == model->max),
		              .length = use->of == LANGUAGE ? cfg->max_tokens : cfg->objects,
		              .ramp = cfg->span_ramp };
}

struct attention
tape_attention(const struct model *model, const struct pass *pass, const struct attention_use *use)
{
	const struct config *cfg = model->cfg;
	const struct attention_tape *t = use->t;
	int D = cfg->hidden;

	return (struct attention){ .out = t->context,
		                   .stats = t->stats,
		                   .q = t->q,
		                   .k = t->k,
		                   .v = t->v,
		                   .q_stride = D,
		                   .k_stride = D,
		                   .v_stride = D,
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
