/*
 * LXMERT forward (reference: models/lxmert_adaptive.py): language stack, vision stack, cross layers, [CLS] to answers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "model/tape.h"

/* One forward: what every part of the graph needs to know. */
struct run {
	struct model *model;
	const struct op *op;
	const struct pass *pass;
	struct intake in;  /* rows[VISION] and once change when the vision side meets the questions */
	float *host_probs; /* where matrices are wanted: one */
};

static const float *
weight(const struct run *run, int param)
{
	return run->model->weights[param];
}

/* out's float32 or bf16 may be NULL. */
static void
layer(const struct run *run, struct linear_param p, struct state in, int N, int I, int O, enum activation act,
      float *pre, struct state out)
{
	const struct model *m = run->model;

	run->op->linear(&(struct linear){ .out = out.f32,
	                                  .pre = pre,
	                                  .out16 = out.b16,
	                                  .in = in.f32,
	                                  .in16 = in.b16,
	                                  .packed = m->packed[p.weight],
	                                  .weight = m->weights[p.weight],
	                                  .weight16 = m->weights16[p.weight],
	                                  .bias = m->weights[p.bias],
	                                  .N = N,
	                                  .I = I,
	                                  .O = O,
	                                  .act = act,
	                                  .precision = m->precision });
}

static void
linear(const struct run *run, struct linear_param p, struct state in, int N, int I, int O, float *out)
{
	layer(run, p, in, N, I, O, ACT_NONE, NULL, plain(out));
}

/* t->out holds the dense output and gets LN(dropout(it) + residual). */
static void
norm(const struct run *run, struct norm_param p, const struct norm_tape *t, const float *residual, struct rows rows,
     int D, struct dropout drop)
{
	run->op->layernorm(&(struct layernorm){ .out = t->out.f32,
	                                        .out16 = t->out.b16,
	                                        .xhat = t->xhat,
	                                        .rstd = t->rstd,
	                                        .in = t->out.f32,
	                                        .residual = residual,
	                                        .gain = weight(run, p.gain),
	                                        .bias = weight(run, p.bias),
	                                        .rows = rows,
	                                        .D = D,
	                                        .drop = drop });
}

static size_t
place_size(const struct run *run, struct rows queries, struct rows keys, int place)
{
	return (size_t)run->model->cfg->heads * (size_t)(queries.off[place + 1] - queries.off[place]) *
	       (size_t)(keys.off[place + 1] - keys.off[place]);
}

/* Each question's matrices; of its image, where images are computed. */
static void
hand_out(const struct run *run, const char *kind, int layer, const struct attention_use *use)
{
	const struct model *m = run->model;
	const struct rows queries = use->queries, keys = use->keys;
	int by_image = run->in.once && use->side == VISION;
	size_t at = 0;
	int place = 0;
	char name[64];

	snprintf(name, sizeof name, "%s.%d", kind, layer);
	for (int b = 0; b < run->in.cls.n; b++) {
		/* Questions come in the order of their images. */
		for (int own = by_image ? run->in.image[b] : b; place < own; place++)
			at += place_size(run, queries, keys, place);
		run->op->get(run->host_probs, m->probs + at, place_size(run, queries, keys, place) * sizeof(float));
		run->pass->sink(run->pass->user, name, b, run->host_probs, m->cfg->heads,
		                queries.off[place + 1] - queries.off[place], keys.off[place + 1] - keys.off[place]);
	}
}

/* A question's rows from those of its image, D wide. */
static void
from_images(const struct run *run, float *out, const float *kept, int D)
{
	run->op->gather(&(struct gather){ .out = out,
	                                  .in = kept,
	                                  .index = run->model->tape->image.row,
	                                  .n = rows_total(&run->in.rows[VISION]),
	                                  .D = D });
}

/* Keys and values, k and v, of y: one product where they are packed together. */
static void
keys_values(const struct run *run, const struct attention_param *p, struct state y, int N, float *k, float *v)
{
	int D = run->model->cfg->hidden;

	if (run->model->packed[p->key.weight]) {
		linear(run, p->key, y, N, D, 2 * D, k);
		return;
	}
	linear(run, p->key, y, N, D, D, k);
	linear(run, p->value, y, N, D, D, v);
}

/* An attention block's result. kind and layer name the matrix. */
static struct state
attention(const struct run *run, const struct attention_use *use, const char *kind, int number)
{
	const struct attention_param *p = use->p;
	const struct attention_tape *t = use->t;
	int D = run->model->cfg->hidden, Nq = rows_total(&use->queries), Nk = rows_total(&use->keys);
	struct attention a = tape_attention(run->model, run->pass, use);

	if (use->q)
		from_images(run, t->q, use->q, D);
	else
		linear(run, p->query, use->x, Nq, D, D, t->q);
	if (use->kv)
		from_images(run, t->k, use->kv, 2 * D);
	else
		keys_values(run, p, use->y, Nk, t->k, t->v);
	a.probs = run->pass->sink ? run->model->probs : NULL;
	run->op->attention(&a);
	if (run->pass->sink)
		hand_out(run, kind, number, use);
	linear(run, p->output, t->context, Nq, D, D, t->norm.out.f32);
	norm(run, p->norm, &t->norm, use->x.f32, use->queries, D,
	     tape_dropout(run->model, run->pass, t->norm.site, use->side));
	return t->norm.out;
}

static struct state
self_attention(const struct run *run, const struct attention_param *p, const struct attention_tape *t, enum side side,
               struct state x, const char *kind, int number)
{
	struct attention_use use = attention_between(run->in.rows, p, t, side, x, side, x);

	return attention(run, &use, kind, number);
}

static struct state
ffn(const struct run *run, const struct ffn_param *p, const struct ffn_tape *t, enum side side, struct state x,
    struct rows rows)
{
	const struct config *cfg = run->model->cfg;
	int D = cfg->hidden, N = rows_total(&rows);

	layer(run, p->inter, x, N, D, cfg->ffn, ACT_GELU, t->pre, t->inter);
	linear(run, p->output, t->inter, N, cfg->ffn, D, t->norm.out.f32);
	norm(run, p->norm, &t->norm, x.f32, rows, D, tape_dropout(run->model, run->pass, t->norm.site, side));
	return t->norm.out;
}

static struct state
embed(const struct run *run, const struct tape *t)
{
	const struct params *p = run->model->params;
	int D = run->model->cfg->hidden;
	struct rows rows = run->in.rows[LANGUAGE];

	run->op->embedding(&(struct embedding){ .out = t->embedding.out.f32,
	                                        .rows = rows,
	                                        .ids = t->batch.tokens,
	                                        .word = weight(run, p->word),
	                                        .position = weight(run, p->position),
	                                        .type = weight(run, p->type),
	                                        .D = D });
	norm(run, p->embedding_norm, &t->embedding, NULL, rows, D, (struct dropout){ 0 });
	run->op->average(&(struct average){ .out = t->embedded.f32,
	                                    .out16 = t->embedded.b16,
	                                    .a = t->embedding.out.f32,
	                                    .rows = rows,
	                                    .D = D,
	                                    .drop = tape_dropout(run->model, run->pass, t->embedding.site, LANGUAGE) });
	return t->embedded;
}

/* (LN(features) + LN(boxes))/2: the reference's VisualFeatEncoder. */
static struct state
see(const struct run *run, const struct tape *t)
{
	const struct config *cfg = run->model->cfg;
	const struct params *p = run->model->params;
	struct rows rows = run->in.rows[VISION];
	const struct input_tape *in = &t->inputs[run->in.turn];
	int N = rows_total(&rows), D = cfg->hidden;

	linear(run, p->feature, plain(in->features), N, cfg->features, D, t->feature.out.f32);
	norm(run, p->feature_norm, &t->feature, NULL, rows, D, (struct dropout){ 0 });
	linear(run, p->box, plain(in->boxes), N, 4, D, t->box.out.f32);
	norm(run, p->box_norm, &t->box, NULL, rows, D, (struct dropout){ 0 });
	run->op->average(&(struct average){ .out = t->seen.f32,
	                                    .out16 = t->seen.b16,
	                                    .a = t->feature.out.f32,
	                                    .b = t->box.out.f32,
	                                    .rows = rows,
	                                    .D = D,
	                                    .drop = tape_dropout(run->model, run->pass, t->seen_site, VISION) });
	return t->seen;
}

static struct state
stack(const struct run *run, const struct layer_param *p, const struct layer_tape *t, int count, enum side side,
      struct state x, const char *kind)
{
	const int *dropped = run->model->tape->batch.dropped[side];

	for (int i = 0; i < count; i++) {
		if (dropped[i])
			continue;
		x = self_attention(run, &p[i].self, &t[i].self, side, x, kind, i);
		x = ffn(run, &p[i].ffn, &t[i].ffn, side, x, run->in.rows[side]);
	}
	return x;
}

/* Row of [CLS] of each question in the language rows: where the question begins. */
static void
gather_cls(const struct run *run, float *out, const float *x)
{
	run->op->gather(&(struct gather){ .out = out,
	                                  .in = x,
	                                  .index = run->in.rows[LANGUAGE].off,
	                                  .n = run->in.cls.n,
	                                  .D = run->model->cfg->hidden });
}

/* What goes into a cross layer. */
struct sides {
	struct state l, v;
	int of_images; /* v is known by images, with the products of this layer: it has never met a question */
};

static struct attention_use
language_asks(const struct run *run, const struct cross_param *w, const struct cross_tape *x, const struct sides *in)
{
	struct attention_use use =
		attention_between(run->in.rows, &w->cross, &x->language_cross, LANGUAGE, in->l, VISION, in->v);

	if (in->of_images)
		use.kv = run->model->tape->image.kv;
	return use;
}

static struct attention_use
vision_asks(const struct run *run, const struct cross_param *w, const struct cross_tape *x, const struct sides *in)
{
	struct attention_use use =
		attention_between(run->in.rows, &w->cross, &x->vision_cross, VISION, in->v, LANGUAGE, in->l);

	if (in->of_images)
		use.q = run->model->tape->image.q;
	return use;
}

/* One cross layer, all rows of both sides: they become its results. */
static void
cross_layer(const struct run *run, const struct cross_param *w, const struct cross_tape *x, int i, struct sides *sides)
{
	struct attention_use asks = language_asks(run, w, x, sides), answers = vision_asks(run, w, x, sides);
	struct state l, v;

	if (sides->of_images)
		from_images(run, sides->v.f32, run->model->tape->image.x, run->model->cfg->hidden);
	l = attention(run, &asks, "cross-language", i);
	v = attention(run, &answers, "cross-vision", i);
	l = self_attention(run, &w->language_self, &x->language_self, LANGUAGE, l, "cross-self-language", i);
	v = self_attention(run, &w->vision_self, &x->vision_self, VISION, v, "cross-self-vision", i);
	sides->l = ffn(run, &w->language_ffn, &x->language_ffn, LANGUAGE, l, run->in.rows[LANGUAGE]);
	sides->v = ffn(run, &w->vision_ffn, &x->vision_ffn, VISION, v, run->in.rows[VISION]);
	sides->of_images = 0;
}

/* The last one as far as [CLS] needs it; returns (B, D): [CLS] of each question. */
static struct state
last_cross_layer(const struct run *run, const struct cross_param *w, const struct cross_tape *x,
                 const struct sides *sides)
{
	const struct tape *t = run->model->tape;
	struct attention_use use = language_asks(run, w, x, sides);
	struct state l = attention(run, &use, NULL, 0);

	gather_cls(run, t->cls, l.f32);
	use = attention_between(run->in.rows, &w->language_self, &x->language_self, LANGUAGE, plain(t->cls), LANGUAGE,
	                        l);
	use.queries = run->in.cls;
	return ffn(run, &w->language_ffn, &x->language_ffn, LANGUAGE, attention(run, &use, NULL, 0), run->in.cls);
}

/* All cross layers; returns (B, D): [CLS] of each question. All rows of the last are computed only if their attention is wanted. */
static struct state
cross(const struct run *run, struct sides sides)
{
	const struct tape *t = run->model->tape;
	const struct params *p = run->model->params;
	int last = tape_last_cross(t, run->model->cfg);

	for (int i = 0; i <= last; i++) {
		if (t->batch.dropped_cross[i])
			continue;
		if (i == last && !run->pass->sink)
			return last_cross_layer(run, &p->cross[i], &t->cross[i], &sides);
		cross_layer(run, &p->cross[i], &t->cross[i], i, &sides);
	}
	gather_cls(run, t->cls, sides.l.f32);
	return plain(t->cls);
}

/*
 * What the first cross layer wants of images that no batch has had yet: x, the stack's result, and the products of it. rows[VISION] are
 * those images' here.
 */
static void
keep_images(const struct run *run, struct state x)
{
	const struct tape *t = run->model->tape;
	const struct image_tape *image = &t->image;
	const struct params *p = run->model->params;
	int first = 0, last = tape_last_cross(t, run->model->cfg), N = rows_total(&run->in.rows[VISION]);
	int D = run->model->cfg->hidden;
	size_t from = (size_t)run->model->cfg->objects;

	while (first < run->model->cfg->cross && t->batch.dropped_cross[first])
		first++;
	if (first == run->model->cfg->cross)
		return;
	run->op->copy(image->x + from * (size_t)D, x.f32, (size_t)N * (size_t)D * sizeof *x.f32);
	if (first < last || run->pass->sink)
		linear(run, p->cross[first].cross.query, x, N, D, D, image->q + from * (size_t)D);
	keys_values(run, &p->cross[first].cross, x, N, image->kv + from * 2 * (size_t)D, NULL);
}

/* The vision side until it meets the questions. */
static struct state
vision_side(struct run *run, const struct tape *t)
{
	const struct config *cfg = run->model->cfg;
	struct state x =
		stack(run, run->model->params->vision, t->vision, cfg->vision, VISION, see(run, t), "self-vision");

	if (run->in.once) {
		keep_images(run, x);
		run->in.rows[VISION] = (struct rows){ run->in.cls.n, t->batch.vision };
		run->in.once = 0;
	}
	return x;
}

static void
answer(const struct run *run, const struct tape *t, struct state cls)
{
	const struct params *p = run->model->params;
	int B = run->in.cls.n, D = run->model->cfg->hidden;

	layer(run, p->pooler, cls, B, D, D, ACT_TANH, NULL, plain(t->pooled));
	layer(run, p->head_in, plain(t->pooled), B, D, 2 * D, ACT_GELU, t->head_pre, t->head.out);
	norm(run, p->head_norm, &t->head, NULL, run->in.cls, 2 * D, (struct dropout){ 0 });
	linear(run, p->head_out, t->head.out, B, 2 * D, run->model->cfg->answers_n, t->logits);
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
model_begin(struct model *model, const struct batch *batch, const struct pass *pass, struct err *err)
{
	struct run run = { .model = model, .op = model->op, .pass = pass };
	const struct config *cfg = model->cfg;
	const struct params *p = model->params;
	const struct tape *t = model->tape;
	struct sides sides;

	if (pass->sink && make_room_for_probs(&run, err))
		return -1;
	intake(&run.in, model, batch, pass);
	sides.of_images = run.in.once;
	sides.l = stack(&run, p->language, t->language, cfg->language, LANGUAGE, embed(&run, t), "self-language");
	sides.v = vision_side(&run, t);
	answer(&run, t, cross(&run, sides));
	free(run.host_probs);
	model->op->fetch(run.in.turn, t->logits, (size_t)batch->n * (size_t)cfg->answers_n * sizeof *t->logits);
	model->begun++;
	return 0;
}

const float *
model_end(struct model *model, struct err *err)
{
	return model->op->fetched((int)(model->ended++ % (unsigned)model->turns), err);
}
