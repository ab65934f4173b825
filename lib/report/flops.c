/*
 * Counting. T tokens, R regions, D hidden, F ffn, A answers.
 */
#include "report/flops.h"

#include <string.h>

#include "report/span.h"

struct sizes {
	double T, R, D, F;
	int last_reduced;  /* of the last cross layer only what reaches [CLS] */
	double image_part; /* of what is computed of the image alone, a question's part */
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

/* n layers. The first has Q (if more than [CLS] is wanted), K and V of regions that have met no question yet. */
static struct macs
cross_stack(struct sizes s, int n)
{
	double of_image = (n > 1 || !s.last_reduced ? 3 : 2) * s.R * s.D * s.D;
	struct macs out = sum(times(n - 1, cross_layer(s)), last_cross_layer(s));

	out.linear -= (1 - s.image_part) * of_image;
	return out;
}

static void
count_parts(struct macs out[PARTS], const struct config *cfg, struct sizes s)
{
	out[0] = (struct macs){ 0, 0 };
	out[1] = (struct macs){ s.image_part * s.R * (cfg->features + 4) * s.D, 0 };
	out[2] = times(cfg->language, self_layer(s, s.T));
	out[3] = times(cfg->vision * s.image_part, self_layer(s, s.R));
	out[4] = cross_stack(s, cfg->cross);
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
		out = masked_macs(s, span, size, both ? size.T : size.R, size.R, cfg->objects);
	if (!in_cross || (both && !m->layer))
		out.linear *= size.image_part;
	if (!in_cross)
		out.attention *= size.image_part;
	if (m->over_words && (!both || !last))
		out = sum(out, masked_macs(s, span, size,
		                           both               ? size.R
		                           : in_cross && last ? 1
		                                              : size.T,
		                           size.T, cfg->max_tokens));
	return out;
}

static struct macs
span_saving(const struct subject *s, struct sizes sizes)
{
	struct macs out = { 0, 0 };

	for (int i = 0; s->config.adaptive && i < s->modules_n; i++)
		out = sum(out, module_masked(s, &s->modules[i], sizes));
	return out;
}

static void
count_way(struct flops *f, const struct subject *s, enum way way, struct sizes sizes)
{
	const struct config *cfg = &s->config;
	struct macs parts[PARTS];

	count_parts(parts, cfg, sizes);
	for (int i = 0; i < PARTS; i++) {
		f->parts[i].macs[way] = parts[i];
		f->total.macs[way] = sum(f->total.macs[way], parts[i]);
	}
	f->savings[0].macs[way] = self_layer(sizes, sizes.T);
	f->savings[1].macs[way] = times(sizes.image_part, self_layer(sizes, sizes.R));
	f->savings[2].macs[way] = sum(cross_stack(sizes, cfg->cross), times(-1, cross_stack(sizes, cfg->cross - 1)));
	f->savings[3].macs[way] = span_saving(s, sizes);
}

/* Names and parameters; of savings, of those that the model can spare. */
static void
name_parts(struct flops *f, const struct subject *s)
{
	static const char *const names[SAVINGS] = { "prune-language", "prune-vision", "prune-cross", "span" };
	static const char *const inside[SAVINGS - 1] = { "bert.encoder.layer.0.", "bert.encoder.r_layers.0.",
		                                         "bert.encoder.x_layers.0." };
	const struct config *cfg = &s->config;
	const int spare[SAVINGS] = { cfg->language, cfg->vision, cfg->cross - 1, cfg->adaptive };

	f->total.name = "total";
	for (int i = 0; i < PARTS; i++) {
		f->parts[i].name = part_names[i];
		f->parts[i].params = count_params(&s->params, part_prefixes[i]);
		f->total.params += f->parts[i].params;
	}
	for (int i = 0; i < SAVINGS; i++) {
		f->savings[i].name = spare[i] ? names[i] : NULL;
		f->savings[i].params = i < SAVINGS - 1 ? count_params(&s->params, inside[i]) : 0;
	}
}

void
flops_count(struct flops *f, const struct subject *s, double tokens, double objects, double per_image)
{
	const struct config *cfg = &s->config;
	const struct sizes here = {
		.T = tokens, .R = objects, .D = cfg->hidden, .F = cfg->ffn, .last_reduced = 1, .image_part = 1
	};
	struct sizes padded = here, answering = here;

	padded.T = cfg->max_tokens;
	padded.R = cfg->objects;
	padded.last_reduced = 0;
	answering.image_part = 1 / per_image;
	*f = (struct flops){ 0 };
	name_parts(f, s);
	count_way(f, s, PADDED, padded);
	count_way(f, s, HERE, here);
	count_way(f, s, ANSWERING, answering);
}
