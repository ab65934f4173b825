/*
 * LXMERT forward (reference: models/lxmert_adaptive.py): language stack, vision stack, cross layers, [CLS] to answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tape.h"

/* One forward: what every part of the graph needs to know. */
struct run {
	struct model *model;
	const struct op *op;
	const struct pass *pass;
	struct rows rows[2]; /* of LANGUAGE, VISION */
	struct rows cls;     /* one row a question */
	attention_sink *sink;
	void *user;
	float *host_probs;
};

static const float *
weight(const struct run *run, int param)
{
	return run->model->weights[param];
}

static void
linear(const struct run *run, struct linear_param p, const float *in, int N, int I, int O, float *out)
{
	run->op->linear(&(struct linear){ .out = out,
	                                  .in = in,
	                                  .weight = weight(run, p.weight),
	                                  .bias = weight(run, p.bias),
	                                  .N = N,
	                                  .I = I,
	                                  .O = O });
}

/* t->out holds the dense output and gets LN(dropout(it) + residual). */
static void
norm(const struct run *run, struct norm_param p, const struct norm_tape *t, const float *residual, struct rows rows,
     int D, struct dropout drop)
{
	run->op->layernorm(&(struct layernorm){ .out = t->out,
	                                        .xhat = t->xhat,
	                                        .rstd = t->rstd,
	                                        .in = t->out,
	                                        .residual = residual,
	                                        .gain = weight(run, p.gain),
	                                        .bias = weight(run, p.bias),
	                                        .rows = rows,
	                                        .D = D,
	                                        .drop = drop });
}

static void
hand_out(const struct run *run, const char *kind, int layer, struct rows queries, struct rows keys)
{
	const struct model *m = run->model;
	int H = m->cfg->heads;
	size_t at = 0;
	char name[64];

	snprintf(name, sizeof name, "%s.%d", kind, layer);
	for (int b = 0; b < queries.n; b++) {
		int Tq = queries.off[b + 1] - queries.off[b], Tk = keys.off[b + 1] - keys.off[b];
		size_t n = (size_t)H * (size_t)Tq * (size_t)Tk;

		run->op->get(run->host_probs, m->probs + at, n * sizeof(float));
		run->sink(run->user, name, b, run->host_probs, H, Tq, Tk);
		at += n;
	}
}

/* The side's queries x attend to the keys' y; returns the block's result. kind and layer name the matrix. */
static const float *
attention(const struct run *run, const struct attention_param *p, const struct attention_tape *t, enum side side,
          const float *x, struct rows queries, const float *y, struct rows keys, const char *kind, int layer)
{
	const struct config *cfg = run->model->cfg;
	int D = cfg->hidden, Nq = rows_total(&queries), Nk = rows_total(&keys);

	linear(run, p->query, x, Nq, D, D, t->q);
	linear(run, p->key, y, Nk, D, D, t->k);
	linear(run, p->value, y, Nk, D, D, t->v);
	run->op->attention(&(struct attention){ .out = t->context,
	                                        .stats = t->stats,
	                                        .probs = run->sink ? run->model->probs : NULL,
	                                        .q = t->q,
	                                        .k = t->k,
	                                        .v = t->v,
	                                        .q_stride = D,
	                                        .k_stride = D,
	                                        .v_stride = D,
	                                        .out_stride = D,
	                                        .queries = queries,
	                                        .keys = keys,
	                                        .H = cfg->heads,
	                                        .W = D / cfg->heads,
	                                        .kind = cfg->sparse ? ATT_ENTMAX : ATT_SOFTMAX,
	                                        .alpha = cfg->sparse ? weight(run, p->alpha) : NULL,
	                                        .drop = tape_dropout(run->model, run->pass, t->site, side) });
	if (run->sink)
		hand_out(run, kind, layer, queries, keys);
	linear(run, p->output, t->context, Nq, D, D, t->norm.out);
	norm(run, p->norm, &t->norm, x, queries, D, tape_dropout(run->model, run->pass, t->norm.site, side));
	return t->norm.out;
}

static const float *
ffn(const struct run *run, const struct ffn_param *p, const struct ffn_tape *t, enum side side, const float *x,
    struct rows rows)
{
	const struct config *cfg = run->model->cfg;
	int D = cfg->hidden, N = rows_total(&rows);

	run->op->linear(&(struct linear){ .out = t->inter,
	                                  .pre = t->pre,
	                                  .in = x,
	                                  .weight = weight(run, p->inter.weight),
	                                  .bias = weight(run, p->inter.bias),
	                                  .N = N,
	                                  .I = D,
	                                  .O = cfg->ffn,
	                                  .act = ACT_GELU });
	linear(run, p->output, t->inter, N, cfg->ffn, D, t->norm.out);
	norm(run, p->norm, &t->norm, x, rows, D, tape_dropout(run->model, run->pass, t->norm.site, side));
	return t->norm.out;
}

static const float *
embed(const struct run *run, const struct tape *t)
{
	const struct params *p = run->model->params;
	int D = run->model->cfg->hidden;
	struct rows rows = run->rows[LANGUAGE];

	run->op->embedding(&(struct embedding){ .out = t->embedding.out,
	                                        .rows = rows,
	                                        .ids = tape_tokens(t, run->model->max),
	                                        .word = weight(run, p->word),
	                                        .position = weight(run, p->position),
	                                        .type = weight(run, p->type),
	                                        .D = D });
	norm(run, p->embedding_norm, &t->embedding, NULL, rows, D, (struct dropout){ 0 });
	run->op->average(&(struct average){ .out = t->embedded,
	                                    .a = t->embedding.out,
	                                    .rows = rows,
	                                    .D = D,
	                                    .drop = tape_dropout(run->model, run->pass, t->embedding.site, LANGUAGE) });
	return t->embedded;
}

/* (LN(features) + LN(boxes))/2: the reference's VisualFeatEncoder. */
static const float *
see(const struct run *run, const struct tape *t)
{
	const struct config *cfg = run->model->cfg;
	const struct params *p = run->model->params;
	struct rows rows = run->rows[VISION];
	int N = rows_total(&rows), D = cfg->hidden;

	linear(run, p->feature, t->features, N, cfg->features, D, t->feature.out);
	norm(run, p->feature_norm, &t->feature, NULL, rows, D, (struct dropout){ 0 });
	linear(run, p->box, t->boxes, N, 4, D, t->box.out);
	norm(run, p->box_norm, &t->box, NULL, rows, D, (struct dropout){ 0 });
	run->op->average(&(struct average){ .out = t->seen,
	                                    .a = t->feature.out,
	                                    .b = t->box.out,
	                                    .rows = rows,
	                                    .D = D,
	                                    .drop = tape_dropout(run->model, run->pass, t->seen_site, VISION) });
	return t->seen;
}

static const float *
stack(const struct run *run, const struct layer_param *p, const struct layer_tape *t, int count, enum side side,
      const float *x, const char *kind)
{
	struct rows rows = run->rows[side];

	for (int i = 0; i < count; i++) {
		x = attention(run, &p[i].self, &t[i].self, side, x, rows, x, rows, kind, i);
		x = ffn(run, &p[i].ffn, &t[i].ffn, side, x, rows);
	}
	return x;
}

/* Row of [CLS] of each question in the language rows: where the question begins. */
static void
gather_cls(const struct run *run, float *out, const float *x)
{
	run->op->gather(&(struct gather){
		.out = out, .in = x, .index = run->rows[LANGUAGE].off, .n = run->cls.n, .D = run->model->cfg->hidden });
}

/* All cross layers; returns (B, D): [CLS] of each question. The last layer computes [CLS] alone, unless all is asked for. */
static const float *
cross(const struct run *run, const struct tape *t, const float *l, const float *v)
{
	const struct params *p = run->model->params;
	struct rows Rl = run->rows[LANGUAGE], Rv = run->rows[VISION];
	int last = run->model->cfg->cross - 1;

	for (int i = 0; i <= last; i++) {
		const struct cross_param *w = &p->cross[i];
		const struct cross_tape *x = &t->cross[i];
		int all = i < last || run->sink;
		const float *lx =
			attention(run, &w->cross, &x->language_cross, LANGUAGE, l, Rl, v, Rv, "cross-language", i);

		if (all) {
			v = attention(run, &w->cross, &x->vision_cross, VISION, v, Rv, l, Rl, "cross-vision", i);
			l = attention(run, &w->language_self, &x->language_self, LANGUAGE, lx, Rl, lx, Rl,
			              "cross-self-language", i);
			v = attention(run, &w->vision_self, &x->vision_self, VISION, v, Rv, v, Rv, "cross-self-vision",
			              i);
			l = ffn(run, &w->language_ffn, &x->language_ffn, LANGUAGE, l, Rl);
			v = ffn(run, &w->vision_ffn, &x->vision_ffn, VISION, v, Rv);
			continue;
		}
		gather_cls(run, t->cls, lx);
		l = attention(run, &w->language_self, &x->language_self, LANGUAGE, t->cls, run->cls, lx, Rl, NULL, i);
		return ffn(run, &w->language_ffn, &x->language_ffn, LANGUAGE, l, run->cls);
	}
	gather_cls(run, t->cls, l);
	return t->cls;
}

static void
answer(const struct run *run, const struct tape *t, const float *cls)
{
	const struct params *p = run->model->params;
	int B = run->cls.n, D = run->model->cfg->hidden;

	run->op->linear(&(struct linear){ .out = t->pooled,
	                                  .in = cls,
	                                  .weight = weight(run, p->pooler.weight),
	                                  .bias = weight(run, p->pooler.bias),
	                                  .N = B,
	                                  .I = D,
	                                  .O = D,
	                                  .act = ACT_TANH });
	run->op->linear(&(struct linear){ .out = t->head.out,
	                                  .pre = t->head_pre,
	                                  .in = t->pooled,
	                                  .weight = weight(run, p->head_in.weight),
	                                  .bias = weight(run, p->head_in.bias),
	                                  .N = B,
	                                  .I = D,
	                                  .O = 2 * D,
	                                  .act = ACT_GELU });
	norm(run, p->head_norm, &t->head, NULL, run->cls, 2 * D, (struct dropout){ 0 });
	linear(run, p->head_out, t->head.out, B, 2 * D, run->model->cfg->answers_n, t->logits);
}

/* The batch into the tape: its description and its inputs. */
static void
take_batch(struct run *run, const struct tape *t, const struct batch *batch)
{
	const struct config *cfg = run->model->cfg;
	int n = batch->n, max = run->model->max;
	size_t Nl = (size_t)batch->language[n], Nv = (size_t)batch->vision[n], offsets = ((size_t)n + 1) * sizeof(int);

	t->batch.host[0] = n;
	memcpy(tape_language(t), batch->language, offsets);
	memcpy(tape_vision(t, max), batch->vision, offsets);
	for (int b = 0; b <= n; b++)
		tape_cls(t, max)[b] = b;
	memcpy(tape_tokens(t, max), batch->tokens, Nl * sizeof *batch->tokens);
	run->op->put(t->batch.shared, t->batch.host, t->batch.n * sizeof(int));
	run->op->put(t->features, batch->features, Nv * (size_t)cfg->features * sizeof(float));
	run->op->put(t->boxes, batch->boxes, Nv * 4 * sizeof(float));
	run->rows[LANGUAGE] = (struct rows){ n, tape_language(t) };
	run->rows[VISION] = (struct rows){ n, tape_vision(t, max) };
	run->cls = (struct rows){ n, tape_cls(t, max) };
}

static int
make_room_for_probs(struct run *run, struct err *err)
{
	struct model *m = run->model;
	size_t most = (size_t)(m->cfg->max_tokens > m->cfg->objects ? m->cfg->max_tokens : m->cfg->objects);
	size_t one = (size_t)m->cfg->heads * most * most * sizeof(float);

	run->host_probs = malloc(one);
	if (!m->probs)
		m->probs = m->op->alloc((size_t)m->max * one);
	if (run->host_probs && m->probs)
		return 0;
	free(run->host_probs);
	return err_set(err, "out of memory for the attention of %d questions", m->max);
}

int
model_forward(struct model *model, const struct batch *batch, const struct pass *pass, float *logits,
              attention_sink *sink, void *user, struct err *err)
{
	struct run run = { .model = model, .op = model->op, .pass = pass, .sink = sink, .user = user };
	const struct config *cfg = model->cfg;
	const struct params *p = model->params;
	const struct tape *t = model->tape;
	const float *l, *v;

	if (sink && make_room_for_probs(&run, err))
		return -1;
	take_batch(&run, t, batch);
	l = stack(&run, p->language, t->language, cfg->language, LANGUAGE, embed(&run, t), "self-language");
	v = stack(&run, p->vision, t->vision, cfg->vision, VISION, see(&run, t), "self-vision");
	answer(&run, t, cross(&run, t, l, v));
	free(run.host_probs);
	if (model->op->sync(err))
		return -1;
	model->op->get(logits, t->logits, (size_t)batch->n * (size_t)cfg->answers_n * sizeof *logits);
	return 0;
}
