/*
 * Counting. T tokens, R regions, D hidden, F ffn, A answers.
 */
#include "report/flops.h"

#include <string.h>

#include "report/span.h"

struct sizes {
	double T, R, D, F;
	int last_reduced; /* of the last cross layer only what reaches [CLS] */
};

static struct macs
sum(struct macs a, struct macs b)
{
	return (struct macs){ a.linear + b.linear, a.attention + b.attention };
}

static struct macs
times(double n, struct macs a)
{
	return (struct macs){ n * a.linear, n * a.attention };
}

/* q queries attend to k keys: Q and the output of q rows, K and V of k. */
static struct macs
attend(struct sizes s, double q, double k)
{
	return (struct macs){ (2 * q + 2 * k) * s.D * s.D, 2 * q * k * s.D };
}

static struct macs
feed(struct sizes s, double rows)
{
	return (struct macs){ 2 * rows * s.D * s.F, 0 };
}

static struct macs
self_layer(struct sizes s, double rows)
{
	return sum(attend(s, rows, rows), feed(s, rows));
}

static struct macs
cross_layer(struct sizes s)
{
	return sum(sum(attend(s, s.T, s.R), attend(s, s.R, s.T)), sum(self_layer(s, s.T), self_layer(s, s.R)));
}

static struct macs
last_cross_layer(struct sizes s)
{
	return s.last_reduced ? sum(attend(s, s.T, s.R), sum(attend(s, 1, s.T), feed(s, 1))) : cross_layer(s);
}

static void
count_parts(struct macs out[PARTS], const struct config *cfg, struct sizes s)
{
	out[0] = (struct macs){ 0, 0 };
	out[1] = (struct macs){ s.R * (cfg->features + 4) * s.D, 0 };
	out[2] = times(cfg->language, self_layer(s, s.T));
	out[3] = times(cfg->vision, self_layer(s, s.R));
	out[4] = sum(times(cfg->cross - 1, cross_layer(s)), last_cross_layer(s));
	out[5] = (struct macs){ s.D * s.D, 0 };
	out[6] = (struct macs){ 2 * s.D * (s.D + cfg->answers_n), 0 };
}

/* Where a parameter of each part is; the first that its name contains. */
static const char *const part_names[PARTS] = {
	"embeddings", "regions", "language", "vision", "cross", "pooler", "head"
};
static const char *const part_prefixes[PARTS] = { "bert.embeddings.",
	                                          "bert.encoder.visn_fc.",
	                                          "bert.encoder.layer.",
	                                          "bert.encoder.r_layers.",
	                                          "bert.encoder.x_layers.",
	                                          "bert.pooler.",
	                                          "logit_fc." };

static double
count_params(const struct params *params, const char *inside)
{
	double n = 0;

	for (int i = 0; i < params->n; i++)
		if (strstr(params->list[i].name, inside))
			n += (double)params->list[i].n;
	return n;
}

/* One layer less of a stack: any of its layers, of cross layers any but the last. `layers`: how many it can spare. */
static void
add_layer(struct flops *f, int layers, struct part layer)
{
	if (layers > 0)
		f->savings[f->savings_n++] = layer;
}

/* Whether key k of S is masked for all rows of a head. */
static int
masked(const struct subject *s, int span, int head, int k, int S)
{
	const struct config *cfg = &s->config;
	size_t n;
	const float *values = subject_values(s, span, &n);

	for (int row = 0; row < cfg->span_rows; row++)
		if (span_weight(values[row * cfg->heads + head], k, S, cfg->span_ramp) != 0)
			return 0;
	return 1;
}

/*
 * q queries over the first k of S keys of which some are masked: of a head that masks a key, that key's two products; of a key
 * that all heads mask, its K and V too.
 */
static struct macs
masked_macs(const struct subject *s, int span, struct sizes size, double q, double k, int S)
{
	int heads = s->config.heads;
	struct macs out = { 0, 0 };

	for (int key = 0; key < k; key++) {
		int n = 0;

		for (int h = 0; h < heads; h++)
			n += masked(s, span, h, key, S);
		out.attention += 2 * q * size.D * n / heads;
		out.linear += n == heads ? 2 * size.D * size.D : 0;
	}
	return out;
}

static struct macs
module_masked(const struct subject *s, const struct module *m, struct sizes size)
{
	const struct config *cfg = &s->config;
	int last = size.last_reduced && m->layer == cfg->cross - 1, span = m->param->span;
	int both = m->over_words && m->over_regions, in_cross = !m->kind ? 0 : m->kind < MODULE_KINDS - 1;
	struct macs out = { 0, 0 };

	if (m->over_regions && (both || !in_cross || !last))
		out = sum(out, masked_macs(s, span, size, both ? size.T : size.R, size.R, cfg->objects));
	if (m->over_words && (!both || !last))
		out = sum(out, masked_macs(s, span, size,
		                           both               ? size.R
		                           : in_cross && last ? 1
		                                              : size.T,
		                           size.T, cfg->max_tokens));
	return out;
}

static void
add_span(struct flops *f, const struct subject *s, struct sizes padded, struct sizes here)
{
	struct part *saving = &f->savings[f->savings_n];

	if (!s->config.adaptive)
		return;
	*saving = (struct part){ .name = "span" };
	for (int i = 0; i < s->modules_n; i++) {
		saving->padded = sum(saving->padded, module_masked(s, &s->modules[i], padded));
		saving->here = sum(saving->here, module_masked(s, &s->modules[i], here));
	}
	f->savings_n++;
}

void
flops_count(struct flops *f, const struct subject *s, double tokens, double objects)
{
	const struct config *cfg = &s->config;
	struct sizes padded = { cfg->max_tokens, cfg->objects, cfg->hidden, cfg->ffn, 0 };
	struct sizes here = { tokens, objects, cfg->hidden, cfg->ffn, 1 };
	struct macs all[PARTS], some[PARTS];

	*f = (struct flops){ .total = { .name = "total" } };
	count_parts(all, cfg, padded);
	count_parts(some, cfg, here);
	for (int i = 0; i < PARTS; i++) {
		f->parts[i] =
			(struct part){ part_names[i], count_params(&s->params, part_prefixes[i]), all[i], some[i] };
		f->total.params += f->parts[i].params;
		f->total.padded = sum(f->total.padded, all[i]);
		f->total.here = sum(f->total.here, some[i]);
	}
	add_layer(f, cfg->language,
	          (struct part){ "prune-language", count_params(&s->params, "bert.encoder.layer.0."),
	                         self_layer(padded, padded.T), self_layer(here, here.T) });
	add_layer(f, cfg->vision,
	          (struct part){ "prune-vision", count_params(&s->params, "bert.encoder.r_layers.0."),
	                         self_layer(padded, padded.R), self_layer(here, here.R) });
	add_layer(f, cfg->cross - 1,
	          (struct part){ "prune-cross", count_params(&s->params, "bert.encoder.x_layers.0."),
	                         cross_layer(padded), cross_layer(here) });
	add_span(f, s, padded, here);
}
