/*
 * LXMERT backward: forward.c's graph from its end to its beginning, block by block, from the tape.
 *
 * A side's gradient by its hidden states takes turns in two buffers: a block reads `now` and writes `next`; flip() follows.
 * A parameter's gradient is written at its one use, where its flag is set; only the cross attention's weights are used twice, and its
 * second direction is added. Tables that are added to (embeddings, alphas) are zeroed first; a span's begins as its loss's.
 */
#include <string.h>

#include "model/tape.h"

struct run {
	struct model *model;
	const struct op *op;
	const struct pass *pass;
	const struct tape *tape;
	uint8_t *flags; /* (params.n): enum gradient_flag */
	struct rows rows[2], cls;
	struct {
		float *now, *next;
	} d[2]; /* a side's gradient, (N, D) each */
};

static void
flip(struct run *run, enum side side)
{
	float *now = run->d[side].next;

	run->d[side].next = run->d[side].now;
	run->d[side].now = now;
}

/* Where the gradient of a parameter goes, which has one then. */
static float *
gradient(const struct run *run, int param)
{
	run->flags[param] = GRADIENT_SET;
	return run->model->gradients[param];
}

/* in: the layer's input at forward. din NULL: nobody needs it. */
static void
linear_back(const struct run *run, struct linear_param p, const float *dout, struct state in, int N, int I, int O,
            float *din, int add_in, int add_weight)
{
	run->op->linear_backward(&(struct linear_backward){ .din = din,
	                                                    .dweight = gradient(run, p.weight),
	                                                    .dbias = gradient(run, p.bias),
	                                                    .dout = dout,
	                                                    .in = in.f32,
	                                                    .in16 = in.b16,
	                                                    .weight = run->model->weights[p.weight],
	                                                    .weight16 = run->model->weights16[p.weight],
	                                                    .N = N,
	                                                    .I = I,
	                                                    .O = O,
	                                                    .add_in = add_in,
	                                                    .add_weight = add_weight,
	                                                    .precision = run->model->precision });
}

/* Where the gradient of a block's LN(dropout(dense) + residual) goes. */
struct norm_target {
	float *dense;    /* written */
	float *residual; /* NULL: there was none */
	int add_residual, add_weight;
};

static void
norm_back(const struct run *run, struct norm_param p, const struct norm_tape *t, const float *dout, struct rows rows,
          int D, struct dropout drop, struct norm_target to)
{
	run->op->layernorm_backward(&(struct layernorm_backward){ .din = to.dense,
	                                                          .dresidual = to.residual,
	                                                          .dgain = gradient(run, p.gain),
	                                                          .dbias = gradient(run, p.bias),
	                                                          .dout = dout,
	                                                          .xhat = t->xhat,
	                                                          .rstd = t->rstd,
	                                                          .gain = run->model->weights[p.gain],
	                                                          .rows = rows,
	                                                          .D = D,
	                                                          .drop = drop,
	                                                          .add_residual = to.add_residual,
	                                                          .add_weight = to.add_weight });
}

static void
ffn_back(const struct run *run, const struct ffn_param *p, const struct ffn_tape *t, enum side side, struct state x,
         struct rows rows, const float *dout, float *dx)
{
	const struct config *cfg = run->model->cfg;
	const struct backward_tape *w = &run->tape->backward;
	int D = cfg->hidden, N = rows_total(&rows);

	norm_back(run, p->norm, &t->norm, dout, rows, D, tape_dropout(run->model, run->pass, t->norm.site, side),
	          (struct norm_target){ .dense = w->dense, .residual = dx });
	linear_back(run, p->output, w->dense, t->inter, N, cfg->ffn, D, w->inter, 0, 0);
	run->op->activation_backward(&(struct activation_backward){
		.d = w->inter, .x = t->pre, .n = (size_t)N * (size_t)cfg->ffn, .act = ACT_GELU });
	linear_back(run, p->inter, w->inter, x, N, D, cfg->ffn, dx, 1, 0);
}

/* The same for all rows of a side. */
static void
side_ffn_back(struct run *run, const struct ffn_param *p, const struct ffn_tape *t, enum side side, struct state x)
{
	ffn_back(run, p, t, side, x, run->rows[side], run->d[side].now, run->d[side].next);
	flip(run, side);
}

/* Where an attention's gradients go. dx and dy may be the same buffer where x is y. */
struct attention_target {
	const float *dout;
	/* dx is written, or added to if add_x; then dy is added to: the caller zeroes it, unless it is dx. */
	float *dx, *dy;
	int add_x;
	int second; /* the weights' second use */
};

static void
attention_back(const struct run *run, const struct attention_use *use, const struct attention_target *to)
{
	const struct config *cfg = run->model->cfg;
	const struct attention_param *p = use->p;
	const struct attention_tape *t = use->t;
	const struct backward_tape *w = &run->tape->backward;
	int D = cfg->hidden, Nq = rows_total(&use->queries), Nk = rows_total(&use->keys);
	struct attention forward = tape_attention(run->model, run->pass, use);
	float *dalpha = cfg->sparse ? gradient(run, p->alpha) : NULL;

	norm_back(run, p->norm, &t->norm, to->dout, use->queries, D,
	          tape_dropout(run->model, run->pass, t->norm.site, use->side),
	          (struct norm_target){
			  .dense = w->dense, .residual = to->dx, .add_residual = to->add_x, .add_weight = to->second });
	linear_back(run, p->output, w->dense, t->context, Nq, D, D, w->context, 0, to->second);
	if (dalpha && !to->second)
		run->op->zero(dalpha, (size_t)cfg->heads * sizeof *dalpha);
	run->op->attention_backward(
		&(struct attention_backward){ .dq = w->q,
	                                      .dk = w->k,
	                                      .dv = w->v,
	                                      .dalpha = dalpha,
	                                      .dspan = forward.span.value ? gradient(run, p->span) : NULL,
	                                      .dout = w->context,
	                                      .forward = &forward });
	linear_back(run, p->query, w->q, use->x, Nq, D, D, to->dx, 1, to->second);
	linear_back(run, p->key, w->k, use->y, Nk, D, D, to->dy, 1, to->second);
	linear_back(run, p->value, w->v, use->y, Nk, D, D, to->dy, 1, to->second);
}

static void
self_attention_back(struct run *run, const struct attention_param *p, const struct attention_tape *t, enum side side,
                    struct state x)
{
	struct attention_use use = attention_between(run->rows, p, t, side, x, side, x);

	attention_back(run, &use,
	               &(struct attention_target){
			       .dout = run->d[side].now, .dx = run->d[side].next, .dy = run->d[side].next });
	flip(run, side);
}

static void
zero_next(const struct run *run, enum side side)
{
	size_t n = (size_t)rows_total(&run->rows[side]) * (size_t)run->model->cfg->hidden;

	run->op->zero(run->d[side].next, n * sizeof(float));
}

/* One direction of a layer's cross attention: side asks, from x to y of the other side. */
static void
one_way_back(const struct run *run, const struct attention_param *p, const struct attention_tape *t, enum side side,
             struct state x, struct state y)
{
	enum side of = side == LANGUAGE ? VISION : LANGUAGE;
	struct attention_use use = attention_between(run->rows, p, t, side, x, of, y);
	int second = side == VISION;

	attention_back(run, &use,
	               &(struct attention_target){ .dout = run->d[side].now,
	                                           .dx = run->d[side].next,
	                                           .dy = run->d[of].next,
	                                           .add_x = second,
	                                           .second = second });
}

/*
 * One layer's cross attention from its inputs l and v: language asks, and, unless it is the last layer, vision asks with
 * the same weights.
 */
static void
cross_attention_back(struct run *run, const struct cross_param *p, const struct cross_tape *t, struct state l,
                     struct state v, int last)
{
	zero_next(run, VISION);
	one_way_back(run, &p->cross, &t->language_cross, LANGUAGE, l, v);
	if (!last)
		one_way_back(run, &p->cross, &t->vision_cross, VISION, v, l);
	flip(run, LANGUAGE);
	flip(run, VISION);
}

/* From dlogits, in backward.logits, to the gradient by [CLS] (B, D), in backward.cls[0]. */
static void
answer_back(const struct run *run, struct state cls)
{
	const struct tape *t = run->tape;
	const struct backward_tape *w = &t->backward;
	const struct params *p = run->model->params;
	int B = run->cls.n, D = run->model->cfg->hidden;

	linear_back(run, p->head_out, w->logits, t->head.out, B, 2 * D, run->model->cfg->answers_n, w->head, 0, 0);
	norm_back(run, p->head_norm, &t->head, w->head, run->cls, 2 * D, (struct dropout){ 0 },
	          (struct norm_target){ .dense = w->head });
	run->op->activation_backward(&(struct activation_backward){
		.d = w->head, .x = t->head_pre, .n = (size_t)B * 2 * (size_t)D, .act = ACT_GELU });
	linear_back(run, p->head_in, w->head, plain(t->pooled), B, D, 2 * D, w->cls[1], 0, 0);
	run->op->activation_backward(&(struct activation_backward){
		.d = w->cls[1], .x = t->pooled, .n = (size_t)B * (size_t)D, .act = ACT_TANH });
	linear_back(run, p->pooler, w->cls[1], cls, B, D, D, w->cls[0], 0, 0);
}

/* [CLS]'s gradient, from cls (B, D), to the rows that it was gathered from: added to the language side's next. */
static void
scatter_cls(const struct run *run, const float *cls)
{
	run->op->gather_backward(&(struct gather_backward){ .din = run->d[LANGUAGE].next,
	                                                    .dout = cls,
	                                                    .index = run->rows[LANGUAGE].off,
	                                                    .n = run->cls.n,
	                                                    .D = run->model->cfg->hidden });
}

/* From the answers through the last cross layer's language side, [CLS] alone, to all rows after its cross attention. */
static void
last_language_back(struct run *run, const struct cross_param *p, const struct cross_tape *t)
{
	const struct tape *tape = run->tape;
	const struct backward_tape *w = &tape->backward;
	struct attention_use use = attention_between(run->rows, &p->language_self, &t->language_self, LANGUAGE,
	                                             plain(tape->cls), LANGUAGE, t->language_cross.norm.out);

	answer_back(run, t->language_ffn.norm.out);
	ffn_back(run, &p->language_ffn, &t->language_ffn, LANGUAGE, t->language_self.norm.out, run->cls, w->cls[0],
	         w->cls[1]);
	zero_next(run, LANGUAGE);
	use.queries = run->cls;
	attention_back(run, &use,
	               &(struct attention_target){ .dout = w->cls[1], .dx = w->cls[0], .dy = run->d[LANGUAGE].next });
	scatter_cls(run, w->cls[0]);
	flip(run, LANGUAGE);
}

/* The last layer before layer i that was not left out, -1 if there is none. */
static int
layer_before(const int *dropped, int i)
{
	do
		i--;
	while (i >= 0 && dropped[i]);
	return i;
}

/* The input of layer `count`: what the last layer before it gave that was not left out, else the stack's own. */
static struct state
stack_result(const struct layer_tape *t, const int *dropped, int count, struct state first)
{
	int layer = layer_before(dropped, count);

	return layer < 0 ? first : t[layer].ffn.norm.out;
}

/* All cross layers, the last first; where every one was left out, [CLS] comes from the language stack. */
static void
cross_back(struct run *run, struct state language, struct state vision)
{
	const struct tape *t = run->tape;
	const struct params *p = run->model->params;
	const int *dropped = t->batch.dropped_cross;
	int last = tape_last_cross(t, run->model->cfg);

	if (last < 0) {
		answer_back(run, plain(t->cls));
		zero_next(run, LANGUAGE);
		scatter_cls(run, t->backward.cls[0]);
		flip(run, LANGUAGE);
	}
	for (int i = last; i >= 0; i = layer_before(dropped, i)) {
		const struct cross_param *c = &p->cross[i];
		const struct cross_tape *x = &t->cross[i];
		int before = layer_before(dropped, i);

		if (i == last) {
			last_language_back(run, c, x);
		} else {
			side_ffn_back(run, &c->language_ffn, &x->language_ffn, LANGUAGE, x->language_self.norm.out);
			side_ffn_back(run, &c->vision_ffn, &x->vision_ffn, VISION, x->vision_self.norm.out);
			self_attention_back(run, &c->language_self, &x->language_self, LANGUAGE,
			                    x->language_cross.norm.out);
			self_attention_back(run, &c->vision_self, &x->vision_self, VISION, x->vision_cross.norm.out);
		}
		cross_attention_back(run, c, x, before < 0 ? language : t->cross[before].language_ffn.norm.out,
		                     before < 0 ? vision : t->cross[before].vision_ffn.norm.out, i == last);
	}
}

static void
stack_back(struct run *run, const struct layer_param *p, const struct layer_tape *t, int count, enum side side,
           struct state first)
{
	const int *dropped = run->tape->batch.dropped[side];

	for (int i = layer_before(dropped, count); i >= 0; i = layer_before(dropped, i)) {
		side_ffn_back(run, &p[i].ffn, &t[i].ffn, side, t[i].self.norm.out);
		self_attention_back(run, &p[i].self, &t[i].self, side, stack_result(t, dropped, i, first));
	}
}

static void
see_back(const struct run *run)
{
	const struct config *cfg = run->model->cfg;
	const struct params *p = run->model->params;
	const struct tape *t = run->tape;
	const struct input_tape *in = &t->inputs[*t->batch.turn];
	struct rows rows = run->rows[VISION];
	float *average = t->backward.dense, *dense = run->d[VISION].next;
	int N = rows_total(&rows), D = cfg->hidden;

	run->op->average_backward(
		&(struct average_backward){ .d = average,
	                                    .dout = run->d[VISION].now,
	                                    .rows = rows,
	                                    .D = D,
	                                    .parts = 2,
	                                    .drop = tape_dropout(run->model, run->pass, t->seen_site, VISION) });
	norm_back(run, p->feature_norm, &t->feature, average, rows, D, (struct dropout){ 0 },
	          (struct norm_target){ .dense = dense });
	linear_back(run, p->feature, dense, plain(in->features), N, cfg->features, D, NULL, 0, 0);
	norm_back(run, p->box_norm, &t->box, average, rows, D, (struct dropout){ 0 },
	          (struct norm_target){ .dense = dense });
	linear_back(run, p->box, dense, plain(in->boxes), N, 4, D, NULL, 0, 0);
}

static void
embed_back(const struct run *run)
{
	const struct params *p = run->model->params;
	const struct tape *t = run->tape;
	struct rows rows = run->rows[LANGUAGE];
	float *d = t->backward.dense;
	float *dword = gradient(run, p->word), *dposition = gradient(run, p->position);
	int D = run->model->cfg->hidden;

	run->op->average_backward(
		&(struct average_backward){ .d = d,
	                                    .dout = run->d[LANGUAGE].now,
	                                    .rows = rows,
	                                    .D = D,
	                                    .parts = 1,
	                                    .drop = tape_dropout(run->model, run->pass, t->embedding.site, LANGUAGE) });
	norm_back(run, p->embedding_norm, &t->embedding, d, rows, D, (struct dropout){ 0 },
	          (struct norm_target){ .dense = d });
	run->op->zero(dword, p->list[p->word].n * sizeof *dword);
	run->op->zero(dposition, p->list[p->position].n * sizeof *dposition);
	run->op->embedding_backward(&(struct embedding_backward){
		.dword = dword, .dposition = dposition, .rows = rows, .ids = t->batch.tokens, .dout = d, .D = D });
	/* padding_idx is 0 in the reference's models/lxmert_adaptive.py, and all token types are 0. */
	run->flags[p->type] = GRADIENT_ZERO;
}

int
model_backward(struct model *model, const struct pass *pass, const float *dlogits, uint8_t *flags, struct err *err)
{
	const struct tape *t = model->tape;
	const struct params *p = model->params;
	const struct config *cfg = model->cfg;
	const struct batch_tape *b = &t->batch;
	struct run run = { .model = model, .op = model->op, .pass = pass, .tape = t, .flags = flags };
	struct state language, vision;
	int n;

	model->op->get(b->host, b->shared, b->ints * sizeof(int));
	n = *b->n;
	run.rows[LANGUAGE] = (struct rows){ n, b->language };
	run.rows[VISION] = (struct rows){ n, b->vision };
	run.cls = (struct rows){ n, b->cls };
	for (int side = 0; side < 2; side++) {
		run.d[side].now = t->backward.state[side][0];
		run.d[side].next = t->backward.state[side][1];
	}
	memset(flags, GRADIENT_NONE, (size_t)p->n);
	if (span_gradients(model, flags, err))
		return -1;
	language = stack_result(t->language, b->dropped[LANGUAGE], cfg->language, t->embedded);
	vision = stack_result(t->vision, b->dropped[VISION], cfg->vision, t->seen);
	model->op->put(t->backward.logits, dlogits, (size_t)n * (size_t)cfg->answers_n * sizeof *dlogits);
	cross_back(&run, language, vision);
	/* Without a cross layer no picture reaches the answers. */
	if (tape_last_cross(t, cfg) >= 0) {
		stack_back(&run, p->vision, t->vision, cfg->vision, VISION, t->seen);
		see_back(&run);
	}
	stack_back(&run, p->language, t->language, cfg->language, LANGUAGE, t->embedded);
	embed_back(&run);
	return model->op->sync(err);
}
