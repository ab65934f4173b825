/*
 * LXMERT backward: forward.c's graph from its end to its beginning, block by block, from the tape.
 *
 * A side's gradient by its hidden states takes turns in two buffers: a block reads `now` and writes `next`; flip() follows.
 * A parameter's gradient is written at its one use; only the cross attention's weights are used twice, and its second
 * direction is added. Tables that are added to (embeddings, alphas) are zeroed first.
 */
#include "model/tape.h"

struct run {
	struct model *model;
	const struct op *op;
	const struct pass *pass;
	const struct tape *tape;
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

/* in: the layer's input at forward. din NULL: nobody needs it. */
static void
linear_back(const struct run *run, struct linear_param p, const float *dout, const float *in, int N, int I, int O,
            float *din, int add_in, int add_weight)
{
	run->op->linear_backward(&(struct linear_backward){ .din = din,
	                                                    .dweight = run->model->gradients[p.weight],
	                                                    .dbias = run->model->gradients[p.bias],
	                                                    .dout = dout,
	                                                    .in = in,
	                                                    .weight = run->model->weights[p.weight],
	                                                    .N = N,
	                                                    .I = I,
	                                                    .O = O,
	                                                    .add_in = add_in,
	                                                    .add_weight = add_weight });
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
	                                                          .dgain = run->model->gradients[p.gain],
	                                                          .dbias = run->model->gradients[p.bias],
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
ffn_back(const struct run *run, const struct ffn_param *p, const struct ffn_tape *t, enum side side, const float *x,
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
side_ffn_back(struct run *run, const struct ffn_param *p, const struct ffn_tape *t, enum side side, const float *x)
{
	ffn_back(run, p, t, side, x, run->rows[side], run->d[side].now, run->d[side].next);
	flip(run, side);
}

/* An attention block: x asks, y answers; dx and dy may be the same buffer where x is y. */
struct attention_use {
	const struct attention_param *p;
	const struct attention_tape *t;
	enum side side; /* of the queries: counts their dropout */
	const float *x, *y;
	struct rows queries, keys;
	const float *dout;
	/* dx is written, or added to if add_x; then dy is added to: the caller zeroes it, unless it is dx. */
	float *dx, *dy;
	int add_x;
	int second; /* the weights' second use */
};

static void
attention_back(const struct run *run, const struct attention_use *use)
{
	const struct config *cfg = run->model->cfg;
	const struct attention_param *p = use->p;
	const struct attention_tape *t = use->t;
	const struct backward_tape *w = &run->tape->backward;
	int D = cfg->hidden, Nq = rows_total(&use->queries), Nk = rows_total(&use->keys);
	const float *alpha = cfg->sparse ? run->model->weights[p->alpha] : NULL;
	float *dalpha = cfg->sparse ? run->model->gradients[p->alpha] : NULL;

	norm_back(run, p->norm, &t->norm, use->dout, use->queries, D,
	          tape_dropout(run->model, run->pass, t->norm.site, use->side),
	          (struct norm_target){ .dense = w->dense,
	                                .residual = use->dx,
	                                .add_residual = use->add_x,
	                                .add_weight = use->second });
	linear_back(run, p->output, w->dense, t->context, Nq, D, D, w->context, 0, use->second);
	if (dalpha && !use->second)
		run->op->zero(dalpha, (size_t)cfg->heads * sizeof *dalpha);
	run->op->attention_backward(&(struct attention_backward){
		.dq = w->q,
		.dk = w->k,
		.dv = w->v,
		.dalpha = dalpha,
		.dout = w->context,
		.forward = &(struct attention){ .stats = t->stats,
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
	                                        .alpha = alpha,
	                                        .drop = tape_dropout(run->model, run->pass, t->site, use->side) } });
	linear_back(run, p->query, w->q, use->x, Nq, D, D, use->dx, 1, use->second);
	linear_back(run, p->key, w->k, use->y, Nk, D, D, use->dy, 1, use->second);
	linear_back(run, p->value, w->v, use->y, Nk, D, D, use->dy, 1, use->second);
}

static void
self_attention_back(struct run *run, const struct attention_param *p, const struct attention_tape *t, enum side side,
                    const float *x)
{
	attention_back(run, &(struct attention_use){ .p = p,
	                                             .t = t,
	                                             .side = side,
	                                             .x = x,
	                                             .y = x,
	                                             .queries = run->rows[side],
	                                             .keys = run->rows[side],
	                                             .dout = run->d[side].now,
	                                             .dx = run->d[side].next,
	                                             .dy = run->d[side].next });
	flip(run, side);
}

static void
zero_next(const struct run *run, enum side side)
{
	size_t n = (size_t)rows_total(&run->rows[side]) * (size_t)run->model->cfg->hidden;

	run->op->zero(run->d[side].next, n * sizeof(float));
}

/*
 * One layer's cross attention from its inputs l and v: language asks, and, unless it is the last layer, vision asks with
 * the same weights.
 */
static void
cross_attention_back(struct run *run, const struct cross_param *p, const struct cross_tape *t, const float *l,
                     const float *v, int last)
{
	zero_next(run, VISION);
	attention_back(run, &(struct attention_use){ .p = &p->cross,
	                                             .t = &t->language_cross,
	                                             .side = LANGUAGE,
	                                             .x = l,
	                                             .y = v,
	                                             .queries = run->rows[LANGUAGE],
	                                             .keys = run->rows[VISION],
	                                             .dout = run->d[LANGUAGE].now,
	                                             .dx = run->d[LANGUAGE].next,
	                                             .dy = run->d[VISION].next });
	if (!last)
		attention_back(run, &(struct attention_use){ .p = &p->cross,
		                                             .t = &t->vision_cross,
		                                             .side = VISION,
		                                             .x = v,
		                                             .y = l,
		                                             .queries = run->rows[VISION],
		                                             .keys = run->rows[LANGUAGE],
		                                             .dout = run->d[VISION].now,
		                                             .dx = run->d[VISION].next,
		                                             .dy = run->d[LANGUAGE].next,
		                                             .add_x = 1,
		                                             .second = 1 });
	flip(run, LANGUAGE);
	flip(run, VISION);
}

/* From dlogits, in backward.logits, to the gradient by [CLS] (B, D), in backward.cls[0]. */
static void
answer_back(const struct run *run, const float *cls)
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
	linear_back(run, p->head_in, w->head, t->pooled, B, D, 2 * D, w->cls[1], 0, 0);
	run->op->activation_backward(&(struct activation_backward){
		.d = w->cls[1], .x = t->pooled, .n = (size_t)B * (size_t)D, .act = ACT_TANH });
	linear_back(run, p->pooler, w->cls[1], cls, B, D, D, w->cls[0], 0, 0);
}

/* From the answers through the last cross layer's language side, [CLS] alone, to all rows after its cross attention. */
static void
last_language_back(struct run *run, const struct cross_param *p, const struct cross_tape *t)
{
	const struct tape *tape = run->tape;
	const struct backward_tape *w = &tape->backward;

	answer_back(run, t->language_ffn.norm.out);
	ffn_back(run, &p->language_ffn, &t->language_ffn, LANGUAGE, t->language_self.norm.out, run->cls, w->cls[0],
	         w->cls[1]);
	zero_next(run, LANGUAGE);
	attention_back(run, &(struct attention_use){ .p = &p->language_self,
	                                             .t = &t->language_self,
	                                             .side = LANGUAGE,
	                                             .x = tape->cls,
	                                             .y = t->language_cross.norm.out,
	                                             .queries = run->cls,
	                                             .keys = run->rows[LANGUAGE],
	                                             .dout = w->cls[1],
	                                             .dx = w->cls[0],
	                                             .dy = run->d[LANGUAGE].next });
	run->op->gather_backward(&(struct gather_backward){ .din = run->d[LANGUAGE].next,
	                                                    .dout = w->cls[0],
	                                                    .index = run->rows[LANGUAGE].off,
	                                                    .n = run->cls.n,
	                                                    .D = run->model->cfg->hidden });
	flip(run, LANGUAGE);
}

/* All cross layers, the last first. */
static void
cross_back(struct run *run)
{
	const struct tape *t = run->tape;
	const struct params *p = run->model->params;
	const struct config *cfg = run->model->cfg;
	const float *language = cfg->language ? t->language[cfg->language - 1].ffn.norm.out : t->embedded;
	const float *vision = cfg->vision ? t->vision[cfg->vision - 1].ffn.norm.out : t->seen;

	for (int i = cfg->cross - 1; i >= 0; i--) {
		const struct cross_param *c = &p->cross[i];
		const struct cross_tape *x = &t->cross[i];
		int last = i == cfg->cross - 1;

		if (last) {
			last_language_back(run, c, x);
		} else {
			side_ffn_back(run, &c->language_ffn, &x->language_ffn, LANGUAGE, x->language_self.norm.out);
			side_ffn_back(run, &c->vision_ffn, &x->vision_ffn, VISION, x->vision_self.norm.out);
			self_attention_back(run, &c->language_self, &x->language_self, LANGUAGE,
			                    x->language_cross.norm.out);
			self_attention_back(run, &c->vision_self, &x->vision_self, VISION, x->vision_cross.norm.out);
		}
		cross_attention_back(run, c, x, i ? t->cross[i - 1].language_ffn.norm.out : language,
		                     i ? t->cross[i - 1].vision_ffn.norm.out : vision, last);
	}
}

static void
stack_back(struct run *run, const struct layer_param *p, const struct layer_tape *t, int count, enum side side,
           const float *first)
{
	for (int i = count - 1; i >= 0; i--) {
		side_ffn_back(run, &p[i].ffn, &t[i].ffn, side, t[i].self.norm.out);
		self_attention_back(run, &p[i].self, &t[i].self, side, i ? t[i - 1].ffn.norm.out : first);
	}
}

static void
see_back(const struct run *run)
{
	const struct config *cfg = run->model->cfg;
	const struct params *p = run->model->params;
	const struct tape *t = run->tape;
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
	linear_back(run, p->feature, dense, t->features, N, cfg->features, D, NULL, 0, 0);
	norm_back(run, p->box_norm, &t->box, average, rows, D, (struct dropout){ 0 },
	          (struct norm_target){ .dense = dense });
	linear_back(run, p->box, dense, t->boxes, N, 4, D, NULL, 0, 0);
}

static void
embed_back(const struct run *run)
{
	const struct params *p = run->model->params;
	const struct tape *t = run->tape;
	struct rows rows = run->rows[LANGUAGE];
	float *d = t->backward.dense;
	float *dword = run->model->gradients[p->word], *dposition = run->model->gradients[p->position];
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
	run->op->embedding_backward(&(struct embedding_backward){ .dword = dword,
	                                                          .dposition = dposition,
	                                                          .rows = rows,
	                                                          .ids = tape_tokens(t, run->model->max),
	                                                          .dout = d,
	                                                          .D = D });
}

int
model_backward(struct model *model, const struct pass *pass, const float *dlogits, uint8_t *flags, struct err *err)
{
	struct run run = { .model = model, .op = model->op, .pass = pass, .tape = model->tape };
	const struct tape *t = model->tape;
	const struct params *p = model->params;
	const struct config *cfg = model->cfg;
	int n;

	model->op->get(t->batch.host, t->batch.shared, t->batch.n * sizeof(int));
	n = t->batch.host[0];
	run.rows[LANGUAGE] = (struct rows){ n, tape_language(t) };
	run.rows[VISION] = (struct rows){ n, tape_vision(t, model->max) };
	run.cls = (struct rows){ n, tape_cls(t, model->max) };
	for (int side = 0; side < 2; side++) {
		run.d[side].now = t->backward.state[side][0];
		run.d[side].next = t->backward.state[side][1];
	}
	model->op->put(t->backward.logits, dlogits, (size_t)n * (size_t)cfg->answers_n * sizeof *dlogits);
	cross_back(&run);
	stack_back(&run, p->vision, t->vision, cfg->vision, VISION, t->seen);
	see_back(&run);
	stack_back(&run, p->language, t->language, cfg->language, LANGUAGE, t->embedded);
	embed_back(&run);
	for (int i = 0; i < p->n; i++)
		flags[i] = !p->list[i].used ? GRADIENT_NONE : p->list[i].zero ? GRADIENT_ZERO : GRADIENT_SET;
	return model->op->sync(err);
}
