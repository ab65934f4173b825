/*
 * The parameters of a model, from its configuration: names as the reference's state dict has them (reference:
 * models/lxmert_adaptive.py), shapes, how each begins, and where the graph uses it. Order is the file's order.
 */
#ifndef VQA_MODEL_PARAMS_H
#define VQA_MODEL_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "ckpt/config.h"

enum init {
	INIT_NORMAL, /* N(0, range) */
	INIT_ZERO,
	INIT_ONE,
	INIT_ALPHA, /* 1 + sigmoid(N(0, 1)), kept in [1.01, 2] (reference: models/entmax.py) */
	INIT_SPAN, /* N(0, sqrt(2 / heads)) + config.span_begin (reference: models/adaptive_span.py, kaiming_normal_) */
};

struct param {
	char name[128];
	int dims; /* 1 or 2; a span: 4 */
	int64_t shape[4];
	size_t n; /* elements */
	enum init init;
};

/* Numbers of parameters in the list. */
struct linear_param {
	int weight, bias;
};
struct norm_param {
	int gain, bias;
};
struct attention_param {
	struct linear_param query, key, value, output;
	struct norm_param norm;
	int alpha; /* -1 unless sparse */
	int span;  /* -1 unless adaptive; (span_rows, heads, 1, 1) */
};
struct ffn_param {
	struct linear_param inter, output;
	struct norm_param norm;
};
struct layer_param {
	struct attention_param self;
	struct ffn_param ffn;
};
struct cross_param {
	struct attention_param cross, language_self, vision_self;
	struct ffn_param language_ffn, vision_ffn;
};

struct params {
	struct param *list;
	int n;

	int word, position, type;
	struct norm_param embedding_norm;
	struct linear_param feature, box;
	struct norm_param feature_norm, box_norm;
	struct layer_param *language, *vision;
	struct cross_param *cross;
	struct linear_param pooler, head_in, head_out;
	struct norm_param head_norm;
};

int params_make(struct params *params, const struct config *cfg, struct err *err);
void params_release(struct params *params);
size_t params_count(const struct params *params); /* elements of all */
/* Whether a parameter is the weight of a linear layer: what products read. */
int param_is_factor(const struct params *params, int number);

/*
 * Fill parameter `number` as it begins, from (seed, its number) alone: Philox and Box-Muller. range is the standard
 * deviation of INIT_NORMAL: BERT's initializer_range.
 */
void param_init(float *out, const struct params *params, int number, const struct config *cfg, uint64_t seed,
                double range);

#endif
