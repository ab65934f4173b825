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

/* An attention block's result. kind and layer name the matrix. */
static const float *
attention(const struct run *run, const struct attention_use *use, const char *kind, int layer)
{
	const struct attention_param *p = use->p;
	const struct attention_tape *t = use->t;
	int D = run->model->cfg->hidden, Nq = rows_total(&use->queries), Nk = rows_total(&use->keys);
	struct attention a = tape_attention(run->model, run->pass, use);

	linear(run, p->query, use->x, Nq, D, D, t->q);
	linear(run, p->key, use->y, Nk, D, D, t->k);
	linear(run, p->value, use->y, Nk, D, D, t->v);
	a.probs = run->sink ? run->model->probs : NULL;
	run->op->attention(&a);
	if (run->sink)
		hand_out(run, kind, layer, use->queries, use->keys);
	linear(run, p->output, t->context, Nq, D, D, t->norm.out);
	norm(run, p->norm, &t->norm, use->x, use->queries, D,
	     tape_dropout(run->model, run->pass, t->norm.site, use->side));
	return t->norm.out;
}

static const float *
self_attention(const struct run *run, const struct attention_param *p, const struct attention_tape *t, enum side side,
               const float *x, const char *kind, int layer)
{
	struct attention_use use = attention_between(run->rows, p, t, side, x, side, x);

	return attention(run, &use, kind, layer);
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
	                                        .ids = t->batch.tokens,
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
	const int *dropped = run->model->tape->batch.dropped[side];

	for (int i = 0; i < count; i++) {
		if (dropped[i])
			continue;
		x = self_attention(run, &p[i].self, &t[i].self, side, x, kind, i);
		x = ffn(run, &p[i].ffn, &t[i].ffn, side, x, run->rows[side]);
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

/* One cross layer, all rows of both sides: *l and *v become its results. */
static void
cross_layer(const struct run *run, const struct cross_param *w, const struct cross_tape *x, int i, const float **l,
            const float **v)
{
	struct attention_use asks =
		attention_between(run->rows, &w->cross, &x->language_cross, LANGUAGE, *l, VISION, *v);
	struct attention_use answers =
		attention_between(run->rows, &w->cross, &x->vision_cross, VISION, *v, LANGUAGE, *l);

	*l = attention(run, &asks, "cross-language", i);
	*v = attention(run, &answers, "cross-vision", i);
	*l = self_attention(run, &w->language_self, &x->language_self, LANGUAGE, *l, "cross-self-language", i);
	*v = self_attention(run, &w->vision_self, &x->vision_self, VISION, *v, "cross-self-vision", i);
	*l = ffn(run, &w->language_ffn, &x->language_ffn, LANGUAGE, *l, run->rows[LANGUAGE]);
	*v = ffn(run, &w->vision_ffn, &x->vision_ffn, VISION, *v, run->rows[VISION]);
}

/* The last one as far as [CLS] needs it; returns (B, D): [CLS] of each question. */
static const float *
last_cross_layer(const struct run *run, const struct cross_param *w, const struct cross_tape *x, const float *l,
                 const float *v)
{
	const struct tape *t = run->model->tape;
	struct attention_use use = attention_between(run->rows, &w->cross, &x->language_cross, LANGUAGE, l, VISION, v);

	l = attention(run, &use, NULL, 0);
	gather_cls(run, t->cls, l);
	use = attention_between(run->rows, &w->language_self, &x->language_self, LANGUAGE, t->cls, LANGUAGE, l);
	use.queries = run->cls;
	return ffn(run, &w->language_ffn, &x->language_ffn, LANGUAGE, attention(run, &use, NULL, 0), run->cls);
}

/* All cross layers; returns (B, D): [CLS] of each question. All rows of the last are computed only if their attention is wanted. */
static const float *
cross(const struct run *run, const float *l, const float *v)
{
	const struct tape *t = run->model->tape;
	const struct params *p = run->model->params;
	int last = tape_last_cross(t, run->model->cfg);

	for (int i = 0; i <= last; i++) {
		if (t->batch.dropped_cross[i])
			continue;
		if (i == last && !run->sink)
			return last_cross_layer(run, &p->cross[i], &t->cross[i], l, v);
		cross_layer(run, &p->cross[i], &t->cross[i], i, &l, &v);
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
	const struct batch_tape *b = &t->batch;
	int n = batch->n;
	size_t Nl = (size_t)batch->language[n], Nv = (size_t)batch->vision[n], offsets = ((size_t)n + 1) * sizeof(int);

	b->host[0] = n;
	memcpy(b->language, batch->language, offsets);
	memcpy(b->vision, batch->vision, offsets);
	for (int i = 0; i <= n; i++)
		b->cls[i] = i;
	for (int i = 0; i < layers_total(cfg); i++)
		b->dropped_all[i] = run->pass->dropped && run->pass->dropped[i];
	memcpy(b->tokens, batch->tokens, Nl * sizeof *batch->tokens);
	run->op->put(b->shared, b->host, b->n * sizeof(int));
	run->op->put(t->features, batch->features, Nv * (size_t)cfg->features * sizeof(float));
	run->op->put(t->boxes, batch->boxes, Nv * 4 * sizeof(float));
	run->rows[LANGUAGE] = (struct rows){ n, b->language };
	run->rows[VISION] = (struct rows){ n, b->vision };
	run->cls = (struct rows){ n, b->cls };
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
	answer(&run, t, cross(&run, l, v));
	free(run.host_probs);
	if (model->op->sync(err))
		return -1;
	model->op->get(logits, t->logits, (size_t)batch->n * (size_t)cfg->answers_n * sizeof *logits);
	return 0;
}
