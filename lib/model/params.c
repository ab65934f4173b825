/*
 * The list of parameters: one place says every name, shape and beginning (reference: models/lxmert_adaptive.py).
 */
#include "model/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sys/philox.h"

static const char bert[] = "lxrt_encoder.model.bert";

/* The list while it is being made: params->list has room for all, as counted before. */
struct maker {
	struct params *params;
	const struct config *cfg;
};

static int
add(struct maker *m, enum init init, int64_t rows, int64_t columns, const char *fmt, ...)
{
	struct param *p = &m->params->list[m->params->n];
	va_list args;

	va_start(args, fmt);
	vsnprintf(p->name, sizeof p->name, fmt, args);
	va_end(args);
	p->dims = columns ? 2 : 1;
	p->shape[0] = rows;
	p->shape[1] = columns;
	p->shape[2] = p->shape[3] = 1;
	p->n = (size_t)rows * (size_t)(columns ? columns : 1);
	p->init = init;
	return m->params->n++;
}

static struct linear_param
linear(struct maker *m, const char *prefix, const char *name, int out, int in)
{
	struct linear_param p;

	p.bias = add(m, INIT_ZERO, out, 0, "%s%s.bias", prefix, name);
	p.weight = add(m, INIT_NORMAL, out, in, "%s%s.weight", prefix, name);
	return p;
}

static struct norm_param
norm(struct maker *m, const char *prefix, const char *name, int width)
{
	struct norm_param p;

	p.bias = add(m, INIT_ZERO, width, 0, "%s%s.bias", prefix, name);
	p.gain = add(m, INIT_ONE, width, 0, "%s%s.weight", prefix, name);
	return p;
}

static int
span(struct maker *m, const char *name)
{
	int p = add(m, INIT_SPAN, m->cfg->span_rows, m->cfg->heads, "%s.adaptive_span.current_val", name);

	m->params->list[p].dims = 4;
	return p;
}

/* self: what the reference calls the part with query, key and value ("self", or "att" in cross attention). */
static struct attention_param
attention(struct maker *m, const char *prefix, const char *self)
{
	int D = m->cfg->hidden;
	struct attention_param p;
	char name[128];

	p.norm = norm(m, prefix, ".output.LayerNorm", D);
	p.output = linear(m, prefix, ".output.dense", D, D);
	snprintf(name, sizeof name, "%s.%s", prefix, self);
	p.span = m->cfg->adaptive ? span(m, name) : -1;
	p.alpha = m->cfg->sparse ? add(m, INIT_ALPHA, m->cfg->heads, 0, "%s.entmax_alpha.alpha", name) : -1;
	p.key = linear(m, name, ".key", D, D);
	p.query = linear(m, name, ".query", D, D);
	p.value = linear(m, name, ".value", D, D);
	return p;
}

static struct ffn_param
ffn(struct maker *m, const char *prefix, const char *inter, const char *output)
{
	struct ffn_param p;
	char name[128];

	snprintf(name, sizeof name, "%s%s", prefix, inter);
	p.inter = linear(m, name, ".dense", m->cfg->ffn, m->cfg->hidden);
	snprintf(name, sizeof name, "%s%s", prefix, output);
	p.norm = norm(m, name, ".LayerNorm", m->cfg->hidden);
	p.output = linear(m, name, ".dense", m->cfg->hidden, m->cfg->ffn);
	return p;
}

static void
layers(struct maker *m, struct layer_param *out, int count, const char *stack)
{
	char name[96];
	char prefix[128];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "%s.encoder.%s.%d", bert, stack, i);
		snprintf(prefix, sizeof prefix, "%s.attention", name);
		out[i].self = attention(m, prefix, "self");
		out[i].ffn = ffn(m, name, ".intermediate", ".output");
	}
}

static void
cross_layers(struct maker *m, struct cross_param *out, int count)
{
	char name[96];
	char prefix[128];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "%s.encoder.x_layers.%d", bert, i);
		out[i].language_ffn = ffn(m, name, ".lang_inter", ".lang_output");
		snprintf(prefix, sizeof prefix, "%s.lang_self_att", name);
		out[i].language_self = attention(m, prefix, "self");
		out[i].vision_ffn = ffn(m, name, ".visn_inter", ".visn_output");
		snprintf(prefix, sizeof prefix, "%s.visn_self_att", name);
		out[i].vision_self = attention(m, prefix, "self");
		snprintf(prefix, sizeof prefix, "%s.visual_attention", name);
		out[i].cross = attention(m, prefix, "att");
	}
}

enum { PER_ATTENTION = 12, PER_FFN = 6, OTHERS = 32 };

int
params_make(struct params *params, const struct config *cfg, struct err *err)
{
	size_t layer = PER_ATTENTION + PER_FFN;
	size_t room = OTHERS + layer * (size_t)(cfg->language + cfg->vision) +
	              (layer + layer + PER_ATTENTION) * (size_t)cfg->cross;
	struct maker m = { .params = params, .cfg = cfg };
	int D = cfg->hidden;
	char name[96];

	*params = (struct params){ 0 };
	params->list = calloc(room, sizeof *params->list);
	params->language = calloc((size_t)cfg->language + 1, sizeof *params->language);
	params->vision = calloc((size_t)cfg->vision + 1, sizeof *params->vision);
	params->cross = calloc((size_t)cfg->cross + 1, sizeof *params->cross);
	if (!params->list || !params->language || !params->vision || !params->cross) {
		params_release(params);
		return err_set(err, "out of memory for the list of %zu parameters", room);
	}
	params->head_in = linear(&m, "logit_fc", ".0", 2 * D, D);
	params->head_norm = norm(&m, "logit_fc", ".2", 2 * D);
	params->head_out = linear(&m, "logit_fc", ".3", cfg->answers_n, 2 * D);
	params->embedding_norm = norm(&m, bert, ".embeddings.LayerNorm", D);
	params->position = add(&m, INIT_NORMAL, cfg->positions, D, "%s.embeddings.position_embeddings.weight", bert);
	params->type = add(&m, INIT_NORMAL, 2, D, "%s.embeddings.token_type_embeddings.weight", bert);
	params->word = add(&m, INIT_NORMAL, cfg->vocabulary, D, "%s.embeddings.word_embeddings.weight", bert);
	layers(&m, params->language, cfg->language, "layer");
	layers(&m, params->vision, cfg->vision, "r_layers");
	snprintf(name, sizeof name, "%s.encoder.visn_fc", bert);
	params->box = linear(&m, name, ".box_fc", D, 4);
	params->box_norm = norm(&m, name, ".box_layer_norm", D);
	params->feature = linear(&m, name, ".visn_fc", D, cfg->features);
	params->feature_norm = norm(&m, name, ".visn_layer_norm", D);
	cross_layers(&m, params->cross, cfg->cross);
	params->pooler = linear(&m, bert, ".pooler.dense", D, D);
	return 0;
}

void
params_release(struct params *params)
{
	free(params->list);
	free(params->language);
	free(params->vision);
	free(params->cross);
	*params = (struct params){ 0 };
}

int
param_is_factor(const struct params *params, int number)
{
	return params->list[number].dims == 2 && number != params->word && number != params->position &&
	       number != params->type;
}

size_t
params_count(const struct params *params)
{
	size_t n = 0;

	for (int i = 0; i < params->n; i++)
		n += params->list[i].n;
	return n;
}

/* Two draws of N(0, 1) from two of the generator's (Box and Muller 1958); the first uniform is in (0, 1]. */
static void
normals(double out[2], uint32_t a, uint32_t b)
{
	double radius = sqrt(-2 * log((a + 1.0) / 4294967296.0));
	double angle = 2 * M_PI * (b / 4294967296.0);

	out[0] = radius * cos(angle);
	out[1] = radius * sin(angle);
}

/* Beginnings are kept apart from dropout, which has the step in this word of the counter, from 1. */
enum { INIT_STREAM = 0 };

void
param_init(float *out, const struct params *params, int number, const struct config *cfg, uint64_t seed, double range)
{
	const struct param *param = &params->list[number];
	uint32_t u[4];
	double z[4] = { 0 };

	for (size_t i = 0; i < param->n; i++) {
		switch (param->init) {
		case INIT_ZERO:
			out[i] = 0;
			continue;
		case INIT_ONE:
			out[i] = 1;
			continue;
		case INIT_NORMAL:
		case INIT_ALPHA:
		case INIT_SPAN:
			break;
		}
		if (i % 4 == 0) {
			uint64_t block = i / 4;

			philox4x32(u, seed, INIT_STREAM, (uint32_t)number, (uint32_t)block, (uint32_t)(block >> 32));
			normals(z, u[0], u[1]);
			normals(z + 2, u[2], u[3]);
		}
		if (param->init == INIT_NORMAL)
			out[i] = (float)(range * z[i % 4]);
		else if (param->init == INIT_SPAN)
			out[i] = (float)(sqrt(2.0 / cfg->heads) * z[i % 4] + cfg->span_begin);
		else
			out[i] = (float)fmin(fmax(1 + 1 / (1 + exp(-z[i % 4])), 1.01), 2);
	}
}
