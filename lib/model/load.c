/*
 * A checkpoint's weights into the backend's memory, for answers: those of linear layers packed, once.
 */
#include <stdlib.h>

#include "model/model.h"

struct load {
	struct model *model;
	const float *const *data; /* (params.n) HOST */
	void (*done)(void *user, int param);
	void *user;
	uint8_t *packed; /* (params.n): is part of what was packed */
	int bad;
};

static int64_t
rows_of(const struct load *l, struct linear_param p)
{
	return l->model->params->list[p.weight].shape[0];
}

/* Layers of the same input and sizes below each other. */
static void
pack(struct load *l, const struct linear_param *parts, int n)
{
	const struct param *first = &l->model->params->list[parts[0].weight];
	struct pack from = {
		.parts = n, .O = (int)rows_of(l, parts[0]), .I = (int)first->shape[1], .precision = l->model->precision
	};

	if (l->bad)
		return;
	for (int i = 0; i < n; i++) {
		from.weight[i] = l->data[parts[i].weight];
		from.bias[i] = l->data[parts[i].bias];
	}
	l->model->packed[parts[0].weight] = l->model->op->pack(&from);
	l->bad = !l->model->packed[parts[0].weight];
	for (int i = 0; i < n; i++) {
		l->packed[parts[i].weight] = l->packed[parts[i].bias] = 1;
		l->done(l->user, parts[i].weight);
		l->done(l->user, parts[i].bias);
	}
}

static void
pack_one(struct load *l, struct linear_param p)
{
	pack(l, &p, 1);
}

static void
pack_attention(struct load *l, const struct attention_param *p)
{
	pack_one(l, p->query);
	pack(l, (struct linear_param[]){ p->key, p->value }, 2);
	pack_one(l, p->output);
}

static void
pack_ffn(struct load *l, const struct ffn_param *p)
{
	pack_one(l, p->inter);
	pack_one(l, p->output);
}

static void
pack_stack(struct load *l, const struct layer_param *p, int count)
{
	for (int i = 0; i < count; i++) {
		pack_attention(l, &p[i].self);
		pack_ffn(l, &p[i].ffn);
	}
}

static void
pack_all(struct load *l)
{
	const struct params *p = l->model->params;
	const struct config *cfg = l->model->cfg;

	pack_stack(l, p->language, cfg->language);
	pack_stack(l, p->vision, cfg->vision);
	for (int i = 0; i < cfg->cross; i++) {
		const struct cross_param *c = &p->cross[i];

		pack_attention(l, &c->cross);
		pack_attention(l, &c->language_self);
		pack_attention(l, &c->vision_self);
		pack_ffn(l, &c->language_ffn);
		pack_ffn(l, &c->vision_ffn);
	}
	pack_one(l, p->feature);
	pack_one(l, p->box);
	pack_one(l, p->pooler);
	pack_one(l, p->head_in);
	pack_one(l, p->head_out);
}

int
model_load(struct model *model, const float *const *data, void (*done)(void *user, int param), void *user,
           struct err *err)
{
	const struct params *params = model->params;
	struct load load = { .model = model, .data = data, .done = done, .user = user };

	load.packed = calloc((size_t)params->n, sizeof *load.packed);
	load.bad = !load.packed;
	pack_all(&load);
	for (int i = 0; i < params->n && !load.bad; i++) {
		size_t bytes = params->list[i].n * sizeof(float);
		float *weight;

		if (load.packed[i])
			continue;
		weight = model->op->alloc(bytes);
		load.bad = !weight;
		if (weight)
			model->op->put(weight, data[i], bytes);
		model->weights[i] = weight;
		done(user, i);
	}
	free(load.packed);
	if (model->op->sync(err))
		return -1;
	return load.bad ? err_set(err, "out of memory for the weights") : 0;
}
